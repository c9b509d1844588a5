"""A run of the chain: from a folder of videos to the files that training reads.

    from ppdiffusers_ext.data.chain.options import RUNNING, ChainOptions
    from ppdiffusers_ext.data.chain.run import prepare_videos

    if __name__ == "__main__":
        prepare_videos(ChainOptions(source="videos", output="set", system="animate_anyone"))

The workers are processes that import the program's own module, hence the condition.
"""

import contextlib
import dataclasses
import functools
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.chain import catalogue
from ppdiffusers_ext.data.chain.catalogue import FILTER
from ppdiffusers_ext.data.chain.config import read_config, thresholds_of, write_config
from ppdiffusers_ext.data.chain.engines import open_engine
from ppdiffusers_ext.data.chain.listing import list_videos
from ppdiffusers_ext.data.chain.options import RUNNING, ChainOptions
from ppdiffusers_ext.data.chain.report import early_frame, write_report
from ppdiffusers_ext.data.chain.rows import Item, Judge, digest_of, joined
from ppdiffusers_ext.data.chain.stages import PROBE, SPLIT, Stage, Workshop, stages_of
from ppdiffusers_ext.data.chain.steps import CLIP, VIDEO, Place, Row, Step
from ppdiffusers_ext.data.chain.systems import profile_of
from ppdiffusers_ext.data.chain.tables import JsonFile, as_line, read_table, write_table
from ppdiffusers_ext.data.chain.tally import tally_of
from ppdiffusers_ext.data.existing import hold_outputs
from ppdiffusers_ext.errors import InputError, suggestion
from ppdiffusers_ext.files import check_name
from ppdiffusers_ext.options import check_options, declaration

_TABLES, _SHARDS, _RECORD, _REPORT = "tables", "shards", "chain.yaml", "report.html"

Progress = Callable[[str, int], Callable[[int], Any]]


@dataclass
class Summary:
    """What a run came to.

    Attributes:
        rows: step -> rows of its table.
        failed: step -> rows that have an error.
        worked: step -> rows that this run worked on; the others were there.
        clips, kept: number of clips, and of those that passed.
        written: files and folders for training.
        report: page of what came in and what each step removed; None for a part of a run.
        notes: what steps tell of their work, such as what a server was asked.
    """

    rows: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    worked: dict[str, int] = field(default_factory=dict)
    clips: int = 0
    kept: int = 0
    written: Sequence[Path] = ()
    report: Path | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, name: str, rows: Iterable[Row]) -> set[str]:
        """Count the rows of a table; returns the columns that there are in those that did not fail."""
        failures, columns = [0, 0], set[str]()
        for row in rows:
            failures["error" in row] += 1
            columns |= set() if "error" in row else row.keys()
        self.rows[name], self.failed[name] = sum(failures), failures[True]
        return columns


def prepare_videos(options: ChainOptions, progress: Progress | None = None) -> Summary:
    """Make a training set of videos, or go on with one.

    Rows that are there already, made of the same files and settings, stay. One that failed has its reason in its
    table, and the others go on.

    Args:
        progress: function of a step's name and the number of its rows, which gives a function that is called with
            the number of rows that are done.

    Raises:
        InputError: something is wrong with the options, or with all rows, such as a full disk. What is done is kept.
    """
    return _Run(options, progress or _no_progress).work()


def _no_progress(title: str, total: int) -> Callable[[int], Any]:
    return lambda count: None


class _Run:
    def __init__(self, options: ChainOptions, progress: Progress) -> None:
        check_options(options)
        self._options, self._progress = options, progress
        self._profile = profile_of(options.system)
        self._shard = _shard_of(options.shard)
        names = catalogue.names_of(options, self._profile)
        self._profile.check(options, names)
        config = read_config(options.config, catalogue.all_names(options, self._profile))
        self._steps = catalogue.make_steps(options, names, self._profile, config)
        self._thresholds = thresholds_of(names, config, self._profile.thresholds, options.config)
        of_clips = [step for step in self._steps if step.level == CLIP]
        self._judge = Judge(of_clips, self._thresholds, options.as_original)
        output = check_name(options.output, "output", "the name of a folder is accepted").absolute()
        source, self._listed = list_videos(options.source, output)
        self._place = Place(source, output)
        self._tables = output / _TABLES
        if self._shard is not None:
            number, count = self._shard
            self._tables = self._tables / _SHARDS / f"{number}-of-{count}"
            self._listed = [row for row in self._listed if _part_of(row["key"], count) == number]
        self._undo = contextlib.ExitStack()

    def work(self) -> Summary:
        """All stages, the filter, and what training reads."""
        with self._undo:
            output, main = self._place.output, self._place.output / _TABLES
            shards = [] if self._shard else sorted(path for path in (main / _SHARDS).glob("*") if path.is_dir())
            record = (self._tables if self._shard else output) / _RECORD
            self._undo.callback(hold_outputs([record, *(shard / _RECORD for shard in shards)]).release)
            write_config(record, self._steps, self._thresholds, self._told_options())
            summary = self._run_stages([main] if self._shard else shards)
            if self._shard is None:
                self._filter(summary)
                self._finish(summary)
                summary.report = self._report()
                for shard in shards:
                    shutil.rmtree(shard)
                with contextlib.suppress(OSError):
                    (main / _SHARDS).rmdir()
            return summary

    def _told_options(self, with_running: bool = True) -> dict[str, Any]:
        """Options of the run as its record has them: without keys of servers.

        Args:
            with_running: also those that say what runs the steps, which results do not depend on.
        """
        items = [item for item in dataclasses.fields(ChainOptions) if not item.name.endswith("_key")]
        names = [item.name for item in items if with_running or declaration(item).group != RUNNING]
        return {name: getattr(self._options, name) for name in names}

    def _run_stages(self, others: Sequence[Path]) -> Summary:
        engine = open_engine(self._options)
        self._undo.callback(engine.close)
        shop = Workshop(
            self._place,
            self._tables,
            others,
            engine,
            self._judge,
            self._options.row_timeout,
            self._options.retry_failed,
            self._progress,
        )
        summary, done = Summary(), list[Step]()
        for stage in stages_of(self._steps):
            before = tuple(done)
            items = functools.partial(self._items, stage, before)
            summary.worked |= shop.run(stage, items, sum(1 for _ in self._items(stage, before[:1])))
            done += stage.steps
            for step in stage.steps:
                self._check_columns(step, summary.count(step.name, read_table(shop.table(step.name))))
                summary.notes += step.summary()
        return summary

    def _check_columns(self, step: Step, columns: set[str]) -> None:
        """Refuse thresholds that no clip could pass, as they are of columns that the step does not have."""
        known = sorted(columns - {"key", "of", "video"})
        for column in self._thresholds[step.name] if known else ():
            if column not in known:
                raise InputError(
                    f"there is a threshold {step.name}.{column}, but no such column; {suggestion(column, known)}"
                )

    def _items(self, stage: Stage, before: Sequence[Step]) -> Iterator[Item]:
        """The rows of a stage, with the columns of the steps before it."""
        if stage.first.level == CLIP:
            return self._clips(before)
        if stage.first.name == PROBE:
            return map(_listed_item, self._listed)
        return joined({step.name: self._table(step.name) for step in before})

    def _clips(self, steps: Sequence[Step]) -> Iterator[Item]:
        """The clips with their columns of some steps."""
        names = [SPLIT, *(step.name for step in steps if step.level == CLIP)]
        tables = {name: self._table(name) for name in names}
        return (item for item in joined(tables) if SPLIT not in item.errors)

    def _table(self, name: str) -> Path:
        return self._tables / f"{name}.jsonl"

    def _filter(self, summary: Summary) -> None:
        """Write which clips are kept, and why the others are not."""

        def rows() -> Iterator[dict[str, Any]]:
            for item in self._clips(self._steps):
                reasons = self._judge.reasons(item)
                yield {"key": item.key, "kept": not reasons, "reasons": reasons}

        digest = hashlib.sha256()
        for row in rows():
            digest.update(as_line(row).encode())
            summary.clips += 1
            summary.kept += row["kept"]
        settings = {"step": FILTER, "rows": digest.hexdigest()}
        file = JsonFile(self._tables / f"{FILTER}.json", settings)
        if not (file.is_written() and self._table(FILTER).exists()):
            write_table(self._table(FILTER), rows())
            file.write()

    def _finish(self, summary: Summary) -> None:
        """Write what training reads of the kept clips, if all steps ran that make it."""
        names = [step.name for step in self._steps]
        needed = [SPLIT, *(step.name for step in self._profile.own_steps(self._options))]
        if missing := [name for name in needed if name not in names]:
            summary.notes.append(f"what training reads is not written, for which step {missing[0]} is needed")
            return
        rows = (item.row for item in self._clips(self._steps) if not self._judge.reasons(item))
        summary.written = self._profile.finish(rows, self._place, self._options)

    def _report(self) -> Path:
        """Write the page of what came in, and what each step removed."""
        path = self._place.output / _REPORT
        names = [step.name for step in self._steps]
        videos = joined({step.name: self._table(step.name) for step in self._steps if step.level == VIDEO})
        tally = tally_of(names, self._thresholds, videos, self._clips(self._steps), self._judge)
        facts = self._told_options(with_running=False)
        write_report(path, tally, lambda row: early_frame(self._place.file_of(row)), facts=facts)
        return path


def _listed_item(row: Row) -> Item:
    """The item of a listed video: any change of its file makes it another one."""
    columns = {name: value for name, value in row.items() if name != "key"}
    return Item(row["key"], columns, {PROBE: digest_of(columns)})


def _shard_of(text: str | None) -> tuple[int, int] | None:
    """(I, N) of "I/N". Raises InputError where I is above N."""
    if text is None:
        return None
    number, count = map(int, text.split("/"))
    if number > count:
        raise InputError(f"--shard {text} is above the number of parts; I/N with I from 1 to N is accepted")
    return number, count


def _part_of(key: str, count: int) -> int:
    """Which of so many parts, from 1 on, a video is in."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count + 1
