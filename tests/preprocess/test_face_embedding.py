"""The embedding of faces that ships with the package."""

import numpy as np
import onnxruntime
import pytest

from ppdiffusers_ext.metrics.identity import csim
from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.face_embedding import MobileFace


@pytest.fixture(scope="module")
def network():
    return MobileFace()


def crop(seed):
    """Blurred noise, whose places the network tells apart."""
    blocks = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 16, axis=0), 16, axis=1)


def test_embedding_is_that_of_the_network_on_rgb_levels(network):
    session = onnxruntime.InferenceSession(str(embedded_network("mobileface")), providers=["CPUExecutionProvider"])
    pixels = crop(0).transpose(2, 0, 1)[None].astype(np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: pixels})
    embedding = network.embed(crop(0))
    assert embedding.shape == (256,) and np.abs(embedding - expected[0]).max() <= 1e-4 * np.abs(expected).max()


def test_the_same_crop_is_nearer_than_another(network):
    same = network.embed(crop(0)), network.embed((crop(0) * 0.9).astype(np.uint8))
    assert csim(*same) > 0.9 > csim(same[0], network.embed(crop(1)))
