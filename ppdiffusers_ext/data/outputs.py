"""Files that never half-exist: written beside their target under a hidden name, renamed when complete."""

import contextlib
import contextvars
import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ppdiffusers_ext.data.disk import exchange, flush
from ppdiffusers_ext.data.leftovers import HOST, claimed, remove, remove_leftovers, swept
from ppdiffusers_ext.errors import InputError, printable, shown_path
from ppdiffusers_ext.files import check_name

_ACCEPTED = "a file name in a folder that can be written is accepted"
_FAILURES = {  # of a disk, whoever reports them, PyAV included: what is wrong, and what helps
    errno.ENOSPC: ("no space left on the disk", "free some space or choose another"),
    errno.EDQUOT: ("no space left in this user's quota", "free some space or choose another"),
    errno.EFBIG: ("more than the file system or `ulimit -f` allows for a file", "choose another"),
    errno.EROFS: ("a file system that is read-only", "choose another"),
}
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
_MOST_OF_NAME, _MOST_OF_SUFFIX = 48, 64  # bytes that a temporary name takes from its target's
_MOST_TRIES = 100  # of temporary names

_option: contextvars.ContextVar = contextvars.ContextVar("option", default=None)
_given: contextvars.ContextVar = contextvars.ContextVar("given", default=())
_watcher: contextvars.ContextVar = contextvars.ContextVar("watcher", default=None)
_made: set[Path] = set()  # folders that this process made, each of which goes if nothing gets into it


class OutputError(InputError):
    """A file or folder cannot be written."""


class Watcher(Protocol):
    """Who is told of outputs; see `watched_by`."""

    def replaces(self, folder: Path) -> bool:
        """Whether an `output_folder` may take the place of a folder that is there and not empty."""

    def completed(self, temporary: Path, target: Path) -> None:
        """Called when an output is complete, before it gets its name."""


@contextlib.contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Within it, a watcher is told of all outputs of this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextlib.contextmanager
def moved_by(option: str | None = None, given: Any = ()) -> Iterator[None]:
    """Within it, messages about outputs that cannot be written name the option that moves them.

    Args:
        option: its name. If left out it is found by the path, and is --output where no option has that.
        given: pairs of a name of an option and the text that a user gave for it.
    """
    tokens = [(variable, variable.set(value)) for variable, value in ((_option, option), (_given, given)) if value]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def _option_of(path: str | os.PathLike) -> str:
    """The option by which a path is moved: the one whose value is the path, or the nearest folder that it is in."""
    if (option := _option.get()) is not None:
        return option
    places, best = [path, *Path(path).parents], (len(Path(path).parents) + 1, "--output")
    for option, value in _given.get():
        with contextlib.suppress(ValueError):  # no name of a file, or another one
            best = min(best, (places.index(Path(value)), option))
    return best[1]


def given_as(path: str | os.PathLike) -> str:
    """A path as a message names it: with the option that has it, if there is one, as in "--output out.mp4"."""
    options = [option for option, value in _given.get() if option.startswith("-") and value == str(path)]
    return " ".join([*options[:1], shown_path(path)])


@contextlib.contextmanager
def output_file(path: str | os.PathLike) -> Iterator[Any]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends, remove it when it raises.

    The temporary name keeps the suffix of `path`, so that writers that go by the suffix recognise the format. Folders
    that are missing are created, and removed again if the block raises. An earlier file at `path` stays as it is until
    the new one is complete. A link is followed: what it points to is replaced, not the link.

    Raises InputError where `path` cannot be written, or when the disk is full (whoever reports that, PyAV included).
    """
    with _failures_as_input_errors(path), contextlib.ExitStack() as held, contextlib.ExitStack() as undo:
        target, temporary = _prepare(path, undo, held)
        mode = temporary.stat().st_mode
        yield temporary
        flush(temporary, mode)
        _enter(path, temporary, target)
        undo.pop_all()


@contextlib.contextmanager
def output_folder(path: str | os.PathLike) -> Iterator[Path]:
    """As `output_file` for a folder: yields the `Path` of a temporary one beside it.

    It must be new or empty, unless a `Watcher` lets it replace another one.
    """
    with _failures_as_input_errors(path), contextlib.ExitStack() as held, contextlib.ExitStack() as undo:
        target, temporary = _prepare_folder(path, undo, held)
        mode = temporary.stat().st_mode
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                flush(file, mode)
        _enter(path, temporary, target)
        undo.pop_all()


@contextlib.contextmanager
def scratch_folder(target: str | os.PathLike) -> Iterator[Path]:
    """Yield the `Path` of a new folder beside `target`, for files that are needed while it is made; then remove it.

    Raises InputError where there cannot be one.
    """
    with _failures_as_input_errors(target), contextlib.ExitStack() as held, contextlib.ExitStack() as undo:
        with _system_errors_as_input_errors(target):
            real = real_target(target)
            make_folders(target, real.parent, undo)
            folder = _claim(real, _create_folder, undo, held)
        yield folder


def check_writable(path: str | os.PathLike) -> None:
    """Raise the InputError that `output_file(path)` would, before minutes of computing. Leaves nothing behind."""
    check_outputs([path])


def check_outputs(
    paths: Iterable[str | os.PathLike],
    inputs: Iterable[str | os.PathLike | None] = (),
    folders: Iterable[str | os.PathLike] = (),
) -> None:
    """Hold all files that a job will write against what can be written, before it begins. Leaves nothing behind.

    Args:
        paths: of the files.
        inputs: paths of the files and folders that the job reads; None stands for one that was not given.
        folders: paths of folders that it makes by `output_folder`.

    Raises:
        InputError: a place cannot be written, a name does not fit the file system, two of the files are the same one,
            or one is an input, or a picture in a folder of pictures that is one.
    """
    with contextlib.ExitStack() as held, contextlib.ExitStack() as undo:
        targets: set[Path] = set()
        scratches: dict[tuple[int, int], Path] = {}  # folder -> another one in it, in which names are tried
        for path, prepare in [(path, _prepare) for path in paths] + [(path, _prepare_folder) for path in folders]:
            with _failures_as_input_errors(path), _system_errors_as_input_errors(path):
                swept.discard(str(real_target(path).parent))
                target, _ = prepare(path, undo, held)
                for source in inputs:
                    _check_apart(path, target, source)
                where = target.parent.stat()
                key = where.st_dev, where.st_ino
                if key not in scratches:
                    scratches[key] = _claim(target, _create_folder, undo, held)
                _try_name(path, target.name, scratches[key])
                if targets.intersection(target.parents) or any(target in other.parents for other in targets):
                    raise _not_writable(path, "another output of the same job is a file, or a folder, of this name")
                targets.add(target)


def _try_name(path: str | os.PathLike, name: str, folder: Path) -> None:
    """Let the file system say whether it has such names, and whether it takes two of them for one."""
    try:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        reason = "another output of the same job has this name"
        raise _not_writable(path, reason, "outputs of different names are accepted") from error


def _check_apart(path: str | os.PathLike, target: Path, source: str | os.PathLike | None) -> None:
    if source is None or not os.path.exists(source):
        return
    if os.path.isdir(source):
        is_among = os.path.samefile(source, target.parent) and target.suffix.lower() in PICTURES
        reason = f"it would be one of the pictures in {source}, which is an input"
    else:
        is_among = target.exists() and os.path.samefile(source, target)
        reason = f"it is the input {source}"
    if is_among:
        raise _not_writable(path, reason, "an output that is no input is accepted")


def beside(target: str | os.PathLike, ending: str) -> Path:
    """The path of a file beside another one: NAME_ENDING; a name that would be too long is cut, and a digest added."""
    target = check_name(target, "output", _ACCEPTED)
    if not target.name:
        raise _not_writable(target, "it is a folder")
    return target.with_name(fitting_name(target.parent, target.stem, f"_{ending}"))


def report_paths(result: str | os.PathLike) -> tuple[Path, Path]:
    """Paths of the report of a result: its page and its JSON."""
    return beside(result, "report.html"), beside(result, "report.json")


def fitting_name(folder: str | os.PathLike, name: str, ending: str) -> str:
    """A name with an ending that a folder's file system bears: cut if need be, with a digest of the whole."""
    most = _longest_name(folder) - len(os.fsencode(ending))
    if len(os.fsencode(name)) <= most:
        return f"{name}{ending}"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{_cut(name, most - len(digest) - 1)}-{digest}{ending}"


def _longest_name(folder: str | os.PathLike) -> int:
    """Bytes of the longest name in a folder, or in the one in which it will be."""
    folder = Path(folder).absolute()
    while folder != folder.parent and not os.path.exists(folder):
        folder = folder.parent
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255


def _cut(text: str, most: int) -> str:
    """The beginning of a name, in at most so many bytes and of whole characters."""
    return os.fsencode(text)[: max(0, most)].decode("utf-8", "ignore")


def real_target(path: str | os.PathLike) -> Path:
    """The file that an output of this name replaces, where links lead. Raises InputError for what is no file name."""
    return Path(os.path.realpath(check_name(path, "output", _ACCEPTED)))


def _prepare(path: str | os.PathLike, undo: contextlib.ExitStack, held: contextlib.ExitStack) -> tuple[Path, Path]:
    """The real target and an empty temporary file beside it; `undo` receives what removes the traces of both."""
    with _system_errors_as_input_errors(path):
        target = real_target(path)
        if target.is_dir():
            raise _not_writable(path, "it is a folder")
        if target.exists() and not target.is_file():
            # Renaming onto /dev/null or a pipe would replace it.
            raise _not_writable(path, "it is not a regular file")
        _check_slash(path)
        make_folders(path, target.parent, undo)
        return target, _claim(target, _create_file, undo, held)


def _check_slash(path: str | os.PathLike) -> None:
    """Raise OutputError for a file whose name was given with a slash at its end, which `Path` leaves out."""
    names = [os.fspath(path), *(text for _, text in _given.get())]
    if any(os.path.basename(name) in ("", ".") and Path(name) == Path(path) for name in names if name):
        raise _not_writable(path, "a slash at its end says that it is a folder, and it will be a file")


def _prepare_folder(
    path: str | os.PathLike, undo: contextlib.ExitStack, held: contextlib.ExitStack
) -> tuple[Path, Path]:
    """As `_prepare`, of a folder that is new or empty."""
    with _system_errors_as_input_errors(path):
        target = real_target(path)
        if target.is_dir():
            remove_leftovers(target)
        if target.exists() and (not target.is_dir() or any(target.iterdir()) and not _is_replaced(target)):
            raise _not_writable(path, "it is there already", "a new or an empty folder is accepted")
        make_folders(path, target.parent, undo)
        return target, _claim(target, _create_folder, undo, held)


def _is_replaced(folder: Path) -> bool:
    return (watcher := _watcher.get()) is not None and watcher.replaces(folder)


def _create_file(path: Path) -> int:
    # The mode is left to the umask, as for any other file; tempfile would make it private to the user.
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _create_folder(path: Path) -> int | None:
    path.mkdir()
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # another process took it for a leftover before it was opened
        return None


def _claim(
    target: Path, create: Callable[[Path], int | None], undo: contextlib.ExitStack, held: contextlib.ExitStack
) -> Path:
    """A new temporary file or folder beside a target, locked until `held` is closed."""
    remove_leftovers(target.parent)
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _MOST_OF_SUFFIX else ""
    for _ in range(_MOST_TRIES):
        # The name stays short enough for the file system, however long the target's is.
        name = f".{_cut(target.stem, _MOST_OF_NAME)}.{HOST}-{secrets.token_hex(4)}.part{suffix}"
        temporary = target.with_name(name)
        undo.callback(remove, temporary)
        claimed[temporary] = os.getpid()
        descriptor = create(temporary)
        if descriptor is None:
            continue
        held.callback(os.close, descriptor)
        with contextlib.suppress(OSError):  # a file system without locks: then nobody takes it for a leftover
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(temporary):  # else another process took it for a leftover before it was locked
            return temporary
    raise _not_writable(target, "other processes remove what is made there")


def make_folders(path: str | os.PathLike, folder: Path, undo: contextlib.ExitStack) -> None:
    """Create `folder` with its parents, and have `undo` remove those that are missing, or that this process made.

    Of several outputs in a new folder, the one that is undone last removes it.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise _not_writable(path, f"{existing} is a file, not a folder")
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(exist_ok=True)
            _made.add(each)
        if each in _made:
            undo.callback(_remove_if_empty, each)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
        _made.discard(folder)


def _enter(path: str | os.PathLike, temporary: Path, target: Path) -> None:
    with _system_errors_as_input_errors(path):
        if (watcher := _watcher.get()) is not None:
            watcher.completed(temporary, target)
        if temporary.is_dir() and target.is_dir() and _is_replaced(target):
            exchange(temporary, target, f".{_cut(target.name, _MOST_OF_NAME)}.{secrets.token_hex(4)}.replaced")
            remove(temporary)
        else:
            os.replace(temporary, target)
    claimed.pop(temporary, None)


def _not_writable(path: str | os.PathLike, reason: str, accepted: str = _ACCEPTED) -> OutputError:
    return OutputError(f"cannot write {printable(path)}: {reason}; {accepted}")


@contextlib.contextmanager
def _system_errors_as_input_errors(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FAILURES or isinstance(error, InputError):
            raise
        raise _not_writable(path, error.strerror or str(error)) from error


@contextlib.contextmanager
def _failures_as_input_errors(path: str | os.PathLike) -> Iterator[None]:
    """Whatever a writer raises when the disk does not take more becomes an InputError; what else it raises stays."""
    try:
        yield
    except Exception as error:
        if (number := getattr(error, "errno", None)) not in _FAILURES:
            raise
        what, helps = _FAILURES[number]
        raise OutputError(f"{what} while writing {printable(path)}; {helps} {_option_of(Path(path))}") from error
