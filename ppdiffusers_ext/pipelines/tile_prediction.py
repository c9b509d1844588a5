"""StableAnimator's prediction for a whole clip at one step: windows, blended, then guided."""

from dataclasses import dataclass

import numpy as np
import paddle

from ppdiffusers_ext.models.stable_animator.blocks import BlockConditions
from ppdiffusers_ext.pipelines.caching import StepCaching
from ppdiffusers_ext.pipelines.guidance import Guidance, guide
from ppdiffusers_ext.pipelines.time_tiles import tile_weights


@dataclass(frozen=True)
class Clip:
    """What the UNet needs of a clip.

    Attributes:
        picture: (1, 1, 4, h, w), the picture's latents.
        context: (1, 1 + face tokens, channels).
        poses: (frames, channels, h, w).
        added: (1, 3), what the motion is to be like.
        scales: (1, frames, 1, 1, 1), of guidance.
        guidance: in which steps; its scale is the largest of them.
        caching: `StepCaching`.
    """

    picture: paddle.Tensor
    context: paddle.Tensor
    poses: paddle.Tensor
    added: paddle.Tensor
    scales: paddle.Tensor
    guidance: Guidance
    caching: StepCaching


class TilePredictor:
    """Predicts a clip's velocity.

    What follows from the clip alone is computed here, once; what follows from the step alone once for all windows.

    Args:
        run: called with a name, a function of tensors, its inputs (name -> tensor), how often it will be called, and
            settings; an engine's `run` for the UNet.
        unet: `AnimationUNet`, as the function knows it.
        clip: `Clip`.
        windows: of `time_tiles`.
        num_steps: of denoising.
    """

    def __init__(self, run, unet, clip, windows, num_steps):
        self._run, self._unet, self._clip, self._windows, self._num_steps = run, unet, clip, windows, num_steps
        self._deep = {}  # number of a window, rows -> features of an earlier step
        function = lambda context: _flatten(unet.prepare_clip(context))  # noqa: E731
        tensors = run("prepare_clip", function, {"context": clip.context})
        blocks = {name: len(transformer.transformer_blocks) for name, transformer in unet.transformers.items()}
        self._seen, self._unseen = (
            _unflatten(tensors, blocks),
            {name: [None] * count for name, count in blocks.items()},
        )
        self._places = [paddle.to_tensor(window) for window in windows]
        counts = np.zeros(clip.poses.shape[0], np.float32)
        for window in windows:
            counts[window] += tile_weights(len(window))
        self._counts = paddle.to_tensor(counts).reshape([1, -1, 1, 1, 1])

    def __call__(self, latents, timestep, step, report):
        """
        Args:
            latents: (1, frames, 4, h, w), scaled.
            timestep: tensor of one number.
            step: its number, from 0.
            report: called after each window.

        Returns:
            As the latents.
        """
        clip, num_steps = self._clip, self._num_steps
        guided = clip.guidance.applies((step + 0.5) / num_steps)
        if clip.caching.runs_whole(step, num_steps):
            self._deep.clear()
        time, added = self._unet.embed(timestep.reshape([1]), clip.added)
        project = lambda *tensors: _of_times(self._unet.project_step(*tensors))  # noqa: E731
        times = self._run("prepare_step", project, {"time": time, "added": added}, num_steps)
        times = _times(times, self._unet.resnet_names)
        rows = (False, True) if guided else (True,)
        totals = [paddle.zeros_like(latents) for _ in rows]
        for number, (window, places) in enumerate(zip(self._windows, self._places)):
            weights = paddle.to_tensor(tile_weights(len(window))).reshape([1, -1, 1, 1, 1])
            x = latents.index_select(places, axis=1)  # (1, window, 4, h, w)
            for total, is_conditional in zip(totals, rows):
                prediction = self._predict((number, is_conditional), x, places, times)
                total[:, places] = total.index_select(places, axis=1) + prediction * weights
            report()
        means = [total / self._counts for total in totals]
        return guide(*means, clip.scales) if guided else means[0]

    def _predict(self, key, x, places, times):
        """(1, window, 4, h, w) -> the same."""
        is_conditional, clip, caching = key[1], self._clip, self._clip.caching
        picture = clip.picture.expand(x.shape)
        given = {
            "sample": paddle.concat([x, picture if is_conditional else paddle.zeros_like(picture)], axis=2),
            **{f"time.{i}": tensor for i, tensor in enumerate(_of_times(times))},
        }
        if is_conditional:
            given["poses"] = clip.poses.index_select(places, axis=0)  # (window, channels, h, w)
            given.update({f"seen.{i}": tensor for i, tensor in enumerate(_flatten(self._seen))})
        depth = caching.depth if caching.interval > 1 else 0
        if depth and key in self._deep:
            given["deep"] = self._deep[key]

        def function(*tensors):
            named = dict(zip(given, tensors))
            of = lambda kind: [tensor for name, tensor in named.items() if name.startswith(kind)]  # noqa: E731
            conditions = self._unseen
            if is_conditional:
                conditions = _unflatten(of("seen."), {name: len(blocks) for name, blocks in self._seen.items()})
            step = _times(of("time."), self._unet.resnet_names)
            result = self._unet.denoise(
                named["sample"], step, conditions, named.get("poses"), depth, named.get("deep")
            )
            return list(result) if depth else [result]

        calls = self._num_steps * len(self._windows)
        outputs = self._run("denoise", function, given, calls, conditional=is_conditional, depth=depth)
        if depth:
            self._deep[key] = outputs[1]
        return outputs[0]


def _flatten(clip):
    """name -> list of `BlockConditions`, as a list of tensors."""
    return [tensor for blocks in clip.values() for block in blocks for tensor in block]


def _unflatten(tensors, counts):
    """What `_flatten` was given, for transformers with so many blocks by name."""
    tensors, size = iter(tensors), len(BlockConditions._fields)
    return {
        name: [BlockConditions(*(next(tensors) for _ in range(size))) for _ in range(count)]
        for name, count in counts.items()
    }


def _of_times(times):
    """name -> two tensors, as a list of tensors."""
    return [tensor for pair in times.values() for tensor in pair]


def _times(tensors, names):
    """What `_of_times` was given."""
    return dict(zip(names, zip(tensors[::2], tensors[1::2])))
