"""Which steps are guided, which run the whole network, and what guidance computes."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance, StepCaching, guide

UNCONDITIONAL = paddle.to_tensor([[1.0, 2.0], [0.0, -1.0]])
CONDITIONAL = paddle.to_tensor([[3.0, 2.0], [1.0, 4.0]])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0.0, [[1, 2], [0, -1]]),
        (1.0, [[3, 2], [1, 4]]),
        (3.5, [[8, 2], [3.5, 16.5]]),
    ],
)
def test_prediction_moves_from_the_unconditional_through_the_conditional(scale, expected):
    np.testing.assert_allclose(guide(UNCONDITIONAL, CONDITIONAL, scale), expected)


@pytest.mark.parametrize("scale, guided", [(0.0, False), (1.0, False), (1.001, True), (2.0, True)])
def test_scale_of_one_and_below_is_without_guidance(scale, guided):
    assert Guidance(scale).applies(0.5) is guided


def test_no_guidance_is_the_default_and_an_interval_of_all_steps():
    assert not Guidance().applies(0.5)
    assert all(Guidance(3.0).applies(progress) for progress in (0.0, 0.5, 1.0))


@pytest.mark.parametrize("progress, guided", [(0.24, False), (0.25, True), (0.5, True), (0.75, True), (0.76, False)])
def test_only_steps_in_the_interval_are_guided(progress, guided):
    assert Guidance(3.0, interval=(0.25, 0.75)).applies(progress) is guided


@pytest.mark.parametrize("scale", [-0.1, 100.1, float("nan"), None])
def test_scale_out_of_bounds_is_refused(scale):
    with pytest.raises(InputError, match="^the guidance scale is .*; a number from 0 to 100 is accepted$"):
        Guidance(scale)


@pytest.mark.parametrize("interval", [(0, 1), [0.2, 0.2], (1, 1), (0, 0)])
def test_numbers_from_0_to_1_in_their_order_are_an_interval(interval):
    assert Guidance(3.0, interval=interval).interval == interval


@pytest.mark.parametrize("interval", [(0.5, 0.4), (-0.1, 1), (0, 1.1), (0,), (0, 0.5, 1), 0.5, "01", None, (0, None)])
def test_what_is_no_interval_is_refused(interval):
    with pytest.raises(InputError, match="^a guidance interval of .* is not accepted; two numbers from 0 to 1 are"):
        Guidance(3.0, interval=interval)


@pytest.mark.parametrize(
    "interval, num_steps, whole",
    [(1, 4, [0, 1, 2, 3]), (2, 5, [0, 2, 4]), (3, 6, [0, 2, 5]), (3, 7, [0, 3, 6]), (9, 4, [0, 3]), (2, 1, [0])],
)
def test_the_first_step_and_every_so_many_from_the_last_run_the_whole_network(interval, num_steps, whole):
    assert [step for step in range(num_steps) if StepCaching(interval).runs_whole(step, num_steps)] == whole


@pytest.mark.parametrize("name", ["interval", "depth"])
@pytest.mark.parametrize("value", [0, 1.5, None])
def test_step_caching_is_told_in_whole_numbers_from_1(name, value):
    with pytest.raises(
        InputError, match=f"^the {name} of step caching is .*; a whole number of 1 or more is accepted$"
    ):
        StepCaching(**{name: value})


def test_depth_is_bounded_by_the_network_where_steps_are_cached():
    StepCaching(interval=2, depth=3).check(3)
    StepCaching(interval=1, depth=9).check(3)
    assert StepCaching() == StepCaching(interval=1, depth=1)
    with pytest.raises(InputError, match="^the depth of step caching is 4; 1 to 3 is accepted$"):
        StepCaching(interval=2, depth=4).check(3)


@pytest.mark.parametrize("threshold, close", [(0.0, False), (0.24, False), (0.25, False), (0.26, True)])
def test_change_is_close_if_it_differs_by_less_than_a_part_of_what_was(threshold, close):
    before = paddle.to_tensor([2.0, -2.0])
    change = paddle.to_tensor([2.5, -2.5])  # by 0.5 on average, of 2 on average
    assert BlockCaching(threshold).is_close(change, before) is close


def test_nothing_is_close_by_default():
    assert not BlockCaching().is_close(CONDITIONAL, CONDITIONAL)


@pytest.mark.parametrize("threshold", [-0.1, None])
def test_threshold_below_0_is_refused(threshold):
    with pytest.raises(InputError, match="^the threshold of block caching is .*; a number of 0 or more is accepted$"):
        BlockCaching(threshold)
