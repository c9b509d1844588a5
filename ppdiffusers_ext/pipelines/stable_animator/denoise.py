"""StableAnimator's prediction for a whole clip at one step: windows, blended, then guided.

Several ranks (`distributed.ranks`) divide the windows, and of each the two predictions, among them.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.models.stable_animator.blocks import BlockConditions
from ppdiffusers_ext.pipelines.stable_animator.time_tiles import tile_weights
from ppdiffusers_ext.pipelines.steps import Guidance, StepCaching, guide

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.engines import Engine


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


class UNetCalls:
    """What a clip asks of an `AnimationUNet`, as functions of tensors that an engine runs.

    Args:
        engine: an `EagerEngine`, a `CompiledEngine` or an `AutoEngine`.
        network: the `Network` of the UNet.
        steps: of denoising.
        calls: of `denoise`, at each step, of one kind.
    """

    def __init__(self, engine: "Engine", network: Network, steps: int = 1, calls: int = 1) -> None:
        self._engine, self._network, self._unet = engine, network, network.model
        self._steps, self._calls = steps, calls
        self._unseen: dict[tuple[int, ...], tuple] = {}  # shape of the latents -> what `_zeros` gives for it
        self._blocks = {name: len(layer.transformer_blocks) for name, layer in self._unet.transformers.items()}

    def _run(
        self,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        return self._engine.run(self._network, what, function, inputs, calls, **settings)

    def prepare_clip(self, context: paddle.Tensor) -> dict[str, list[BlockConditions]]:
        """As `AnimationUNet.prepare_clip`."""
        function = lambda x: _flatten(self._unet.prepare_clip(x))  # noqa: E731
        return _unflatten(self._run("prepare_clip", function, {"context": context}), self._blocks)

    def prepare_step(
        self, timestep: paddle.Tensor, added_time_ids: paddle.Tensor
    ) -> dict[str, tuple[paddle.Tensor, paddle.Tensor]]:
        """As `AnimationUNet.prepare_step`."""
        time, added = self._unet.embed(timestep, added_time_ids)
        function = lambda *tensors: _of_times(self._unet.project_step(*tensors))  # noqa: E731
        tensors = self._run("prepare_step", function, {"time": time, "added": added}, self._steps)
        return _times(tensors, self._unet.resnet_names)

    def denoise(
        self,
        sample: paddle.Tensor,
        times: dict[str, tuple[paddle.Tensor, paddle.Tensor]],
        clip: dict[str, list[BlockConditions]] | None = None,
        poses: paddle.Tensor | None = None,
        depth: int = 0,
        deep: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """As `AnimationUNet.denoise`, but for the clip, which is None for no picture and no face.

        An engine with exports runs that on zeros, whose numbers are the same: an export of its own would have all
        weights once more.

        Returns:
            The prediction and, with a depth, what entered the last units, else None.
        """
        if clip is None and self._engine.fixed_shapes:
            shape = tuple(sample.shape)
            if shape not in self._unseen:
                self._unseen[shape] = self._zeros(*shape)
            clip, poses = self._unseen[shape]
        optional = {"poses": poses, "deep": deep}
        inputs = {
            "sample": sample,
            **{f"time.{i}": tensor for i, tensor in enumerate(_of_times(times))},
            **{f"seen.{i}": tensor for i, tensor in enumerate(_flatten(clip or {}))},
            **{name: tensor for name, tensor in optional.items() if tensor is not None},
        }

        def function(*tensors: paddle.Tensor) -> list[paddle.Tensor]:
            given = dict(zip(inputs, tensors))
            of = lambda kind: [tensor for name, tensor in given.items() if name.startswith(kind)]  # noqa: E731
            unseen = {name: [None] * count for name, count in self._blocks.items()}
            seen = unseen if clip is None else _unflatten(of("seen."), self._blocks)
            step = _times(of("time."), self._unet.resnet_names)
            result = self._unet.denoise(given["sample"], step, seen, given.get("poses"), depth, given.get("deep"))
            return list(result) if depth else [result]

        settings = {"conditional": clip is not None, "depth": depth}
        outputs = self._run("denoise", function, inputs, self._steps * self._calls, in_8_bits=True, **settings)
        return outputs[0], outputs[1] if depth else None

    def _zeros(
        self, batch: int, frames: int, _: int, height: int, width: int
    ) -> tuple[dict[str, list[BlockConditions]], paddle.Tensor]:
        """What a call sees that sees no picture, no face and no pose."""
        config = self._unet.config
        clip = self.prepare_clip(paddle.zeros([batch, 1 + config.num_face_tokens, config.cross_attention_dim]))
        return clip, paddle.zeros([batch * frames, config.block_out_channels[0], height, width])


class TilePredictor:
    """Predicts a clip's velocity.

    What follows from the clip alone is computed here, once; what follows from the step alone once for all windows.

    Args:
        unet: `UNetCalls`.
        clip: `Clip`.
        windows: of `time_tiles`.
        num_steps: of denoising.
    """

    def __init__(self, unet: UNetCalls, clip: Clip, windows: list[list[int]], num_steps: int) -> None:
        self._unet, self._clip, self._windows, self._num_steps = unet, clip, windows, num_steps
        self._deep: dict[tuple[int, bool], paddle.Tensor] = {}  # window, rows -> of an earlier step
        self._seen = unet.prepare_clip(clip.context)
        self._places = [paddle.to_tensor(window) for window in windows]
        counts = np.zeros(clip.poses.shape[0], np.float32)
        for window in windows:
            counts[window] += tile_weights(len(window))
        self._counts = paddle.to_tensor(counts).reshape([1, -1, 1, 1, 1])

    def __call__(
        self, latents: paddle.Tensor, timestep: paddle.Tensor, step: int, report: Callable[[], object]
    ) -> paddle.Tensor:
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
        times = self._unet.prepare_step(timestep.reshape([1]), clip.added)
        rows = (False, True) if guided else (True,)
        keys = [(number, row) for row in rows for number in range(len(self._windows))]
        ranks = current_ranks()
        predictions = ranks.divide(
            [functools.partial(self._predict, latents, key, times) for key in keys],
            [ranks.owner(number + len(self._windows) * is_conditional) for number, is_conditional in keys],
            lambda i: report() if keys[i][1] else None,
        )  # each (1, window, 4, h, w)
        totals = {row: paddle.zeros_like(latents) for row in rows}
        for (number, row), prediction in zip(keys, predictions):
            places, total = self._places[number], totals[row]
            weights = paddle.to_tensor(tile_weights(len(self._windows[number]))).reshape([1, -1, 1, 1, 1])
            total[:, places] = total.index_select(places, axis=1) + prediction * weights
        means = [total / self._counts for total in totals.values()]
        return guide(means[0], means[1], clip.scales) if guided else means[0]

    def _predict(
        self,
        latents: paddle.Tensor,
        key: tuple[int, bool],
        times: dict[str, tuple[paddle.Tensor, paddle.Tensor]],
    ) -> paddle.Tensor:
        """The prediction of a window, by its number and whether it is conditional: (1, window, 4, h, w)."""
        number, is_conditional = key
        clip, caching, places = self._clip, self._clip.caching, self._places[number]
        x = latents.index_select(places, axis=1)  # (1, window, 4, h, w)
        picture = clip.picture.expand(x.shape)
        seen, poses = None, None
        if is_conditional:
            seen, poses = self._seen, clip.poses.index_select(places, axis=0)  # (window, channels, h, w)
        else:
            picture = paddle.zeros_like(picture)
        sample = paddle.concat([x, picture], axis=2)  # (1, window, 8, h, w)
        depth = caching.depth if caching.interval > 1 else 0
        prediction, deep = self._unet.denoise(sample, times, seen, poses, depth, self._deep.get(key))
        if deep is not None:
            self._deep[key] = deep
        return prediction


def _flatten(clip: Mapping[str, list[BlockConditions]]) -> list[paddle.Tensor]:
    """name -> list of `BlockConditions`, as a list of tensors."""
    return [tensor for blocks in clip.values() for block in blocks for tensor in block]


def _unflatten(tensors: Iterable[paddle.Tensor], counts: Mapping[str, int]) -> dict[str, list[BlockConditions]]:
    """What `_flatten` was given, for transformers with so many blocks by name."""
    tensors, size = iter(tensors), len(BlockConditions._fields)
    return {
        name: [BlockConditions(*(next(tensors) for _ in range(size))) for _ in range(count)]
        for name, count in counts.items()
    }


def _of_times(times: Mapping[str, tuple[paddle.Tensor, paddle.Tensor]]) -> list[paddle.Tensor]:
    """name -> two tensors, as a list of tensors."""
    return [tensor for pair in times.values() for tensor in pair]


def _times(tensors: Sequence[paddle.Tensor], names: Iterable[str]) -> dict[str, tuple[paddle.Tensor, paddle.Tensor]]:
    """What `_of_times` was given."""
    return dict(zip(names, zip(tensors[::2], tensors[1::2])))
