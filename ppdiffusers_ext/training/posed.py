"""Validation of trainings whose pipelines animate a picture by pictures of poses."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.training.validation import Case


@dataclass(frozen=True)
class PosedCase(Case):
    """Picture to animate, and the poses; all uint8.

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

    def pictures(self) -> Mapping[str, np.ndarray]:
        return {"reference": self.reference}

    def videos(self) -> Mapping[str, np.ndarray]:
        return {"pose": self.poses}
