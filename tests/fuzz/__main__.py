"""Fuzz every boundary in turn until the time is over: `make fuzz MINUTES=60`.

Each round runs every file of `tests/fuzz` in a process of its own, with new examples. Prints what each took, stops a
process that hangs, and exits with 1 if anything failed.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
EXAMPLES = "2000"
MOST_SECONDS = 1800  # of one file


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, metavar="X", help="how long (default: 60)")
    parser.add_argument("--examples", default=EXAMPLES, metavar="N", help=f"in a round (default: {EXAMPLES})")
    options = parser.parse_args()
    end, failed, rounds = time.monotonic() + 60 * options.minutes, [], 0
    while time.monotonic() < end:
        rounds += 1
        for file in sorted(FOLDER.glob("test_*.py")):
            if time.monotonic() < end and not _run(file, rounds, options.examples, end):
                failed.append(file.name)
    print(f"{rounds} rounds; failed: {', '.join(sorted(set(failed))) or 'none'}")
    return 1 if failed else 0


def _run(file, number, examples, end):
    """Whether a file's tests passed, or were still passing when the time was over."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(file)]
    before = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "FUZZ_EXAMPLES": examples})
    try:
        code = process.wait(min(MOST_SECONDS, max(1.0, end - before)))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = 0 if time.monotonic() >= end else "stopped: it hangs"
    print(f"round {number}: {file.name}: {time.monotonic() - before:.0f} s, exit code {code}", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
