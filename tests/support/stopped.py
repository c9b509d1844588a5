"""Runs of the training commands that are stopped from outside: by kill -9 at any change of a folder, or a full disk.

Each line of standard input is [job, words, folder, stop], each line of standard output its answer: [exit code, or
minus the signal; standard error; changes of the folder]. What `stop` may have:

change: the process is killed before this change of the folder: a file that is opened to be written, a rename, ...
limit: bytes that a file may have, as on a disk that is full; with "dies" the process is killed where it writes more.
"""

import importlib
import json
import os
import resource
import signal
import sys
import traceback
from typing import Any

_IMPORTED_ONCE = ("autoencoder", "caching", "lora", "run")
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


class _Changes:
    """Counts the changes of a folder, an audit hook. Kills the process before one of them."""

    def __init__(self, folder: str, last: int | None) -> None:
        self._folder, self._last, self.count = folder, last, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in _CHANGES or (event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)))
        if not is_change or not str(arguments[0]).startswith(self._folder):
            return
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def _work(job: str, words: list[str], folder: str, stop: dict[str, Any], results: int) -> int:
    from scripts.training import main

    changes = _Changes(folder, stop.get("change"))
    sys.addaudithook(changes)
    if "limit" in stop:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if stop.get("dies") else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (stop["limit"], stop["limit"]))
    code = main(job, words)
    os.write(results, str(changes.count).encode())
    return code


def _answer(job: str, words: list[str], folder: str, stop: dict[str, Any]) -> list[Any]:
    """The answer to a line. The child's standard error goes through a pipe, which has no limit of size."""
    errors, results = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(errors[1], 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # Another one, which knows that it is a pipe now.
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
        for end in (errors[0], errors[1], results[0]):
            os.close(end)
        code = 70
        try:
            code = _work(job, words, folder, stop, results[1])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(errors[1])
    os.close(results[1])
    with open(errors[0], encoding="utf-8", errors="replace") as file:
        told = file.read()
    with open(results[0], encoding="utf-8") as file:
        count = file.read()
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told, int(count or 0)]


if __name__ == "__main__":
    for each in _IMPORTED_ONCE:  # before the runs, which are forks
        importlib.import_module(f"ppdiffusers_ext.training.easy_animate.{each}")
    for line in sys.stdin:
        print(json.dumps(_answer(*json.loads(line))), flush=True)
