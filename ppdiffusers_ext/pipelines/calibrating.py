"""Rehearsal of a clip in few steps, from the first timestep to the last, whose calls exports in int8 are made of."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.schedulers import set_steps

STEPS = 6
_SEED = 0  # of a scheduler that draws noise, so that the noise of the clip itself stays what it is


def rehearsal(
    pipeline: Any,
    latents: paddle.Tensor,
    predict: Callable[..., paddle.Tensor],
    timesteps: paddle.Tensor,
    keep: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor] | None,
    options: dict[str, Any],
) -> Callable[[], None]:
    """A function that denoises a clip in up to `STEPS` steps, and leaves the scheduler as it is now.

    Args:
        pipeline: a `NetworkPipeline`.
        latents, predict, timesteps, keep: see `NetworkPipeline._denoise`.
        options: of the scheduler's step.
    """
    scheduler = pipeline.scheduler
    before = copy.deepcopy(vars(scheduler))

    def rehearse() -> None:
        try:
            _take_steps(pipeline, latents, predict, np.array(timesteps, "float64"), keep, options)
        finally:
            vars(scheduler).clear()
            vars(scheduler).update(before)

    return rehearse


def _take_steps(
    pipeline: Any,
    latents: paddle.Tensor,
    predict: Callable[..., paddle.Tensor],
    of_clip: np.ndarray,
    keep: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor] | None,
    options: dict[str, Any],
) -> None:
    scheduler = pipeline.scheduler
    set_steps(scheduler, min(STEPS, len(of_clip)))
    timesteps = scheduler.timesteps[np.array(scheduler.timesteps, "float64") <= of_clip.max()]
    if "generator" in options:
        options = {**options, "generator": as_generator(_SEED)}
    with pipeline.progress_bar(total=len(timesteps)) as progress:
        progress.set_description("calibrating int8")
        for i, timestep in enumerate(timesteps):
            # What applies in the step of the clip that is nearest applies here, such as guidance.
            step = int(np.abs(of_clip - float(timestep)).argmin())
            scaled = scheduler.scale_model_input(latents, timestep)
            prediction = predict(scaled, timestep, step, latents, _Still(progress))
            latents = scheduler.step(prediction, timestep, latents, **options).prev_sample.astype("float32")
            if keep is not None:
                latents = keep(latents, timesteps[i + 1 : i + 2])
            progress.update()


class _Still:
    """A progress bar that counts steps, whatever counts within them."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, count: int = 1) -> None:
        """Nothing is done."""

    def set_description(self, text: str) -> None:
        """Nothing is done."""

    def set_postfix(self, **values: Any) -> None:
        self._bar.set_postfix(**values)
