"""Loss of Animate Anyone for a batch of training clips: latents, noise, embeddings, prediction, weights."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.training.draws import Draws, make_batch
from ppdiffusers_ext.training.latents import ENCODED_AT_ONCE, encode_in_parts, hold
from ppdiffusers_ext.training.losses import add_offset, mean_squared_error, min_snr_weights, signal_to_noise, target_of
from ppdiffusers_ext.training.places import Places


class Collate:
    """Collates samples of `TrainingClips` or `CachedClips` into a batch, in the process that reads them.

    Args:
        image_processor: ppdiffusers' `CLIPImageProcessor`, which gets the whole reference picture.
    """

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if "latent_mean" in samples[0]:
            return make_batch(samples, ("latent_mean", "latent_deviation", "embedding", "pose_pixel_values", "joints"))
        batch = make_batch(samples, ("pixel_values", "pose_pixel_values", "reference_pixel_values", "joints"))
        batch["clip_pixel_values"] = self.process([sample["reference_image"] for sample in samples])
        return batch

    def process(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """What the image encoder takes of whole pictures (H, W, 3) uint8: (n, 3, 224, 224)."""
        processed = [
            self._image_processor.preprocess(picture, return_tensors="np").pixel_values[0] for picture in pictures
        ]
        return np.stack(processed).astype(np.float32)


class Objective:
    """Loss of one batch.

    Args:
        vae, image_encoder: frozen networks.
        scheduler: noise scheduler, which predicts velocities or clean latents.
        seed: of all draws.
        samples_per_step: number of samples of one optimisation step, over all processes and accumulated batches.
        noise_offset: strength of the noise offset that all frames of a clip share.
        snr_gamma: bound of the Min-SNR weights; 0 turns them off.
        uncond_ratio: share of the steps without reference, which guidance needs.
        places: `Places` of the model's denoising UNet, or None.
    """

    def __init__(
        self,
        vae: Any,
        image_encoder: Any,
        scheduler: Any,
        seed: int,
        samples_per_step: int,
        noise_offset: float = 0.05,
        snr_gamma: float = 5.0,
        uncond_ratio: float = 0.1,
        places: Places | None = None,
    ) -> None:
        self._vae, self._image_encoder, self._scheduler = vae, image_encoder, scheduler
        self._draws, self._samples_per_step = Draws(seed), samples_per_step
        self._noise_offset, self._snr_gamma, self._uncond_ratio = noise_offset, snr_gamma, uncond_ratio
        self._places = places
        hold(vae, image_encoder)

    def __call__(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor:
        """Returns the loss of an `AnimateAnyoneModel` (or its wrapper) for a batch of `Collate`, a scalar tensor."""
        indices = [int(index) for index in batch["index"]]
        unconditional = self.is_unconditional(indices[0])
        with paddle.no_grad():
            latents, reference = self.encode(batch, indices)
            embedding = self.embed(batch, unconditional)  # (batch, 1, dim)
            noise, timesteps = self.draw_noise(indices, latents.shape)
            noisy = self._scheduler.add_noise(latents, noise, timesteps)
            target = target_of(self._scheduler, latents, noise, timesteps)
            weights = self._weights(timesteps)
        poses = batch["pose_pixel_values"]
        if self._places is not None:
            height, width = latents.shape[3:]
            self._places.begin(indices[0] // self._samples_per_step, height, width, np.asarray(batch["joints"]))
        prediction = model(noisy, timesteps, reference, embedding, poses, unconditional=unconditional)
        loss = mean_squared_error(prediction, target, weights)
        return loss if self._places is None else loss + self._places.end()

    def _weights(self, timesteps: paddle.Tensor) -> paddle.Tensor | None:
        """Min-SNR weights of samples, (batch,), or None."""
        if not self._snr_gamma:
            return None
        snr = signal_to_noise(self._scheduler, timesteps)
        return min_snr_weights(snr, self._snr_gamma, self._scheduler.config.prediction_type)

    def describe(self, batch: dict[str, Any]) -> str:
        """Text with the clips and timesteps of the batch."""
        timesteps = [self._draw_timestep(int(index)) for index in batch["index"]]
        return ", ".join(f"{clip} at timestep {timestep}" for clip, timestep in zip(batch["clips"], timesteps))

    def is_unconditional(self, index: int) -> bool:
        """True if the step of a sample has no reference: one draw per step."""
        return bool(self._draws.rng(index // self._samples_per_step, "step").random() < self._uncond_ratio)

    def encode(self, batch: dict[str, Any], indices: Sequence[int]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Latents of targets and references: (batch, 4, frames, h / 8, w / 8) and (batch, 4, h / 8, w / 8)."""
        latents = self._encode_kept(batch, indices) if "latent_mean" in batch else self._encode_pixels(batch, indices)
        return latents[:, :, 1:].contiguous(), latents[:, :, 0].contiguous()

    def _encode_pixels(self, batch: dict[str, Any], indices: Sequence[int]) -> paddle.Tensor:
        """Latents (batch, 4, 1 + frames, h / 8, w / 8) of a reference and its targets."""
        pixels, reference = batch["pixel_values"], batch["reference_pixel_values"].unsqueeze(2)
        frames = pixels.shape[2]
        pictures = paddle.concat([reference, pixels], axis=2).transpose(
            [0, 2, 1, 3, 4]
        )  # (batch, 1 + frames, 3, h, w)
        scale = 2 ** (len(self._vae.config.block_out_channels) - 1)
        shape = (1 + frames, self._vae.config.latent_channels, pixels.shape[3] // scale, pixels.shape[4] // scale)
        pictures, noise = pictures.flatten(0, 1), self._draws.normals(indices, "latents", shape).flatten(0, 1)
        latents = encode_in_parts(self._vae, pictures, noise, ENCODED_AT_ONCE)
        return latents.reshape([len(indices), *shape]).transpose([0, 2, 1, 3, 4])

    def _encode_kept(self, batch: dict[str, Any], indices: Sequence[int]) -> paddle.Tensor:
        """As `_encode_pixels`, of latents' means and deviations that were kept."""
        mean, deviation = batch["latent_mean"], batch["latent_deviation"]  # (batch, 1 + frames, 4, h / 8, w / 8)
        noise = self._draws.normals(indices, "latents", mean.shape[1:])
        return ((mean + deviation * noise) * self._vae.config.scaling_factor).transpose([0, 2, 1, 3, 4])

    def embed(self, batch: dict[str, Any], unconditional: bool) -> paddle.Tensor:
        """CLIP's embedding (batch, 1, dim); of black pixels without a reference, as in the original."""
        if "embedding" in batch and not unconditional:
            return batch["embedding"].unsqueeze(1)
        side = self._image_encoder.config.image_size
        black = (len(batch["clips"]), 3, side, side)
        pixels = paddle.zeros(black) if unconditional else batch["clip_pixel_values"]
        return self._image_encoder(pixels).image_embeds.unsqueeze(1)

    def draw_noise(self, indices: Sequence[int], shape: Sequence[int]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Noise of a latents' shape with its offset, and a timestep for each sample: (batch,) int64."""
        _, channels, *rest = shape
        noises, offsets, timesteps = [], [], []
        for index in indices:
            rng = self._draws.rng(index, "noise")
            noises.append(rng.standard_normal((channels, *rest), np.float32))
            offsets.append(rng.standard_normal((channels, 1, 1, 1), np.float32))
            timesteps.append(self._draw_timestep(index))
        noise, offset = paddle.to_tensor(np.stack(noises)), paddle.to_tensor(np.stack(offsets))
        return add_offset(noise, offset, self._noise_offset), paddle.to_tensor(timesteps)

    def _draw_timestep(self, index: int) -> int:
        return int(self._draws.rng(index, "timestep").integers(self._scheduler.config.num_train_timesteps))
