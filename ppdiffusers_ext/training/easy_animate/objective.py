"""Loss of EasyAnimate's transformers for a batch of samples, from whose numbers follows what is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.training.draws import Draws
from ppdiffusers_ext.training.easy_animate.diffusion import Diffusion, share_noise, timestep_of, with_motion
from ppdiffusers_ext.training.easy_animate.encoders import Encoders
from ppdiffusers_ext.training.easy_animate.model import draw_latents
from ppdiffusers_ext.training.easy_animate.options import EasyModelArguments

_TEXT_ALONE, _CLIP_SEEN = 0.9, 0.5  # shares: of fully masked samples without conditions, and of samples with CLIP's
_TEXT = ("states", "mask", "states_2", "mask_2")  # fields of `Text`
_MOTION_FRAMES = 3  # of latents, from which on differences of frames count


@dataclass(frozen=True)
class Given:
    """What a batch gives the transformer to learn from; rows are samples, each as often as the batch repeats them.

    Attributes:
        latents: (rows, channels, frames, h, w), clean.
        text: `Text` of the rows.
        pixels: height and width of the videos.
        known: (rows, 2 * channels, frames, h, w), of V1 (rows, 1 + channels, ...); or None without inpainting.
        clip, clip_mask: what CLIP sees, and (rows, tokens) of 0 and 1; None without CLIP.
    """

    latents: paddle.Tensor
    text: Text
    pixels: tuple[int, int]
    known: paddle.Tensor | None = None
    clip: paddle.Tensor | None = None
    clip_mask: paddle.Tensor | None = None


class EasyObjective:
    """Loss of one batch.

    Args:
        encoders: `Encoders`.
        diffusion: `VelocityDiffusion` or `VarianceDiffusion`.
        transformer: in training, which says what it is to be told.
        seed: of all draws.
        options: `EasyModelArguments`, whose noise and loss count.
    """

    def __init__(
        self, encoders: Encoders, diffusion: Diffusion, transformer: Any, seed: int, options: EasyModelArguments
    ) -> None:
        self._encoders, self._diffusion, self._draws = encoders, diffusion, Draws(seed)
        self._has_clip, self._clip_tokens = transformer.has_clip, getattr(transformer, "tokens_of_clip", 0)
        self._clip_shape = getattr(transformer, "shape_of_clip", [])
        self._options = options

    def __call__(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor:
        """Returns the loss of an `EasyAnimateModel` (or its wrapper) for a batch of the data, a scalar tensor."""
        rows = self._rows(batch)
        given = self.encode(batch)  # by frozen networks, but for a text encoder that a LoRA is trained of
        with paddle.no_grad():
            noise = self.draw_noise(rows, given.latents.shape[1:])
            timesteps = paddle.to_tensor([self._timestep(*row) for row in rows])
            noisy = self._diffusion.noisy(given.latents, noise, timesteps)
            told = self._diffusion.told(timesteps)
        prediction = model(noisy, told, given.text, given.pixels, given.known, given.clip, given.clip_mask)
        losses, predicted, target = self._diffusion.losses(prediction, given.latents, noise, timesteps)
        if self._options.motion_sub_loss and target.shape[2] >= _MOTION_FRAMES:
            losses = with_motion(losses, predicted, target, self._options.motion_sub_loss_ratio)
        return losses.mean()

    def describe(self, batch: dict[str, Any]) -> str:
        """Text with the clips and timesteps of the batch."""
        timesteps = [self._timestep(int(index)) for index in batch["index"]]
        return ", ".join(f"{clip} at timestep {timestep}" for clip, timestep in zip(batch["clips"], timesteps))

    def encode(self, batch: dict[str, Any]) -> Given:
        """The `Given` of a batch."""
        rows, seen = self._rows(batch), batch if "moments" in batch else self._encoders.view(batch)
        repeats = len(rows) // seen["moments"].shape[0]
        latents = self._draw(batch, "latents", seen["moments"])
        text = self._text_of(batch)
        given: dict[str, Any] = {}
        if "known_moments" in seen:
            # V1 sees the mask itself, and the others its latents.
            masks = seen["small_masks"] if "small_masks" in seen else self._draw(batch, "mask", seen["mask_moments"])
            left = self._draw(batch, "known", seen["known_moments"])
            known = _tile(paddle.concat([masks, left], axis=1), repeats)
            given["known"] = known * self._is_told(rows, seen["is_whole"])
        if self._has_clip:
            given |= self._see(rows, seen.get("clip"))
        height, width = (int(side) for side in seen["pixels"][0])
        return Given(
            _tile(latents, repeats),
            _tile_text(text, repeats),
            (height, width),
            **given,
        )

    def _text_of(self, batch: dict[str, Any]) -> Text:
        """The `Text` of a batch, which may have it as it was kept: see `text_arrays`."""
        if "text_states" in batch:
            if self._encoders.learning is not None:
                raise InputError(
                    "--train_text_encoder learns from texts that are embedded in each step, and these were embedded "
                    "before; training without kept texts is accepted"
                )
            tensors: Any = (batch.get(f"text_{name}") for name in _TEXT)
            return Text(*tensors)
        return self._encoders.embed_texts(batch["texts"])

    def draw_noise(self, rows: Sequence[tuple[int, int]], shape: Sequence[int]) -> paddle.Tensor:
        """Noise of rows, (rows, channels, frames, h, w)."""
        rngs = [self._draws.rng(index, _of(repeat, "noise")) for index, repeat in rows]
        noises = [rng.standard_normal(shape, np.float32) for rng in rngs]
        if self._options.noise_share_in_frames:
            noises = [share_noise(noise, self._options.noise_share_in_frames_ratio) for noise in noises]
        return paddle.to_tensor(np.stack(noises))

    def _is_told(self, rows: Sequence[tuple[int, int]], is_whole: paddle.Tensor) -> paddle.Tensor:
        """(rows, 1, 1, 1, 1): 0 for most samples of which all is to be generated, which are told nothing; else 1."""
        everything = np.tile(is_whole.numpy().reshape(-1) > 0, len(rows) // is_whole.shape[0])  # a file has no 0-d
        draws = np.array([self._draws.rng(index, _of(repeat, "told")).random() for index, repeat in rows])
        told = 1 - (everything & (draws < _TEXT_ALONE)).astype(np.float32)
        return paddle.to_tensor(told.reshape(-1, 1, 1, 1, 1))

    def _see(self, rows: Sequence[tuple[int, int]], clip: paddle.Tensor | None) -> dict[str, paddle.Tensor]:
        """What CLIP sees, of half of the rows."""
        if clip is None:
            clip = paddle.zeros([len(rows), *self._clip_shape])
            return {"clip": clip, "clip_mask": paddle.zeros([len(rows), self._clip_tokens])}
        draws = [self._draws.rng(index, _of(repeat, "clip")).random() for index, repeat in rows]
        mask = np.array(draws, np.float32)[:, None] < _CLIP_SEEN
        return {
            "clip": _tile(clip, len(rows) // clip.shape[0]),
            "clip_mask": paddle.to_tensor(mask.astype(np.float32)).expand([len(rows), self._clip_tokens]),
        }

    def _draw(self, batch: dict[str, Any], purpose: str, moments: paddle.Tensor) -> paddle.Tensor:
        """Latents of a batch, drawn by its samples' numbers."""
        shape = [moments.shape[1] // 2, *moments.shape[2:]]
        noise = self._draws.normals(map(int, batch["index"]), purpose, shape)
        return draw_latents(moments, noise, self._encoders.scaling_factor)

    def _timestep(self, index: int, repeat: int = 0) -> int:
        rng = self._draws.rng(index, _of(repeat, "timestep"))
        return timestep_of(rng, self._diffusion.num_timesteps, self._options.timestep_sampling == "uniform")

    @staticmethod
    def _rows(batch: dict[str, Any]) -> list[tuple[int, int]]:
        """(number of the sample, number of its repetition) of each row."""
        return [(int(index), repeat) for repeat in range(batch.get("repeats", 1)) for index in batch["index"]]


def text_arrays(text: Text) -> dict[str, np.ndarray]:
    """What a batch has of texts in their place: name -> array, of a `Text`."""
    tensors = {name: getattr(text, name) for name in _TEXT}
    return {f"text_{name}": tensor.numpy() for name, tensor in tensors.items() if tensor is not None}


def _of(repeat: int, purpose: str) -> str:
    return f"{purpose} {repeat}" if repeat else purpose


def _tile_text(text: Text, repeats: int) -> Text:
    given = (getattr(text, name) for name in _TEXT)
    tensors: Any = (None if tensor is None else _tile(tensor, repeats) for tensor in given)
    return Text(*tensors)


def _tile(x: paddle.Tensor, repeats: int) -> paddle.Tensor:
    return x if repeats == 1 else paddle.concat([x] * repeats)
