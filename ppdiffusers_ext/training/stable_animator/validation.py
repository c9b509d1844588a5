"""Animates clips of validation with StableAnimator."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ppdiffusers_ext.data.stable_animator.samples import AnimationSamples
from ppdiffusers_ext.training.posed import PosedCase
from ppdiffusers_ext.training.validation import Sampler, to_pictures


def of_animation_samples(samples: AnimationSamples | None) -> Iterator[PosedCase]:
    """The `PosedCase`s of `AnimationSamples`, each sample one; of None there are none."""
    if samples is None:
        return
    for index in range(len(samples)):
        sample = samples[index]
        poses, truth = (to_pictures(sample[key].swapaxes(0, 1), -1) for key in ("pose_pixels", "pixel_values"))
        reference = to_pictures(sample["reference_image"][:, None], -1)[0]
        yield PosedCase(reference, poses, truth, sample["face_embedding"])


class StableAnimator(Sampler):
    """Animates a `PosedCase` with a `StableAnimatorPipeline`, in one window."""

    def __call__(self, case: PosedCase, index: int) -> np.ndarray:
        height, width, _ = case.reference.shape
        frames, scale = len(case.poses), self._pipeline.vae_scale_factor
        shape = [1, frames, self._pipeline.vae.config.latent_channels, height // scale, width // scale]
        video = self._pipeline(
            Image.fromarray(case.reference),
            list(case.poses),
            case.embedding,
            width,
            height,
            num_inference_steps=self._steps,
            min_guidance_scale=self._guidance,
            max_guidance_scale=self._guidance,
            tile_size=frames,
            tile_overlap=0,
            latents=self._noise(index, shape),
            image_noise=self._noise(index, [1, 3, height, width]),
            output_type="np",
        ).frames[0]  # (3, frames, height, width)
        return to_pictures(video, 0)
