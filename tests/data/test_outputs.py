import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from ppdiffusers_ext.data.images import write_gif, write_image
from ppdiffusers_ext.data.outputs import (
    OutputError,
    beside,
    check_outputs,
    check_writable,
    moved_by,
    output_file,
    output_folder,
    scratch_folder,
)
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError

needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_content_appears_at_the_target_and_nothing_else_stays(tmp_path):
    target = tmp_path / "new" / "folders" / "out.txt"
    with output_file(target) as temporary:
        temporary.write_text("complete")
        assert not target.exists()
    assert target.read_text() == "complete"
    assert everything_in(tmp_path / "new" / "folders") == ["out.txt"]


def test_temporary_name_is_hidden_beside_the_target_and_keeps_its_suffix(tmp_path):
    with output_file(tmp_path / "out.final.mp4") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".") and ".part" in temporary.name and temporary.suffix == ".mp4"


def test_file_mode_follows_the_umask(tmp_path):
    previous = os.umask(0o022)
    try:
        with output_file(tmp_path / "out.txt"):
            pass
    finally:
        os.umask(previous)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_that_a_writer_makes_private_follow_the_umask(tmp_path, umask, expected):
    """As safetensors does, which puts a file of its own under the name that it is given."""
    previous = os.umask(umask)
    try:
        with output_file(tmp_path / "alone.safetensors") as temporary:
            save_file({"a": np.zeros(2)}, temporary)
        with output_folder(tmp_path / "folder") as temporary:
            (temporary / "inner").mkdir()
            save_file({"a": np.zeros(2)}, temporary / "inner" / "a.safetensors")
            (temporary / "tool").touch(0o755)
    finally:
        os.umask(previous)
    for name in ("alone.safetensors", "folder/inner/a.safetensors"):
        assert (tmp_path / name).stat().st_mode & 0o777 == expected, name
    assert (tmp_path / "folder" / "tool").stat().st_mode & 0o100, "nothing is taken away"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system in which nobody can make files")
@pytest.mark.parametrize("write", [output_file, output_folder, scratch_folder, contextlib.closing])
def test_place_in_which_nothing_can_be_made_is_refused_at_once(write):
    with pytest.raises(InputError, match="cannot write /proc/"):
        if write is contextlib.closing:
            check_outputs(["/proc/a"], folders=["/proc/b"])
        with write("/proc/new"):
            pass


def test_place_in_which_others_remove_all_that_is_made_is_refused(tmp_path, monkeypatch):
    make = os.mkdir

    def make_and_lose(path, *mode):
        make(path, *mode)
        os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", make_and_lose)
    with pytest.raises(InputError, match="other processes remove what is made there"), output_folder(tmp_path / "a"):
        pass


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_interrupted_writing_leaves_no_file_and_no_folder(tmp_path, interruption):
    with pytest.raises(interruption), output_file(tmp_path / "new" / "out.txt") as temporary:
        temporary.write_text("half")
        raise interruption
    assert everything_in(tmp_path) == []


INTERRUPTED = """
import os, sys
from ppdiffusers_ext.data.outputs import output_file

def interrupt(path, *, real=os.unlink):
    os.unlink = real
    raise KeyboardInterrupt

os.unlink = interrupt
with output_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    raise ValueError
"""


def test_interruption_of_the_removal_leaves_nothing_when_the_process_ends(tmp_path):
    call = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out.mp4")]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "KeyboardInterrupt" in ended.stderr and everything_in(tmp_path) == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_new_folder_that_several_outputs_share_goes_with_the_last(tmp_path, order):
    outputs = [output_file(tmp_path / "new" / "deep" / f"{i}.txt") for i in range(3)]
    for each in outputs:
        each.__enter__()
    for i in order:
        error = RuntimeError()
        assert not outputs[i].__exit__(RuntimeError, error, error.__traceback__)
    assert everything_in(tmp_path) == []


def test_interrupted_writing_keeps_the_earlier_file(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), output_file(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "earlier"
    assert everything_in(tmp_path) == ["out.txt"]


def test_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "real.txt").write_text("earlier")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with output_file(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def bad_targets(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return {
        "it is a folder": tmp_path / "folder",
        "file is a file, not a folder": tmp_path / "file" / "deeper" / "out.txt",
        "not a regular file": tmp_path / "pipe",
        "is too long": tmp_path / ("x" * 300 + ".txt"),
    }


@pytest.mark.parametrize("reason", ["it is a folder", "file is a file", "not a regular file", "is too long"])
@pytest.mark.parametrize("write", [check_writable, lambda path: output_file(path).__enter__()])
def test_target_that_cannot_be_written_is_an_input_error(tmp_path, reason, write):
    targets = bad_targets(tmp_path)
    (target,) = (path for words, path in targets.items() if reason in words)
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match=reason) as caught:
        write(target)
    assert str(target)[:200] in str(caught.value)
    assert "a folder that can be written is accepted" in str(caught.value)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("write", [check_writable, lambda path: output_file(path).__enter__()])
def test_denied_permission_is_an_input_error_and_leaves_no_folder(tmp_path, monkeypatch, write):
    def deny(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(InputError, match="Permission denied; a file name in a folder that can be written"):
        write(tmp_path / "new" / "out.txt")
    assert everything_in(tmp_path) == []


@needs_permissions
def test_folder_without_write_permission_is_an_input_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check_writable(tmp_path / "out.txt")
    tmp_path.chmod(0o700)


def test_check_leaves_nothing_behind(tmp_path):
    (tmp_path / "earlier.txt").write_text("earlier")
    check_writable(tmp_path / "earlier.txt")
    check_writable(tmp_path / "new" / "out.txt")
    assert everything_in(tmp_path) == ["earlier.txt"]
    assert (tmp_path / "earlier.txt").read_text() == "earlier"


def raise_disk_full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_full_disk_is_an_input_error_that_says_what_to_do(tmp_path, monkeypatch, function):
    monkeypatch.setattr(os, function, raise_disk_full)
    target = tmp_path / "new" / "out.txt"
    with pytest.raises(InputError, match="no space left on the disk while writing .*out.txt; free some space"):
        with output_file(target) as temporary:
            Path(temporary).touch()
    assert everything_in(tmp_path) == []


def test_full_disk_while_the_caller_writes_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no space left on the disk"), output_file(tmp_path / "out.txt"):
        raise_disk_full()
    assert everything_in(tmp_path) == []


def test_other_errors_of_the_caller_stay_as_they_are(tmp_path):
    with pytest.raises(OSError) as caught, output_file(tmp_path / "out.txt"):
        raise OSError(errno.EIO, "Input/output error")
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "no space left on the disk while writing .*/a.mp4; free some space or choose another"),
        (errno.EDQUOT, "no space left in this user's quota while writing .*/a.mp4; free some space or choose another"),
        (errno.EFBIG, "`ulimit -f` allows for a file while writing .*/a.mp4; choose another"),
        (errno.EROFS, "a file system that is read-only while writing .*/a.mp4; choose another"),
    ],
)
@pytest.mark.parametrize("option", [None, "--engine-cache", "--report"])
@pytest.mark.parametrize("writer", [output_file, output_folder])
def test_failures_of_a_disk_name_the_file_and_the_option_that_moves_it(tmp_path, number, words, option, writer):
    def write():
        with writer(tmp_path / "new" / "a.mp4"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(InputError, match=f"{words} {option or '--output'}$"):
        if option is None:
            write()
        else:
            with moved_by(option):
                write()
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    "given, option",
    [
        ([("--json", "new/a.mp4"), ("--sheet", "b.png")], "--json"),
        ([("--output_dir", "new"), ("--picture", "a.png")], "--output_dir"),
        ([("--root", "."), ("--output_dir", "new")], "--output_dir"),
        ([("--root", "../x"), ("--name", "a"), ("--nul", "\0")], "--output"),
        ([], "--output"),
    ],
)
def test_option_is_found_by_the_path(tmp_path, monkeypatch, given, option):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"while writing new/a.mp4; .* choose another {option}$"):
        with moved_by(given=given), output_file("new/a.mp4"):
            raise_disk_full()


def noise(count, side=48):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def write_video(path):
    with VideoWriter(path, 25, 48, 48) as writer:
        writer.write(noise(4))


def write_text(path):
    with output_file(path) as temporary:
        temporary.write_text("x" * 5000)


WRITERS = {
    "a.mp4": write_video,
    "a.mov": write_video,
    "a.gif": lambda path: write_gif(path, [Image.fromarray(frame).quantize() for frame in noise(3)], 40),
    "a.json": write_text,
    **{f"a.{suffix}": lambda path: write_image(path, noise(1)[0]) for suffix in ("png", "jpg", "webp", "bmp", "tif")},
}


def within_limit(limit, path, writer):
    """What becomes of a writer in a process whose files may have so many bytes: "whole" or "refused"."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            writer(path)
            code = 10
        except InputError as error:
            code = 11 if "while writing" in str(error) and path.name in str(error) else 12
        finally:
            os._exit(code)
    return {10: "whole", 11: "refused"}.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "neither")


@pytest.mark.parametrize("name", WRITERS)
def test_file_that_does_not_fit_is_refused_wherever_it_ends(tmp_path, name):
    WRITERS[name](tmp_path / "whole" / name)
    whole = (tmp_path / "whole" / name).read_bytes()
    for limit in {*np.linspace(0, len(whole) - 1, 12, dtype=int).tolist(), len(whole) - 1}:
        assert (limit, within_limit(limit, tmp_path / "cut" / name, WRITERS[name])) == (limit, "refused")
        assert not (tmp_path / "cut").exists()
    assert within_limit(2 * len(whole), tmp_path / name, WRITERS[name]) == "whole"
    assert (tmp_path / name).read_bytes() == whole


# Of names: one letter of each count of bytes, decomposed accents, joined emoji, what shells and FFmpeg obey.
LETTERS = ["a", "é", "e\u0301", "文", "💃", "👩‍👩‍👧", " ", "'", "%d", ":", "\n", "-", "\\", "\udcff"]


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("length", [1, 100, 240, 251])
def test_name_that_a_file_may_have_is_written(tmp_path, letter, length):
    name = f"{letter * max(1, length // len(os.fsencode(letter)))}.mp4"
    check_outputs([tmp_path / name])
    write_video(tmp_path / name)
    with output_folder(tmp_path / f"{name[:-4]}.png"[:200]):
        pass
    assert name in os.listdir(tmp_path) and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("length", [252, 300, 5000])
def test_name_that_is_too_long_is_refused_before_any_work(tmp_path, letter, length):
    name = f"{letter * (length // len(os.fsencode(letter)) + 1)}.mp4"
    with pytest.raises(InputError, match="is too long: up to 255 bytes"):
        check_outputs([tmp_path / name])
    assert everything_in(tmp_path) == []


def test_long_suffix_is_no_obstacle(tmp_path):
    name = f"a.{'x' * 253}"
    with output_file(tmp_path / name) as temporary:
        temporary.write_text("complete")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("letter", LETTERS)
def test_what_lies_beside_a_file_has_a_name_that_fits(tmp_path, letter):
    names = set()
    for length in range(200, 246):
        target = tmp_path / f"{'a' * (length % 7)}{letter * (length // len(os.fsencode(letter)))}.mp4"
        for ending in ("side_by_side.mp4", "sheet.png", "overlay.mp4"):
            path = beside(target, ending)
            assert path.parent == tmp_path and path.name.endswith(f"_{ending}")
            assert len(os.fsencode(path.name)) <= 255
            names.add((target.name, path.name))
            path.touch()
    assert len({name for _, name in names}) == len(names)  # names that are cut stay apart
    assert beside(tmp_path / "short.mp4", "sheet.png").name == "short_sheet.png"


def same(tmp_path, how):
    """Two names for one file."""
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    if how == "name":
        return first, first
    if how == "dots":
        return first, tmp_path / "folder" / ".." / "a.mp4"
    if how == "folder":
        (tmp_path / "other").symlink_to(tmp_path)
        return first, tmp_path / "other" / "a.mp4"
    if how == "new folder":
        (tmp_path / "other").symlink_to(tmp_path)
        return tmp_path / "new" / "a.mp4", tmp_path / "other" / "new" / "a.mp4"
    second.symlink_to(first)
    return first, second


SAME = ["name", "dots", "folder", "new folder", "link"]


@pytest.mark.parametrize("how", SAME)
def test_two_outputs_that_are_one_file_are_refused(tmp_path, how):
    paths = same(tmp_path, how)
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match="another output of the same job has this name; outputs of different names"):
        check_outputs([tmp_path / "c.mp4", *paths])
    assert everything_in(tmp_path) == before
    check_outputs([tmp_path / "c.mp4", paths[0]])


@pytest.mark.parametrize("how", [how for how in SAME if how != "new folder"])
def test_output_that_is_an_input_is_refused(tmp_path, how):
    (tmp_path / "folder").mkdir()
    output, source = same(tmp_path, how)
    source.write_bytes(b"earlier")
    with pytest.raises(InputError, match="it is the input .*; an output that is no input is accepted"):
        check_outputs([tmp_path / "c.mp4", output], [None, tmp_path / "not there", source])
    assert output.read_bytes() == b"earlier"


def test_output_in_a_folder_that_another_output_is_is_refused(tmp_path):
    for names in (["a.mp4", "a.mp4/b.png"], ["a.mp4/b.png", "a.mp4"], ["a.mp4/x/../y/b.png", "a.mp4"]):
        with pytest.raises(InputError, match="cannot write .*(a folder|of this name); "):
            check_outputs([tmp_path / name for name in names])
        assert everything_in(tmp_path) == []


def test_picture_among_those_that_are_read_is_refused(tmp_path):
    (tmp_path / "poses").mkdir()
    with pytest.raises(InputError, match="it would be one of the pictures in .*poses, which is an input"):
        check_outputs([tmp_path / "poses" / "out_sheet.png"], [tmp_path / "poses"])
    check_outputs([tmp_path / "poses" / "out.mp4"], [tmp_path / "poses"])


@pytest.mark.parametrize("name", ["a\0.mp4", "\ud800.mp4", ""])
def test_name_that_is_none_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        check_outputs([f"{tmp_path}/{name}" if name else name])


def test_check_leaves_nothing_and_names_every_folder(tmp_path):
    check_outputs([tmp_path / "x" / "a.mp4", tmp_path / "x" / "b.mp4", tmp_path / "y" / "a.mp4"], [], [tmp_path / "z"])
    assert everything_in(tmp_path) == []
    (tmp_path / "z" / "full").mkdir(parents=True)
    with pytest.raises(InputError, match="z: it is there already; a new or an empty folder is accepted"):
        check_outputs([tmp_path / "a.mp4"], [], [tmp_path / "z"])


def test_target_that_becomes_a_folder_meanwhile_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot write"), output_file(tmp_path / "a.txt"):
        (tmp_path / "a.txt" / "b").mkdir(parents=True)
    assert everything_in(tmp_path) == ["a.txt", "a.txt/b"]


@pytest.mark.parametrize("ending", ["/", "//", "/.", "/./"])
@pytest.mark.parametrize("has_option", [True, False])
def test_file_whose_name_ends_as_a_folders_is_refused(tmp_path, ending, has_option):
    name = f"{tmp_path}/out.mp4{ending}"
    path = Path(name) if has_option else name  # which leaves the slash out
    with moved_by(given=[("--output", name)] if has_option else ()):
        with pytest.raises(OutputError, match="cannot write .*out.mp4.*: a slash at its end says that it is a folder"):
            check_outputs([path])
        check_outputs([], folders=[path])
        check_outputs([tmp_path / "out.mp4" / "a.png"])
    assert os.listdir(tmp_path) == []
