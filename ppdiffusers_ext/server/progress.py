"""What the worker tells of a run while it goes on: how far it is, how long it still takes, a picture, and how to stop.

Telling costs little: numbers are sent four times a second at most, and pictures are made only while they have taken
less than a hundredth of the time so far.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.pipelines.previews import preview_of
from ppdiffusers_ext.pipelines.watching import DECODING, DENOISING, LOADING, POSES, RunStopped, Watch

if TYPE_CHECKING:
    import paddle

PREVIEW = "preview.png"
_PAUSE = 0.25  # seconds between numbers
_SHARE = 0.01  # of the time that pictures may take
# How much of the time the stages take before there is anything to go by.
_USUAL = {LOADING: 0.05, POSES: 0.15, DENOISING: 0.65, DECODING: 0.15}


class Progress(Watch):
    """
    Args:
        send: called with messages: dicts with "event" "progress" or "preview".
        folder: in which previews are written.
        every: number of steps after which there is a preview; 0 for none.
        has_poses: whether people are found in a video first.
        shares: stage -> part of the time that it took in the last such run, if there was one.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        folder: Path,
        every: int,
        has_poses: bool,
        shares: dict[str, float] | None = None,
    ) -> None:
        self._send, self._folder, self._every = send, folder, every
        stages = [stage for stage in _USUAL if has_poses or stage != POSES]
        shares = {stage: max((shares or _USUAL).get(stage, 0.0), 0.001) for stage in stages}
        whole = sum(shares.values())
        self._shares = {stage: share / whole for stage, share in shares.items()}
        self._begun = self._stage_begun = time.monotonic()
        self._stage, self._done, self._total = "starting", 0, 1
        self._part = (0, 1)
        self._spent, self._last_cost = 0.0, 0.0
        self._sent = 0.0
        self._most = 0.0
        self._seconds: dict[str, float] = {}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have the run end at the next thing that it tells. May be called by another thread."""
        self._stopped.set()

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> how long it took so far."""
        self._account()
        return dict(self._seconds)

    def planned(self, rung: str, peak: int, available: int) -> None:
        self._send({"event": "plan", "rung": rung, "peak_bytes": peak, "available_bytes": available})

    def part(self, number: int, count: int) -> None:
        self._part = (number, count)
        self._check()

    def stage(self, name: str, total: int) -> None:
        self._account()
        self._stage, self._done, self._total = name, 0, max(total, 1)
        self._check()
        self._tell(is_due=True)

    def advance(self, count: int = 1) -> None:
        self._done = min(self._done + count, self._total)
        self._check()
        self._tell(time.monotonic() - self._sent >= _PAUSE)

    def after_step(self, pipeline: Any, latents: "paddle.Tensor", step: int, count: int) -> None:
        self._check()
        if not self._every or step % self._every or step == count:
            return
        begun = time.monotonic()
        if self._spent and self._spent + self._last_cost > _SHARE * (begun - self._begun):
            return
        try:
            write_preview(self._folder / PREVIEW, preview_of(pipeline, latents))
        except Exception:  # no room, or a decoder that wants more memory: the job is worth more than its preview
            traceback.print_exc()
            self._every = 0
            return
        self._last_cost = time.monotonic() - begun
        self._spent += self._last_cost
        self._send({"event": "preview", "step": step, "file": PREVIEW})

    def _check(self) -> None:
        if self._stopped.is_set():
            raise RunStopped("the job was cancelled")

    def _account(self) -> None:
        now = time.monotonic()
        if self._stage in self._shares:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_begun
        self._stage_begun = now

    def _fraction(self) -> float:
        """How much of the run is done, from 0 to 1."""
        before = within = 0.0
        for stage, share in self._shares.items():
            if stage == self._stage:
                within = share * self._done / self._total
                break
            before += share
        else:
            before = 0.0
        number, count = self._part
        once = sum(self._shares.get(stage, 0.0) for stage in (LOADING, POSES))  # not for each part
        if count > 1 and self._stage in (DENOISING, DECODING):
            return once + (1 - once) * (number + (before + within - once) / (1 - once)) / count
        return before + within

    def _tell(self, is_due: bool) -> None:
        if not is_due:
            return
        now = time.monotonic()
        self._most = max(self._most, min(self._fraction(), 0.999))  # it never goes back
        elapsed = now - self._begun
        left = elapsed * (1 - self._most) / self._most if self._most > 0.02 and elapsed > 1 else None
        rounded = None if left is None else round(left, 1)
        self._sent = now
        self._send(
            {"event": "progress", "progress": round(self._most, 4), "stage": self._stage, "seconds_left": rounded}
        )


def write_preview(path: Path, picture: np.ndarray) -> None:
    """Write a (height, width, 3) uint8 picture as PNG, which is there as a whole or as it was before."""
    unfinished = path.with_name(f".{path.name}")
    PIL.Image.fromarray(picture).save(unfinished, format="PNG")
    os.replace(unfinished, path)
