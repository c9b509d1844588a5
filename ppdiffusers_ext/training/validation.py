"""Validation on held-out clips during training: metrics and a labelled picture."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.metrics.video import video_metrics
from ppdiffusers_ext.pipelines.outputs import to_uint8
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


class Animator:
    """Animates a `Case` with a system's pipeline, by the same noise each time, when it is called with it.

    Args:
        pipeline: of the networks in training.
        num_inference_steps, guidance_scale: see the pipeline.
        seed: of the noise.
    """

    def __init__(self, pipeline: Any, num_inference_steps: int, guidance_scale: float, seed: int) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline, self._steps, self._guidance, self._seed = pipeline, num_inference_steps, guidance_scale, seed

    def __call__(self, case: Case, index: int) -> np.ndarray:
        """Returns (frames, H, W, 3) uint8, of a case and its number."""
        raise NotImplementedError

    def _noise(self, index: int, shape: Sequence[int]) -> paddle.Tensor:
        """Standard normal noise of a shape, the same for the same number of a case."""
        return paddle.to_tensor(np.random.default_rng([self._seed, index]).standard_normal(shape, np.float32))


class Validation:
    """Animates cases and compares the results with the true frames.

    Args:
        animate: function of a `Case` and its number that returns (frames, H, W, 3) uint8.
        cases: function that returns an iterable of `Case`, the same each time.
    """

    def __init__(self, animate: Callable[[Case, int], np.ndarray], cases: Callable[[], Iterable[Case]]) -> None:
        self._animate, self._cases = animate, cases

    @paddle.no_grad()
    def __call__(self, step: int) -> tuple[dict[str, float], np.ndarray]:
        """Returns (dict of the mean numbers, picture as (H, W, 3) uint8).

        A row of the picture is a case: the reference, then pose, truth (if it is known) and result of some frames.

        Args:
            step: of training, for the title of the picture.
        """
        scores: list[dict[str, Any]] = []
        rows: list = []
        for index, case in enumerate(self._cases()):
            prediction = self._animate(case, index)
            pictures = {"pose": case.poses, "result": prediction}
            if case.truth is not None:
                pictures = {"pose": case.poses, "truth": case.truth, "result": prediction}
                scores.append(video_metrics(prediction, case.truth))
            shown = np.linspace(0, len(prediction) - 1, min(_SHOWN, len(prediction))).astype(int)
            cells = [(f"{kind} {frame}", pictures[kind][frame]) for frame in shown for kind in pictures]
            rows.append((f"clip {index + 1}", [("reference", case.reference), *cells]))
        means = {name: [score[name] for score in scores if score[name] is not None] for name in _NUMBERS}
        return {name: float(np.mean(values)) for name, values in means.items() if values}, labelled_sheet(
            f"step {step}; numbers are frames", rows
        )


def to_pictures(values: np.ndarray, low: float) -> np.ndarray:
    """(3, frames, height, width) in [low, 1] -> (frames, height, width, 3) uint8."""
    return to_uint8((values - low) / (1 - low))
