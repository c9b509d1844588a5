"""Training step of EasyAnimate's transformers: what they are told, and which of their parameters are trained.

From aigc-apps/EasyAnimate (`scripts/train.py`).
"""

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.models.easy_animate.checkpoint import original_config
from ppdiffusers_ext.models.easy_animate.positions import rotations
from ppdiffusers_ext.models.layers import compute_dtype
from ppdiffusers_ext.pipelines.easy_animate.denoise import CROP, ORIGINAL_SIZE, Text
from ppdiffusers_ext.training.parts import TrainedPart, train_only

EVERYTHING = "."  # of `trainable_modules`
_UNKNOWN = -1.0  # what unknown pixels are
_AT_ZERO = ("temporal_transformer.proj_out.", "long_connect_fc.")  # layers of new parts that add nothing at first


class EasyAnimateModel(nn.Layer):
    """A transformer, for the trainer: paddlenlp saves a model of ppdiffusers' kind in ways of its own.

    Args:
        transformer: `HunyuanTransformer3D` or `PixArtTransformer3D`.
    """

    def __init__(self, transformer: nn.Layer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        noisy: paddle.Tensor,
        timesteps: paddle.Tensor,
        text: Text,
        pixels: Sequence[int],
        known: paddle.Tensor | None = None,
        clip: paddle.Tensor | None = None,
        clip_mask: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """One prediction.

        Args:
            noisy: latents, (batch, channels, frames, h, w).
            timesteps: (batch,) floats.
            text: `Text`.
            pixels: height and width of the video.
            known: (batch, 2 * channels, frames, h, w), mask and known parts, for inpainting; of V1, which sees the
                mask itself, (batch, 1 + channels, frames, h, w).
            clip: (batch, tokens, channels) of CLIP for V4, (batch, channels) before it, for inpainting.
            clip_mask: (batch, tokens_of_clip) of 0 and 1: what is seen of it.

        Returns:
            (batch, 2 * channels, frames, h, w).
        """
        model, (height, width) = self.transformer, pixels
        inputs: dict[str, Any] = {"text_embedding_mask": text.mask}
        batch = noisy.shape[0]
        if isinstance(model, HunyuanTransformer3D):
            sizes = [[*ORIGINAL_SIZE, float(height), float(width), *CROP]] * batch
            rows, columns = (side // model.config.patch_size for side in noisy.shape[3:])
            inputs |= {
                "encoder_hidden_states_t5": text.states_2,
                "text_embedding_mask_t5": text.mask_2,
                "image_meta_size": paddle.to_tensor(sizes),
                "rotation": rotations(rows, columns, model.config.attention_head_dim, model.config.sample_size),
            }
        elif model.has_sizes:
            inputs["resolution"] = paddle.to_tensor([[float(height), float(width)]] * batch)
            inputs["aspect_ratio"] = paddle.to_tensor([[height / width]] * batch)
        if known is not None:
            inputs["inpaint_latents"] = known
        if model.has_clip:
            inputs |= {"clip_encoder_hidden_states": clip, "clip_attention_mask": clip_mask}
        return model(noisy, timesteps, text.states, **inputs)


def encode_video(vae: Any, pixels: paddle.Tensor, at_once: int) -> paddle.Tensor:
    """Mean and standard deviation of the posterior of videos' latents, not scaled.

    Args:
        vae: `AutoencoderKLMagvit`, or `AutoencoderKL`, which takes a video for so many pictures.
        pixels: (batch, 3, frames, height, width) in [-1, 1].
        at_once: videos, or pictures, that are encoded together.

    Returns:
        (batch, 2 * channels, frames', h, w) fp32.
    """
    is_of_videos, frames = isinstance(vae, AutoencoderKLMagvit), pixels.shape[2]
    pixels = pixels.astype(compute_dtype(next(iter(vae.parameters()))))
    if not is_of_videos:
        pixels = pixels.transpose([0, 2, 1, 3, 4]).flatten(0, 1)
    posteriors = [vae.encode(pixels[i : i + at_once]).latent_dist for i in range(0, pixels.shape[0], at_once)]
    moments = paddle.concat([paddle.concat([each.mean, each.std], axis=1).astype("float32") for each in posteriors])
    if is_of_videos:
        return moments
    return moments.reshape([-1, frames, *moments.shape[1:]]).transpose([0, 2, 1, 3, 4])


def draw_latents(moments: paddle.Tensor, noise: paddle.Tensor, scaling_factor: float) -> paddle.Tensor:
    """Scaled latents (batch, channels, frames, h, w) of what `encode_video` gives, by normal noise of their shape."""
    mean, deviation = moments.chunk(2, axis=1)
    return (mean + deviation * noise) * scaling_factor


def hide(pixels: paddle.Tensor, masks: paddle.Tensor) -> paddle.Tensor:
    """Videos without what is to be generated, (batch, 3, frames, height, width), whose pixels are -1.

    masks: (batch, 1, frames, height, width), 1 where the video is to be generated.
    """
    return pixels * (1 - masks) + _UNKNOWN * masks


def freeze(model: EasyAnimateModel, trained: Sequence[str], slower: Sequence[str] = ()) -> list[str]:
    """Freeze all parameters but those whose names contain one of some texts. Returns the names of the trained ones.

    Args:
        trained: texts, such as "attn_temporal."; "." stands for everything. The original takes it for a part of the
            name too, which leaves out the parameters of V4's root: those that stand for text and picture that are
            masked.
        slower: the same, of parameters that are trained with half of the learning rate, if not in `trained`.

    Raises:
        InputError: a text that no name contains.
    """
    names = [name.removeprefix("transformer.") for name, _ in model.named_parameters()]
    for part in (*trained, *slower):
        if part != EVERYTHING and not any(part in name for name in names):
            raise InputError(
                f"--trainable_modules has {shown(part)}, which no name of a parameter contains; a part of one, as "
                f"{names[len(names) // 2]}, or {EVERYTHING!r} for all, is accepted"
            )

    def is_one_of(name: str, parts: Sequence[str]) -> bool:
        name = name.removeprefix("transformer.")
        return any(part == EVERYTHING or part in name for part in parts)

    learning = train_only(model, lambda name: is_one_of(name, [*trained, *slower]))
    for name, parameter in model.named_parameters():
        is_slower = is_one_of(name, slower) and not is_one_of(name, trained)
        parameter.optimize_attr["learning_rate"] = 0.5 if is_slower else 1.0
    return learning


def start_new(transformer: nn.Layer) -> None:
    """Have motion modules and long skips of a transformer with random weights add nothing at first."""
    for name, parameter in transformer.named_parameters():
        if any(part in name for part in _AT_ZERO):
            parameter.set_value(paddle.zeros_like(parameter))


def parts(model: EasyAnimateModel) -> dict[str, TrainedPart]:
    """The transformer as a folder in the original's form, which inference loads as it does the published one."""
    return {"transformer": TrainedPart(model.transformer, config=original_config)}
