"""Orders made by a server (`scripts.serve`), where ComfyUI's Python has no Paddle: pictures go up, frames come down.

Frames pass H.264 on both ways, almost without loss on the way up. A job is deleted on the server when the user
interrupts, and stops there within a step.
"""

import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.comfyui.client import Client
from ppdiffusers_ext.comfyui.files import scratch, write_picture
from ppdiffusers_ext.comfyui.host import Watch
from ppdiffusers_ext.comfyui.orders import Made, Model, Order, Report
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError, counted, one_line, shown

_ID = re.compile(r"[\w-]{1,128}", re.ASCII)
_CRF = 1  # of what goes up
_VIDEOS = ("pose_video", "video")  # roles of several pictures; a mask may be one or several
_CHECK, _ASK = 0.2, 2.0  # seconds between looks at an interruption, and between questions where no event comes
_UPLOADED = 0.05  # part of the progress
# What the server decides for all jobs.
_ITS_OWN = ("device", "vae_device", "ignore_memory")
_NOT_THERE = ("picture_mask", "masks")  # roles that it does not take


class Server:
    """See `orders.Way`.

    Args:
        address: such as http://127.0.0.1:7860.
        token: that it asks for; empty for none.

    Raises:
        InputError: no such address.
    """

    def __init__(self, address: str, token: str = "") -> None:
        self._client = Client(address, token)

    def check(self, model: Model) -> None:
        systems = self._client.json("GET", "/systems")
        of_system = systems.get(model.system) if isinstance(systems, dict) else None
        if not isinstance(of_system, dict):
            raise self._odd(systems)
        named = [each for each in _listed(of_system.get("models")) if isinstance(each, dict)]
        models = {each["name"]: each for each in named if isinstance(each.get("name"), str)}
        if not models:
            raise InputError(f"the server {self._client.address} has no model of {model.system}; one that has is "
                             "accepted")  # fmt: skip
        if model.name_there:
            self._check_model(model.name_there, models)
        loras = _listed(of_system.get("loras"))
        if unknown := [name for name, _ in _loras(model) if name not in loras]:
            raise InputError(f"the server {self._client.address} has no LoRA {shown(unknown[0])}; {_names(loras)}")

    def _check_model(self, name: str, models: dict[Any, dict[str, Any]]) -> None:
        if name not in models:
            raise InputError(f"the server {self._client.address} has no model {shown(name)}; {_names(models)}")
        if not models[name].get("ready", True):
            missing = one_line(", ".join(map(str, _listed(models[name].get("missing")))) or "files", 300)
            command = one_line(models[name].get("command") or "its files are needed there", 200)
            raise MissingFileError(f"model {name} of the server {self._client.address} lacks {missing}; {command}")

    def make(self, order: Order, watch: Watch) -> Made:
        watch.tick(0.0)
        if not_there := [role for role in _NOT_THERE if role in order.files]:
            raise InputError(f"a server finds faces by itself and takes no {', '.join(not_there)}; face_mask and "
                             "frame_masks are accepted where Paddle is installed")  # fmt: skip
        with scratch() as folder:
            files = {role: self._upload(role, order, folder, watch) for role in order.files}
            asked = {"system": order.model.system, "options": _options(order), "files": files}
            job = self._id(self._client.json("POST", "/jobs", asked))
            try:
                watch.tick(_UPLOADED)
                self._wait(job, watch)
            except BaseException:  # ComfyUI's interruption among them
                with contextlib.suppress(InputError):
                    self._client.json("DELETE", f"/jobs/{job}")
                raise
            frames, fps = self._fetch(job, folder)
            report = self._report(job) if order.options.get("report") else None
            watch.tick(1.0)
            return Made(frames, fps, report)

    def _upload(self, role: str, order: Order, folder: Path, watch: Watch) -> str:
        """Send the pictures of a role: the id of the upload."""
        frames = order.files[role]
        if role in _VIDEOS or (role == "mask" and len(frames) > 1):
            path = folder / f"{role}.mp4"
            with VideoWriter(path, order.fps, frames.shape[2], frames.shape[1], crf=_CRF) as writer:
                for frame in frames:
                    watch.tick()
                    writer.write(frame)
        elif len(frames) > 1:
            raise InputError(f"{role} has {counted(len(frames), 'picture')}; a server takes one, and where Paddle is "
                             "installed several are accepted")  # fmt: skip
        else:
            path = Path(write_picture(frames, folder, role))
        return self._id(self._client.upload("/uploads", path))

    def _id(self, answer: Any) -> str:
        """The id in an answer, which stands in further paths."""
        found = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(found, str) or not _ID.fullmatch(found):
            raise self._odd(answer)
        return found

    def _odd(self, answer: Any) -> InputError:
        return InputError(f"the answer of the server {self._client.address} is {shown(answer)}; that of a job server "
                          "(scripts.serve) is accepted")  # fmt: skip

    def _wait(self, job: str, watch: Watch) -> None:
        """Return when a job is done. Raises InputError where it ends otherwise."""
        asked, state = time.monotonic(), ""
        with self._events(job) as events:
            while state != "done":
                watch.tick()
                event: dict[str, Any] = {}
                with contextlib.suppress(queue.Empty):
                    event = events.get(timeout=_CHECK)
                if event.get("state") or time.monotonic() - asked > _ASK:
                    event, asked = self._client.json("GET", f"/jobs/{job}"), time.monotonic()
                    if not isinstance(event, dict):
                        raise self._odd(event)
                    state = str(event.get("state"))
                if isinstance(event.get("progress"), (int, float)):
                    watch.tick(_UPLOADED + (0.95 - _UPLOADED) * event["progress"])
                if state in ("failed", "cancelled"):
                    why = one_line(event.get("error") or "no reason is given", 500)
                    raise InputError(f"the server's job {state}: {why}")

    @contextlib.contextmanager
    def _events(self, job: str) -> Iterator["queue.Queue[dict[str, Any]]"]:
        """The data of a job's events as they come; none any more where the connection is lost, and it is asked for."""
        events: queue.Queue[dict[str, Any]] = queue.Queue()
        ends = threading.Event()

        def listen() -> None:
            last = ""
            while not ends.is_set():
                with contextlib.suppress(InputError):
                    for number, data in self._client.events(f"/jobs/{job}/events", last):
                        last = number or last
                        events.put(data)
                        if ends.is_set():
                            return
                ends.wait(_ASK)

        threading.Thread(target=listen, name="events", daemon=True).start()
        try:
            yield events
        finally:
            ends.set()

    def _fetch(self, job: str, folder: Path) -> tuple[np.ndarray, float]:
        """The frames of a result, and their rate."""
        source = open_frames(self._client.download(f"/jobs/{job}/result", folder / "result"))
        return np.stack(list(source)), float(source.fps)

    def _report(self, job: str) -> Report:
        values = self._client.json("GET", f"/jobs/{job}/report")
        if not isinstance(values, dict):
            raise self._odd(values)
        page = ""
        with contextlib.suppress(InputError):  # an older server has none
            page = self._client.text(f"/jobs/{job}/result?name=report_page")
        return Report(values, page)


def _options(order: Order) -> dict[str, Any]:
    """What the server is told, as JSON has it."""
    options = {name: value for name, value in (order.model.options | order.options).items() if name not in _ITS_OWN}
    if order.model.system != "easy_animate":
        options["fps"] = order.fps
    if order.model.name_there:
        options["model"] = order.model.name_there
    if order.model.loras:
        options["loras"] = _loras(order.model)
    return json.loads(json.dumps(options))


def _loras(model: Model) -> list[list[Any]]:
    """Pairs of a name, which on a server has no ending, and a weight."""
    return [[Path(name).stem, weight] for name, weight in model.loras]


def _listed(value: Any) -> list[Any]:
    """What a server lists; nothing where it says something else."""
    return value if isinstance(value, list) else []


def _names(names: Any) -> str:
    known = one_line(", ".join(map(str, names)), 300)
    return f"{known} is accepted" if known else "it has none"
