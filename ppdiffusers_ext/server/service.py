"""What the routes share: the jobs, who may ask, and the threads in which they ask."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter
from starlette.requests import Request

from ppdiffusers_ext.server.jobs import Jobs
from ppdiffusers_ext.server.refusals import TooMany
from ppdiffusers_ext.server.security import Access
from ppdiffusers_ext.server.settings import ServerSettings

T = TypeVar("T")


def _threads(count: int) -> Any:
    return field(default_factory=lambda: CapacityLimiter(count))


@dataclass
class Service:
    """
    Attributes:
        jobs: what is asked.
        settings: of the jobs.
        access: who may ask.
        is_stopping: True as soon as the server is to end, which streams observe.
        uploads, answers: threads of those that wait for a client or for the worker; events: places of streams. Who
            finds none is refused. quick: threads of all that waits for the disk alone; they are few, for what they
            compute holds up the event loop.
    """

    jobs: Jobs
    settings: ServerSettings
    access: Access
    is_stopping: bool = False
    uploads: CapacityLimiter = _threads(16)
    answers: CapacityLimiter = _threads(20)
    events: CapacityLimiter = _threads(100)
    quick: CapacityLimiter = _threads(4)
    _asked: dict[Any, "asyncio.Task[Any]"] = field(default_factory=dict)

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a method of the jobs returns that waits for nothing but the disk."""
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self.quick)

    async def ask_once(self, function: Callable[..., T], *arguments: Any) -> T:
        """As `ask`, for what takes long: whoever asks the same meanwhile gets the same, without another thread."""
        key = (function, *map(id, arguments))
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self.ask(function, *arguments))
            task.add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(task)

    async def ask_worker(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a method of the jobs returns that waits for the worker. Raises TooMany."""
        if self.answers.available_tokens < 1:
            raise TooMany("busy.answers")
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self.answers)


def service_of(request: Request) -> Service:
    return request.app.state.service
