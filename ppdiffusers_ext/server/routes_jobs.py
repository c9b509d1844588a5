"""Routes of jobs and uploads: what is sent, asked, planned and stopped."""

import base64
from typing import Any

from fastapi import APIRouter, Request, Response

from ppdiffusers_ext.errors import InputError, check_keys, shown
from ppdiffusers_ext.server import forms
from ppdiffusers_ext.server.answers import Refused, answer
from ppdiffusers_ext.server.bodies import FormReader, kind_of_body, parse_object, read_json_object
from ppdiffusers_ext.server.openapi import (
    ALIGNMENT_BODY,
    JOB_BODY,
    JSON_BODY_OF_JOB,
    POSES_BODY,
    UPLOAD_BODY,
    body,
    parameter,
    responses,
)
from ppdiffusers_ext.server.records import Job, Upload
from ppdiffusers_ext.server.service import Service, service_of

router = APIRouter()
_PARTS = ("system", "options", "files")
_MOST_DIGITS = 6


def job_fields(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    return dict(vars(job))


async def read_form(request: Request, service: Service, files: list[str], texts: list[str]) -> FormReader:
    """A form, whose files are uploads then. Raises InputError."""
    most = service.settings.max_upload_bytes * max(1, len(files))
    reader = FormReader(request, service.jobs.add_upload, files, texts, most, service.uploads)
    await reader.read()
    return reader


@router.post("/uploads", openapi_extra=body(UPLOAD_BODY), responses=responses(201, 400, 413, 415, 429, 503))
async def add_upload(request: Request) -> Response:
    """Send a picture or a video, as `file` of a form. Answers with its id, kind, size and length."""
    reader = await read_form(request, service_of(request), ["file"], [])
    if "file" not in reader.uploads:
        raise InputError("the form has no file; a picture or a video as the field file is accepted")
    return answer(upload_fields(reader.uploads["file"]), 201)


def upload_fields(upload: Upload) -> dict[str, Any]:
    """An upload as JSON."""
    return dict(vars(upload))


@router.get("/uploads/{upload_id}", responses=responses(200, 404))
async def get_upload(request: Request, upload_id: str) -> Response:
    """An upload: its kind, name, bytes, size and length."""
    service = service_of(request)
    return answer(upload_fields(await service.ask(service.jobs.get_upload, upload_id)))


async def read_job(request: Request) -> tuple[Any, Any, Any]:
    """The system, options and files of a job, of a form or of JSON; files that come with a form are uploads then."""
    if kind_of_body(request) == "application/json":
        given = await read_json_object(request)
        check_keys(given, _PARTS, "key of a job")
        return given.get("system"), given.get("options", {}), given.get("files", {})
    if kind_of_body(request) != "multipart/form-data":
        kind = shown(kind_of_body(request) or "of no type")
        raise Refused(f"the body is {kind}; application/json or multipart/form-data is accepted", 415)
    roles = forms.roles()
    reader = await read_form(request, service_of(request), roles, ["system", "options", *roles])
    texts = dict(reader.texts)
    system, options = texts.pop("system", None), texts.pop("options", "{}")
    files = texts | {role: upload.id for role, upload in reader.uploads.items()}
    return system, parse_object(options or "{}", "options"), files


@router.post("/jobs", openapi_extra=body(JOB_BODY), responses=responses(201, 400, 404, 409, 413, 415, 429, 503))
async def add_job(request: Request) -> Response:
    """Queue a job. Answers with its id; `GET /jobs/ID` and its events say what becomes of it."""
    service = service_of(request)
    system, options, files = await read_job(request)
    job = await service.ask(service.jobs.submit, system, options, files)
    return answer(job_fields(job), 201, {"Location": f"{request.scope.get('root_path', '')}/jobs/{job.id}"})


def whole_number(request: Request, name: str, default: int) -> int:
    """A whole number of the query. Raises InputError."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InputError(f"{name} is {shown(text)}; a whole number is accepted")
    return int(text)


@router.get(
    "/jobs",
    openapi_extra=parameter("limit", "how many, from 1 to 500", "integer")
    | parameter("before", "id of a job: only those created before it"),
    responses=responses(200, 400, 404),
)
async def list_jobs(request: Request) -> Response:
    """Jobs, the newest first."""
    service, limit = service_of(request), whole_number(request, "limit", 50)
    return await service.ask(_listed, service, limit, request.query_params.get("before"))


def _listed(service: Service, limit: int, before: str | None) -> Response:
    """The answer with jobs, which is long: written in a thread, not in the event loop."""
    return answer({"jobs": [job_fields(job) for job in service.jobs.list(limit, before)]})


@router.get("/jobs/{job_id}", responses=responses(200, 404))
async def get_job(request: Request, job_id: str) -> Response:
    """A job: state, progress, time left, position in the queue, plan of memory, names of results."""
    service = service_of(request)
    return answer(job_fields(await service.ask(service.jobs.get, job_id)))


@router.delete(
    "/jobs/{job_id}",
    openapi_extra=parameter("forget", "true: remove an ended job and its results", "boolean"),
    responses=responses(200, 400, 404, 409),
)
async def stop_job(request: Request, job_id: str) -> Response:
    """Stop a job: at once if it waits, within one step if it runs. With `forget=true`, remove one that has ended."""
    service, forget = service_of(request), request.query_params.get("forget", "false")
    if forget not in ("true", "false"):
        raise InputError(f"forget is {shown(forget)}; true or false is accepted")
    if forget == "true":
        await service.ask(service.jobs.remove, job_id)
        return answer({"id": job_id, "state": "forgotten"})
    return answer(job_fields(await service.ask(service.jobs.cancel, job_id)))


@router.post("/plan", openapi_extra=body(JSON_BODY_OF_JOB), responses=responses(200, 400, 404, 409, 429, 503))
async def plan(request: Request) -> Response:
    """Memory and time that a job would take, without running it, and whether it fits."""
    service = service_of(request)
    given = await read_json_object(request)
    check_keys(given, _PARTS, "key of a job")
    asked = given.get("system"), given.get("options", {}), given.get("files", {})
    return answer(await service.ask_worker(service.jobs.plan, *asked))


@router.post("/previews/poses", openapi_extra=body(POSES_BODY), responses=responses(200, 400, 404, 429, 503))
async def preview_poses(request: Request) -> Response:
    """The people in a picture, or in a frame of a video, with their skeletons.

    Answers with JSON, whose `picture` is a PNG in base64; with the PNG itself where image/png is asked for.
    """
    service = service_of(request)
    given = await read_json_object(request)
    check_keys(given, ("upload", "frame", "person"), "key of a preview")
    person = given.get("person", "largest")
    if not isinstance(given.get("upload"), str):
        raise InputError(f"upload is {shown(given.get('upload'))}; the id of an upload is accepted")
    if isinstance(person, bool) or not isinstance(person, (int, str)):
        raise InputError(f"person is {shown(person)}; largest, surest, left, right or a number is accepted")
    person = shown(person) if isinstance(person, int) else person  # bounded: a number may be endless
    found = await service.ask_worker(service.jobs.preview_poses, given["upload"], given.get("frame", 0), person)
    return _pictured(request, found)


@router.post(
    "/previews/alignment", openapi_extra=body(ALIGNMENT_BODY), responses=responses(200, 400, 404, 409, 429, 503)
)
async def preview_alignment(request: Request) -> Response:
    """How the poses of a driving video will lie over the picture: as in a job, with the number of a `frame`.

    Answers with JSON, whose `picture` is a PNG in base64; with the PNG itself where image/png is asked for.
    """
    service = service_of(request)
    given = await read_json_object(request)
    check_keys(given, (*_PARTS, "frame"), "key of a preview")
    asked = given.get("system"), given.get("options", {}), given.get("files", {}), given.get("frame", 0)
    return _pictured(request, await service.ask_worker(service.jobs.preview_alignment, *asked))


def _pictured(request: Request, found: dict[str, Any]) -> Response:
    """Facts with a picture, or the picture alone where that is asked for."""
    if request.headers.get("accept", "").startswith("image/png"):
        return Response(found["picture"], media_type="image/png")
    return answer({**found, "picture": base64.b64encode(found["picture"]).decode("ascii")})


@router.get("/systems", responses=responses(200))
async def systems(request: Request) -> Response:
    """The systems: what is installed, models and what they lack, LoRA files, and the forms of their options."""
    service = service_of(request)
    return await service.ask_once(_systems, service)


def _systems(service: Service) -> Response:
    found = service.jobs.systems()
    return answer({name: {**system, "modes": forms.forms_of(name)} for name, system in found.items()})
