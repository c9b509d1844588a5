"""What a node asks for, and the two ways to get it: in this process, or from a server (`scripts.serve`).

Paddle and torch in one Python often cannot be had, and never share the memory of a GPU. So a node says what it wants
as an `Order`, of which either way makes frames: `in_process.InProcess` where Paddle can be imported, and
`rest.Server` where it cannot, or where the user names a server.
"""

import functools
import importlib.util
import os
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ppdiffusers_ext.comfyui.host import Watch

SERVER = "PPDIFFUSERS_EXT_SERVER"  # environment: address of a server
TOKEN = "PPDIFFUSERS_EXT_TOKEN"  # environment: the token that it asks for
USUAL_SERVER = "http://127.0.0.1:7860"
_NEEDED = ("paddle", "paddlenlp", "ppdiffusers")


@dataclass(frozen=True)
class Model:
    """What a loader hands to a sampler. Nothing is loaded yet: a sampler does that, and keeps it for the next one.

    Attributes:
        system: name of the system.
        name: of the model, as the loader's list has it.
        options: declared options that the loader gives: device, dtype, memory and so on.
        loras: pairs of the name of a LoRA file in ComfyUI's folders and its weight.
        server: address of a server; empty for the one that the environment names, or none.
        name_there: of the model on a server; empty for the one that it takes where none is named.
    """

    system: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    loras: tuple[tuple[str, float], ...] = ()
    server: str = ""
    name_there: str = ""


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        model: a `Model`.
        options: declared options -> values, without those that name files; they go before the model's.
        files: role of a file (reference_image, pose_video, start_image, video, ...) -> (n, height, width, 3) uint8.
        fps: frames per second of those of several pictures.
        task: what EasyAnimate makes a video of, one of its `TASKS`; empty for other systems.
        poses: those that the skeletons show, for the report, in the form of `scripts.estimate_poses`; a server takes
            none.
    """

    model: Model
    options: dict[str, Any]
    files: dict[str, np.ndarray] = field(default_factory=dict)
    fps: float = 24.0
    task: str = ""
    poses: dict[str, Any] | None = None


@dataclass(frozen=True)
class Report:
    """How good a result is: numbers, as JSON, and a page in HTML, which is empty where there is none."""

    values: dict[str, Any]
    page: str = ""


@dataclass(frozen=True)
class Made:
    """What has become of an order: frames, (n, height, width, 3) uint8, their rate, and a `Report` if asked for."""

    frames: np.ndarray
    fps: float
    report: Report | None = None


class Way(Protocol):
    """A way to have orders made."""

    def check(self, model: Model) -> None:
        """Refuse, without loading it, a model that cannot be used.

        Raises:
            InputError, MissingFileError: it is not known, or files of it are missing.
        """

    def make(self, order: Order, watch: Watch) -> Made:
        """The `Made` of an order.

        Args:
            watch: told of the progress; what it raises ends the work within one denoising step.

        Raises:
            InputError, MissingFileError: something in the order that cannot be used.
        """


def choose_way(model: Model) -> Way:
    """The `Way` of a model: the server that it or the environment names, this process, or else the usual server."""
    address = model.server.strip() or os.environ.get(SERVER, "").strip()
    if address or not has_paddle():
        from ppdiffusers_ext.comfyui.rest import Server

        return Server(address or USUAL_SERVER, os.environ.get(TOKEN, ""))
    return _this_process()


@functools.cache
def has_paddle() -> bool:
    """Whether Paddle, and what the systems need beside it, can be imported here."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


@functools.cache
def _this_process() -> Way:
    from ppdiffusers_ext.comfyui.in_process import InProcess

    return InProcess()
