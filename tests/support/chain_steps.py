"""Small steps of the data chain, of which tests know what they do, and a run of them."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from unittest import mock

from ppdiffusers_ext.data.chain import catalogue, run
from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.steps import VIDEO, SetStep, Step
from ppdiffusers_ext.data.chain.tables import read_table
from ppdiffusers_ext.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Size(Step):
    """In the place of the probe: takes any file for a video, so that tests need not encode any."""

    name: ClassVar[str] = "probe"
    level: ClassVar[str] = VIDEO

    def __call__(self, row, place):
        text = place.file_of(row).read_text()
        if text.startswith("bad"):
            raise InputError(f"{row['key']} is bad; good files are accepted")
        return {"stem": row["stem"], "text": text}


@dataclass(frozen=True, kw_only=True)
class Halves(Step):
    """In the place of the split: each file gives a clip for each of its letters, a file with that letter."""

    name: ClassVar[str] = "split"
    level: ClassVar[str] = VIDEO
    most: int = 2

    def __call__(self, row, place):
        rows = []
        for number, letter in enumerate(row["text"][: self.most]):
            key = f"{row['stem']}_{number}.mp4"
            (place.clips / key).parent.mkdir(parents=True, exist_ok=True)
            (place.clips / key).write_text(letter)
            rows.append({"key": key, "video": row["key"], "seconds": 0.0, "width": 64, "height": 48})
        return rows

    def is_kept(self, columns, place):
        return place.file_of(columns).exists()

    def forget(self, columns, place):
        place.file_of(columns).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Score(Step):
    """The number of a clip's letter; does what the file of orders says for some letters. Writes down each call.

    Args:
        orders: folder with a file for each letter whose worker is to "die" or to "hang", or the disk to be "full".
        calls: file to which each call adds a line.
    """

    name: ClassVar[str] = "score"
    scale: int = 1
    orders: str = ""
    calls: str = ""

    def settings(self):
        return {"version": self.version, "scale": self.scale}

    def __call__(self, row, place):
        letter = place.file_of(row).read_text()
        with open(self.calls, "a") as file:
            file.write(f"{row['key']}\n")
        order = Path(self.orders, letter)
        if order.exists():
            _obey(order.read_text())
        if letter == "?":
            raise InputError("a question has no score; letters are accepted")
        return {"score": ord(letter) * self.scale}


def _obey(order):
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "hang":
        time.sleep(60)
    if order == "full":
        raise OSError(28, "No space left on device")


@dataclass(frozen=True, kw_only=True)
class Weight(Step):
    """A step that opens what it needs once in a process, as networks are; obeys orders for "weight-LETTER"."""

    name: ClassVar[str] = "weight"
    is_network: ClassVar[bool] = True
    orders: str = ""

    def settings(self):
        return {"version": self.version}

    def open(self, place):
        _opened.append(self.name)

    def __call__(self, row, place):
        order = Path(self.orders, f"weight-{place.file_of(row).read_text()}")
        if order.exists():
            _obey(order.read_text())
        return {"is_open": bool(_opened)}


_opened = []


@dataclass(frozen=True, kw_only=True)
class Same(SetStep):
    """Marks clips whose score another one has, which comes before it."""

    name: ClassVar[str] = "duplicates"
    needs: ClassVar[tuple] = ("score",)

    def over(self, rows, place):
        first = {}
        for row in sorted(rows, key=lambda row: row["key"]):
            yield {"key": row["key"], "is_copy": first.setdefault(row["score"], row["key"]) != row["key"]}


@dataclass(frozen=True, kw_only=True)
class Caption(Step):
    """What has to be paid for."""

    name: ClassVar[str] = "captions"
    is_gated: ClassVar[bool] = True
    needs: ClassVar[tuple] = ("score",)
    calls: str = ""

    def settings(self):
        return {"version": self.version}

    def __call__(self, row, place):
        with open(self.calls, "a") as file:
            file.write(f"caption {row['key']}\n")
        return {"caption": f"a clip of {row['score']}"}


class Chain:
    """A folder of files, and runs over it.

    Args:
        folder: an empty one.
        texts: name of a file -> its text.
    """

    def __init__(self, folder, texts):
        self.source, self.output, self.orders = folder / "in", folder / "out", folder / "orders"
        self.calls_file = folder / "calls"
        self.config = folder / "config.yaml"
        self.orders.mkdir(exist_ok=True)
        self.configure("{}")
        for name, text in texts.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def order(self, letter, what):
        (self.orders / letter).write_text(what)

    def configure(self, text):
        self.config.write_text(text)

    def options(self, **given):
        given = {"workers": 0, "output": str(self.output), **given}
        return ChainOptions(source=str(self.source), system="easy_animate", config=str(self.config), **given)

    @contextlib.contextmanager
    def steps(self):
        """Within it, the chain has the steps of this file."""
        calls = {"calls": str(self.calls_file)}
        steps = {
            "probe": lambda options: Size(),
            "split": lambda options: Halves(),
            "score": lambda options: Score(orders=str(self.orders), **calls),
            "weight": lambda options: Weight(orders=str(self.orders)),
            "duplicates": lambda options: Same(),
            "captions": lambda options: Caption(**calls),
        }
        profile = Profile(steps=tuple(steps), finish=self._finish, thresholds={"duplicates": {"is_copy": {"max": 0}}})
        with mock.patch.object(catalogue, "STEPS", steps), mock.patch.object(run, "profile_of", lambda _: profile):
            yield

    def _finish(self, rows, place, options):
        self.kept = {row["key"]: row["caption"] for row in rows}
        return ()

    def run(self, **given):
        """Run; returns the `Summary`."""
        with self.steps():
            return run.prepare_videos(self.options(**given))

    def calls(self):
        """What was worked on since the last time it was asked, sorted."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return sorted(lines)

    def table(self, name, folder=None):
        """Key -> columns of a table."""
        rows = read_table((folder or self.output) / "tables" / f"{name}.jsonl")
        return {row.pop("key"): {**row, "of": None} for row in rows}

    def errors(self, name):
        return {key: row["error"] for key, row in self.table(name).items() if "error" in row}

    def files(self):
        """Path -> content of all files of the run."""
        paths = (path for path in self.output.rglob("*") if path.is_file())
        return {str(path.relative_to(self.output)): path.read_bytes() for path in paths}
