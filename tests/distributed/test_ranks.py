"""Ranks that divide work among them, as forks of one process that talk by gloo."""

import pytest

from ppdiffusers_ext.distributed.ranks import ALONE, current_ranks, joined, parts
from ppdiffusers_ext.errors import InputError
from tests.support.together import run_together

COUNT = 4


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    ending = [[{"rank": 2, "how": how}] * COUNT for how in ("killed", "raises")] + [[{"rank": 0, "how": "raises"}] * 2]
    work = "tests.support.rank_jobs"
    ends = [(f"{work}:end", each) for each in ending]
    return run_together(folder, (f"{work}:collectives", [{}] * COUNT), *ends)


def test_each_call_is_made_by_one_rank_and_its_result_is_on_all(jobs):
    of_ranks = [returned for _, returned, _ in jobs[0]]
    expected = [[[0.0] * 3] * 2, [1.0] * 5, [[]], [3.0] * 4, [[4.0] * 2] * 2, [5.0] * 3]
    assert [each["divided"] for each in of_ranks] == [expected] * COUNT
    assert [each["made"] for each in of_ranks] == [[0, 4], [1, 5], [2], [3]]
    assert [each["done"] for each in of_ranks] == [[*range(6)]] * COUNT
    assert [each["half"] for each in of_ranks] == [["paddle.bfloat16", [1.5] * 3]] * COUNT
    assert [each["first"] for each in of_ranks] == ["of rank 0"] * COUNT


def test_bytes_are_counted_that_a_rank_gets_from_others(jobs):
    sizes = [6, 5, 0, 4, 4, 3]
    own = [(0, 4), (1, 5), (2,), (3,)]
    expected = [4 * (sum(sizes) - sum(sizes[i] for i in numbers)) for numbers in own]
    assert [returned["received"] for _, returned, _ in jobs[0]] == expected


def test_ranks_exchange_pieces_of_any_size(jobs):
    for own, (_, returned, _) in enumerate(jobs[0]):
        expected = [[[10.0 * other + own] * own] * (other + 1) for other in range(COUNT)]
        assert returned["pieces"] == expected
        assert returned["exchanged"] == (COUNT - 1) * 12 * 4  # each filled up to the largest


def test_stream_ends_for_all_where_the_first_rank_takes_no_more_and_can_begin_again(jobs):
    first, *others = (returned["streamed"] for _, returned, _ in jobs[0])
    assert first == [0.0, *map(float, range(9))]
    assert others == [[*map(float, range(4)), *map(float, range(9))]] * (COUNT - 1)


def test_a_rank_that_is_killed_ends_the_others_with_words(jobs):
    codes, said = [code for code, *_ in jobs[1]], [text for *_, text in jobs[1]]
    assert codes[2] == -9 and all(codes)
    assert all("rank 2 of 4 has ended: killed" in said[rank] for rank in (0, 1, 3))


def test_others_are_told_why_a_rank_has_ended(jobs):
    for ended, ranks in ((2, jobs[2]), (0, jobs[3])):
        assert all(code == 1 for code, *_ in ranks)
        for rank, (*_, text) in enumerate(ranks):
            expected = "ValueError: it has no picture"
            if rank != ended:
                expected = f"RankError: rank {ended} of {len(ranks)} has ended: it has no picture"
            assert expected in text


def test_a_process_alone_makes_all_calls_and_meets_nobody(monkeypatch):
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    with joined() as ranks:
        assert ranks is ALONE is current_ranks()
    done = []
    assert ALONE.divide([lambda: 5, lambda: 7], done=done.append) == [5, 7] and done == [0, 1]
    assert [*ALONE.stream([lambda: 1, lambda: 2])] == [1, 2]
    assert ALONE.lead(lambda begin: [begin(), "result"][1], pytest.fail) == "result"
    assert ALONE.of_first("a value", lambda: 3) == 3


LAUNCHED = {
    "PADDLE_TRAINERS_NUM": "2",
    "PADDLE_TRAINER_ID": "1",
    "PADDLE_TRAINER_ENDPOINTS": "127.0.0.1:6170,127.0.0.1:6171",
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PADDLE_TRAINERS_NUM", ["x", "0", "-1", "1e3", "2.0", "\u0662", "9" * 5000, " "]),
        ("PADDLE_TRAINER_ID", ["x", "-1", "2", "1.0", "9" * 5000, None]),
        ("PADDLE_TRAINER_ENDPOINTS", ["", "x", "127.0.0.1:6170", ":1,:2", "a:1,b:2,c:3", None]),
    ],
)
def test_environment_that_no_launcher_makes_is_refused(monkeypatch, name, values):
    for given in values:
        for each, value in {**LAUNCHED, name: given}.items():
            monkeypatch.delenv(each, raising=False) if value is None else monkeypatch.setenv(each, value)
        with pytest.raises(InputError, match=f"{name} .*accepted"), joined():
            pass


def test_parts_are_as_even_as_can_be():
    assert parts(10, 4) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert parts(2, 3) == [(0, 0), (0, 1), (1, 2)]
