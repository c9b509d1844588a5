"""Download the weights of the three systems, or look after those that are there.

    python scripts/download_weights.py --list
    python scripts/download_weights.py --system animate_anyone
    python scripts/download_weights.py --only sd-vae-ft-mse --dest /data/weights
    python scripts/download_weights.py --verify

What is there already is not fetched again, and a download that was stopped is continued. The hub's token is taken from
HF_TOKEN or a stored login, another hub from HF_ENDPOINT, proxies from the environment. A mirror is a server with the
hub's layout, or `python -m http.server` in a folder that was filled by this command.

Exit code: 0, 1 when something is missing or wrong, 2 for bad input, 130 for Ctrl-C.
"""

import contextlib
import logging
import sys
import threading
from pathlib import Path

if __package__ is None or __package__ == "":
    # Run as a file, from any folder.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.command import ArgumentParser, run, whole  # noqa: E402


def make_parser():
    parser = ArgumentParser(prog="python scripts/download_weights.py", description=__doc__)
    parser.add_argument("--system", action="append", default=[], metavar="NAME", help="may be repeated (default: all)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a checkpoint; may be repeated")
    parser.add_argument("--dest", default="pretrained_weights", metavar="DIR", help="default: ./pretrained_weights")
    parser.add_argument("--mirror", metavar="URL", help="a server that is asked first")
    parser.add_argument(
        "--jobs", type=whole(1, 32), default=4, metavar="N", help="files at once, 1 to 32 (default: 4)"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--list", action="store_true", help="show what there is, and fetch nothing")
    modes.add_argument("--verify", action="store_true", help="hash what is there, and fetch nothing")
    modes.add_argument("--offline", action="store_true", help="say what is missing, and fetch nothing")
    return parser


def main(arguments=None, registry=None, patience=None):
    """Run the command. Returns the exit code.

    registry: tuple of `Weights` (default: that of the library). patience: a `Patience`.
    """
    try:
        return run(make_parser(), lambda options: _work(options, registry, patience), arguments)
    except SystemExit as stop:
        return stop.code


def _work(options, registry, patience):
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.weights.inventory import select
    from ppdiffusers_ext.weights.registry import REGISTRY

    folder = Path(options.dest)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--dest {folder} is not a folder; a folder, or a name for a new one, is accepted")
    entries = select(REGISTRY if registry is None else registry, options.system, options.only, extras=options.list)
    if options.list:
        return _list(entries, folder)
    if options.verify:
        return _verify(entries, folder)
    if options.offline:
        return _offline(entries, folder)
    return _download(entries, folder, options, patience)


def _list(entries, folder):
    from ppdiffusers_ext.weights.inventory import missing

    rows = [("name", "systems", "files", "size", "licence", "needed by", "there")]
    for weights in entries:
        sizes = [file.size for file in weights.files]
        absent = len(missing([weights], folder))
        there = "yes" if not absent else "no" if absent == len(weights.files) else f"{absent} missing"
        rows.append(
            (
                weights.name if weights.by_default else f"{weights.name} (extra)",
                ", ".join(weights.systems),
                str(len(weights.files)),
                _size(None if None in sizes else sum(sizes)),
                weights.licence,
                weights.needed_by,
                there,
            )
        )
    _print_table(rows)


def _verify(entries, folder):
    from ppdiffusers_ext.weights.inventory import verify

    bad = 0
    for path, verdict, reason in verify(entries, folder):
        print(f"{verdict:<10}  {path}{': ' if reason else ''}{reason}", flush=True)
        bad += verdict != "ok"
    return _fail(f"{bad} files in {folder} could not be verified") if bad else 0


def _offline(entries, folder):
    from ppdiffusers_ext.weights.checksums import Checksums
    from ppdiffusers_ext.weights.inventory import items_of, state_of

    checksums, bad = Checksums(folder), 0
    for item in items_of(entries):
        state = state_of(item, folder, checksums.get(item.path))
        print(f"{state:<10}  {item.path}")
        bad += state in ("missing", "wrong")
    return _fail(f"{bad} files are not in {folder}; without --offline they are fetched") if bad else 0


def _download(entries, folder, options, patience):
    from ppdiffusers_ext.weights.download import download

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
        return _fail(f"{len(failed)} of {len(outcomes)} files are missing; the same command tries again")
    print(f"all {len(outcomes)} files are in {folder}")
    return 0


def _fail(message):
    print(f"error: {message}", file=sys.stderr)
    return 1


def _progress(folder):
    """What shows the plan, and then a bar; where standard error is no terminal, a line for each file that is done."""
    import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from ppdiffusers_ext.weights.download import Progress

    class Shown(Progress):
        def __init__(self):
            self.bar, self.lock, self.done, self.failed, self.count = None, threading.Lock(), 0, 0, 0

        @contextlib.contextmanager
        def shown(self):
            try:
                with logging_redirect_tqdm([logging.getLogger("ppdiffusers_ext")]):
                    yield
            finally:
                if self.bar is not None:
                    self.bar.close()

        def planned(self, plan):
            _print_plan(plan, folder)
            self.count = len(plan.steps)
            if sys.stderr.isatty() and plan.to_fetch:
                total = sum(step.size or 0 for step in plan.to_fetch)
                self.bar = tqdm.tqdm(total=total, unit="B", unit_scale=True, dynamic_ncols=True)

        def advanced(self, count):
            if self.bar is not None:
                with self.lock:
                    self.bar.update(count)

        def finished(self, outcome):
            self.done += 1
            self.failed += outcome.result == "failed"
            if self.bar is not None:
                with self.lock:
                    self.bar.set_postfix_str(f"{self.done} of {self.count} files done, {self.failed} failed")
            elif outcome.result != "present":
                print(f"{outcome.result:<8} {outcome.item.path}", file=sys.stderr, flush=True)

    return Shown()


def _print_plan(plan, folder):
    rows = [("name", "file", "size", "state")]
    for step in plan.steps:
        state = f"{step.state}, {_size(step.done)} are here" if step.done else step.state
        rows.append((step.item.weights.name, step.item.path, _size(step.size), state))
    _print_table(rows)
    unknown = sum(step.size is None for step in plan.to_fetch)
    print(
        f"to fetch: {len(plan.to_fetch)} files, {_size(plan.bytes_to_fetch)}"
        + (f" and {unknown} of unknown size" if unknown else "")
        + f"; free at {folder}: {_size(plan.free)}",
        flush=True,
    )


def _print_table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())


def _size(count):
    """Bytes for people; "?" for None."""
    if count is None:
        return "?"
    if count < 1000:
        return f"{count} B"
    unit, size = next((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= size)
    return f"{count / size:.1f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
