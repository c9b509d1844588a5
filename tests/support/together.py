"""Ranks without the seconds that each process takes to import Paddle: `python -m tests.support.together`.

Reads JSON from its input: jobs, each with the number of its ranks, the "module:function" that each of them calls, the
keyword arguments of each rank, and a folder for what they print. Every rank is a fork of this process, with the
environment that Paddle's launcher gives it. Writes JSON: for each job and rank its exit code and what it returned.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ppdiffusers_ext.distributed.ranks import NOT_CONNECTED

ROOT = Path(__file__).parents[2]
_TRIES = 5
_FIRST = "ppdiffusers_ext.pipelines.registry"  # before Paddle alone, so that it sees that threads are set


def run_together(folder, *jobs):
    """For each job a list of ranks' (exit code, what was returned, what they said on stderr).

    Args:
        folder: `Path`, for what they print.
        jobs: the function as "module:function", and a list of the arguments of each rank, dicts.
    """
    request = []
    for i, (function, arguments) in enumerate(jobs):
        (place := folder / f"job_{i}").mkdir()
        request.append({"function": function, "arguments": arguments, "folder": str(place)})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.together"], input=json.dumps(request), cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    codes, results = json.loads(process.stdout.splitlines()[-1]), []
    for job, of_ranks in zip(request, codes):
        ranks = []
        for rank, code in enumerate(of_ranks):
            returned, said = (Path(job["folder"]) / f"{kind}_{rank}" for kind in ("returned", "stderr"))
            text = said.read_text(errors="replace")
            ranks.append((code, json.loads(returned.read_text()) if returned.exists() else None, text))
        results.append(ranks)
    return results


def main():
    request = json.load(sys.stdin)
    for name in (_FIRST, *(job["function"].partition(":")[0] for job in request)):
        importlib.import_module(name)
    json.dump([_run_again(job) for job in request], sys.stdout)


def _run_again(job):
    """The exit codes of a job, once more where gloo did not connect its ranks: it may not on a busy machine."""
    for _ in range(_TRIES):
        codes = _run(job)
        said = [path.read_text(errors="replace") for path in Path(job["folder"]).glob("stderr_*")]
        if not any(NOT_CONNECTED in text for text in said):
            break
    return codes


def _run(job):
    count, ports = len(job["arguments"]), _free_ports(len(job["arguments"]) + 1)
    endpoints = [f"127.0.0.1:{port}" for port in ports[1:]]
    children = []
    for rank, arguments in enumerate(job["arguments"]):
        environment = {
            "PADDLE_MASTER": f"127.0.0.1:{ports[0]}",
            "PADDLE_TRAINERS_NUM": str(count),
            "PADDLE_LOCAL_SIZE": str(count),
            "PADDLE_TRAINER_ID": str(rank),
            "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
            "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
            "PADDLE_DISTRI_BACKEND": "gloo",
        }
        child = os.fork()
        if child == 0:
            os.environ.update(environment)
            _be(rank, job["function"], arguments, Path(job["folder"]))
        children.append(child)
        time.sleep(0 if rank else 0.5)  # who comes before the first one waits for three seconds
    return _wait(children, Path(job["folder"]))


def _wait(children, folder):
    """Exit codes of ranks; as the launcher does, end the others where one could not connect."""
    codes = dict.fromkeys(children)
    while None in codes.values():
        child, status = os.waitpid(-1, 0)
        codes[child] = os.waitstatus_to_exitcode(status)
        if NOT_CONNECTED in (folder / f"stderr_{children.index(child)}").read_text(errors="replace"):
            for other in [other for other, code in codes.items() if code is None]:
                os.kill(other, signal.SIGKILL)
    return [codes[child] for child in children]


def _be(rank, function, arguments, folder):
    code = 1
    try:
        for kind, number in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(folder / f"{kind}_{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        module, _, name = function.partition(":")
        returned = getattr(importlib.import_module(module), name)(**arguments)
        (folder / f"returned_{rank}").write_text(json.dumps(returned))
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
