"""What the runs of all systems do where several ranks make one result: equal inputs, one seed, one writer."""

import dataclasses
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.data.side_outputs import keep
from ppdiffusers_ext.distributed.ranks import RankError, Ranks, current_ranks
from ppdiffusers_ext.errors import InputError, shown, shown_path
from ppdiffusers_ext.options import choose_seed
from ppdiffusers_ext.packaged import located

_OWN = frozenset({"output", "engine_cache"})  # options that ranks may have of their own
_MOST_OF_VALUE = 400  # characters


def seed_of_all(seed: Any) -> int:
    """As `choose_seed`; one that is drawn is the same on all ranks."""
    return current_ranks().of_first("the seed", lambda: choose_seed(seed))


def keep_of_first(
    write: Callable[[Any], Any], target: str | os.PathLike, frames: Callable[[], Iterable], result: Any
) -> Any:
    """As `keep`, in the first rank. The others take part in what it decodes, and return `result`.

    Args:
        write, target: see `keep`.
        frames: begins the decoding, as `write` does it once.
    """

    def work(begin: Callable[[], object]) -> Any:
        def write_beginning(target: Any) -> Any:
            begin()
            return write(target)

        return keep(write_beginning, target)

    def follow() -> None:
        for _ in frames():
            pass

    written = current_ranks().lead(work, follow)
    return written if current_ranks().is_first else result


def check_same(config: Any, files: Mapping[str, Iterable[str | os.PathLike]]) -> None:
    """Refuse ranks that would not compute the same.

    Options are compared by their values, inputs and weights by their contents, which are read only where the ranks
    have not the same file of the same machine.

    Args:
        config: dataclass of options.
        files: what weights are called -> their files.

    Raises:
        RankError: there is a difference; names the rank, and the option or the file.
    """
    ranks = current_ranks()
    if ranks.count == 1:
        return
    options: dict[str, Any] = {}
    paths: dict[str, Path] = {}
    for name, value in _values(config):
        if isinstance(value, (str, os.PathLike)) and os.path.exists(located(value)):
            paths[name] = Path(located(value))
        else:
            options[name] = shown(value, _MOST_OF_VALUE)
    for name, of_part in files.items():
        paths |= {f"{name}, file {i + 1}": Path(located(path)) for i, path in enumerate(of_part)}
    _compare_options(ranks, options)
    _compare_files(ranks, paths)


def _values(config: Any, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Options, those of dataclasses within and the members of lists among them: name, value."""
    for item in dataclasses.fields(config):
        if item.name not in _OWN:
            yield from _within(f"{prefix}{item.name.replace('_', '-')}", getattr(config, item.name))


def _within(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        yield from _values(value, f"{name} ")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _within(f"{name} (key {shown(key)})", key)
            yield from _within(f"{name} of {shown(key)}", each)
    elif isinstance(value, (list, tuple)):
        for i, each in enumerate(value):
            yield from _within(f"{name} (number {i + 1})", each)
    else:
        yield name, value


def _compare_options(ranks: Ranks, options: dict[str, str]) -> None:
    first, *others = ranks.meet("the options", options)
    for rank, own in enumerate(others, 1):
        for name in sorted({*first, *own}):
            if first.get(name) != own.get(name):
                here, there = (of.get(name, "another file or nothing") for of in (own, first))
                raise RankError(
                    f"rank {rank} has other options: {name} is {here}, and {there} on rank 0; the same command and "
                    "configuration for all ranks are accepted"
                )


def _compare_files(ranks: Ranks, paths: Mapping[str, Path]) -> None:
    first, *others = ranks.meet("the files", {name: _identity(path) for name, path in paths.items()})
    names = [name for name in first if any(own.get(name) != first[name] for own in others)]
    if not names:
        return
    contents = ranks.meet("their contents", {name: [str(paths[name]), _content(paths[name])] for name in names})
    for name in names:
        for rank, own in enumerate(contents):
            if own[name][1] != contents[0][name][1]:
                raise RankError(
                    f"rank {rank} has another file than rank 0: {name}, {shown_path(own[name][0])}; files with the "
                    "same content for all ranks are accepted"
                )


def _identity(path: Path) -> list[Any]:
    """What two ranks have in common that see one file of one machine; of a folder nothing is."""
    of = os.stat(path)
    if path.is_dir():
        return [os.getpid(), str(path)]
    return [socket.gethostname(), of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns]


def _content(path: Path) -> str:
    try:
        return digest(path)
    except (OSError, InputError) as error:
        return f"cannot be read: {error}"  # its reader tells that
