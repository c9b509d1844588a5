"""Test sets of papers out of a local copy: which clips they are, laid out for a system and for an evaluation.

`metrics/testsets/NAME.yaml` says which clips of a local copy make a set, how many there must be, and how it is known
that a paper used them. Nothing is downloaded, and no hash is known in advance: the first layout writes the hashes of
the pixels, with which later ones, and those of other people, are compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import make_folders, output_file
from ppdiffusers_ext.errors import InputError, check_keys, counted, shown, shown_path, suggestion
from ppdiffusers_ext.files import check_folder, read_json, read_yaml
from ppdiffusers_ext.metrics.sources import Clip, natural_order, open_clip

FOLDER = Path(__file__).parent / "testsets"
RECORD, TRUTH, REFERENCES, JOBS, RESULTS = "testset.json", "truth", "references", "jobs.yaml", "results"
_KEYS = ("title", "source", "pattern", "names", "count")
_MOST = 64 << 20  # bytes of a record
_ACCEPTED = f"the {RECORD} that scripts.benchmark_dataset writes is accepted"


@dataclass(frozen=True)
class BenchmarkSet:
    """Which clips of a local copy make a test set.

    Attributes:
        name, title: of the set.
        source: how it is known that papers used it.
        pattern: path of each clip below the local copy, with one star, which stands for the clip's name.
        names: of the clips; None for all that there are.
        count: how many there must be.
    """

    name: str
    title: str
    source: str
    pattern: str
    names: tuple[str, ...] | None
    count: int


def known_testsets() -> list[str]:
    """The sets that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_testset(name: str) -> BenchmarkSet:
    """The `BenchmarkSet` of a name, or of a YAML file of the same keys.

    Raises:
        InputError, MissingFileError: there is none, or it has other keys or values.
    """
    if name in known_testsets():
        path = FOLDER / f"{name}.yaml"
    elif name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        raise InputError(f"there is no test set {shown(name)}; {suggestion(name, known_testsets())}")
    values, where = read_yaml(path, "test set"), f"test set {shown_path(path)}"
    check_keys(values, _KEYS, f"key in {where}")
    kinds: dict[str, Any] = {"title": str, "source": str, "pattern": str, "names": (list, type(None)), "count": int}
    for key, kind in kinds.items():
        if key not in values or not isinstance(values[key], kind):
            words = {"count": "a whole number", "names": "a list, or null,"}.get(key, "text")
            raise InputError(f"{key} in {where} is {shown(values.get(key))}; {words} is accepted")
    names = values["names"]
    if values["pattern"].count("*") != 1 or Path(values["pattern"]).is_absolute() or ".." in values["pattern"]:
        raise InputError(f"pattern in {where} is {shown(values['pattern'])}; a relative path with one * is accepted")
    if names is not None and not all(isinstance(each, str) for each in names):
        raise InputError(f"names in {where} are {shown(names)}; texts in quotes, or null, are accepted")
    fixed = {key: values[key] for key in ("title", "source", "pattern", "count")}
    return BenchmarkSet(path.stem, names=None if names is None else tuple(names), **fixed)


def find_testset(testset: BenchmarkSet, source: str | os.PathLike) -> dict[str, Clip]:
    """The clips of a set in a local copy, by name.

    Raises:
        InputError, MissingFileError: no such folder, clips that are missing or cannot be read, or another number.
    """
    folder = check_folder(source, "local copy", "the folder of the data set is accepted")
    star = re.compile(re.escape(testset.pattern).replace(r"\*", "([^/]+)"))
    found = {}
    for path in sorted(folder.glob(testset.pattern), key=natural_order):
        match = star.fullmatch(path.relative_to(folder).as_posix())
        if match and not match[1].startswith("."):
            found[match[1]] = path
    if testset.names is not None:
        if missing := [name for name in testset.names if name not in found]:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InputError(
                f"{shown_path(folder)} lacks {', '.join(missing[:5])}{more} of test set {testset.name}; a folder with "
                f"{testset.pattern.replace('*', missing[0])} is accepted"
            )
        found = {name: found[name] for name in testset.names}
    if len(found) != testset.count:
        raise InputError(
            f"{shown_path(folder)} has {counted(len(found), 'clip')} {testset.pattern}; test set {testset.name} has "
            f"{testset.count}, and another set, or a YAML file of your own, is accepted"
        )
    return {name: open_clip(path) for name, path in found.items()}


def pixel_hash(clip: Clip) -> str:
    """The SHA-256 of a clip's size and the pixels of its frames, which no lossless format changes."""
    digest = hashlib.sha256(f"{clip.width}x{clip.height}".encode())
    for frame in clip.frames():
        digest.update(frame.tobytes())
    return digest.hexdigest()


def describe_testset(testset: BenchmarkSet, clips: Mapping[str, Clip]) -> dict[str, Any]:
    """The record of a layout: the set, and size, length and hash of each clip, all of which are read."""
    told = {
        name: {
            "num_frames": clip.num_frames,
            "width": clip.width,
            "height": clip.height,
            "sha256_of_pixels": pixel_hash(clip),
        }
        for name, clip in clips.items()
    }
    return {"set": testset.name, "title": testset.title, "source": testset.source, "clips": told}


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """The record of a layout. Raises MissingFileError, InputError for what is none."""
    values = read_json(path, "record of a test set", _ACCEPTED, most=_MOST)
    clips = values.get("clips") if isinstance(values, dict) else None
    if not isinstance(clips, dict) or not all(isinstance(each, dict) for each in clips.values()):
        raise InputError(f"{shown_path(path)} has no clips; {_ACCEPTED}")
    return dict(values)


def check_same(record: Mapping[str, Any], other: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Raises InputError where clips differ from those of another record, which has a path."""
    one, two = record["clips"], other["clips"]
    if missing := sorted(set(one) ^ set(two)):
        raise InputError(f"{shown_path(path)} and this local copy differ in clip {shown(missing[0])}; the same clips "
                         "are accepted")  # fmt: skip
    for name, values in one.items():
        for key, value in values.items():
            if two[name].get(key) != value:
                raise InputError(
                    f"clip {shown(name)} has {key} {shown(value)}, and {shown(two[name].get(key))} in "
                    f"{shown_path(path)}; a copy of the same clips is accepted"
                )


def lay_out(
    record: Mapping[str, Any], clips: Mapping[str, Clip], folder: str | os.PathLike, results: str | os.PathLike
) -> None:
    """Lay a set out in a folder: `truth/NAME`, links to the clips; `references/NAME.png`, their first frames;
    `jobs.yaml`, a batch file of `scripts.animate`; and `testset.json`, the record, last.

    What is there already, of the same record, stays.

    Args:
        record: see `describe_testset`.
        results: folder that the jobs write videos into.

    Raises:
        InputError: the folder has the record of other clips, or cannot be written.
    """
    folder = Path(folder)
    if (folder / RECORD).exists():
        check_same(record, read_record(folder / RECORD), folder / RECORD)
    elif folder.is_dir() and any(folder.iterdir()) and not _is_begun(folder):
        raise InputError(
            f"{shown_path(folder)} has files, and no {RECORD}; a new or an empty folder, or one of the same test set, "
            "is accepted"
        )
    with contextlib.ExitStack() as undo:
        make_folders(folder, folder / TRUTH, undo)
        undo.pop_all()
    jobs = []
    for name, clip in clips.items():
        link = folder / TRUTH / (name + ("" if clip.info is None else clip.path.suffix))
        _link(link, clip.path.resolve())
        reference = folder / REFERENCES / f"{name}.png"
        if not reference.exists():
            write_image(reference, next(iter(clip.frames(1))))
        output = Path(results) / f"{name}.mp4"
        jobs.append({"reference_image": str(reference), "driving_video": str(link), "output": str(output)})
    # JSON is YAML, and escapes whatever a name holds.
    _write(folder / JOBS, json.dumps({"jobs": [{**job, "audio": False} for job in jobs]}, indent=1) + "\n")
    _write(folder / RECORD, json.dumps(record, indent=1) + "\n")


def _is_begun(folder: Path) -> bool:
    """Whether a folder has nothing but what an earlier layout, which was stopped, wrote."""
    return {path.name for path in folder.iterdir()} <= {TRUTH, REFERENCES, JOBS}


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() or link.exists():
        if link.resolve() == target:
            return
        if not link.is_symlink():
            raise InputError(f"{shown_path(link)} is no link; a new folder is accepted")
        link.unlink()  # the copy has moved; its pixels have been compared
    link.symlink_to(target)


def _write(path: Path, text: str) -> None:
    with output_file(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
