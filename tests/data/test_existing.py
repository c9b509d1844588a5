"""Results that exist: refused, replaced, or kept where they were made of the same."""

import json
import os
import shutil

import pytest

from ppdiffusers_ext.data.existing import ExistsError, check_existing
from ppdiffusers_ext.data.outputs import check_outputs, moved_by, output_file, output_folder
from ppdiffusers_ext.data.records import RECORDS, Made, digest
from ppdiffusers_ext.errors import InputError, MissingFileError

ONE, OTHER = Made("draw", {"--video": "1" * 64}, {"--fps": 12}), Made("draw", {"--video": "2" * 64}, {"--fps": 12})
FRAMES = r"frame_\d+\.png"


def write(path, text):
    with output_file(path) as temporary:
        temporary.write_text(text)


def make(made, text="made", most=None, **how):
    """Make what is missing of the results, at most so many of them; returns how many were kept."""
    results = check_existing(made, **how)
    with results.recorded():
        for path in results.missing[:most]:
            write(path, text)
    return results.kept


def frames(folder, count, of=ONE):
    return {folder / f"frame_{i}.png": of for i in range(count)}


def content(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def visible(folder):
    return {name: text for name, text in content(folder).items() if name != RECORDS}


@pytest.mark.parametrize("made", [ONE, OTHER])
def test_result_that_exists_is_refused_and_stays(tmp_path, made):
    make({tmp_path / "out.mp4": ONE})
    before = content(tmp_path)
    with pytest.raises(ExistsError, match="out.mp4 exists; --overwrite replaces it, --skip-existing keeps it$"):
        make({tmp_path / "out.mp4": made}, "again")
    assert content(tmp_path) == before


def test_message_names_the_option_that_has_the_path(tmp_path):
    write(tmp_path / "out.mp4", "made")
    given = [("IN", "in.mp4"), ("--output", str(tmp_path / "out.mp4"))]
    with moved_by(given=given), pytest.raises(InputError, match=f"^--output {tmp_path}/out.mp4 exists; "):
        check_existing({tmp_path / "out.mp4": ONE})


def test_existing_result_is_replaced_or_kept(tmp_path):
    make({tmp_path / "out.mp4": ONE}, "first")
    assert make({tmp_path / "out.mp4": OTHER}, "second", overwrite=True) == 0
    assert visible(tmp_path) == {"out.mp4": "second"}
    assert make({tmp_path / "out.mp4": OTHER}, "third", skip_existing=True) == 1
    assert visible(tmp_path) == {"out.mp4": "second"}


@pytest.mark.parametrize(
    "other, words",
    [
        (OTHER, "--video has another content"),
        (Made("draw", ONE.inputs, {"--fps": 24}), "--fps was 12 and is 24"),
        (Made("draw", ONE.inputs, {}), "--fps was 12 and is None"),
        (Made("draw", {**ONE.inputs, "--audio": "3" * 64}, ONE.options), "--audio has another content"),
        (Made("paint", ONE.inputs, ONE.options), "it was made by draw"),
        (
            Made("draw", OTHER.inputs, {"--fps": 1, "--size": 2}),
            "--video has another content, --fps was 12 and is 1, --size was None and is 2",
        ),
    ],
)
def test_result_of_something_else_is_not_kept_and_says_why(tmp_path, other, words):
    make({tmp_path / "out.mp4": ONE})
    before = content(tmp_path)
    with pytest.raises(ExistsError) as error:
        make({tmp_path / "out.mp4": other}, skip_existing=True)
    assert str(error.value) == f"{tmp_path}/out.mp4 was made of something else: {words}; --overwrite replaces it"
    assert content(tmp_path) == before


def test_options_are_compared_as_they_are_written(tmp_path):
    options = {"path": tmp_path, "size": (1, 2), "none": None, "float": 0.1, "whole": 10**40, "yes": True, "ä": "ö"}
    make({tmp_path / "out.mp4": Made("draw", {}, options)})
    assert make({tmp_path / "out.mp4": Made("draw", {}, dict(options))}, skip_existing=True) == 1


def own_file(path):
    path.write_text("my own")


def changed_file(path):
    make({path: ONE})
    path.write_text("made, and changed")


def file_copied_from_elsewhere(path):
    make({path.parent / "elsewhere" / path.name: ONE})
    shutil.copy(path.parent / "elsewhere" / path.name, path)


@pytest.mark.parametrize("put", [own_file, changed_file, file_copied_from_elsewhere])
def test_files_without_a_record_are_kept_and_counted(tmp_path, caplog, put):
    for path in frames(tmp_path, 2):
        put(path)
    before = {path: path.read_text() for path in frames(tmp_path, 2)}
    assert make(frames(tmp_path, 4, OTHER), skip_existing=True) == 2
    assert "kept as they are, without a record of what they were made of: 2 results (" in caplog.text
    assert {path: path.read_text() for path in before} == before
    assert len(caplog.records) == 1


def test_stopped_run_goes_on(tmp_path):
    make(frames(tmp_path, 6), most=2)
    with pytest.raises(ExistsError, match=r"frame_0.png and 1 more result of 6 exist; .*as after a run that was stop"):
        make(frames(tmp_path, 6), pattern=FRAMES)
    assert make(frames(tmp_path, 6), "rest", skip_existing=True, pattern=FRAMES) == 2
    assert list(visible(tmp_path).values()) == ["made"] * 2 + ["rest"] * 4


def test_record_that_was_cut_counts_for_none_and_those_after_it_count(tmp_path, caplog):
    make(frames(tmp_path, 2))
    lines = (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)
    (tmp_path / RECORDS).write_bytes(lines[0] + lines[1][: len(lines[1]) // 2])
    make(frames(tmp_path, 3), skip_existing=True)
    assert "1 result (" in caplog.text
    caplog.clear()
    with pytest.raises(ExistsError, match="frame_2.png was made of something else"):
        make({tmp_path / "frame_2.png": OTHER}, skip_existing=True)


DAMAGES = [
    b"", b"\n\n", b"\0" * 100, b"[]\n", b"{}\n", b"1\n", b'{"file": 1, "sha256": 2, "command": 3}\n', b"[" * 10_000,
    b'{"file": "out.mp4", "sha256": "x", "command": "c", "inputs": "abc", "options": {}}\n',
    b'{"file": "out.mp4", "sha256": [1], "command": [], "inputs": {"a": []}, "options": {"b": {"c": [NaN]}}}\n',
    b"\xff\xfe\n", b'{"file": "..", "sha256": "x", "command": "c", "inputs": {}, "options": {}}\n',
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_records_are_none(tmp_path, damage, caplog):
    write(tmp_path / "out.mp4", "own")
    (tmp_path / RECORDS).write_bytes(damage)
    assert make({tmp_path / "out.mp4": ONE, tmp_path / "b": ONE}, skip_existing=True, pattern=".*") == 1
    assert "1 result (" in caplog.text
    with pytest.raises(ExistsError):
        make({tmp_path / "b": OTHER}, skip_existing=True)


def as_folder(path):
    path.mkdir()


def as_pipe(path):
    os.mkfifo(path)


def as_link(path):
    (path.parent / "precious").write_text("mine\n")
    path.symlink_to(path.parent / "precious")


@pytest.mark.parametrize("block", [as_folder, as_pipe, as_link])
def test_where_records_cannot_be_written_the_result_is_made_all_the_same(tmp_path, block, caplog):
    block(tmp_path / RECORDS)
    make({tmp_path / "out.mp4": ONE})
    assert (tmp_path / "out.mp4").read_text() == "made" and "cannot be written" in caplog.text
    assert block is not as_link or (tmp_path / "precious").read_text() == "mine\n"
    assert make({tmp_path / "out.mp4": OTHER}, skip_existing=True) == 1


def test_shorter_sequence_does_not_keep_the_end_of_a_longer_one(tmp_path):
    make(frames(tmp_path, 6))
    (tmp_path / "frame_99.png").write_text("my own")
    (tmp_path / "me.png").write_text("my own")
    make({tmp_path / "notes.png": OTHER})
    with pytest.raises(ExistsError, match=r"frame_4.png is of an earlier run that made more \(2 such files\)"):
        make(frames(tmp_path, 4), skip_existing=True, pattern=FRAMES)
    make(frames(tmp_path, 4, OTHER), "new", overwrite=True, pattern=FRAMES)
    own = {"frame_99.png": "my own", "me.png": "my own", "notes.png": "made"}
    assert visible(tmp_path) == {**{f"frame_{i}.png": "new" for i in range(4)}, **own}


def test_sequence_that_replaces_another_goes_on_when_it_was_stopped(tmp_path):
    make(frames(tmp_path, 6))
    make(frames(tmp_path, 5, OTHER), "new", overwrite=True, pattern=FRAMES, most=0)
    assert len(visible(tmp_path)) == 6  # it made none
    make(frames(tmp_path, 5, OTHER), "new", overwrite=True, pattern=FRAMES, most=2)
    assert make(frames(tmp_path, 5, OTHER), "new", skip_existing=True, pattern=FRAMES) == 2
    assert visible(tmp_path) == {f"frame_{i}.png": "new" for i in range(5)}


def make_folder(path, of=ONE, names=("a.bin", "unet/b.bin", ".hidden"), **how):
    results = check_existing({path: of}, **how)
    with results.recorded():
        for folder in results.missing:
            check_outputs([], folders=[folder])
            with output_folder(folder) as temporary:
                (temporary / "unet").mkdir()
                for name in names:
                    (temporary / name).write_text(name)
    return results.kept


def test_folder_as_one_result_is_refused_replaced_or_kept(tmp_path):
    folder = tmp_path / "model"
    make_folder(folder)
    with pytest.raises(ExistsError, match="model exists; "):
        make_folder(folder)
    assert make_folder(folder, skip_existing=True) == 1
    with pytest.raises(ExistsError, match="model/.hidden was made of something else: --video has another content"):
        make_folder(folder, OTHER, skip_existing=True)
    make_folder(folder, OTHER, ("c.bin",), overwrite=True)
    assert set(visible(folder)) == {"c.bin"} and os.listdir(tmp_path) == ["model"]
    moved = folder.rename(tmp_path / "moved")
    assert make_folder(moved, OTHER, skip_existing=True) == 1


@pytest.mark.parametrize("name", ["notes.txt", "unet/mine.bin", ".mine", "a.bin"])
def test_folder_that_holds_a_users_file_is_not_replaced(tmp_path, name):
    folder = tmp_path / "model"
    make_folder(folder)
    (folder / name).write_text("my own")
    before = content(tmp_path)
    with pytest.raises(ExistsError, match="cannot be replaced: .* has no record of having been made"):
        make_folder(folder, overwrite=True)
    assert content(tmp_path) == before


def test_folder_that_lacks_a_file_is_not_kept(tmp_path):
    make_folder(tmp_path / "model")
    (tmp_path / "model" / "a.bin").unlink()
    with pytest.raises(ExistsError, match="model lacks a.bin, which was in it; --overwrite"):
        make_folder(tmp_path / "model", skip_existing=True)


def test_empty_folder_does_not_count_as_there(tmp_path):
    (tmp_path / "model").mkdir()
    assert make_folder(tmp_path / "model") == 0 and (tmp_path / "model" / "a.bin").exists()


def test_folder_that_fails_to_be_replaced_stays(tmp_path):
    make_folder(tmp_path / "model")
    before = content(tmp_path)
    results = check_existing({tmp_path / "model": ONE}, overwrite=True)
    with pytest.raises(RuntimeError), results.recorded(), output_folder(tmp_path / "model"):
        raise RuntimeError
    del results  # which holds the folder
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["a b.mp4", "动作.mp4", "\udcff.mp4", "\\xff.mp4", "new\nline.mp4", '".mp4'])
def test_any_name_has_its_record(tmp_path, name):
    make({tmp_path / name: ONE})
    assert make({tmp_path / name: ONE}, skip_existing=True) == 1
    with pytest.raises(ExistsError, match="was made of something else"):
        make({tmp_path / name: OTHER}, skip_existing=True)


def test_result_behind_a_link_has_its_record_where_it_lies(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make({tmp_path / "link" / "out.mp4": ONE})
    assert make({tmp_path / "real" / "out.mp4": ONE}, skip_existing=True) == 1
    with pytest.raises(ExistsError, match="something else"):
        make({tmp_path / "real" / "out.mp4": OTHER}, skip_existing=True)


def test_outputs_that_are_no_results_get_no_record(tmp_path):
    with check_existing({tmp_path / "out.mp4": ONE}).recorded():
        write(tmp_path / "cache" / "embedding.npy", "x")
    write(tmp_path / "out.mp4", "x")
    assert not list(tmp_path.rglob(RECORDS))


def test_records_are_one_line_each(tmp_path):
    make(frames(tmp_path, 3))
    lines = [json.loads(line) for line in (tmp_path / RECORDS).read_text().splitlines()]
    assert [line["file"] for line in lines] == ["frame_0.png", "frame_1.png", "frame_2.png"]
    assert lines[0]["sha256"] == digest(tmp_path / "frame_0.png")


def test_digest_is_that_of_names_and_contents(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "1.png", "1")
        write(tmp_path / folder / "deep" / "2.png", "2")
    os.utime(tmp_path / "b" / "1.png", (1, 1))
    (tmp_path / "b" / ".hidden").write_text("x")
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "b", ["1.png"])
    (tmp_path / "b" / "1.png").rename(tmp_path / "b" / "3.png")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_error_within_a_sequence_says_what_is_kept_and_how_to_go_on(tmp_path):
    results = check_existing(frames(tmp_path, 4), pattern=FRAMES)
    with pytest.raises(MissingFileError) as told, results.recorded():
        write(results.missing[0], "made")
        write(results.missing[1], "made")
        raise MissingFileError("frame_2.jpg is no picture; another is accepted")
    kept = "(2 of 4 results made before are kept: --skip-existing goes on with the rest)"
    assert str(told.value) == f"frame_2.jpg is no picture; another is accepted {kept}"
    assert make(frames(tmp_path, 4), skip_existing=True, pattern=FRAMES) == 2


@pytest.mark.parametrize(("pattern", "most"), [(FRAMES, 0), (None, 1)])
def test_error_before_anything_is_made_or_of_other_results_stays_as_it_is(tmp_path, pattern, most):
    results = check_existing(frames(tmp_path, 2), pattern=pattern)
    with pytest.raises(InputError, match="^it is broken$"), results.recorded():
        for path in results.missing[:most]:
            write(path, "made")
        raise InputError("it is broken")
