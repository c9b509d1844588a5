"""Files that never half-exist: written beside their target under a hidden name, renamed when complete."""

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path

from ppdiffusers_ext.errors import InputError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def output_file(path):
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends, remove it when it raises.

    The temporary name keeps the suffix of `path`, so that writers that go by the suffix recognise the format. Folders
    that are missing are created, and removed again if the block raises. An earlier file at `path` stays as it is until
    the new one is complete. A link is followed: what it points to is replaced, not the link.

    Raises InputError where `path` cannot be written, or when the disk is full (whoever reports that, PyAV included).
    """
    with contextlib.ExitStack() as undo, _disk_full_as_input_error(path):
        target, temporary = _prepare(path, undo)
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        undo.pop_all()


@contextlib.contextmanager
def output_folder(path):
    """As `output_file` for a folder, which must be new or empty: yields the `Path` of a temporary one beside it."""
    target = Path(os.path.realpath(path))
    with contextlib.ExitStack() as undo, _disk_full_as_input_error(path):
        try:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise _not_writable(path, "it is there already; a new or an empty folder is accepted")
            _make_folders(path, target.parent, undo)
            temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
            temporary.mkdir()
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise
            raise _not_writable(path, error.strerror or str(error)) from error
        undo.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        os.replace(temporary, target)
        undo.pop_all()


def check_writable(path):
    """Raise the InputError that `output_file(path)` would, before minutes of computing. Leaves nothing behind."""
    with contextlib.ExitStack() as undo, _disk_full_as_input_error(path):
        _prepare(path, undo)


def _prepare(path, undo):
    """The real target and an empty temporary file beside it; `undo` receives what removes the traces of both."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise _not_writable(path, "it is a folder")
        if target.exists() and not target.is_file():
            # Renaming onto /dev/null or a pipe would replace it.
            raise _not_writable(path, "it is not a regular file")
        _make_folders(path, target.parent, undo)
        # The name stays short enough for the file system, however long the target's is.
        temporary = target.with_name(f".{target.stem[:40]}.{secrets.token_hex(4)}.part{target.suffix}")
        undo.callback(temporary.unlink, missing_ok=True)
        # The mode is left to the umask, as for any other file; tempfile would make it private to the user.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise
        raise _not_writable(path, error.strerror or str(error)) from error
    return target, temporary


def _make_folders(path, folder, undo):
    """Create `folder` with its parents, and have `undo` remove those that were missing."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if not folder.is_dir():
        raise _not_writable(path, f"{folder} is a file, not a folder")
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        undo.callback(_remove_if_empty, folder)


def _remove_if_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()


def _flush(path):
    """Have the data on the disk before the name, or a power cut could leave an empty file under the final name."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_writable(path, reason):
    return InputError(f"cannot write {path}: {reason}; a file name in a folder that can be written is accepted")


@contextlib.contextmanager
def _disk_full_as_input_error(path):
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) in _DISK_FULL:
            raise InputError(
                f"no space left on the disk while writing {path}; free some space or choose another --output"
            ) from error
        raise
