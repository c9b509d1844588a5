"""How good a model in training is on clips that it is not trained on: numbers, and a picture to look at."""

import numpy as np
import paddle
from PIL import Image

from ppdiffusers_ext.metrics.video import VideoMetrics

_NUMBERS = ("psnr", "ssim", "l1", "flicker")
_SHOWN = 3  # frames of each clip on the picture


class Validation:
    """Animates held-out clips and compares with their true frames.

    Args:
        pipeline: `Pose2VideoPipeline` of the networks in training.
        samples: `TrainingClips` of the held-out clips, of which each is taken once.
        count: of them.
        num_inference_steps, guidance_scale: as of the pipeline.
        seed: of the noise, the same each time.
    """

    def __init__(self, pipeline, samples, count, num_inference_steps, guidance_scale, seed):
        self._pipeline, self._samples, self._count = pipeline, samples, count
        self._options = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        self._seed = seed

    @paddle.no_grad()
    def __call__(self):
        """Returns (dict of the mean numbers, picture as (H, W, 3) uint8).

        A row of the picture is a clip: the reference, then pose, truth and prediction of some frames.
        """
        scores, rows = [], []
        for index in range(self._count):
            sample = self._samples[index]
            reference, poses, truth = (
                to_pictures(sample["reference_pixel_values"][:, None], -1),
                to_pictures(sample["pose_pixel_values"], 0),
                to_pictures(sample["pixel_values"], -1),
            )
            prediction = self._animate(reference[0], poses, index)
            metrics = VideoMetrics()
            for frames in zip(prediction, truth):
                metrics.add(*frames)
            scores.append(metrics.result())
            shown = np.linspace(0, len(truth) - 1, min(_SHOWN, len(truth))).astype(int)
            cells = [picture for frame in shown for picture in (poses[frame], truth[frame], prediction[frame])]
            rows.append(np.concatenate([reference[0], *cells], axis=1))
        means = {name: [score[name] for score in scores if score[name] is not None] for name in _NUMBERS}
        return {name: float(np.mean(values)) for name, values in means.items() if values}, np.concatenate(rows)

    def _animate(self, reference, poses, index):
        """(H, W, 3) uint8 and (frames, H, W, 3) uint8 -> (frames, H, W, 3) uint8."""
        height, width, _ = reference.shape
        shape = [1, self._pipeline.denoising_unet.config.in_channels, len(poses)]
        shape += [side // self._pipeline.vae_scale_factor for side in (height, width)]
        noise = np.random.default_rng([self._seed, index]).standard_normal(shape, np.float32)
        videos = self._pipeline(
            Image.fromarray(reference),
            list(poses),
            width,
            height,
            latents=paddle.to_tensor(noise),
            output_type="np",
            **self._options,
        ).videos
        return to_pictures(videos[0], 0)


def to_pictures(values, low):
    """(3, frames, height, width) in [low, 1] -> (frames, height, width, 3) uint8."""
    values = (values.transpose(1, 2, 3, 0) - low) / (1 - low)
    return np.round(values * 255).clip(0, 255).astype(np.uint8)
