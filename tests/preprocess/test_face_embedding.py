"""The embedding of faces that ships with the package."""

import numpy as np
import onnxruntime
import pytest

from ppdiffusers_ext.metrics.identity import align_face, csim, five_points
from ppdiffusers_ext.metrics.poses import PARTS
from ppdiffusers_ext.pipelines.reporting import open_networks
from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.face_embedding import MobileFace
from tests.support.real_people import group


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


def test_threshold_tells_people_apart(network):
    picture = group()[:, :700]
    networks = open_networks(picture.shape[1], picture.shape[0])
    (people,) = networks.people([picture])
    crops = [align_face(picture, five_points(one.xy[PARTS["face"]])) for one in people]
    assert len(crops) == 3
    ones, others = ([network.embed(crop) for crop in each] for each in (crops, [crop[:, ::-1] for crop in crops]))
    cosines = np.array([[csim(one, other) for other in others] for one in ones])
    assert ((cosines > network.threshold) == np.eye(3, dtype=bool)).all(), cosines.round(2)
