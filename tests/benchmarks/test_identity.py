"""How well cosines tell people apart: counts of lists that are known."""

import pytest

from benchmarks.identity import compare
from ppdiffusers_ext.errors import InputError


def test_lists_that_do_not_overlap_are_told_apart_in_the_middle():
    told = compare([0.9, 0.5, 0.7], [0.1, 0.3])
    assert told["threshold"] == pytest.approx(0.4) and told["auc"] == 1
    assert told["same"] == {"pairs": 3, "mean": pytest.approx(0.7), "min": 0.5, "max": 0.9, "right": 3}
    assert told["different"] == {"pairs": 2, "mean": pytest.approx(0.2), "min": 0.1, "max": 0.3, "right": 2}


def test_pairs_on_the_wrong_side_are_counted():
    told = compare([0.9, 0.8, 0.7, 0.2], [0.1, 0.3, 0.0, -0.1, 0.25, 0.75])
    assert told["threshold"] == pytest.approx(0.5)
    assert (told["same"]["right"], told["different"]["right"]) == (3, 5)
    assert told["auc"] == pytest.approx((6 + 6 + 5 + 3) / 24)


def test_equal_cosines_count_half():
    assert compare([0.5], [0.5])["auc"] == 0.5


@pytest.mark.parametrize("same, different", [([], [0.1]), ([0.1], [])])
def test_one_person_cannot_be_told_from_anybody(same, different):
    with pytest.raises(InputError, match="two people at least"):
        compare(same, different)
