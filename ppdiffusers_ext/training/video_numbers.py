"""Numbers of the videos of validation, by the names of `metrics.catalogue`."""

from collections.abc import Sequence

import numpy as np

from ppdiffusers_ext.metrics.catalogue import METRICS, PAIRED, PERSON, Metric, choose_metrics
from ppdiffusers_ext.metrics.networks import WEIGHTS
from ppdiffusers_ext.metrics.pairing import PairedMetrics, mean_of
from ppdiffusers_ext.metrics.people import person_numbers
from ppdiffusers_ext.metrics.tasks import open_once
from ppdiffusers_ext.metrics.weights import check_weight_files
from ppdiffusers_ext.pipelines.reporting import OTHER_WEIGHTS, make_openers

DEFAULT = "psnr,ssim,l1,flicker"


def check_numbers(text: str) -> list[Metric]:
    """The metrics that a user names, with commas between them.

    Raises:
        InputError, MissingFileError: one that is not known or is no number of a single video, or whose weights are
            missing.
    """
    known = [metric for metric in METRICS.values() if metric.kind in (PAIRED, PERSON)]
    chosen = choose_metrics(text, known, "validation")
    check_weight_files(chosen, WEIGHTS, OTHER_WEIGHTS)
    return chosen


class VideoNumbers:
    """Computes numbers of single videos.

    Args:
        text: see `check_numbers`.

    Attributes:
        names: of the numbers.
    """

    def __init__(self, text: str = DEFAULT) -> None:
        chosen = check_numbers(text)
        self.names = [metric.name for metric in chosen]
        self._paired = [metric.name for metric in chosen if metric.kind == PAIRED]
        self._person = [metric.name for metric in chosen if metric.kind == PERSON]

    def __call__(
        self, video: np.ndarray, truth: np.ndarray | None, reference: np.ndarray | None = None
    ) -> dict[str, float | None]:
        """The numbers by name, None for one that cannot be computed.

        Args:
            video: (frames, H, W, 3) uint8.
            truth: the true frames, of the same shape; None if they are not known.
            reference: picture of the person, (H, W, 3); the first true frame if left out, or else the video's.
        """
        numbers: dict[str, float | None] = dict.fromkeys(self.names)
        if truth is not None and self._paired:
            numbers |= _paired(self._paired, video, truth)
        if self._person:
            if reference is None or reference.shape != video.shape[1:]:
                reference = video[0] if truth is None else truth[0]
            true = None if truth is None else truth.__iter__
            found = person_numbers(video.__iter__, true, reference, len(video), self._person, make_openers(WEIGHTS))
            numbers |= found["numbers"]
        return numbers


def _paired(names: Sequence[str], video: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    metrics = PairedMetrics(names, lambda name: open_once(WEIGHTS, "auto", name))
    for made, true in zip(video, truth, strict=True):
        metrics.add(made, true)
    return {name: mean_of(values) for name, values in metrics.frames.items()}
