"""Validation during training: videos that are made, metrics of them, and a labelled picture."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.pipelines.outputs import to_uint8
from ppdiffusers_ext.training.sheets import labelled_sheet
from ppdiffusers_ext.training.video_numbers import DEFAULT, VideoNumbers

logger = logging.getLogger(__name__)

_SHOWN = 3  # frames of each clip on the picture


class Case:
    """What a video is made of in validation, and what is shown beside it; each system has its own.

    Attributes:
        truth: (frames, H, W, 3) uint8, the true frames, or None if they are unknown.
    """

    truth: np.ndarray | None = None

    def name(self, number: int) -> str:
        """Name of the case with a number, counted from 1."""
        return f"clip {number}"

    def pictures(self) -> Mapping[str, np.ndarray]:
        """What the case begins with, by name: (H, W, 3) uint8."""
        return {}

    def videos(self) -> Mapping[str, np.ndarray]:
        """The videos that the result is shown beside, by name: (frames, H, W, 3) uint8."""
        return {}


class Sampler:
    """Makes the video of a `Case` with a system's pipeline, by the same noise each time, when it is called with it.

    Args:
        pipeline: of the networks in training.
        options: `SamplingTrainerOptions`.
    """

    def __init__(self, pipeline: Any, options: Any) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline, self._seed = pipeline, options.seed
        self._steps, self._guidance = options.validation_inference_steps, options.validation_guidance_scale

    def __call__(self, case: Any, index: int) -> np.ndarray:
        """Returns (frames, H, W, 3) uint8, of a case and its number."""
        raise NotImplementedError

    def _noise(self, index: int, shape: Sequence[int]) -> paddle.Tensor:
        """Standard normal noise of a shape, the same for the same number of a case."""
        return paddle.to_tensor(np.random.default_rng([self._seed, index]).standard_normal(shape, np.float32))


class Validation:
    """Makes the videos of cases, and compares them with the true frames.

    Args:
        make: function of a `Case` and its number that returns (frames, H, W, 3) uint8.
        cases: function that returns an iterable of `Case`, the same each time.
        metrics: names of the numbers, see `video_numbers`; None for those that need true frames and no network.
    """

    def __init__(
        self,
        make: Callable[[Any, int], np.ndarray],
        cases: Callable[[], Iterable[Case]],
        metrics: str | None = None,
    ) -> None:
        self._make, self._cases = make, cases
        self._numbers, self._is_asked = VideoNumbers(metrics or DEFAULT), metrics is not None

    @paddle.no_grad()
    def __call__(self, step: int) -> tuple[dict[str, float], np.ndarray]:
        """Returns (dict of the mean numbers, picture as (H, W, 3) uint8).

        A row of the picture is a case: its pictures, then what is known, the truth (if there is one) and the result
        of some frames.

        Args:
            step: of training, for the title of the picture.
        """
        scores: list[dict[str, Any]] = []
        rows: list = []
        for index, case in enumerate(self._cases()):
            result = self._make(case, index)
            truth = {} if case.truth is None else {"truth": case.truth}
            scores.append(self._numbers(result, case.truth, case.pictures().get("reference")))
            videos = {**case.videos(), **truth, "result": result}
            shown = np.linspace(0, len(result) - 1, min(_SHOWN, len(result))).astype(int)
            cells = [(f"{kind} {frame}", videos[kind][frame]) for frame in shown for kind in videos]
            rows.append((case.name(index + 1), [*case.pictures().items(), *cells]))
        known = {name: [score[name] for score in scores if score[name] is not None] for name in self._numbers.names}
        if self._is_asked and (missing := [name for name, values in known.items() if not values]):
            logger.warning("not measured in this validation: %s", ", ".join(missing))
        means = {name: float(np.mean(values)) for name, values in known.items() if values}
        return means, labelled_sheet(f"step {step}; numbers are frames", rows)


def to_pictures(values: np.ndarray, low: float) -> np.ndarray:
    """(3, frames, height, width) in [low, 1] -> (frames, height, width, 3) uint8."""
    return to_uint8((values - low) / (1 - low))
