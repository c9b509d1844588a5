"""A clip passes only with scores between its thresholds, and each reason says which."""

import pytest

from ppdiffusers_ext.data.chain.filtering import Bounds, judge
from ppdiffusers_ext.data.chain.rows import Item, Judge
from tests.support.chain_steps import Caption, Same, Score


@pytest.mark.parametrize(
    ("value", "bounds", "reason"),
    [
        (2, Bounds(min=2), ""),
        (1.999, Bounds(min=2), "score 1.999 is below 2"),
        (0.02, Bounds(max=0.02), ""),
        (0.03, Bounds(max=0.02), "score 0.03 is above 0.02"),
        (True, Bounds(max=0), "score 1 is above 0"),
        (False, Bounds(max=0), ""),
        ([1, 4], Bounds(min=2.5), ""),
        ([1, 4], Bounds(min=2.5, reduce="min"), "score 1 is below 2.5"),
        ([1, 4], Bounds(max=3, reduce="max"), "score 4 is above 3"),
        (None, Bounds(min=0), "score is missing"),
        ([], Bounds(min=0), "score is missing"),
        (float("nan"), Bounds(min=0), "score is no number"),
        ([1, None], Bounds(min=0), "score is no number"),
        ("4", Bounds(min=0), "score is no number"),
    ],
)
def test_value_passes_between_its_bounds(value, bounds, reason):
    assert judge({"key": "a", "score": value}, {"score": bounds}) == ([reason] if reason else [])


def test_the_originals_way_lets_what_has_no_score_pass():
    thresholds = {"score": Bounds(min=2)}
    for row in ({}, {"score": None}, {"score": float("nan")}):
        assert judge(row, thresholds, as_original=True) == []
    assert judge({"score": 1}, thresholds, as_original=True) == ["score 1 is below 2"]


STEPS = (Score(), Same(), Caption())


def reasons(made=("score", "duplicates", "captions"), errors=None, before=None, as_original=False, **columns):
    item = Item("a", columns, dict.fromkeys(made, "1"), errors or {})
    thresholds = {"score": {"score": Bounds(min=2)}, "duplicates": {"is_copy": Bounds(max=0)}}
    return Judge(STEPS, thresholds, as_original).reasons(item, before)


def test_clip_passes_only_with_a_row_of_every_step():
    assert reasons(score=3, is_copy=False) == []
    assert reasons(errors={"score": "it broke"}) == ["score failed: it broke"]
    assert reasons(made=("score", "duplicates"), score=3, is_copy=False) == ["captions is missing"]
    assert reasons(made=("score",), score=3) == ["is_copy is missing"]
    assert reasons(made=(), as_original=True) == []


def test_steps_behind_count_only_for_clips_that_they_were_given():
    assert reasons(score=1, is_copy=True) == ["score 1 is below 2"]
    assert reasons(made=("score",), score=1) == ["score 1 is below 2"]
    assert reasons(made=("score",), score=3, before=STEPS[1]) == []
