"""Duplicates: which clip of those that look the same is kept."""

import random
from pathlib import Path

import pytest

from ppdiffusers_ext.data.chain.duplicates import Duplicates, _Table, find_duplicates
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.errors import InputError


def row(key, *hashes, video=None):
    return {"key": key, "video": video or key, "fingerprint": [f"{each:016x}" for each in hashes]}


def changed(value, bits, rng):
    for place in rng.sample(range(64), bits):
        value ^= 1 << place
    return value


def found(rows, **settings):
    return {key: columns["duplicate_of"] for key, columns in find_duplicates(rows, **settings)}


def test_first_in_natural_order_is_kept_whatever_the_order_of_rows():
    rows = [row(f"a/clip{number}.mp4", 7, 8) for number in (10, 2, 1)]
    assert found(rows) == {"a/clip1.mp4": None, "a/clip2.mp4": "a/clip1.mp4", "a/clip10.mp4": "a/clip1.mp4"}
    assert list(found(rows)) == ["a/clip1.mp4", "a/clip2.mp4", "a/clip10.mp4"]


def test_distance_is_the_mean_of_the_frames():
    first, near, far = row("a", 0, 0), row("b", 0b1111111111, 0), row("b", 0b11111111111, 0)
    assert found([first, near], max_distance=5)["b"] == "a"
    assert found([first, far], max_distance=5)["b"] is None


def test_chain_of_small_differences_does_not_join_its_ends():
    rows = [row("a", 0), row("b", 0b11111), row("c", 0b1111111111)]
    assert found(rows, max_distance=5) == {"a": None, "b": "a", "c": None}


def test_clips_of_one_video_are_compared_if_asked_for():
    rows = [row("v_0.mp4", 5, video="v.mp4"), row("v_1.mp4", 5, video="v.mp4"), row("w_0.mp4", 5, video="w.mp4")]
    assert found(rows) == {"v_0.mp4": None, "v_1.mp4": None, "w_0.mp4": "v_0.mp4"}
    assert found(rows, within_videos=True) == {"v_0.mp4": None, "v_1.mp4": "v_0.mp4", "w_0.mp4": "v_0.mp4"}


def test_clips_with_other_numbers_of_hashes_are_not_compared():
    assert found([row("a", 1), row("b", 1, 1)]) == {"a": None, "b": None}


def test_all_that_comparing_each_with_each_finds_is_found():
    rng = random.Random(1)
    rows = []
    for group in range(40):
        hashes = [rng.getrandbits(64) for _ in range(5)]
        rows += [
            row(f"{group}_{copy}", *(changed(each, rng.choice([0, 2, 5, 8]), rng) for each in hashes))
            for copy in range(4)
        ]

    def distance(first, second):
        pairs = zip(first["fingerprint"], second["fingerprint"])
        return sum((int(a, 16) ^ int(b, 16)).bit_count() for a, b in pairs)

    kept, expected = [], {}
    for one in rows:  # in natural order already
        same = next((other for other in kept if distance(one, other) <= 25), None)
        expected[one["key"]] = same and same["key"]
        kept += [one] if same is None else []
    assert found(rows) == expected
    assert 40 < len(kept) < 160


def test_few_are_compared_of_many(monkeypatch):
    rng, compared = random.Random(2), [0]
    rows = [row(f"{i}", *(rng.getrandbits(64) for _ in range(5))) for i in range(1000)]
    find = _Table.find

    def counted(self, fingerprint, other_than):
        near = {n for mask, table in zip(self._bands, self._found) for n in table.get(hash(fingerprint & mask), ())}
        compared[0] += len(near)
        return find(self, fingerprint, other_than)

    monkeypatch.setattr(_Table, "find", counted)
    assert not any(found(rows).values())
    assert compared[0] < 0.02 * 1000 * 999 / 2


@pytest.mark.parametrize("hashes", [None, [], ["xyz"], [5], "abc1g", ["f" * 17]])
def test_fingerprint_that_cannot_be_read_is_refused(hashes):
    with pytest.raises(InputError, match="the fingerprint of a"):
        found([{"key": "a", "video": "a", "fingerprint": hashes}])


def test_distance_that_is_none_is_refused():
    with pytest.raises(InputError, match="0 to 31 is accepted"):
        found([], max_distance=32)


def test_step_gives_a_row_for_each_clip():
    rows = [row("a", 0), row("b", 0b111), row("c", 0b111111)]
    place = Place(Path("in"), Path("out"))
    assert list(Duplicates(max_distance=3).over(iter(rows), place)) == [
        {"key": "a", "duplicate_of": None, "is_duplicate": False},
        {"key": "b", "duplicate_of": "a", "is_duplicate": True},
        {"key": "c", "duplicate_of": None, "is_duplicate": False},
    ]
