"""The routes of EasyAnimate's own REST, for clients that exist (easyanimate/api of the original, V1 to V4).

As there: the bodies are JSON objects whose unknown keys are ignored, and answers that could be given have status 200
and a `message`, "Success" or "Error. error information is ...". What differs: a run is a job in the queue; models and
LoRA files are those that the server has, whatever folder stands before their names; `save_sample_path` is the address
of the result, not a path of the server.
"""

import base64
import binascii
import io
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from fastapi import APIRouter, Request, Response

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import any_of
from ppdiffusers_ext.server.answers import answer
from ppdiffusers_ext.server.bodies import read_json_object
from ppdiffusers_ext.server.openapi import body, responses
from ppdiffusers_ext.server.records import DONE, ENDED
from ppdiffusers_ext.server.refusals import TooLarge, TooMany
from ppdiffusers_ext.server.service import Service, service_of
from ppdiffusers_ext.server.words import words_of

router = APIRouter(prefix="/easyanimate")
_SYSTEM, _NONE = "easy_animate", "none"
_MOST = 64 << 20  # bytes of a body, whose pictures and videos are base64
_MOST_OF_RESULT = 256 << 20  # bytes
_LOOK = 1.0  # seconds between looks at whether the client is gone
_VIDEO, _IMAGE, _LONG = "Video Generation", "Image Generation", "Long Video Generation"
_SIZE, _BUCKET = "Generate by", "Resize according to Reference"
_EDITION = re.compile(r"v[0-9]{1,2}(\.[0-9])?")
_DATA = re.compile(r"data:[\w.+/-]{0,80};base64,")
# Key -> default, where one is not given.
DEFAULTS: dict[str, Any] = {
    "base_model_path": _NONE,
    "motion_module_path": _NONE,
    "lora_model_path": _NONE,
    "lora_alpha_slider": 0.55,
    "prompt_textbox": None,
    "negative_prompt_textbox": None,  # the model's own, in the place of the original's long text for all models
    "sampler_dropdown": "Euler",
    "sample_step_slider": 30,
    "resize_method": _SIZE,
    "width_slider": 672,
    "height_slider": 384,
    "base_resolution": 512,
    "is_image": False,
    "generation_method": False,
    "length_slider": 144,
    "overlap_video_length": 4,
    "partial_video_length": 72,
    "cfg_scale_slider": 6,
    "start_image": None,
    "end_image": None,
    "validation_video": None,
    "validation_video_mask": None,
    "denoise_strength": 0.7,
    "seed_textbox": 43,
}
_ROLES = {
    "start_image": "start_image",
    "end_image": "end_image",
    "validation_video": "video",
    "validation_video_mask": "mask",
}
_BODY = body({"application/json": {"type": "object", "properties": {name: {} for name in DEFAULTS}}})


class Choice:
    """The edition and the model that clients have chosen: for all of them, as in the original."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.edition: str | None = None
        self.model: str | None = None

    def choose_edition(self, edition: Any, systems: dict[str, Any]) -> None:
        """Raises InputError for an edition of which the server has no model."""
        names = _models(systems)
        if not isinstance(edition, str) or not _EDITION.fullmatch(edition) or not _of_edition(edition, names):
            known = dict.fromkeys(name.partition("_")[0] for name in names if _EDITION.match(name))
            raise InputError(f"edition {shown(edition)} is not known; {any_of(known)} is accepted")
        with self._guard:
            self.edition, self.model = edition, None

    def choose_model(self, path: Any, systems: dict[str, Any]) -> None:
        """Raises InputError for a model that the server does not have."""
        name = name_of(path, "diffusion_transformer_path")
        names = _models(systems)
        if name is not None and name not in names:
            raise InputError(f"model {shown(name)} is not one of the server's; {any_of(names)} is accepted")
        with self._guard:
            self.model = name

    def model_of(self, systems: dict[str, Any]) -> str | None:
        """The model that is meant; None for the server's own choice."""
        with self._guard:
            edition, model = self.edition, self.model
        if model is not None or edition is None:
            return model
        found = _of_edition(edition, _models(systems))
        ready = [each["name"] for each in systems[_SYSTEM]["models"] if each["ready"] and each["name"] in found]
        return next(iter([*ready, *found]), None)


def _models(systems: dict[str, Any]) -> list[str]:
    return [each["name"] for each in systems[_SYSTEM]["models"]]


def _of_edition(edition: str, names: list[str]) -> list[str]:
    return [name for name in names if name == edition or name.startswith(f"{edition}_")]


def name_of(path: Any, key: str) -> str | None:
    """The name of a model in a client's path: its last part; None for "none". The path itself is never looked at."""
    if path is None or path == _NONE:
        return None
    if not isinstance(path, str):
        raise InputError(f"{key} is {shown(path)}; the name of a model of the server, or none, is accepted")
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def options_of(given: dict[str, Any], model: str | None) -> dict[str, Any]:
    """The options of a job, of the keys of a client. Raises InputError for what there is not."""
    for key in ("base_model_path", "motion_module_path"):
        if given[key] not in (None, _NONE):
            raise InputError(f"{key} is {shown(given[key])}; none is accepted, and models of the server by their name")
    method = given["generation_method"] or (_IMAGE if given["is_image"] else _VIDEO)
    method = _IMAGE if given["is_image"] else method
    if method not in (_VIDEO, _IMAGE, _LONG):
        raise InputError(f"generation_method is {shown(method)}; {any_of((_VIDEO, _IMAGE, _LONG))} is accepted")
    options = {
        "prompt": given["prompt_textbox"] or "",
        "negative_prompt": given["negative_prompt_textbox"],
        "scheduler": given["sampler_dropdown"],
        "num_inference_steps": given["sample_step_slider"],
        "guidance_scale": given["cfg_scale_slider"],
        "num_frames": 1 if method == _IMAGE else given["length_slider"],
        "seed": _seed(given["seed_textbox"]),
        "model": model,
    }
    if given["resize_method"] == _SIZE:
        options |= {"width": given["width_slider"], "height": given["height_slider"]}
    elif given["resize_method"] == _BUCKET:
        options["base"] = given["base_resolution"]
    else:
        raise InputError(f"resize_method is {shown(given['resize_method'])}; {_SIZE} or {_BUCKET} is accepted")
    if method == _LONG:
        options |= {"segment": given["partial_video_length"], "overlap": given["overlap_video_length"]}
    if given["validation_video"]:
        options["strength"] = given["denoise_strength"]
    lora = name_of(given["lora_model_path"], "lora_model_path")
    if lora is not None:
        options["loras"] = [[Path(lora).stem, given["lora_alpha_slider"]]]
    return {name: value for name, value in options.items() if value is not None}


def _seed(value: Any) -> Any:
    """A seed, which clients also send as a text; one that is empty is drawn."""
    if value in ("", None):
        return -1
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value.strip()):
        return int(value)
    return value


def decoded(text: Any, key: str) -> bytes:
    """The bytes of base64, with or without the beginning of a data address. Raises InputError."""
    if not isinstance(text, str):
        raise InputError(f"{key} is {shown(text)}; a file in base64 is accepted")
    found = _DATA.match(text)
    try:
        return base64.b64decode(text[found.end() if found else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{key} is no base64; a file in base64 is accepted") from None


@router.post("/update_edition", openapi_extra=_BODY, responses=responses(200))
async def update_edition(request: Request) -> Response:
    """Choose the edition whose model runs: `edition`."""
    service, choice = service_of(request), _choice(request)
    return await _told(request, lambda given: _set(service, choice.choose_edition, given.get("edition", "v2")))


@router.post("/update_diffusion_transformer", openapi_extra=_BODY, responses=responses(200))
async def update_diffusion_transformer(request: Request) -> Response:
    """Choose the model that runs, by name: `diffusion_transformer_path`."""
    service, choice = service_of(request), _choice(request)
    path = "diffusion_transformer_path"
    return await _told(request, lambda given: _set(service, choice.choose_model, given.get(path, _NONE)))


@router.post("/infer_forward", openapi_extra=_BODY, responses=responses(200))
async def infer_forward(request: Request) -> Response:
    """Make a picture or a video, and answer with it in base64 when it is there."""
    return await _told(request, partial(_infer, request, service_of(request), _choice(request)))


def _choice(request: Request) -> Choice:
    state = request.app.state
    if not hasattr(state, "easy_animate"):
        state.easy_animate = Choice()
    return state.easy_animate


async def _told(request: Request, work: Any) -> Response:
    """What a route answers: refusals too have status 200 here."""
    try:
        return answer({"message": "Success", **await work(await read_json_object(request, _MOST))})
    except InputError as error:
        return answer({"message": f"Error. error information is {words_of(error)}"})


async def _set(service: Service, choose: Any, value: Any) -> dict[str, Any]:
    choose(value, await service.ask(service.jobs.systems))
    return {}


async def _infer(request: Request, service: Service, choice: Choice, given: dict[str, Any]) -> dict[str, Any]:
    given = {name: given.get(name, default) for name, default in DEFAULTS.items()}
    options = options_of(given, choice.model_of(await service.ask(service.jobs.systems)))
    files = {}
    for key, role in _ROLES.items():
        if given[key]:
            if service.uploads.available_tokens < 1:
                raise TooMany("busy.uploads")
            content = await anyio.to_thread.run_sync(decoded, given[key], key)
            add = partial(service.jobs.add_upload, io.BytesIO(content), key)
            files[role] = (await anyio.to_thread.run_sync(add, limiter=service.uploads)).id
    job = await service.ask(service.jobs.submit, _SYSTEM, options, files)
    try:
        state = await _wait(request, service, job.id)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await service.ask(service.jobs.cancel, job.id)
        raise
    if state != DONE:
        ended = await service.ask(service.jobs.get, job.id)
        raise InputError(ended.error or f"the job was {ended.state}")
    path = await service.ask(service.jobs.result, job.id, "result")
    return {"save_sample_path": f"/jobs/{job.id}/result", "base64_encoding": await service.ask(_encoded, path)}


async def _wait(request: Request, service: Service, job_id: str) -> str:
    """The state in which a job ends. Raises InputError where its client, or the server, ends before."""
    last = 0
    while True:
        if service.events.available_tokens < 1:
            raise TooMany("busy.jobs")
        wait = partial(service.jobs.wait_events, job_id, last, _LOOK)
        found = await anyio.to_thread.run_sync(wait, limiter=service.events, abandon_on_cancel=True)
        last = found[-1].number if found else last
        state = (await service.ask(service.jobs.get, job_id)).state
        if state in ENDED:
            return state
        if await request.is_disconnected():
            raise InputError("the client is gone; a client that waits is accepted")
        if service.is_stopping:
            raise InputError("the server ends; the same later is accepted")


def _encoded(path: Path) -> str:
    if path.stat().st_size > _MOST_OF_RESULT:
        raise TooLarge("base64", name=path.name)
    return base64.b64encode(path.read_bytes()).decode("ascii")
