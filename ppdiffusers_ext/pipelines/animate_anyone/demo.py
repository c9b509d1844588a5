"""How well the small model animates drawn people that it has never seen, by motions that it has never seen.

Compared with the true frames are the model; the model of stage 1 alone, frame by frame, each with noise of its own;
what the autoencoder makes of the true frames, which no animation exceeds; the reference repeated; and the mean of the
training frames. The clips are of the kind that the model was trained on, which the `Drawing` in its folder says.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from PIL import Image

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.drawn_clip import SyntheticClip
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.metrics.video import mean_by_way, video_metrics
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.outputs import to_uint8
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.assignment import load_weights

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig


MODEL, REPEATED = "model", "reference repeated"
WAYS = (MODEL, "stage 1 per frame", "autoencoder", REPEATED, "mean training frame")
_DECODED_AT_ONCE = 8  # frames


@dataclass(frozen=True)
class DemoSettings:
    """Of the clips and of sampling. width, height: pixels. num_frames: of each clip."""

    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float


class DemoEvaluation:
    """
    Args:
        config: `Pose2VidConfig` of the small model.
        runtime: `Runtime`.
        num_frames: of each clip; as in training if left out.

    Raises:
        MissingFileError, InputError: the model's folder does not say how its clips are drawn.
    """

    def __init__(self, config: "Pose2VidConfig", runtime: Runtime, num_frames: int | None = None) -> None:
        self._drawing = Drawing.read(config.pretrained_base_model_path)
        self._pipeline = Pose2VideoPipeline.open(config, runtime)
        self._single = _without_motion(self._pipeline, config.denoising_unet_path)
        for pipeline in (self._pipeline, self._single):
            pipeline.set_progress_bar_config(disable=True)
        self._settings = DemoSettings(
            config.width,
            config.height,
            num_frames or self._drawing.num_frames,
            config.num_inference_steps,
            config.guidance_scale,
        )
        mean = read_image(Path(config.pretrained_base_model_path) / "mean_frame.png")
        self._mean = np.asarray(mean.resize((config.width, config.height), Image.Resampling.BILINEAR))

    def clip(self, seed: int, number: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """The frames of one clip in each way: (truth, poses, dict by `WAYS`), all (frames, H, W, 3) uint8."""
        settings = self._settings
        clip = self._drawing.clip((seed, number), settings.width, settings.height, settings.num_frames)
        noise = np.random.default_rng((seed, number)).standard_normal(self._noise_shape(), np.float32)
        frames = len(clip.target)
        return (
            clip.target,
            clip.pose,
            {
                MODEL: self._animate(self._pipeline, clip, noise),
                "stage 1 per frame": self._animate(self._single, clip, noise),
                "autoencoder": self._decoded(clip.target),
                REPEATED: np.repeat(clip.reference[None], frames, axis=0),
                "mean training frame": np.repeat(self._mean[None], frames, axis=0),
            },
        )

    def scores(self, seed: int, number: int) -> dict[str, dict[str, Any]]:
        """`VideoMetrics.result()` of one clip in each way: a dict by `WAYS`."""
        truth, _, predictions = self.clip(seed, number)
        return {way: video_metrics(prediction, truth) for way, prediction in predictions.items()}

    def _noise_shape(self) -> list[int]:
        settings, scale = self._settings, self._pipeline.vae_scale_factor
        channels = self._pipeline.denoising_unet.config.in_channels
        return [1, channels, settings.num_frames, settings.height // scale, settings.width // scale]

    @paddle.no_grad()
    def _decoded(self, frames: np.ndarray) -> np.ndarray:
        """Frames, (n, H, W, 3) uint8, as they come back from the autoencoder."""
        vae, results = self._pipeline.vae, []
        for start in range(0, len(frames), _DECODED_AT_ONCE):
            pixels = frames[start : start + _DECODED_AT_ONCE].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
            decoded = vae.decode(vae.encode(paddle.to_tensor(pixels)).latent_dist.mean).sample.astype("float32")
            results.append((decoded / 2 + 0.5).clip(0, 1).numpy())
        return to_uint8(np.concatenate(results).transpose(1, 0, 2, 3))

    def _animate(self, pipeline: Pose2VideoPipeline, clip: SyntheticClip, noise: np.ndarray) -> np.ndarray:
        settings = self._settings
        video = pipeline(
            Image.fromarray(clip.reference),
            list(clip.pose),
            settings.width,
            settings.height,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            latents=paddle.to_tensor(noise),
            output_type="np",
        ).videos[0]  # (3, frames, height, width)
        return to_uint8(video)


def _without_motion(pipeline: Pose2VideoPipeline, weights: str | os.PathLike) -> Pose2VideoPipeline:
    """The same pipeline with a denoising UNet that lacks motion modules, so that each frame is for itself."""
    config = {**pipeline.denoising_unet.config, "use_motion_module": False}
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    unet = DenoisingUNet3D(**config)
    load_weights(unet, weights, may_exceed=("motion_modules.",))
    unet.eval()
    others = ("vae", "image_encoder", "reference_unet", "pose_guider", "scheduler")
    return Pose2VideoPipeline(denoising_unet=unet, **{name: getattr(pipeline, name) for name in others})


def summary(scores: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What the clips' scores come to: a dict of the mean numbers of each way, and the three figures that count.

    Args:
        scores: list of `DemoEvaluation.scores`.

    Returns:
        dict of "ways" (way -> metric -> mean), "psnr_above_baseline" (dB above the better of the two that paint
        nothing) and "flicker_below_stage_1" (part by which the flicker is less than that of stage 1 per frame).
    """
    ways = mean_by_way(scores)
    model, single, _, *baselines = (ways[way] for way in WAYS)
    return {
        "ways": ways,
        "psnr_above_baseline": model["psnr"] - max(baseline["psnr"] for baseline in baselines),
        "flicker_below_stage_1": 1 - model["flicker"] / single["flicker"],
    }
