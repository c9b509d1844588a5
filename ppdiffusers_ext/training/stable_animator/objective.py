"""Loss of StableAnimator for a batch of training samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.pipelines.stable_animator.pipeline import for_clip
from ppdiffusers_ext.training.draws import Draws, make_batch
from ppdiffusers_ext.training.latents import hold
from ppdiffusers_ext.training.places import Places
from ppdiffusers_ext.training.stable_animator.model import (
    NOISES,
    Kept,
    denoise,
    encode_clip,
    encode_reference,
    sigma_of,
    weighted_error,
)

ENCODED_AT_ONCE = 4  # pictures: the VAE's first layers are as large as they
_ARRAYS = ("pixel_values", "pose_pixels", "face_masks", "reference_image", "face_embedding", "joints")


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate samples of `AnimationSamples` into a batch."""
    return make_batch(samples, _ARRAYS)


class StableObjective:
    """Loss of one batch.

    Args:
        vae, image_encoder: frozen networks.
        seed: of all draws.
        samples_per_step: number of samples of one optimisation step, over all processes and accumulated batches. Each
            has its own part of the range that sigmas are drawn from.
        dropout: rate of the dropout of CLIP's token and of the picture's latents; see `Kept`.
        noises: see `sigma_of`.
        places: `Places` of the model's UNet, or None.
    """

    def __init__(
        self,
        vae: Any,
        image_encoder: Any,
        seed: int,
        samples_per_step: int,
        dropout: float = 0.1,
        noises: Sequence[int] = NOISES,
        places: Places | None = None,
    ) -> None:
        self._vae, self._image_encoder = vae, image_encoder
        self._draws, self._samples_per_step = Draws(seed), samples_per_step
        self._dropout, self._noises, self._places = dropout, tuple(noises), places
        hold(vae, image_encoder)

    def __call__(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor:
        """Returns the loss of a `StableAnimatorModel` (or its wrapper) for a batch of `collate`, a scalar tensor."""
        indices = [int(index) for index in batch["index"]]
        with paddle.no_grad():
            latents, picture = self.encode(batch, indices)
            embedding = self._image_encoder(for_clip(batch["reference_image"])).image_embeds.unsqueeze(1)
            sigmas = paddle.to_tensor(np.array([self.draw_sigma(index) for index in indices], np.float32))
            noise = self._draws.normals(indices, "noise", latents.shape[1:])
            noisy = latents + noise * sigmas.reshape([-1, 1, 1, 1, 1])
        kept = Kept.draw([self._draws.rng(index, "dropout").random() for index in indices], self._dropout)
        if self._places is not None:
            height, width = latents.shape[3:]
            self._places.begin(indices[0] // self._samples_per_step, height, width, np.asarray(batch["joints"]))
        prediction = model(noisy, sigmas, picture, embedding, batch["face_embedding"], batch["pose_pixels"], kept)
        loss = weighted_error(denoise(prediction, noisy, sigmas), latents, sigmas, batch["face_masks"])
        return loss if self._places is None else loss + self._places.end()

    def describe(self, batch: dict[str, Any]) -> str:
        """Text with the clips and sigmas of the batch."""
        sigmas = [self.draw_sigma(int(index)) for index in batch["index"]]
        return ", ".join(f"{clip} at sigma {sigma:.3g}" for clip, sigma in zip(batch["clips"], sigmas))

    def encode(self, batch: dict[str, Any], indices: Sequence[int]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Latents of frames, (batch, frames, 4, h, w), scaled, and of references, (batch, 4, h, w), not scaled."""
        pixels, reference = batch["pixel_values"], batch["reference_image"]
        scale = 2 ** (len(self._vae.config.block_out_channels) - 1)
        size = [self._vae.config.latent_channels, *(side // scale for side in pixels.shape[3:])]
        noise = self._draws.normals(indices, "latents", [pixels.shape[1], *size])
        latents = encode_clip(self._vae, pixels, noise, ENCODED_AT_ONCE)
        picture_noise = self._draws.normals(indices, "picture noise", reference.shape[1:])
        picture = encode_reference(self._vae, reference, picture_noise, self._draws.normals(indices, "picture", size))
        return latents, picture

    def draw_sigma(self, index: int) -> float:
        """Noise level sigma of a sample."""
        place = (index % self._samples_per_step + self._draws.rng(index, "sigma").random()) / self._samples_per_step
        return float(sigma_of(place, self._noises))
