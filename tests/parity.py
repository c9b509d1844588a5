"""Compare this project with the original implementations' numbers.

    python -m tests.parity DIR [--case NAME] [--json FILE]

DIR is a system's folder in the format of tests/goldens/README.md, of any sizes and seeds. Prints a line for each
tensor (case, tensor, max_abs_error, tolerance, ok) and exits with 1 if one is over its tolerance or a case has no
runner.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import paddle

from tests import (
    parity_animate_anyone,
    parity_easy_animate,
    parity_image_text,
    parity_metrics,
    parity_stable_animator,
)
from tests.support.golden import Case

# By the name of the system's folder; a case in any other folder is one of the first system that has a runner for it.
SYSTEMS = {
    "animate_anyone": parity_animate_anyone,
    "stable_animator": parity_stable_animator,
    "easy_animate": parity_easy_animate,
    "image_text": parity_image_text,
    "metrics": parity_metrics,
}


def find_cases(folder):
    """The golden cases under a folder (or the folder itself, if it is one), by name."""
    folder = Path(folder)
    if (folder / "config.json").exists():
        return [Case(folder)]
    folders = [path for path in sorted(folder.iterdir()) if path.name[0] != "_"]
    return [Case(path) for path in folders if any((path / name).exists() for name in ("config.json", "README.md"))]


def system_of(case):
    """The module with the runners of a case."""
    if case.folder.parent.name in SYSTEMS:
        return SYSTEMS[case.folder.parent.name]
    able = (system for system in SYSTEMS.values() if runner_of(case.name, system.RUNNERS))
    return next(able, parity_animate_anyone)


def runner_of(name, runners):
    """The runner whose name the case's name starts with (the longest such), or None."""
    matching = [known for known in runners if name == known or name.startswith(known + "_")]
    return runners[max(matching, key=len)] if matching else None


def max_abs_error(ours, expected):
    """Largest absolute difference of two tensors or lists; infinite where shapes differ or ours is not finite."""
    if isinstance(ours, list):
        return 0.0 if ours == expected else float("inf")
    ours, expected = (np.asarray(x, dtype=np.float64) for x in (ours, expected))
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - expected).max()) if ours.size else 0.0


def run_case(case):
    """Rows (dicts with case, tensor, max_abs_error, tolerance, ok) of one case."""
    system = system_of(case)
    if any(case.name.startswith(name) for name in system.NOT_YET):
        return [{"case": case.name, "tensor": "not yet", "max_abs_error": None, "tolerance": None, "ok": None}]
    runner = runner_of(case.name, system.RUNNERS)
    if runner is None:
        return [{"case": case.name, "tensor": "no runner", "max_abs_error": None, "tolerance": None, "ok": False}]
    rows = []
    with paddle.no_grad():
        for tensor, ours, expected, tolerance in runner(case):
            error = max_abs_error(ours, expected)
            rows.append(
                {
                    "case": case.name,
                    "tensor": tensor,
                    "max_abs_error": error,
                    "tolerance": tolerance,
                    "ok": error <= tolerance,
                }
            )
    return rows


def print_rows(rows):
    # Thousands of exact rows (windows) that agree are one line.
    exact = [row for row in rows if row["tolerance"] == 0.0 and row["ok"]]
    shown = [row for row in rows if row not in exact] if len(exact) > 20 else rows
    for row in shown:
        error, tolerance = (
            "-" if row[key] is None else f"{row[key]:.2e}" if row[key] else "0"
            for key in ("max_abs_error", "tolerance")
        )
        verdict = {True: "ok", False: "FAILED", None: "-"}[row["ok"]]
        print(f"{row['case']:32} {row['tensor']:32} {error:>10} {tolerance:>10}  {verdict}")
    if len(shown) < len(rows):
        print(f"{exact[0]['case']:32} {f'{len(exact)} exact rows':32} {'0':>10} {'0':>10}  ok")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of golden cases")
    parser.add_argument("--case", metavar="NAME", help="run this case only")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the rows as JSON")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder of golden cases")
    cases = [case for case in find_cases(options.folder) if options.case in (None, case.name)]
    if not cases:
        parser.error(f"there is no case {options.case or ''} under {options.folder}")
    rows = []
    for case in cases:
        of_case = run_case(case)
        print_rows(of_case)
        rows += of_case
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    failed = [row for row in rows if row["ok"] is False]
    passed = sum(row["ok"] is True for row in rows)
    print(f"{passed} passed, {len(failed)} failed, {len(rows) - passed - len(failed)} not yet")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
