"""What a drawn clip is, whichever figures it shows."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ppdiffusers_ext.data.skeletons import Pose

IDENTITY = 512  # numbers that tell people apart, as many as ArcFace's


@dataclass(frozen=True)
class SyntheticClip:
    """
    Attributes:
        reference: (H, W, 3) uint8.
        pose, target: (N, H, W, 3) uint8, frame by frame the same pose.
        face: (N, H, W) uint8, white where the head is.
        identity: (512,) fp32 of unit variance, who it is: see `identity_vector`.
        fps: exact.
        skeletons: N `Pose`, which `pose` shows; empty for simple figures.
    """

    reference: np.ndarray
    pose: np.ndarray
    target: np.ndarray
    face: np.ndarray
    identity: np.ndarray
    fps: Fraction
    skeletons: tuple[Pose, ...] = ()


def identity_vector(features: np.ndarray) -> np.ndarray:
    """Who a person is, (512,) fp32 of unit variance: a direction that follows from numbers about the head, (n,).

    People whose heads look alike have directions alike, as with the embeddings of a face recogniser.
    """
    vector = np.random.default_rng(0).standard_normal((IDENTITY, len(features))) @ features
    return np.asarray((vector / vector.std()).astype(np.float32))
