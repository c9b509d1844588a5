"""Animates clips of validation with Animate Anyone."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips
from ppdiffusers_ext.training.posed import PosedCase
from ppdiffusers_ext.training.validation import Sampler, to_pictures


def of_training_clips(samples: TrainingClips) -> Iterator[PosedCase]:
    """The `PosedCase`s of `TrainingClips`, each sample one."""
    for index in range(len(samples)):
        sample = samples[index]
        yield PosedCase(
            to_pictures(sample["reference_pixel_values"][:, None], -1)[0],
            to_pictures(sample["pose_pixel_values"], 0),
            to_pictures(sample["pixel_values"], -1),
        )


class AnimateAnyone(Sampler):
    """Animates a `PosedCase` with a `Pose2VideoPipeline`."""

    def __call__(self, case: PosedCase, index: int) -> np.ndarray:
        height, width, _ = case.reference.shape
        shape = [1, self._pipeline.denoising_unet.config.in_channels, len(case.poses)]
        shape += [side // self._pipeline.vae_scale_factor for side in (height, width)]
        video = self._pipeline(
            Image.fromarray(case.reference),
            list(case.poses),
            width,
            height,
            num_inference_steps=self._steps,
            guidance_scale=self._guidance,
            latents=self._noise(index, shape),
            output_type="np",
        ).videos[0]  # (3, frames, height, width)
        return to_pictures(video, 0)
