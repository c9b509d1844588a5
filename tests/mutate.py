"""Change the code in small ways and see whether the tests notice: `make mutate ROOM=windows`.

mutmut changes the functions of a module, one place at a time (`>` to `>=`, 1 to 2, an argument to None), and runs the
tests that mirror this module, and no others, against each change. Prints the share of changes found for each module,
and exits with 1 if it is below 85% for one of them.

What was tried is kept in build/mutate, so a run that was stopped goes on where it was, and a module is tried anew
when it or its tests have changed. mutmut leaves alone what stands outside of functions, and functions with
decorators other than `staticmethod` and `classmethod`.
"""

import argparse
import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "mutate"
LEAST = 0.85  # share of the mutants of a module that its tests find
# Modules of the package whose results depend on their arguments alone; the tests of a/b.py are tests/a/test_b.py.
ROOMS = {
    "windows": ("pipelines/windows.py",),
    "guidance": ("pipelines/steps.py",),
    "tiling": ("pipelines/tiling.py", "pipelines/stable_animator/time_tiles.py"),
    "alignment": ("preprocess/alignment.py",),
    "losses": ("training/losses.py", "training/easy_animate/autoencoder_losses.py"),
    "buckets": ("data/easy_animate/buckets.py",),
    "options": ("options.py",),
    "assignment": ("preprocess/tracks.py", "weights/assignment.py"),
    "metrics": (
        "metrics/frames.py",
        "metrics/pixels.py",
        "metrics/video.py",
        "metrics/pairing.py",
        "metrics/poses.py",
        "metrics/drift.py",
        "metrics/summary.py",
        "metrics/distribution.py",
        "metrics/frechet.py",
    ),
}
# A test that crashes or does not end has noticed something as well.
_FOUND = {"killed", "timeout", "segfault", "suspicious"}
_NOT_COPIED = {".git", ".venv", "build", "dist", "output", "ppdiffusers_ext", "tests", "setup.cfg"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)} (default: all)")
    parser.add_argument("--show", action="store_true", help="print each change that the tests did not find")
    options = parser.parse_args()
    if unknown := [room for room in options.rooms if room not in ROOMS]:
        parser.error(f"there is no room {', '.join(unknown)}; the rooms are {', '.join(ROOMS)}")
    print(f"{'module':45} {'mutants':>7} {'found':>7} {'share':>6} {'seconds':>7}", flush=True)
    too_few = []
    for room in options.rooms or ROOMS:
        for module in ROOMS[room]:
            before = time.monotonic()
            results = run(module)
            found = sum(status in _FOUND for status in results.values())
            share = found / len(results)
            seconds = time.monotonic() - before
            print(f"{module:45} {len(results):7} {found:7} {share:6.1%} {seconds:7.0f}", flush=True)
            if share < LEAST:
                too_few.append(module)
            if options.show:
                _show(module, [name for name, status in results.items() if status not in _FOUND])
    if too_few:
        print(f"less than {LEAST:.0%} of the mutants were found: {', '.join(too_few)}", file=sys.stderr)
    return 1 if too_few else 0


def tests_of(module: str) -> str:
    """The file of tests that mirrors a module, both relative to their folders: a/b.py -> tests/a/test_b.py."""
    return str(Path("tests", module).with_name(f"test_{Path(module).name}"))


def run(module: str) -> dict[str, str]:
    """Status by mutant of a module: killed, survived, no tests, timeout, ...; what an earlier run tried is kept."""
    folder = FOLDER / module.replace("/", ".")
    sources = [ROOT / "ppdiffusers_ext" / module, ROOT / tests_of(module), ROOT / "setup.cfg"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    kept = folder / "digest"
    results = _results(folder) if kept.exists() and kept.read_text() == digest else {}
    if not results:  # other code, or a run that was stopped before it had written the mutants
        _prepare(folder, module)
        kept.write_text(digest)
    if not _is_complete(results):
        process = _call(["run", "--max-children", "1"], folder)
        if process.returncode or not _is_complete(results := _results(folder)):
            raise SystemExit(f"error: mutmut failed on {module}:\n{process.stdout[-4000:]}{process.stderr[-4000:]}")
    return results


def _results(folder: Path) -> dict[str, str]:
    lines = _call(["results", "--all", "true"], folder).stdout.splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if "__mutmut_" in line)


def _is_complete(results: dict[str, str]) -> bool:
    return bool(results) and not {"not checked", "check was interrupted by user"} & set(results.values())


def _show(module: str, names: list[str]) -> None:
    folder = FOLDER / module.replace("/", ".")
    for name in names:
        lines = _call(["show", name], folder).stdout.splitlines()
        changes = [line for line in lines if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
        print(name.rpartition(".")[2], *changes, sep="\n", flush=True)


def _prepare(folder: Path, module: str) -> None:
    """Fills a folder with what mutmut needs for a module: its settings, the package, and a copy of the tests."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = folder / "mutants"
    ignored = shutil.ignore_patterns("goldens", "__pycache__")
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=ignored)
    (copy / "tests" / "goldens").symlink_to(ROOT / "tests" / "goldens")
    for path in ROOT.iterdir():
        if path.name not in _NOT_COPIED:
            (copy / path.name).symlink_to(path)
    (folder / "ppdiffusers_ext").symlink_to(ROOT / "ppdiffusers_ext")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    config["mutmut"]["only_mutate"] = f"ppdiffusers_ext/{module}"
    config["mutmut"]["pytest_add_cli_args_test_selection"] = tests_of(module)
    with open(folder / "setup.cfg", "w", encoding="utf-8") as file:
        config.write(file)


def _call(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs mutmut in a folder, where tests and what they start import the package from, on one thread.

    A process forked from one that has computed on several threads may hang.
    """
    path = os.pathsep.join(filter(None, [str(folder / "mutants"), os.environ.get("PYTHONPATH")]))
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, "PYTHONPATH": path, **threads}
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
