"""The guided prediction for a whole clip, put together from the denoising UNet's predictions on windows.

Nothing is computed twice: what follows from the clip alone (projections of the reference's tokens, what the image
embedding comes to) once for all steps, what follows from the step alone once for all windows, and a window that a
schedule names twice once. Unconditional rows have no reference tokens, and without guidance there are no such rows.

Several ranks (`distributed.ranks`) divide the windows, and of each the two kinds of rows, among them.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.models.animate_anyone.blocks import Conditions
from ppdiffusers_ext.models.animate_anyone.transformer import beside
from ppdiffusers_ext.pipelines.steps import Guidance, StepCaching, guide

if TYPE_CHECKING:
    from ppdiffusers_ext.models.animate_anyone import ReferenceFeatures

_HALVES, _BOTH = ("unconditional", "conditional"), "both"  # rows that a call computes


class WindowPredictor:
    """Predicts the noise (or what else the model was trained to predict) of a clip at a step.

    Args:
        denoising_unet: `DenoisingUNet3D`, or what has its `prepare_clip`, `prepare_step` and `denoise`.
        embedding: (1, 1, projection_dim), CLIP's of the reference picture.
        pose_features: (1, C, frames, h, w).
        reference_features: `ReferenceFeatures` of one sample.
        windows: lists of frames; see `pipelines.windows`.
        guidance: a `Guidance`.
        batch_size: windows that are denoised in one call.
        caching: a `StepCaching`.
    """

    def __init__(
        self,
        denoising_unet: Any,
        embedding: paddle.Tensor,
        pose_features: paddle.Tensor,
        reference_features: "ReferenceFeatures",
        windows: list[list[int]],
        guidance: Guidance,
        batch_size: int,
        caching: StepCaching,
    ) -> None:
        self._caching = caching
        self._deep: dict[tuple[int, str], paddle.Tensor] = {}  # (batch of windows, rows) -> of an earlier step
        self._denoising_unet, self._pose_features, self._guidance = denoising_unet, pose_features, guidance
        self._conditional = denoising_unet.prepare_clip(embedding, reference_features)
        if guidance.scale > 1:
            self._unconditional = denoising_unet.prepare_clip(paddle.zeros_like(embedding))
            self._both = beside(self._unconditional, self._conditional)
        self._times = {tuple(window): count for window, count in Counter(map(tuple, windows)).items()}
        self.batches = _batches(list(self._times), batch_size)
        # How often each frame is covered: the same at every step.
        frames = np.concatenate([np.asarray(window) for window in windows])
        covered = np.bincount(frames, minlength=pose_features.shape[2]).astype("float32")
        self._covered = paddle.to_tensor(covered).reshape([1, 1, -1, 1, 1])

    def __call__(
        self, latents: paddle.Tensor, timestep: Any, step: int, num_steps: int, on_batch: Callable[[], object]
    ) -> paddle.Tensor:
        """
        Args:
            latents: (1, 4, frames, h, w).
            timestep: a number.
            step, num_steps: the number of the step, from 0, and how many there are.
            on_batch: called after each batch of windows.

        Returns:
            As the latents.
        """
        guided = self._guidance.applies((step + 0.5) / num_steps)
        if self._caching.runs_whole(step, num_steps):
            self._deep.clear()
        times = self._denoising_unet.prepare_step(timestep)
        kinds = ["conditional"] if not guided else list(self._guided_kinds())
        keys = [(number, rows) for rows in kinds for number in range(len(self.batches))]
        ranks = current_ranks()
        predictions = ranks.divide(
            [functools.partial(self._predict, latents, key, times) for key in keys],
            [ranks.owner(number + len(self.batches) * _is_conditional(rows)) for number, rows in keys],
            lambda i: on_batch() if keys[i][1] == kinds[-1] else None,
        )  # each (windows, 4, frames, h, w), or of both twice as many windows
        totals = [paddle.zeros_like(latents) for _ in range(2 if guided else 1)]
        for (number, rows), prediction in zip(keys, predictions):
            places = (0, 1) if len(kinds) < len(totals) else (kinds.index(rows),)
            windows = self.batches[number]
            for total, part in zip((totals[i] for i in places), prediction.chunk(len(places))):
                for window, of_window in zip(windows, part.split(len(windows))):
                    # Adds every place of a frame that the window holds twice.
                    index = paddle.to_tensor(window, dtype="int64")
                    paddle.index_add_(total, index, 2, of_window * self._times[window])
        means = [total / self._covered for total in totals]
        return guide(means[0], means[1], self._guidance.scale) if guided else means[0]

    def _guided_kinds(self) -> tuple[str, ...]:
        """The rows of each call of a guided step; ranks divide those of a batch of both, whose bits stay the same."""
        if self._guidance.sequential:
            return _HALVES
        return tuple(f"{_BOTH}, {half}" for half in _HALVES) if current_ranks().count > 1 else (_BOTH,)

    def _predict(self, latents: paddle.Tensor, key: tuple[int, str], times: dict[str, paddle.Tensor]) -> paddle.Tensor:
        """The predictions of a batch of windows: (windows, 4, frames, h, w), twice as many for both kinds of rows."""
        number, rows = key
        frames = [paddle.to_tensor(window, dtype="int64") for window in self.batches[number]]
        x = paddle.concat([paddle.index_select(latents, index, axis=2) for index in frames])
        pose = paddle.concat([paddle.index_select(self._pose_features, index, axis=2) for index in frames])
        count, num_frames = x.shape[0], x.shape[2]
        if rows == _BOTH:
            conditions = Conditions(times, self._both, num_frames=num_frames, num_unconditional=count)
            return self._denoise(key, paddle.concat([x, x]), conditions, paddle.concat([pose, pose]))
        clip = self._conditional if _is_conditional(rows) else self._unconditional
        return self._denoise(key, x, Conditions(times, clip, num_frames=num_frames), pose)

    def _denoise(
        self, key: tuple[int, str], x: paddle.Tensor, conditions: Conditions, pose: paddle.Tensor
    ) -> paddle.Tensor:
        if self._caching.interval == 1:
            return self._denoising_unet.denoise(x, conditions, pose)
        prediction, self._deep[key] = self._denoising_unet.denoise(
            x, conditions, pose, self._caching.depth, self._deep.get(key)
        )
        return prediction


def _is_conditional(rows: str) -> bool:
    return rows.split()[-1] == _HALVES[1]


def _batches(windows: list[tuple[int, ...]], size: int) -> list[list[tuple[int, ...]]]:
    """Lists of up to `size` neighbouring windows of equal length."""
    batches = []
    for _, group in itertools.groupby(windows, key=len):
        alike = list(group)
        batches += [alike[i : i + size] for i in range(0, len(alike), size)]
    return batches
