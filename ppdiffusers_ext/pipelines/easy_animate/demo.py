"""How well a small EasyAnimate makes what prompts say, of combinations that it was not trained on.

Measured are the model's videos, and beside them clips that are rendered as the prompt says, as they are and after the
autoencoder: the best that there can be. What is right by chance is what the videos come to against one another's
prompts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.data.easy_animate.synthetic import synthetic_scene
from ppdiffusers_ext.data.scenes import Scene, draw_scene
from ppdiffusers_ext.metrics.scenes import (
    NIGHT,
    MotionClassifier,
    chance_parts,
    is_at_night,
    mean_lightness,
    name_colors,
    right_parts,
)
from ppdiffusers_ext.pipelines.easy_animate import video_coding
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.outputs import to_uint8
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig


MODEL, ENCODED, RENDERED, CHANCE = WAYS = (
    "model",
    "rendered, after the autoencoder",
    "rendered",
    "chance",
)
LIGHTNESS = "lightness"
COLUMNS = (  # key, title and digits behind the point, of `metrics.report.Table`
    ("shirt", "shirt", 2),
    ("background", "background", 2),
    ("motion", "motion", 2),
    ("all", "all three", 2),
    (NIGHT, "night", 2),
    (LIGHTNESS, "lightness", 1),
)
_OF_CLASSIFIER = 12_345  # the seed of the clips that motions are compared with; no evaluation draws these


class TextDemoEvaluation:
    """
    Args:
        config: `EasyAnimateConfig` of the small model.
        runtime: `Runtime`.
        classifier: `MotionClassifier` for such videos; one is made if left out.

    Attributes:
        classifier: of motions.
    """

    def __init__(
        self, config: "EasyAnimateConfig", runtime: Runtime, classifier: MotionClassifier | None = None
    ) -> None:
        self._config = replace(config, prompt="")
        self._pipeline = EasyAnimateInpaintPipeline.open(config, runtime)
        self._pipeline.set_progress_bar_config(disable=True)
        self.classifier = classifier or MotionClassifier(_OF_CLASSIFIER, config.num_frames, config.width)

    def accuracy(self, seed: int, count: int) -> float:
        """The part of so many rendered clips of a seed whose motions the classifier names rightly."""
        return self.classifier.accuracy(seed, count, self._config.num_frames, self._config.width)

    def videos(self, seed: int, number: int) -> tuple[Scene, str, dict[str, np.ndarray]]:
        """One prompt, and its videos in each way but the last.

        Args:
            seed, number: of the prompt, of the noise and of the rendered clip.

        Returns:
            what the prompt says, the prompt, and (frames, H, W, 3) uint8 by `WAYS`.
        """
        scene, prompt = synthetic_scene((seed, number), held_out=True)
        skipped = number % 4 + 2
        config = self._config
        rendered = draw_scene(scene, (seed, number, 1), config.num_frames + skipped, config.width)[skipped:]
        return (
            scene,
            prompt,
            {MODEL: self.make(prompt, (seed, number)), ENCODED: self._encoded(rendered), RENDERED: rendered},
        )

    def make(self, prompt: str, seed: Sequence[int]) -> np.ndarray:
        """The model's video of a prompt: (frames, H, W, 3) uint8."""
        config = self._config
        shape = self._pipeline.latents_shape(1, config.num_frames, config.height, config.width)
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        video = self._pipeline(
            prompt,
            config.negative_prompt,
            height=config.height,
            width=config.width,
            num_frames=config.num_frames,
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            guidance_rescale=config.guidance_rescale,
            latents=paddle.to_tensor(noise),
            output_type="np",
            **config.knobs,
        ).frames[0]  # (3, frames, height, width)
        return to_uint8(video)

    def scores(self, seed: int, number: int) -> dict[str, Any]:
        """What is seen in the videos of one prompt: {"prompt", "wanted", and what is seen by way}."""
        scene, prompt, videos = self.videos(seed, number)
        return {"prompt": prompt, "wanted": vars(scene), **{way: self.seen(frames) for way, frames in videos.items()}}

    def seen(self, frames: np.ndarray) -> dict[str, Any]:
        """What is seen in a video, (frames, H, W, 3) uint8: a dict of a `Scene`, of its style and its lightness."""
        shirt, background = name_colors(frames)
        motion = self.classifier(frames)
        style = {NIGHT: is_at_night(frames), LIGHTNESS: mean_lightness(frames)}
        return {"shirt": shirt, "background": background, "motion": motion, **style}

    @paddle.no_grad()
    def _encoded(self, frames: np.ndarray) -> np.ndarray:
        pixels = paddle.to_tensor(frames.transpose(3, 0, 1, 2)[None].astype(np.float32) / 127.5 - 1)
        vae = self._pipeline._network("vae").load()
        chunks = list(video_coding.decode(vae, video_coding.encode(vae, pixels)))
        return to_uint8(paddle.concat(chunks, axis=2)[0].numpy())


def summary(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What the scores of prompts come to: way -> property -> part of the videos that have it as the prompt says.

    Beside `PROPERTIES` are "all" of these, `NIGHT` (the part of videos at night) and `LIGHTNESS` (CIE's, 0 to 100).
    """
    wanted = [Scene(**score["wanted"]) for score in scores]
    ways = {}
    for way in WAYS[:-1]:
        ways[way] = {**right_parts(wanted, _scenes(scores, way)), **_style(scores, way)}
    ways[CHANCE] = {**chance_parts(wanted, _scenes(scores, MODEL)), **_style(scores, MODEL)}
    return ways


def _scenes(scores: Sequence[dict[str, Any]], way: str) -> list[Scene]:
    return [Scene(*(score[way][name] for name in Scene.__dataclass_fields__)) for score in scores]


def _style(scores: Sequence[dict[str, Any]], way: str) -> dict[str, float]:
    return {name: float(np.mean([score[way][name] for score in scores])) for name in (NIGHT, LIGHTNESS)}
