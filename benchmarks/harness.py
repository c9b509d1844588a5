"""What the benchmarks share: contestants in processes of their own, in turn, and the result as a table and as JSON.

A benchmark is a module with `add_arguments(parser)` and `compete(options)`, which returns the fields of its result
(see `result`). Its contestants are functions that `contestant.py` calls in the child.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from ppdiffusers_ext.data.outputs import check_writable, output_file
from ppdiffusers_ext.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
# Importing ppdiffusers_ext chooses MKL's path for this process; a contestant decides that for itself.
_CHOSEN_HERE = ("MKL_DEBUG_CPU_TYPE",)
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in _CHOSEN_HERE}


class ContestantError(RuntimeError):
    """A contestant ended without a result."""


def run_contestant(module, name, settings, python=sys.executable, title=None):
    """Run `CONTESTANTS[name]` of a module of this package in a process of its own and return its dict.

    `title` is what the user is told that is being measured, the name unless given.

    Raises:
        ContestantError: it failed; the message has its last words.
    """
    title = title or name
    print(f"measuring {title} ...", file=sys.stderr, flush=True)
    command = [python, "-m", "benchmarks.contestant", module, name, json.dumps(settings)]
    process = subprocess.run(command, cwd=ROOT, env=_ENVIRONMENT, capture_output=True, text=True)
    lines = process.stdout.splitlines()
    if process.returncode == 0 and lines:
        row = json.loads(lines[-1])
        if "seconds" in row:
            print(f"  {row['seconds']:.2f} s, peak {row['peak_bytes'] / 1e9:.2f} GB", file=sys.stderr, flush=True)
        return row
    words = " | ".join(process.stderr.strip().splitlines()[-3:])
    hint = "; more free memory may be needed" if process.returncode == -9 else ""
    raise ContestantError(f"contestant {title} ended with exit code {process.returncode}{hint}: {words}")


def run_in_turn(contestants, rounds):
    """Run contestants one after the other, several times over, so that a busy machine is busy for all of them.

    Args:
        contestants: name -> the arguments of `run_contestant`.
        rounds: how often.

    Returns:
        name -> dict, see `run_contestant`, with the `times` of all rounds, their median and the highest peak.
    """
    rows = {}
    for number in range(rounds):
        for name, arguments in contestants.items():
            row = run_contestant(*arguments, title=name if rounds == 1 else f"{name}, round {number + 1} of {rounds}")
            before = rows.get(name, {"peak_bytes": 0})
            clocks = {key: before.get(key, []) + row[key] for key in ("times", "processor_times") if key in row}
            peak = max(before["peak_bytes"], row["peak_bytes"])
            rows[name] = {**row, **clocks, "seconds": statistics.median(clocks["times"]), "peak_bytes": peak}
    return rows


def peer_python(*packages):
    """The interpreter that the environment variable PEER_PYTHON names, or None where it is not set.

    Raises:
        InputError: it does not run, or cannot import the packages.
    """
    python = os.environ.get("PEER_PYTHON")
    if not python:
        return None
    needed = f"a Python that can import {' and '.join(packages)} is accepted"
    try:
        command = [python, "-c", f"import {', '.join(packages)}"]
        process = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True)
    except OSError as error:
        raise InputError(f"PEER_PYTHON={python} does not run ({error.strerror}); {needed}") from error
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise InputError(f"PEER_PYTHON={python} cannot be used ({reason}); {needed}")
    return python


def result(ours, peers, **more):
    """The fields of a result: `ours`, `peers` and `ratios`, then what else there is to say.

    Args:
        ours: dict with `seconds` and `peak_bytes`.
        peers: such dicts by name.
    """
    ratios = {name: peer["seconds"] / ours["seconds"] for name, peer in peers.items()}
    return {"ours": ours, "peers": peers, "ratios": ratios, **more}


def print_table(rows, ratios, heading="peer / ours"):
    """A line for each contestant: `rows` are dicts with `seconds` and `peak_bytes` by name; what the `ratios` are."""
    print(f"{'':32} {'seconds':>9} {'peak GB':>9} {heading if ratios else '':>12}".rstrip())
    for name, row in rows.items():
        ratio = f"{ratios[name]:.2f}" if name in ratios else ""
        print(f"{name:32} {row['seconds']:9.2f} {row['peak_bytes'] / 1e9:9.2f} {ratio:>12}".rstrip())


def run(name, benchmark, options):
    """Run a benchmark, print its table and write its JSON, complete or not at all. Returns 1 if it is not `ok`."""
    if options.json:
        check_writable(options.json)
    fields = {"benchmark": name, **benchmark.compete(options)}
    if options.json:
        with output_file(options.json) as path:
            Path(path).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    return 0 if fields.get("ok", True) else 1
