"""Facts of files, known as long as the files do not change."""

import json
import os

import pytest

from ppdiffusers_ext.data.file_facts import FileFacts


def test_fact_is_known_until_the_file_changes(tmp_path):
    file, facts = tmp_path / "a", tmp_path / "new" / "facts.json"
    file.write_text("one")
    noting = FileFacts(facts)
    assert noting.of(file) is None
    noting.note(file, [1, "x"])
    noting.save()
    assert FileFacts(facts).of(file) == [1, "x"]
    file.write_text("other")
    assert FileFacts(facts).of(file) is None
    file.write_text("one")
    os.utime(file, ns=(0, 1))
    assert FileFacts(facts).of(file) is None


def test_nothing_is_written_where_nothing_is_new(tmp_path):
    file, path = tmp_path / "a", tmp_path / "facts.json"
    file.touch()
    FileFacts(path).save()
    assert not path.exists()
    facts = FileFacts(path)
    facts.note(file, 1)
    facts.save()
    os.utime(path, ns=(0, 1))
    facts = FileFacts(path)
    facts.note(file, 1)
    facts.save()
    assert os.stat(path).st_mtime_ns == 1


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"3", b"[[", b"\xff\xfe", b'[3, [], ["a"], [1, 2, 3, 4]]', b'[["a", 1, 2]]']
)
def test_damaged_file_of_facts_is_made_anew(tmp_path, content):
    file, path = tmp_path / "a", tmp_path / "facts.json"
    file.touch()
    path.write_bytes(content)
    facts = FileFacts(path)
    assert facts.of(file) is None
    facts.note(file, 1)
    facts.save()
    assert [row[3] for row in json.loads(path.read_text())] == [1]


def test_without_a_file_facts_are_known_for_now(tmp_path):
    file = tmp_path / "a"
    file.touch()
    facts = FileFacts(None)
    facts.note(file, 2)
    facts.save()
    assert facts.of(file) == 2
