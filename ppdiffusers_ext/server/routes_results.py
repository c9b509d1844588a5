"""Routes of what becomes of a job: its events as they come, and its results as files."""

import json
import os
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, StreamingResponse

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.server.answers import Refused
from ppdiffusers_ext.server.openapi import parameter, responses
from ppdiffusers_ext.server.records import ENDED, Event
from ppdiffusers_ext.server.refusals import NotFound, TooMany
from ppdiffusers_ext.server.service import Service, service_of

router = APIRouter()
_KEEP_ALIVE = 15.0  # seconds without events after which a comment says that the stream is there
_LOOK = 1.0  # seconds between looks at whether the server is to end
_UNBUFFERED = {"X-Accel-Buffering": "no"}  # for a proxy between
_LAST = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_KINDS = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".gif": "image/gif",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
}
# A report's page has its styles and pictures in itself. Opened, it may run nothing and ask for nothing.
_POLICY_OF_FILES = "default-src 'none'; img-src data: 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def text_of(event: Event) -> str:
    """An event as server-sent events have it."""
    data = json.dumps(event.data, ensure_ascii=True, separators=(",", ":"))
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"


@router.get(
    "/jobs/{job_id}/events",
    openapi_extra=parameter("Last-Event-ID", "number of the last event that is known", "integer", "header"),
    responses=responses(200, 204, 400, 404, 429),
)
async def events(request: Request, job_id: str) -> Response:
    """The events of a job as they come (server-sent): state, progress, preview, note, plan. It ends with the job."""
    service = service_of(request)
    last = request.headers.get("last-event-id", "").strip() or "0"
    if not _LAST.fullmatch(last):
        raise InputError(f"Last-Event-ID is {shown(last)}; the number of an event is accepted")
    job = await service.ask(service.jobs.get, job_id)
    if job.state in ENDED and not await service.ask(service.jobs.wait_events, job_id, int(last), 0.0):
        return Response(status_code=204)  # with which a browser asks no more
    if service.events.available_tokens < 1:
        raise TooMany("busy.events")
    return StreamingResponse(_stream(service, job_id, int(last)), media_type="text/event-stream", headers=_UNBUFFERED)


async def _stream(service: Service, job_id: str, last: int) -> AsyncIterator[str]:
    """The events as text. It has its place among the streams until it ends, not only while it waits for an event."""
    place = object()
    await service.events.acquire_on_behalf_of(place)
    try:
        async for text in _texts(service, job_id, last):
            yield text
    finally:
        service.events.release_on_behalf_of(place)


async def _texts(service: Service, job_id: str, last: int) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    thread = anyio.CapacityLimiter(1)  # that waits for this stream's events
    told, has_ended = time.monotonic(), False
    while not service.is_stopping:
        wait = partial(service.jobs.wait_events, job_id, last, 0.0 if has_ended else _LOOK)
        try:
            found = await anyio.to_thread.run_sync(wait, limiter=thread, abandon_on_cancel=True)
            if has_ended and not found:  # it had before they were read: these are all
                return
            has_ended = (await service.ask(service.jobs.get, job_id)).state in ENDED
        except NotFound:  # forgotten meanwhile
            return
        for event in found:
            last = event.number
            yield text_of(event)
        now = time.monotonic()
        if found:
            told = now
        elif now - told > _KEEP_ALIVE:
            told = now
            yield ": keep-alive\n\n"


async def file_answer(request: Request, path: Path, name: str) -> Response:
    """A file as an attachment, whole or the one part that is asked for.

    Args:
        path: of the file, which is the server's choice.
        name: of the attachment, without a suffix.

    Raises:
        NotFound: it was removed.
        Refused: there is no such part.
    """
    try:
        status = await anyio.to_thread.run_sync(os.stat, path)
    except OSError:
        raise NotFound("result.gone") from None
    suffix = path.suffix.lower()
    _check_range(request, status.st_size)
    return FileResponse(
        path,
        media_type=_KINDS.get(suffix, "application/octet-stream"),
        filename=f"{name}{suffix}",
        stat_result=status,
        headers={"Content-Security-Policy": _POLICY_OF_FILES, "Cache-Control": "private, no-cache"},
    )


def _check_range(request: Request, size: int) -> None:
    """Have a Range header that asks for no single part be none, as it may be; raises Refused for a part outside."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found and (found[1] or found[2]):
        first = int(found[1]) if found[1] else size - int(found[2] or 0)
        is_whole = not found[1] or not found[2] or int(found[2]) >= first
        if is_whole and first >= size:
            words = f"the file has {size} bytes; a range within them is accepted"
            raise Refused(words, 416, {"Content-Range": f"bytes */{size}"})
        if is_whole:
            return
    request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]


async def _result(request: Request, job_id: str, name: str) -> Response:
    service = service_of(request)
    path = await service.ask(service.jobs.result, job_id, name)
    job = await service.ask(service.jobs.get, job_id)
    return await file_answer(request, path, f"{job.system}_{job_id[:8]}_{name}")


@router.head("/jobs/{job_id}/result", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/result",
    openapi_extra=parameter("name", "result (the default), side_by_side, sheet, report, report_page or preview"),
    responses=responses(200, 206, 404, 409, 416),
)
async def result(request: Request, job_id: str) -> Response:
    """A file of a job: the video or picture, or another one by its name. Takes Range."""
    return await _result(request, job_id, request.query_params.get("name", "result"))


@router.head("/jobs/{job_id}/preview", include_in_schema=False)
@router.get("/jobs/{job_id}/preview", responses=responses(200, 404, 409))
async def preview(request: Request, job_id: str) -> Response:
    """The latest preview of a frame (PNG)."""
    return await _result(request, job_id, "preview")


@router.head("/jobs/{job_id}/report", include_in_schema=False)
@router.get("/jobs/{job_id}/report", responses=responses(200, 404, 409))
async def report(request: Request, job_id: str) -> Response:
    """The report of identity and poses (JSON)."""
    return await _result(request, job_id, "report")
