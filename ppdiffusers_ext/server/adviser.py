"""Answers that need Paddle but no model: plans of memory, people in pictures.

A second process of the worker's kind gives them, so that nobody waits for a job's step; it is started when it is first
asked and ended when nobody has asked for a while.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppdiffusers_ext.server.process import Ended, WorkerProcess
from ppdiffusers_ext.server.refusals import Refusal, TooMany, Unavailable
from ppdiffusers_ext.server.settings import ServerSettings

_MOST_WAITING = 16
_IDLE = 300.0  # seconds


class Adviser:
    """
    Args:
        settings: of the server.
        log: see `WorkerProcess`.
    """

    def __init__(self, settings: ServerSettings, log: Path) -> None:
        self._settings, self._log = settings, log
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._waiting, self._number, self._asked = 0, 0, 0.0
        self._worker: WorkerProcess | None = None
        self._is_stopped = False

    def ask(self, question: dict[str, Any]) -> Any:
        """The answer to a question: a message of `messages` without its number.

        Raises:
            InputError: what was asked cannot be answered, in words.
            TooMany: too many ask at once.
            Unavailable: the process does not answer.
        """
        with self._in_turn():
            try:
                return self._ask(question)
            except Ended as end:
                self._end()
                raise Unavailable("adviser", **end.reason) from end

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        with self._guard:
            if self._waiting >= _MOST_WAITING:
                raise TooMany("busy.answers")
            self._waiting += 1
        try:
            with self._turn:
                yield
        finally:
            with self._guard:
                self._waiting -= 1

    def _ask(self, question: dict[str, Any]) -> Any:
        if self._is_stopped:
            raise Unavailable("stopping")
        if self._worker is None or not self._worker.is_alive:
            self._end()
            self._worker = WorkerProcess(self._settings, self._log)
        self._number += 1
        self._worker.send({**question, "request": self._number})
        deadline = time.monotonic() + self._settings.answer_seconds
        while time.monotonic() < deadline and not self._is_stopped:
            message = self._worker.receive(0.2)
            if message is None or message.get("request") != self._number:
                continue
            self._asked = time.monotonic()
            if "error" not in message:
                return message["value"]
            kind = Refusal if message["is_input"] else Unavailable
            raise kind.told(message["error"], message.get("code"), message.get("values", {}))
        raise Ended("slow")

    def rest(self) -> None:
        """End the process if nobody has asked for a while."""
        if self._worker is not None and time.monotonic() - self._asked > _IDLE and self._turn.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._turn.release()

    def stop(self) -> None:
        """End the process; whoever waits is told."""
        self._is_stopped = True
        if self._worker is not None:
            self._worker.kill()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = None
