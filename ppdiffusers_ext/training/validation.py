"""Validation on held-out clips during training: metrics and a labelled picture."""

from dataclasses import dataclass

import numpy as np
import paddle
from PIL import Image

from ppdiffusers_ext.metrics.video import VideoMetrics
from ppdiffusers_ext.training.sheets import labelled_sheet

_NUMBERS = ("psnr", "ssim", "l1", "flicker")
_SHOWN = 3  # frames of each clip on the picture


@dataclass(frozen=True)
class Case:
    """Case to animate, all uint8.

    Attributes:
        reference: (H, W, 3).
        poses: (frames, H, W, 3).
        truth: (frames, H, W, 3), the true frames, or None if they are unknown.
        embedding: (512,) of the reference's face, or None.
    """

    reference: np.ndarray
    poses: np.ndarray
    truth: np.ndarray | None = None
    embedding: np.ndarray | None = None


class Validation:
    """Animates cases and compares the results with the true frames.

    Args:
        animate: function of a `Case` and its number that returns (frames, H, W, 3) uint8.
        cases: function that returns an iterable of `Case`, the same each time.
    """

    def __init__(self, animate, cases):
        self._animate, self._cases = animate, cases

    @paddle.no_grad()
    def __call__(self, step):
        """Returns (dict of the mean numbers, picture as (H, W, 3) uint8).

        A row of the picture is a case: the reference, then pose, truth (if it is known) and result of some frames.

        Args:
            step: of training, for the title of the picture.
        """
        scores, rows = [], []
        for index, case in enumerate(self._cases()):
            prediction = self._animate(case, index)
            pictures = {"pose": case.poses, "truth": case.truth, "result": prediction}
            if case.truth is None:
                del pictures["truth"]
            else:
                metrics = VideoMetrics()
                for frames in zip(prediction, case.truth):
                    metrics.add(*frames)
                scores.append(metrics.result())
            shown = np.linspace(0, len(prediction) - 1, min(_SHOWN, len(prediction))).astype(int)
            cells = [(f"{kind} {frame}", pictures[kind][frame]) for frame in shown for kind in pictures]
            rows.append((f"clip {index + 1}", [("reference", case.reference), *cells]))
        means = {name: [score[name] for score in scores if score[name] is not None] for name in _NUMBERS}
        return {name: float(np.mean(values)) for name, values in means.items() if values}, labelled_sheet(
            f"step {step}; numbers are frames", rows
        )


def of_training_clips(samples):
    """`Case`s of `TrainingClips`, one per sample."""
    for index in range(len(samples)):
        sample = samples[index]
        yield Case(
            to_pictures(sample["reference_pixel_values"][:, None], -1)[0],
            to_pictures(sample["pose_pixel_values"], 0),
            to_pictures(sample["pixel_values"], -1),
        )


def of_animation_samples(samples):
    """`Case`s of `AnimationSamples`, one per sample; none for None."""
    for index in range(len(samples or ())):
        sample = samples[index]
        poses, truth = (to_pictures(sample[key].swapaxes(0, 1), -1) for key in ("pose_pixels", "pixel_values"))
        reference = to_pictures(sample["reference_image"][:, None], -1)[0]
        yield Case(reference, poses, truth, sample["face_embedding"])


class AnimateAnyone:
    """Animates a `Case` with a `Pose2VideoPipeline`, with the same noise each time.

    Args:
        pipeline: of the networks in training.
        num_inference_steps, guidance_scale: see the pipeline.
        seed: of the noise.
    """

    def __init__(self, pipeline, num_inference_steps, guidance_scale, seed):
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline, self._steps, self._guidance, self._seed = pipeline, num_inference_steps, guidance_scale, seed

    def __call__(self, case, index):
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
            latents=_noise(self._seed, index, shape),
            output_type="np",
        ).videos[0]  # (3, frames, height, width)
        return to_pictures(video, 0)


class StableAnimator:
    """Animates a `Case` with a `StableAnimatorPipeline`, in one window.

    Args:
        pipeline, num_inference_steps, guidance_scale, seed: see `AnimateAnyone`.
    """

    def __init__(self, pipeline, num_inference_steps, guidance_scale, seed):
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline, self._steps, self._guidance, self._seed = pipeline, num_inference_steps, guidance_scale, seed

    def __call__(self, case, index):
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
            latents=_noise(self._seed, index, shape),
            image_noise=_noise(self._seed, index, [1, 3, height, width]),
            output_type="np",
        ).frames[0]  # (3, frames, height, width)
        return to_pictures(video, 0)


def _noise(seed, index, shape):
    return paddle.to_tensor(np.random.default_rng([seed, index]).standard_normal(shape, np.float32))


def to_pictures(values, low):
    """(3, frames, height, width) in [low, 1] -> (frames, height, width, 3) uint8."""
    values = (values.transpose(1, 2, 3, 0) - low) / (1 - low)
    return np.round(values * 255).clip(0, 255).astype(np.uint8)
