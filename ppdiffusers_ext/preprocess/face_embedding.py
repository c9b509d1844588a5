"""Embeddings of faces for *measuring* identity, by a small network that ships with the package.

MobileFace (becauseofAI/MobileFace), which is not what StableAnimator is conditioned on: that is antelopev2 (`faces`).
ArcFace is antelopev2's recogniser, which papers mean by CSIM; its file is fetched.
"""

import os
from pathlib import Path

import numpy as np

from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.networks import OnnxNetwork

NETWORK = "mobileface"
ARCFACE, ARCFACE_CHECKPOINT = "stable_animator/models/antelopev2/glintr100.onnx", "antelopev2"


class MobileFace:
    """Embeds aligned faces; see `metrics.identity`.

    Args:
        threads: number of CPU threads (default: the number of cores).

    Attributes:
        name: of the network, for reports.
        threshold: see `FaceEmbedder`; `python -m benchmarks identity` measures it (docs/metrics.md).

    Raises:
        MissingFileError, InputError: the network's file is missing or damaged, or ONNX Runtime is not installed.
    """

    name, threshold = NETWORK, 0.47

    def __init__(self, threads: int | None = None) -> None:
        self._network = OnnxNetwork(embedded_network(NETWORK), threads=threads)

    def embed(self, crop: np.ndarray) -> np.ndarray:
        """(112, 112, 3) uint8 RGB of a face aligned to ArcFace's template -> (256,) float32, not normalised."""
        (embeddings,) = self._network(crop.transpose(2, 0, 1)[None].astype(np.float32))
        return np.asarray(embeddings[0])


class ArcFace:
    """Embeds aligned faces by insightface's `glintr100`, an IResNet-100 (Deng et al. 2019, arXiv:1801.07698).

    Args:
        weights: folder that `scripts/download_weights.py` fills.

    Attributes:
        name: of the network, for reports.
        threshold: none was measured: no cosine is below it.

    Raises:
        MissingFileError, InputError: see `OnnxNetwork`.
    """

    name, threshold = "arcface", -1.0

    def __init__(self, weights: str | os.PathLike) -> None:
        self._network = OnnxNetwork(Path(weights) / ARCFACE)

    def embed(self, crop: np.ndarray) -> np.ndarray:
        """(112, 112, 3) uint8 RGB of a face aligned to ArcFace's template -> (512,) float32, not normalised."""
        picture = crop.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        return np.asarray(self._network(picture)[0][0])
