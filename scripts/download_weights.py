"""Download the weights of a system, or look after those that are there.

    python scripts/download_weights.py --list
    python scripts/download_weights.py --system animate_anyone
    python scripts/download_weights.py --only sd-vae-ft-mse --dest /data/weights
    python scripts/download_weights.py --system animate_anyone --print-urls wget > fetch.sh
    python scripts/download_weights.py --system animate_anyone --offline
    python scripts/download_weights.py --verify

What is there already is not fetched again, and a download that was stopped is continued. The hub's token is taken from
HF_TOKEN or a stored login, another hub from HF_ENDPOINT, proxies from the environment. A mirror is a server with the
hub's layout, or `python -m http.server` in a folder that was filled by this command.

Exit code: 0, 1 when something is missing or wrong, 2 for bad input, 130 for Ctrl-C.
"""

import contextlib
import dataclasses
import logging
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = __import__("scripts").__name__

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.packaged import as_called

from .command import ArgumentParser, run, tell_error
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.download import Outcome, Plan
    from ppdiffusers_ext.weights.entries import Weights
    from ppdiffusers_ext.weights.exchange import Patience
    from ppdiffusers_ext.weights.inventory import Total

ALL = "all"
WIDTH = 100  # columns of --list
MOST_RATE = 10**9  # bytes per second
WAYS = """three ways to get what is missing:
  a mirror      --mirror URL; for the files of the hub also HF_ENDPOINT=URL in the environment
  other means   --print-urls lists the address and the place of each file for aria2c, wget or curl
  by hand       put the files into their places; --offline checks and records them without a connection"""


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions):
    system: list = option(list, help="a system, or all; may be repeated", metavar="NAME", repeats=True)
    only: list = option(list, help="a checkpoint; may be repeated", metavar="NAME", repeats=True)
    dest: str = path_option("pretrained_weights", help="folder to fill", metavar="DIR")
    mirror: str | None = option(None, help="a server that is asked first", metavar="URL")
    jobs: int = option(4, 1, 32, help="number of files at once")
    min_rate: float | None = option(
        None,
        0,
        MOST_RATE,
        help="bytes per second below which, over a minute, a line counts as dropped; 0 for none",
        unset="1000",
    )
    list: bool = option(False, help="show what there is, and fetch nothing")
    verify: bool = option(False, help="hash what is there, and fetch nothing", excludes=("list",))
    offline: bool = option(
        False, help="check and record what is there, and open no connection", excludes=("list", "verify")
    )
    print_urls: str | None = option(
        None,
        choices=("aria2", "wget", "curl"),
        help="print addresses and places of what is missing for aria2 (default), wget or curl, and fetch nothing",
        metavar="PROGRAM",
        bare="aria2",
        excludes=("list", "verify", "offline"),
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python scripts/download_weights.py", __doc__, Options)


def main(
    arguments: Sequence[str] | None = None,
    registry: "tuple[Weights, ...] | None" = None,
    patience: "Patience | None" = None,
) -> Any:
    """Run the command. Returns the exit code.

    registry: tuple of `Weights` (default: that of the library). patience: a `Patience`.
    """
    try:
        return run(make_parser(), lambda options: _work(options, registry, patience), arguments)
    except SystemExit as stop:
        return stop.code


def _work(options: Options, registry: "tuple[Weights, ...] | None", patience: "Patience | None") -> int:
    from ppdiffusers_ext.errors import InputError, shown
    from ppdiffusers_ext.files import check_name
    from ppdiffusers_ext.pipelines.published import PUBLISHED

    folder = check_name(options.dest, "--dest", "a folder, or a name for a new one, is accepted")
    if _is_there(folder) and not folder.is_dir():
        raise InputError(
            f"--dest {shown(str(folder))} is not a folder; a folder, or a name for a new one, is accepted"
        )
    entries = _select(options, PUBLISHED if registry is None else registry, folder)
    if options.list:
        return _list(entries, folder)
    if options.verify:
        return _verify(entries, folder)
    if options.print_urls:
        return _print_urls(entries, folder, options.print_urls, options.mirror)
    if options.offline:
        return _offline(entries, folder)
    return _download(entries, folder, options, patience)


def _is_there(folder: Path) -> bool:
    from ppdiffusers_ext.errors import InputError, printable

    try:
        return folder.exists()
    except OSError as error:  # a name that is too long, say
        raise InputError(
            f"--dest {printable(folder, 300)} cannot be used ({error.strerror}); another folder is needed"
        ) from error


def _select(options: Options, registry: "tuple[Weights, ...]", folder: Path) -> "list[Weights]":
    """The entries that are meant. Without a name, --list shows all, --verify hashes what is there, the others ask."""
    from ppdiffusers_ext.weights.inventory import select

    systems = [] if ALL in options.system else options.system
    if not options.system and not options.only and not options.list:
        # Of a checkpoint of which something is there, all files: those that are missing are to be told.
        found = [entry for entry in select(registry, extras=True) if options.verify and _has_files(entry, folder)]
        if found:
            return found
        systems = _ask_system(registry)
    return select(registry, systems, options.only, extras=options.list)


def _has_files(entry: "Weights", folder: Path) -> bool:
    from ppdiffusers_ext.weights.checksums import Checksums
    from ppdiffusers_ext.weights.inventory import items_of, state_of

    checksums, items = Checksums(folder), items_of([entry])
    states = [state_of(item, folder, checksums.get(item.path)) for item in items]
    return any(state in ("present", "unrecorded", "wrong") for state in states)


def _ask_system(registry: "tuple[Weights, ...]") -> list[str]:
    """The systems that the user chooses at a terminal: a list as `select` takes it. Raises InputError elsewhere."""
    from ppdiffusers_ext.errors import InputError, shown
    from ppdiffusers_ext.weights.inventory import Total, select

    systems = sorted({system for weights in registry for system in weights.systems})
    sizes = [
        _total(Total.of([file for weights in select(registry, chosen) for file in weights.files]))
        for chosen in ([system] for system in systems)
    ]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        accepted = ", ".join(f"{system} ({size})" for system, size in zip(systems, sizes))
        raise InputError(f"no --system is given; {accepted}, or {ALL} is accepted, or a checkpoint by --only NAME")
    print("which system?", file=sys.stderr)
    for number, (system, size) in enumerate(zip(systems, sizes), 1):
        print(f"  {number}  {system:<20} {size}", file=sys.stderr)
    print(f"  {len(systems) + 1}  {ALL}\nnumber or name: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    choices = {**{str(number): name for number, name in enumerate([*systems, ALL], 1)}, ALL: ALL}
    chosen = choices.get(answer, answer)
    if chosen != ALL and chosen not in systems:
        raise InputError(f"{shown(answer)} is not one of them; {', '.join(systems)} or {ALL} is accepted")
    return [] if chosen == ALL else [chosen]


def _list(entries: "list[Weights]", folder: Path) -> int:
    from ppdiffusers_ext.weights.inventory import Total, missing

    rows = [("name", "files", "size", "there")]
    for weights in entries:
        absent = len(missing([weights], folder))
        there = "yes" if not absent else "no" if absent == len(weights.files) else f"{absent} missing"
        name = weights.name if weights.by_default else f"{weights.name} (extra)"
        rows.append((name, str(len(weights.files)), _total(Total.of(weights.files)), there))
    head, *lines = _table(rows)
    print(head)
    for weights, line in zip(entries, lines):
        about = f"{', '.join(weights.systems)}; needed by {as_called(weights.needed_by)}; licence: {weights.licence}"
        print(line, *textwrap.wrap(about, WIDTH, initial_indent="    ", subsequent_indent="    "), sep="\n")
    return 0


def _verify(entries: "list[Weights]", folder: Path) -> int:
    from ppdiffusers_ext.weights.inventory import verify

    bad = 0
    for path, verdict, reason in verify(entries, folder):
        print(f"{verdict:<10}  {path}{': ' if reason else ''}{reason}", flush=True)
        bad += verdict != "ok"
    return _fail(f"in {folder}, {counted(bad, 'file')} could not be verified") if bad else 0


def _print_urls(entries: "list[Weights]", folder: Path, program: str, mirror: str | None) -> int:
    from ppdiffusers_ext.weights.addresses import list_addresses
    from ppdiffusers_ext.weights.checksums import Checksums
    from ppdiffusers_ext.weights.inventory import Total, items_of, state_of
    from ppdiffusers_ext.weights.sources import check_address, hub_endpoint

    if mirror is not None:
        check_address(mirror, "--mirror")
    hub_endpoint()
    checksums = Checksums(folder)
    items = [item for item in items_of(entries) if state_of(item, folder, checksums.get(item.path)) == "missing"]
    print(list_addresses(items, folder, program, mirror), end="")
    total = _total(Total.of([item.file for item in items]))
    print(f"note: {total}; --offline checks and records them afterwards", file=sys.stderr)
    return 0


def _offline(entries: "list[Weights]", folder: Path) -> int:
    from ppdiffusers_ext.weights.download import Progress, download

    class Shown(Progress):
        def finished(self, outcome: "Outcome") -> None:
            is_missing = outcome.result == "failed" and not (folder / outcome.item.target).exists()
            result = "missing" if is_missing else "wrong" if outcome.result == "failed" else outcome.result
            place = outcome.item.target if is_missing else outcome.item.path
            reason = f": {'; '.join(outcome.reasons)}" if result == "wrong" else ""
            print(f"{result:<10}  {place}{reason}", flush=True)

    outcomes = download(entries, folder, jobs=1, progress=Shown(), offline=True)
    bad = sum(outcome.result == "failed" for outcome in outcomes)
    if not bad:
        return 0
    print(WAYS, file=sys.stderr)
    return _fail(f"missing from {folder}, or wrong: {counted(bad, 'file')} of {len(outcomes)}")


def _download(entries: "list[Weights]", folder: Path, options: Options, patience: "Patience | None") -> int:
    from ppdiffusers_ext.weights.download import download
    from ppdiffusers_ext.weights.exchange import Patience

    patience = patience or Patience()
    if options.min_rate is not None:
        patience = dataclasses.replace(patience, min_rate=options.min_rate)
    progress = _progress(folder)
    try:
        with progress.shown():
            outcomes = download(entries, folder, options.mirror, options.jobs, patience, progress)
    except KeyboardInterrupt:
        print("\nerror: stopped by Ctrl-C; the same command continues where it stopped", file=sys.stderr)
        raise SystemExit(130) from None
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    for outcome in failed:
        print(f"missing  {outcome.item.path}", file=sys.stderr)
        for reason in outcome.reasons:
            print(f"    {reason}", file=sys.stderr)
    if failed:
        print(WAYS, file=sys.stderr)
        return _fail(f"missing: {counted(len(failed), 'file')} of {len(outcomes)}; the same command tries again")
    print(f"all there: {counted(len(outcomes), 'file')} in {folder}")
    return 0


def _fail(message: str) -> int:
    tell_error(message)
    return 1


def _progress(folder: Path) -> Any:
    """What shows the plan, and then a bar; where standard error is no terminal, a line for each file that is done."""
    import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from ppdiffusers_ext.weights.download import Progress

    class Shown(Progress):
        def __init__(self) -> None:
            self.bar, self.lock, self.done, self.failed, self.count = None, threading.Lock(), 0, 0, 0

        @contextlib.contextmanager
        def shown(self) -> Iterator[None]:
            try:
                with logging_redirect_tqdm([logging.getLogger("ppdiffusers_ext")]):
                    yield
            finally:
                if self.bar is not None:
                    self.bar.close()

        def planned(self, plan: "Plan") -> None:
            _print_plan(plan, folder)
            self.count = len(plan.steps)
            if sys.stderr.isatty() and plan.to_fetch:
                total = sum(step.size or 0 for step in plan.to_fetch)
                self.bar = tqdm.tqdm(total=total, unit="B", unit_scale=True, dynamic_ncols=True)

        def advanced(self, count: int) -> None:
            if self.bar is not None:
                with self.lock:
                    self.bar.update(count)

        def finished(self, outcome: "Outcome") -> None:
            self.done += 1
            self.failed += outcome.result == "failed"
            if self.bar is not None:
                with self.lock:
                    self.bar.set_postfix_str(f"{self.done} of {self.count} files done, {self.failed} failed")
            elif outcome.result != "present":
                print(f"{outcome.result:<8} {outcome.item.path}", file=sys.stderr, flush=True)

    return Shown()


def _print_plan(plan: "Plan", folder: Path) -> None:
    rows = [("name", "file", "size", "state")]
    for step in plan.steps:
        state = f"{step.state}, {_size(step.done)} are here" if step.done else step.state
        size = f"about {_size(step.size)}" if step.is_rounded and step.size is not None else _size(step.size)
        rows.append((step.item.weights.name, step.item.path, size, state))
    print(*_table(rows), sep="\n")
    unknown = sum(step.size is None for step in plan.to_fetch)
    about = "about " if any(step.is_rounded and step.size is not None for step in plan.to_fetch) else ""
    print(
        f"to fetch: {counted(len(plan.to_fetch), 'file')}, {about}{_size(plan.bytes_to_fetch)}"
        + (f" and {unknown} of unknown size" if unknown else "")
        + f"; free at {folder}: {_size(plan.free)}",
        flush=True,
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]


def _total(total: "Total") -> str:
    """A `Total` for people."""
    if not total.known and total.unknown:
        return "unknown"
    text = f"about {_size(total.known)}" if total.is_rounded else _size(total.known)
    return f"{text} and {total.unknown} of unknown size" if total.unknown else text


def _size(count: int | None) -> str:
    """Bytes for people; "unknown" for None."""
    if count is None:
        return "unknown"
    if count < 1000:
        return f"{count} B"
    unit, size = next((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= size)
    return f"{count / size:.1f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
