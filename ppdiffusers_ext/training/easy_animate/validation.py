"""Makes videos of texts in validation with EasyAnimate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppdiffusers_ext.data.easy_animate.buckets import round_frames
from ppdiffusers_ext.pipelines.easy_animate import video_coding
from ppdiffusers_ext.training.validation import Case, Sampler, to_pictures

_UNWANTED = "bad detailed"  # of the original's validation
MOST_CAPTIONS = 4  # of held-out clips that videos are made of, where there are no prompts


@dataclass(frozen=True)
class PromptCase(Case):
    """A text to make a video of.

    Attributes:
        prompt: the text.
        side, frames: pixels of a square, and number of frames.
    """

    prompt: str
    side: int
    frames: int

    def name(self, number: int) -> str:
        return f"prompt {number}"


def of_prompts(prompts: Iterable[str], side: int, frames: int) -> Iterator[PromptCase]:
    """The `PromptCase` of each text."""
    for prompt in prompts:
        yield PromptCase(prompt, side, frames)


class EasyAnimate(Sampler):
    """Makes the video of a `PromptCase` with an `EasyAnimatePipeline`."""

    def __call__(self, case: PromptCase, index: int) -> np.ndarray:
        pipeline: Any = self._pipeline
        frames = max(1, round_frames(case.frames, video_coding.frames_multiple(pipeline.vae)))
        video = pipeline(
            case.prompt,
            _UNWANTED,
            height=case.side,
            width=case.side,
            num_frames=frames,
            num_inference_steps=self._steps,
            guidance_scale=self._guidance,
            latents=self._noise(index, pipeline.latents_shape(1, frames, case.side, case.side)),
            output_type="np",
        ).frames[0]  # (3, frames, height, width)
        return to_pictures(video, 0)
