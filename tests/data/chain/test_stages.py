"""A stage over many rows needs memory for what it is about, and not for the rows."""

import tracemalloc
from dataclasses import dataclass
from typing import ClassVar

from ppdiffusers_ext.data.chain.rows import Judge, joined
from ppdiffusers_ext.data.chain.stages import Stage, Workshop, stages_of
from ppdiffusers_ext.data.chain.steps import Measure, Place, Step
from ppdiffusers_ext.data.chain.tables import read_table, write_table
from ppdiffusers_ext.workers.local import LocalEngine

ROWS, LETTERS = 1_000, 20_000


@dataclass(frozen=True, kw_only=True)
class Long(Step):
    """Makes long rows."""

    name: ClassVar[str] = "long"

    def __call__(self, row, place):
        return {"text": row["key"][-1] * LETTERS}


def test_many_rows_take_a_share_of_the_memory_that_they_have_on_the_disk(tmp_path):
    tables = tmp_path / "tables"
    rows = ({"key": f"a_{number}.mp4", "video": "a.mp4", "of": "1", "note": "x" * 200} for number in range(ROWS))
    write_table(tables / "split.jsonl", rows)
    step, place = Long(), Place(tmp_path, tmp_path)
    shop = Workshop(place, tables, (), LocalEngine(0), Judge([step], {}), 600.0, False, lambda title, total: int)
    tracemalloc.start()
    counts = shop.run(Stage((step,)), lambda: joined({"split": tables / "split.jsonl"}), ROWS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts == {"long": ROWS} and sum(1 for _ in read_table(tables / "long.jsonl")) == ROWS
    assert ROWS * LETTERS == 20_000_000 and peak < 10_000_000


@dataclass(frozen=True, kw_only=True)
class Cheap(Measure):
    name: ClassVar[str] = "cheap"


@dataclass(frozen=True, kw_only=True)
class Paid(Measure):
    name: ClassVar[str] = "paid"
    is_gated: ClassVar[bool] = True


def test_measures_that_are_given_the_same_clips_share_a_stage():
    stages = stages_of([Cheap(), Cheap(), Long(), Cheap(), Paid(), Paid()])
    assert [stage.title for stage in stages] == ["cheap+cheap", "long", "cheap", "paid+paid"]
