"""Properties of the context schedules. Their exact windows are compared with the original's in the goldens."""

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.windows import SCHEDULES, get_schedule, sliding, uniform

GRID = [
    (num_frames, size, stride, overlap)
    for num_frames in (1, 2, 5, 6, 7, 11, 24, 25, 40)
    for size in (1, 2, 6, 24)
    for stride in (1, 2, 3)
    for overlap in sorted({0, 1, size // 2, size - 1})
    if overlap < size
]


def over_grid(schedule):
    """(arguments, windows) for each point of the grid."""
    return [(arguments, schedule(*arguments)) for arguments in GRID]


@pytest.fixture(params=sorted(SCHEDULES), scope="module")
def windows_of_grid(request):
    return over_grid(get_schedule(request.param))


def test_every_frame_is_covered(windows_of_grid):
    uncovered = [
        arguments for arguments, windows in windows_of_grid if set().union(*windows) != set(range(arguments[0]))
    ]
    assert uncovered == []


def test_no_index_is_out_of_range(windows_of_grid):
    for (num_frames, *_), windows in windows_of_grid:
        assert all(0 <= frame < num_frames for window in windows for frame in window)


def test_no_window_is_longer_than_the_size(windows_of_grid):
    for (_, size, *_), windows in windows_of_grid:
        assert max(len(window) for window in windows) <= size


def test_windows_of_a_longer_clip_are_all_full():
    # Those of `sliding` with strides may be shorter: every third frame of a short clip is not many.
    for (num_frames, size, stride, _), windows in [*over_grid(uniform), *over_grid(sliding)]:
        if num_frames >= size * stride:
            assert {len(window) for window in windows} == {size}


def test_neighbouring_windows_share_the_overlap():
    for (num_frames, size, stride, overlap), windows in over_grid(sliding):
        if stride == 1 and num_frames > size:
            for window, following in zip(windows, windows[1:]):
                shared = len(set(window) & set(following))
                assert shared == overlap or (following is windows[-1] and shared >= overlap)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_clip_that_fits_is_one_window(name):
    assert get_schedule(name)(5, 6, 1, 2) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_clip_of_one_window_may_have_any_overlap(name):
    assert get_schedule(name)(4, 4, 1, 4) == get_schedule(name)(4, 4, 1, 2) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_windows_are_of_frames_in_a_row_that_share_four_by_default(name):
    assert get_schedule(name)(20, 8) == get_schedule(name)(20, 8, 1, 4)


def test_strides_end_where_a_window_spans_the_clip():
    assert uniform(12, 6, 9, 2) == uniform(12, 6, 2, 2) != uniform(12, 6, 1, 2)


def test_closed_loop_wraps_to_the_first_frames():
    assert uniform(10, 6, 1, 2) == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [8, 9, 0, 1, 2, 3]]


def test_open_loop_has_no_window_that_only_wraps():
    assert uniform(10, 6, 1, 2, closed_loop=False) == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9]]


def test_second_stride_takes_every_second_frame():
    assert uniform(10, 6, 2, 2)[3:] == [[0, 2, 4, 6, 8, 0]]


def test_uniform_windows_move_with_the_step():
    assert uniform(16, 8, 1, 2, step=1)[0] == [8, 9, 10, 11, 12, 13, 14, 15]


def test_wide_windows_move_with_the_step_by_part_of_their_gap_as_well():
    wide = uniform(16, 8, 2, 2, step=1)[3:]
    assert wide == [[9, 11, 13, 15, 1, 3, 5, 7], [7, 9, 11, 13, 15, 1, 3, 5]]


def test_sliding_never_wraps():
    for _, windows in over_grid(sliding):
        assert all(window == sorted(set(window)) for window in windows)


def test_sliding_ends_at_the_last_frame():
    assert [arguments for arguments, windows in over_grid(sliding) if max(map(max, windows)) != arguments[0] - 1] == []
    assert sliding(11, 6, 1, 2) == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [5, 6, 7, 8, 9, 10]]


def test_sliding_with_a_stride_interleaves_its_windows():
    assert sliding(8, 4, 2, 1) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_schedules_need_no_more_windows_than_covering_does():
    # Each window after the first brings size - overlap new frames; the closed loop may need one more.
    for (num_frames, size, stride, overlap), windows in [*over_grid(uniform), *over_grid(sliding)]:
        if stride == 1 and num_frames > size:
            assert len(windows) <= -(-num_frames // (size - overlap)) + 1


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("size", "overlap"), [(6, 6), (6, 7), (4, 100)])
def test_overlap_that_is_no_smaller_than_the_window_names_both_numbers(name, size, overlap):
    with pytest.raises(InputError, match=rf"overlap of {overlap} frames .* {size} frames"):
        get_schedule(name)(200, size, 1, overlap)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 6, 1, 2), "the number of frames is 0; a whole number of 1 or more"),
        ((10, 0, 1, 0), "the number of a window's frames is 0; a whole number of 1 or more"),
        ((10, 6, 0, 2), "the number of a window's stride is 0; a whole number of 1 or more"),
        ((10, 6, 1, -1), "the overlap of windows is -1; a whole number of 0 or more"),
        ((10, 6.5, 1, 2), "the number of a window's frames is 6.5; a whole number of 1 or more"),
        ((10, 6, 1, 2.5), "the overlap of windows is 2.5; a whole number of 0 or more"),
    ],
)
def test_numbers_that_are_not_possible_are_refused(name, arguments, message):
    with pytest.raises(InputError, match=f"^{message} is accepted$"):
        get_schedule(name)(*arguments)


def test_unknown_schedule_is_answered_with_those_that_are_known():
    with pytest.raises(InputError, match="'unifrom' is not known; use one of uniform, sliding"):
        get_schedule("unifrom")
