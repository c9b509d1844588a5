"""Tables keep their order, lose nothing when they are put together, and say what is wrong with them."""

import os
import random

import pytest

from ppdiffusers_ext.data.chain import tables
from ppdiffusers_ext.data.chain.rows import joined
from ppdiffusers_ext.data.chain.tables import Store, merged, natural_key, read_table, write_table
from ppdiffusers_ext.errors import InputError


def rows(*keys, of="1", **columns):
    return [{"key": key, "of": of, **columns} for key in keys]


def keys_of(path):
    return [row["key"] for row in read_table(path)]


def test_numbers_in_names_count_by_their_value():
    names = ["a", "a_1", "a_2", "a_10", "a_10_2", "a_010", "b/a_1", "é"]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == ["a", "a_1", "a_2", "a_010", "a_10", "a_10_2", "b/a_1", "é"]


def test_names_of_any_letters_come_back(tmp_path):
    names = sorted(['it\'s "1"', "two\nlines", "雪 \u2028", "back\\slash", "\udcff"], key=natural_key)
    write_table(tmp_path / "t.jsonl", rows(*names))
    assert keys_of(tmp_path / "t.jsonl") == names


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[1]", "1", '{"of": "1"}', '{"key": 3}', "[" * 100_000, "\xff", ""),
        *('{"key": "a"}', '{"key": "A"}', '{"key": "../b"}', '{"key": "/b"}', '{"key": "b", "video": ["a"]}'),
        '{"key": "b", "video": "c/../../a"}',
        '{"key": "' + "9" * 5000 + '"}',
    ],
)
def test_line_that_is_no_row_is_named(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"key": "a"}\n' + text.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match="line 2 of table .* is no row"):
        keys_of(path)


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "t.jsonl")
    with pytest.raises(InputError, match="table .* is a pipe, .* or none: it is made anew"):
        keys_of(tmp_path / "t.jsonl")


def test_many_parts_become_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MOST_OPEN", 3)
    names = [f"a_{number}" for number in range(40)]
    parts = [names[start::20] for start in range(20)]
    sources = [lambda part=part: iter(rows(*part)) for part in parts]
    assert [row["key"] for row in merged(sources, tmp_path)] == names


def store(tmp_path, wanted, others=()):
    made = Store(tmp_path / "step.jsonl", others=others)
    made.wanted, made.seen = dict(wanted), set(wanted)
    return made


def test_file_that_a_killed_run_was_writing_is_no_part_and_costs_none(tmp_path):
    parts = tables.parts_of(tmp_path / "step.jsonl")
    for number, key in enumerate("ab", 1):
        write_table(parts / f"{number}.jsonl", rows(key))
    (parts / ".3.jsonl.k2x9.jsonl").write_text('{"key": "c", "of": "1"}\n')
    made = store(tmp_path, dict.fromkeys("abcd", "1"))
    assert made.known("b", "1") and not made.known("c", "1")
    made.add(rows("d"))
    made.flush()
    made.add(rows("c"))
    made.finish(lambda row: None)
    assert keys_of(tmp_path / "step.jsonl") == ["a", "b", "c", "d"]


def test_wanted_rows_of_all_sources_become_the_table(tmp_path):
    write_table(tmp_path / "step.jsonl", [*rows("a"), *rows("b", of="old"), *rows("gone")])
    write_table(tmp_path / "other.jsonl", rows("c"))
    made = store(tmp_path, {"a": "1", "b": "1", "c": "1", "d": "1"}, [tmp_path / "other.jsonl"])
    assert made.known("a", "1") and made.known("c", "1") and not made.known("b", "1")
    made.add(rows("d"))
    made.flush()
    made.add(rows("b"))
    forgotten = []
    assert made.finish(forgotten.append) == 4
    assert keys_of(tmp_path / "step.jsonl") == ["a", "b", "c", "d"]
    assert forgotten == [] and not made.parts.exists()


def test_replaced_rows_that_have_no_successor_are_forgotten(tmp_path):
    write_table(tmp_path / "step.jsonl", [{"key": f"a_{i}", "video": "a", "of": "1"} for i in range(3)])
    made = Store(tmp_path / "step.jsonl", unit="video")
    made.wanted, made.seen = {"a": "2"}, {"a"}
    made.add([{"key": "a_0", "video": "a", "of": "2"}])
    forgotten = []
    made.finish(forgotten.append)
    assert [row["key"] for row in forgotten] == ["a_1", "a_2"] and keys_of(made.path) == ["a_0"]


def test_failure_counts_only_where_nothing_else_is_known(tmp_path):
    write_table(tmp_path / "step.jsonl", [*rows("a", error="x"), *rows("b")])
    write_table(tmp_path / "other.jsonl", [*rows("a"), *rows("b", error="y")])
    made = store(tmp_path, {"a": "1", "b": "1"}, [tmp_path / "other.jsonl"])
    assert not made.known("a", "1").is_failed and not made.known("b", "1").is_failed
    made.finish(lambda row: None)
    assert all("error" not in row for row in read_table(made.path))


def test_tables_are_joined_by_their_keys(tmp_path):
    for name, made in {
        "split": rows("a_1", "a_2", "a_10", width=64),
        "motion": [*rows("a_1", motion=2), *rows("a_10", error="no")],
        "text": rows("a_2", "z", text=3),
    }.items():
        write_table(tmp_path / f"{name}.jsonl", made)
    items = [*joined({name: tmp_path / f"{name}.jsonl" for name in ("split", "motion", "text", "missing")})]
    assert [item.row for item in items] == [
        {"key": "a_1", "width": 64, "motion": 2},
        {"key": "a_2", "width": 64, "text": 3},
        {"key": "a_10", "width": 64},
    ]
    assert items[2].errors == {"motion": "no"} and "text" not in items[0].made_of
