import errno
import os
from pathlib import Path

import pytest

from ppdiffusers_ext.data.outputs import check_writable, output_file
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


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_interrupted_writing_leaves_no_file_and_no_folder(tmp_path, interruption):
    with pytest.raises(interruption), output_file(tmp_path / "new" / "out.txt") as temporary:
        temporary.write_text("half")
        raise interruption
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
        "File name too long": tmp_path / ("x" * 300 + ".txt"),
    }


@pytest.mark.parametrize("reason", ["it is a folder", "file is a file", "not a regular file", "File name too long"])
@pytest.mark.parametrize("write", [check_writable, lambda path: output_file(path).__enter__()])
def test_target_that_cannot_be_written_is_an_input_error(tmp_path, reason, write):
    targets = bad_targets(tmp_path)
    (target,) = (path for words, path in targets.items() if reason in words)
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match=reason) as caught:
        write(target)
    assert str(target) in str(caught.value)
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
