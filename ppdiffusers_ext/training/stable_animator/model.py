"""Training step of StableAnimator: networks, trainable parameters, noise and loss.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator (`train_single.py`,
`train.py`). The pose net, the face encoder and the transformers of the UNet are trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.training.latents import encode, encode_in_parts
from ppdiffusers_ext.training.parts import TrainedPart, train_only
from ppdiffusers_ext.training.stable_animator.options import NOISES

PICTURE_NOISE = 0.02  # that is added to the reference picture
_ADDED = (6.0, 127.0, PICTURE_NOISE)  # frames per second less one, motion bucket, noise of the picture
_TRAINED_OF_UNET = "attentions"
# Of the draw of sigmas, in the terms of Hoogeboom et al. 2023 (arXiv:2301.11093).
_SIGMAS, _SIGMA_DATA, _IMAGE = (0.002, 700.0), 0.5, 64


class StableAnimatorModel(nn.Layer):
    """The three networks as one layer.

    Args:
        unet, pose_net, face_encoder: `AnimationUNet`, `PoseNet`, `FusionFaceId`.
    """

    def __init__(self, unet: AnimationUNet, pose_net: PoseNet, face_encoder: FusionFaceId) -> None:
        super().__init__()
        self.unet, self.pose_net, self.face_encoder = unet, pose_net, face_encoder

    def forward(
        self,
        noisy: paddle.Tensor,
        sigmas: paddle.Tensor,
        picture: paddle.Tensor,
        clip_embedding: paddle.Tensor,
        face_embedding: paddle.Tensor,
        pose_pixels: paddle.Tensor,
        kept: "Kept",
    ) -> paddle.Tensor:
        """Predict the velocity.

        Args:
            noisy: (batch, frames, 4, h, w), not scaled.
            sigmas: (batch,).
            picture: (batch, 4, h, w), the reference's latents.
            clip_embedding: (batch, 1, dim) of the reference.
            face_embedding: (batch, 512).
            pose_pixels: (batch, frames, 3, height, width), values in [-1, 1].
            kept: `Kept`.

        Returns:
            As `noisy`.
        """
        batch, frames = noisy.shape[:2]
        faces = self.face_encoder(face_embedding, clip_embedding)  # (batch, 4, channels)
        context = paddle.concat([clip_embedding * kept.tokens.reshape([-1, 1, 1]), faces], axis=1)
        picture = (picture * kept.pictures.reshape([-1, 1, 1, 1])).unsqueeze(1).expand(noisy.shape)
        scaled = noisy / (sigmas.square() + 1).sqrt().reshape([-1, 1, 1, 1, 1])
        sample = paddle.concat([scaled, picture], axis=2)  # (batch, frames, 8, h, w)
        added = paddle.to_tensor([_ADDED] * batch, dtype="float32")
        poses = self.pose_net(pose_pixels)  # (batch*frames, channels, h, w)
        return self.unet(sample, 0.25 * sigmas.log(), context, added, poses)


@dataclass(frozen=True)
class Kept:
    """Dropout masks of the reference, (batch,) of 1 (keep) and 0 (drop): for CLIP's token and for the latents."""

    tokens: paddle.Tensor
    pictures: paddle.Tensor

    @classmethod
    def draw(cls, uniform: Any, rate: float) -> "Kept":
        """Masks of numbers (batch,) from 0 to 1: no token below 2 * rate, no latents from rate to 3 * rate."""
        uniform = np.asarray(uniform, np.float32)
        tokens, pictures = uniform >= 2 * rate, (uniform < rate) | (uniform >= 3 * rate)
        return cls(*(paddle.to_tensor(keeps.astype(np.float32)) for keeps in (tokens, pictures)))


def freeze(model: StableAnimatorModel, whole_unet: bool = False) -> list[str]:
    """Freeze all parameters of a `StableAnimatorModel` but the trained ones. Returns the names of the trained ones.

    Args:
        whole_unet: True to train the whole UNet, which is required without Stable Video Diffusion's weights.
    """
    return train_only(model, lambda name: whole_unet or not name.startswith("unet.") or _TRAINED_OF_UNET in name)


def parts(model: StableAnimatorModel, suffix: str = ".safetensors") -> dict[str, TrainedPart]:
    """`TrainedPart`s by the names of their files, each a whole network, as inference loads it.

    In checkpoints they are named unet-STEP and so on, as in the original.
    """
    names = ("unet", "pose_net", "face_encoder")
    return {name: TrainedPart(getattr(model, name), suffix=suffix, numbered=True) for name in names}


def sigma_of(uniform: Any, noises: Sequence[int] = NOISES) -> np.ndarray:
    """Noise level sigma for an array of numbers from 0 to 1, of the same shape: large for small numbers.

    A schedule of log signal-to-noise that is a cosine in time, between two shifts for resolutions, `noises`.
    """
    uniform = np.asarray(uniform, np.float64)
    lowest, highest = (-2 * math.log(sigma / _SIGMA_DATA) for sigma in reversed(_SIGMAS))

    def cosine(shift: float) -> np.ndarray:
        start, end = (math.atan(math.exp(-0.5 * (bound - shift))) for bound in (lowest, highest))
        return -2 * np.log(np.tan(start + uniform * (end - start))) + shift

    low, high = (cosine(2 * math.log(noise / _IMAGE)) for noise in noises)
    return (np.exp(-0.5 * (low + uniform * (high - low))) * _SIGMA_DATA).astype(np.float32)


def stratify(uniform: Any) -> np.ndarray:
    """Stratify numbers (batch,) from 0 to 1: each is moved into its own part of that range."""
    return (np.arange(len(uniform)) + np.asarray(uniform, np.float64)) / len(uniform)


def encode_clip(vae: Any, pixels: paddle.Tensor, noise: paddle.Tensor, at_once: int) -> paddle.Tensor:
    """Latents of frames, (batch, frames, 3, height, width) in [-1, 1], drawn by normal noise of the latents' shape.

    Args:
        at_once: number of pictures per call of the encoder.

    Returns:
        (batch, frames, 4, h, w), scaled.
    """
    latents = encode_in_parts(vae, pixels.flatten(0, 1), noise.flatten(0, 1), at_once)  # (batch*frames, 4, h, w)
    return latents.reshape([*pixels.shape[:2], *latents.shape[1:]])


def encode_reference(
    vae: Any, pixels: paddle.Tensor, picture_noise: paddle.Tensor, noise: paddle.Tensor
) -> paddle.Tensor:
    """Latents of references, (batch, 3, height, width) in [-1, 1], with some noise: (batch, 4, h, w), not scaled."""
    return encode(vae, pixels + PICTURE_NOISE * picture_noise, noise, 1.0)


def denoise(prediction: paddle.Tensor, noisy: paddle.Tensor, sigmas: paddle.Tensor) -> paddle.Tensor:
    """Clean latents predicted by a velocity: (batch, frames, 4, h, w)."""
    sigmas = sigmas.reshape([-1, 1, 1, 1, 1])
    return noisy / (sigmas.square() + 1) - prediction * sigmas / (sigmas.square() + 1).sqrt()


def weighted_error(
    denoised: paddle.Tensor, latents: paddle.Tensor, sigmas: paddle.Tensor, masks: paddle.Tensor
) -> paddle.Tensor:
    """Squared error with double weight on faces, weighted by sigma to equal the squared error of the velocity.

    Args:
        denoised, latents: (batch, frames, 4, h, w).
        sigmas: (batch,).
        masks: (batch, frames, 1, height, width), 1 where a face is, else 0.
    """
    sigmas = sigmas.reshape([-1, 1, 1, 1, 1])
    weights = (sigmas.square() + 1) / sigmas.square()
    errors = weights * (denoised.astype("float32") - latents.astype("float32")).square()
    return (errors * (1 + _small(masks, latents.shape[3:]))).mean()


def _small(masks: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
    """(batch, frames, 1, height, width) -> (batch, frames, 1, h, w)."""
    small = F.interpolate(masks.flatten(0, 1), size=size, mode="nearest")
    return small.reshape([*masks.shape[:3], *size])
