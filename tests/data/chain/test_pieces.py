"""Pieces of a video: the rules of the original, exact lengths, and names that never meet."""

import pytest

from ppdiffusers_ext.data.chain.pieces import Piece, plan_pieces, seconds_of, timecode_of
from ppdiffusers_ext.errors import InputError


def test_video_without_cuts_is_cut_into_longest_pieces_and_a_rest():
    assert plan_pieces([], 24.5) == [Piece(0, 10, "0"), Piece(10, 10, "1"), Piece(20, 4.5, "2")]


def test_rest_below_the_shortest_length_is_left_out():
    assert plan_pieces([], 12.9) == [Piece(0, 10, "0")]
    assert plan_pieces([], 2.9) == []


def test_scenes_are_left_out_shortened_or_cut_by_their_length():
    scenes = [(0, 2.5), (2.5, 9.25), (9.25, 32), (32, 42), (42, 45)]
    assert plan_pieces(scenes, 45) == [
        Piece(2.5, 6.25, "1"),
        Piece(9.25, 10, "2_0"),
        Piece(19.25, 10, "2_1"),
        Piece(32, 9.5, "3"),
        Piece(42, 2.5, "4"),
    ]


def test_scene_of_the_exact_limit_is_kept_whatever_floating_point_adds():
    start = 0.1 + 0.2  # 0.30000000000000004
    assert [piece.number for piece in plan_pieces([(0, start), (start, 3.3)], 3.3)] == ["1"]
    assert [piece.number for piece in plan_pieces([(0, start), (start, 10.3)], 10.3)] == ["1"]


def test_limits_and_margin_are_settings():
    assert plan_pieces([(0, 2), (2, 7)], 7, 1, 4, 0) == [Piece(0, 2, "0"), Piece(2, 4, "1_0"), Piece(6, 1, "1_1")]


@pytest.mark.parametrize("limits", [(0, 10, 0), (5, 4, 0), (3, 10, 3), (3, 10, -1)])
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(InputError, match="are accepted"):
        plan_pieces([], 20, *limits)


def test_timecodes_are_read_and_written():
    assert seconds_of("01:02:03.250") == 3723.25
    assert seconds_of("00:00:10") == 10
    assert timecode_of(140 / 24) == "00:00:05.833"
    assert timecode_of(3599.9996) == "01:00:00.000"
    with pytest.raises(InputError, match="is accepted"):
        seconds_of("10 s")
