"""The manifest says what happened, whatever ended the run that wrote it."""

import pytest

from ppdiffusers_ext.batch.manifest import Manifest, read_manifest, stamp
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import append


def write(path, *happened):
    manifest = Manifest(path)
    manifest.begin([("a", "1"), ("b", "2")])
    for output, what, values in happened:
        manifest.tell(output, what, **values)
    manifest.close()
    return manifest


HAPPENED = (
    ("a", "begun", {}),
    ("b", "begun", {}),
    ("a", "lost", {"reason": "by SIGKILL"}),
    ("b", "made", {"seconds": 2, "memory": 5, "stamps": {"b": [1, 2]}, "figures": {"identity": 0.5}}),
    ("a", "failed", {"reason": "twice"}),
)


def test_what_is_read_back_is_what_happened(tmp_path):
    manifest = write(tmp_path / "m.jsonl", *HAPPENED)
    a, b = read_manifest(tmp_path / "m.jsonl")
    assert [a, b] == list(manifest.entries.values())
    assert (a.state, a.attempts, a.failures, a.reason) == ("failed", 2, 2, "twice")
    assert (b.state, b.attempts, b.seconds, b.figures) == ("made", 1, 2, {"identity": 0.5})


def test_half_a_line_is_left_out_and_the_next_run_goes_on_behind_it(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, *HAPPENED)
    path.write_bytes(path.read_bytes()[:-4])
    write(path, ("a", "begun", {}))
    a, b = read_manifest(path)
    assert (a.state, a.attempts, a.failures, b.state) == ("begun", 3, 1, "made")
    assert len(path.read_bytes().splitlines()) == 3  # one for each job, and the one that was added


def test_job_with_other_options_is_another_one(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, *HAPPENED)
    manifest = Manifest(path)
    manifest.begin([("b", "other"), ("c", "3")])
    assert [(each.output, each.state, each.attempts) for each in read_manifest(path)] == [
        ("b", "waiting", 0),
        ("c", "waiting", 0),
    ]
    manifest.close()


def test_parts_are_put_together(tmp_path):
    write(tmp_path / "1.jsonl", ("a", "begun", {}), ("a", "failed", {}))
    write(tmp_path / "2.jsonl", ("a", "begun", {}), ("a", "made", {}))
    entries = Manifest(tmp_path / "0.jsonl", [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]).entries
    assert (entries["a"].state, entries["b"].state) == ("made", "waiting")


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"output": "a", "event": "made"}',
        '{"output": "a", "of": "1", "state": "odd"}',
        '{"output": "a", "of": "1", "state": "made", "seconds": "long"}',
        '{"output": "a", "of": "1", "state": "made", "more": 1}',
        '{"output": "a", "of": "1", "state": "lost"}',
        *(
            f'{{"output": "a", "of": "1", "state": "made", {more}}}'
            for more in (
                '"memory": true',
                f'"memory": 1{"0" * 400}',
                f'"attempts": {"9" * 5000}',
                '"seconds": NaN',
                '"seconds": -Infinity',
                '"seconds": 1e999',
                '"stages": {"decoding": "long"}',
                '"stages": {"decoding": [1]}',
                '"figures": {"identity": null}',
                '"figures": {"identity": NaN}',
                '"figures": 3',
            )
        ),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"line 1 of manifest .* is none of a batch"):
        read_manifest(tmp_path / "m.jsonl")


def test_disk_that_takes_a_part_of_a_line_gets_the_rest(tmp_path):
    class Slow:
        def __init__(self, file):
            self._file = file

        def write(self, line):
            return self._file.write(line[:7])

    with open(tmp_path / "lines", "wb", buffering=0) as file:
        append(Slow(file), b"a line of some letters\n")
    assert (tmp_path / "lines").read_bytes() == b"a line of some letters\n"


def test_stamp_changes_with_what_is_there(tmp_path):
    folder = tmp_path / "out"
    assert stamp(folder) is None
    folder.mkdir()
    empty = stamp(folder)
    (folder / "a").write_text("x")
    first = stamp(folder), stamp(folder / "a")
    (folder / "a").write_text("xy")
    assert len({str(each) for each in (empty, first[0], stamp(folder))}) == 3 and first[1] != stamp(folder / "a")
