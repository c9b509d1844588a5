"""A worker as the server has it: started, written to, read from, and ended."""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from ppdiffusers_ext.server.children import child_environment
from ppdiffusers_ext.server.messages import encode
from ppdiffusers_ext.server.refusals import reason
from ppdiffusers_ext.server.settings import ServerSettings

_MOST_OF_LOG = 1 << 20


class Ended(Exception):
    """The worker is gone; `reason` says why, see `refusals.reason`."""

    def __init__(self, why: str, **values: str) -> None:
        self.reason = reason(why, **values)
        super().__init__(self.reason["words"])


class WorkerProcess:
    """
    Args:
        settings: of the server.
        log: file that what the worker prints is added to.
        lock: file that the worker holds, if it is the one that writes into jobs' folders.
    """

    def __init__(self, settings: ServerSettings, log: Path, lock: Path | None = None) -> None:
        if log.exists() and log.stat().st_size > _MOST_OF_LOG:
            os.replace(log, log.with_name(f"{log.name}.1"))
        command = [sys.executable, "-m", "ppdiffusers_ext.server.worker", json.dumps(dataclasses.asdict(settings))]
        command += [] if lock is None else [str(lock)]
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, env=child_environment(),
                start_new_session=True,  # Ctrl-C is for the server, which ends the worker
            )  # fmt: skip
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._guard = threading.Lock()
        self.is_ready = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # half a line of one that was killed
            for line in self._process.stdout:
                message = json.loads(line)
                self.is_ready = self.is_ready or message["event"] == "ready"
                self._messages.put(message)
        self._messages.put(None)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def memory(self) -> int:
        """Bytes that it has in memory; 0 if it is gone."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._process.pid).memory_info().rss
        return 0

    def send(self, message: dict[str, Any]) -> None:
        """Write to the worker. Raises Ended."""
        assert self._process.stdin is not None
        line = encode(message)
        try:
            with self._guard:
                self._process.stdin.write(line)
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._end() from error

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if there is none for so long. Raises Ended."""
        try:
            message = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            self._messages.put(None)
            raise self._end()
        return message

    def _end(self) -> Ended:
        """How the process ended."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return Ended("silent")
        if code == -signal.SIGKILL:
            return Ended("killed")
        if code < 0:
            return Ended("crashed", signal=signal.Signals(-code).name)
        return Ended("ended")

    def kill(self) -> None:
        """End the worker at once. What it has written so far can be gone on with."""
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
