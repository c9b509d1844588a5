"""One stage of a run: a step, or several that share a decoding, over all rows, into their tables."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.chain.look import Pass
from ppdiffusers_ext.data.chain.rows import Item, Judge, Recipe, digest_of, is_possible
from ppdiffusers_ext.data.chain.steps import CLIP, Measure, Place, SetStep, Step
from ppdiffusers_ext.data.chain.tables import JsonFile, Store, natural_key, sources_of, write_table
from ppdiffusers_ext.data.chain.waiting import WaitingEngine
from ppdiffusers_ext.data.chain.work import StepJob
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.workers.tasks import Engine, Job, Outcome, Task

SPLIT, PROBE = "split", "probe"
_PER_SECOND = 4.0  # seconds of work that each second of a video allows, beside those that all have


@dataclass(frozen=True)
class Stage:
    """Steps that are worked on together: one, or measures that share a decoding."""

    steps: tuple[Step, ...]

    @property
    def first(self) -> Step:
        return self.steps[0]

    @property
    def title(self) -> str:
        return "+".join(step.name for step in self.steps)

    @property
    def base(self) -> str:
        """The step whose rows these are."""
        return SPLIT if self.first.level == CLIP else PROBE

    def job(self, place: Place) -> Job:
        if isinstance(self.first, Measure):
            return Pass(tuple(step for step in self.steps if isinstance(step, Measure)), place)
        return StepJob(self.first, place)


def stages_of(steps: Sequence[Step]) -> list[Stage]:
    """Steps as stages: measures that stand together, and are given the same clips, share one."""
    stages: list[Stage] = []
    for step in steps:
        before = stages[-1].steps[-1] if stages else None
        if isinstance(step, Measure) and isinstance(before, Measure) and step.is_gated == before.is_gated:
            stages[-1] = Stage((*stages[-1].steps, step))
        else:
            stages.append(Stage((step,)))
    return stages


@dataclass
class Workshop:
    """Where the stages of a run work.

    Attributes:
        place: `Place`.
        tables: folder of the tables.
        others: folders of tables of other runs that are taken over.
        engine: `Engine`.
        judge: `Judge`.
        row_timeout: seconds that each row has.
        retry_failed: whether rows that failed are made again.
        progress: function of (title, number of rows) that gives what is called with the number of rows done.
    """

    place: Place
    tables: Path
    others: Sequence[Path]
    engine: Engine
    judge: Judge
    row_timeout: float
    retry_failed: bool
    progress: Callable[[str, int], Callable[[int], Any]]

    def table(self, name: str) -> Path:
        """The path of the table of a step."""
        return self.tables / f"{name}.jsonl"

    def run(self, stage: Stage, items: Callable[[], Iterable[Item]], total: int) -> dict[str, int]:
        """Make the tables of a stage.

        Args:
            items: function that gives the rows, in order.
            total: how many there are.

        Returns:
            Step -> rows that were worked on.
        """
        if isinstance(stage.first, SetStep):
            return {stage.first.name: self._run_set(stage.first, items)}
        unit = "video" if stage.first.name == SPLIT else "key"
        stores = {step.name: self._store(step, unit) for step in stage.steps}
        counts = dict.fromkeys(stores, 0)
        advance = self.progress(stage.title, total)
        engine = WaitingEngine(stage.first.concurrency) if stage.first.is_waiting else self.engine
        try:
            for task, outcomes in engine.run(stage.job(self.place), self._tasks(stage, items(), stores, advance)):
                for name, outcome in outcomes.items():
                    stores[name].add(_rows_of(task, name, outcome, unit))
                    counts[name] += 1
                advance(1)
        finally:
            for store in stores.values():
                store.flush()
        for step in stage.steps:
            stores[step.name].finish(functools.partial(step.forget, place=self.place))
            self._settings(step).write()
        return counts

    def _store(self, step: Step, unit: str) -> Store:
        has_files = type(step).is_kept is not Step.is_kept
        is_kept = functools.partial(step.is_kept, place=self.place) if has_files else None
        others = [path for folder in self.others for path in sources_of(folder / f"{step.name}.jsonl")]
        return Store(self.table(step.name), unit, others, is_kept)

    def _tasks(
        self, stage: Stage, items: Iterable[Item], stores: Mapping[str, Store], advance: Callable[[int], Any]
    ) -> Iterator[Task]:
        """The tasks of what is missing; notes in the stores which rows are wanted."""
        recipes = [Recipe.of(step, stage.base) for step in stage.steps]
        for item in items:
            digests = {}
            for recipe in recipes:
                step, store = recipe.step, stores[recipe.step.name]
                store.seen.add(item.key)
                if not is_possible(step, item, stage.base):
                    continue
                of = recipe.made_of(item)
                if self._is_there(store, item, of):
                    store.wanted[item.key] = of
                # What is before the stage counts: its own steps have no rows yet.
                elif not step.is_gated or not self.judge.reasons(item, stage.first):
                    store.wanted[item.key] = digests[step.name] = of
            if digests:
                yield Task(item.row, tuple(digests), self._seconds(item), digests)
            else:
                advance(1)

    def _is_there(self, store: Store, item: Item, of: str) -> bool:
        known = store.known(item.key, of)
        return known is not None and not (known.is_failed and self.retry_failed)

    def _seconds(self, item: Item) -> float:
        lasts = item.columns.get("seconds") or item.columns.get("num_frames", 0) / (item.columns.get("fps") or 25)
        return self.row_timeout + _PER_SECOND * lasts

    def _run_set(self, step: SetStep, items: Callable[[], Iterable[Item]]) -> int:
        """Make the table of a step that sees all rows at once, unless it was made of the same."""

        def passing() -> Iterator[Item]:
            return (item for item in items() if not self.judge.reasons(item, step))

        recipe = Recipe.of(step, SPLIT)
        of = digest_of([(item.key, recipe.made_of(item)) for item in passing()])
        if self.table(step.name).exists() and self._settings(step, of).is_written():
            return 0
        rows = [{**columns, "of": of} for columns in step.over((item.row for item in passing()), self.place)]
        count = write_table(self.table(step.name), sorted(rows, key=lambda row: natural_key(row["key"])))
        self._settings(step, of).write()
        return count

    def _settings(self, step: Step, of: str = "") -> JsonFile:
        """The file beside a table: what its rows were made with."""
        values = {"step": step.name, "settings": step.settings(), **({"of": of} if of else {})}
        return JsonFile(self.tables / f"{step.name}.json", values)


def _rows_of(task: Task, name: str, outcome: Outcome, unit: str) -> list[dict[str, Any]]:
    """The rows of a table that come of an outcome."""
    key, of = task.row["key"], task.made_of[name]
    own = {"video": key} if unit == "video" else {}
    if "error" in outcome:
        return [{"key": key, **own, "of": of, "error": outcome["error"]}]
    if "columns" in outcome:
        return [{"key": key, "of": of, **outcome["columns"]}]
    if not outcome["rows"]:
        return [{"key": key, **own, "of": of, "error": "no clip can be made of it"}]
    for row in outcome["rows"]:
        if not isinstance(row.get("key"), str) or row.get("video") != key:
            raise InputError(f"step {name} gave a row without the key of its clip and its video, {key}")
    return [{**row, "of": of} for row in outcome["rows"]]
