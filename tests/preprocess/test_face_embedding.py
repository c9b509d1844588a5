"""The embedding of faces that ships with the package."""

import numpy as np
import onnxruntime
import pytest

from ppdiffusers_ext.metrics.identity import align_face, csim, five_points
from ppdiffusers_ext.metrics.poses import PARTS
from ppdiffusers_ext.pipelines.reporting import open_networks
from ppdiffusers_ext.preprocess import face_embedding
from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.face_embedding import ArcFace, MobileFace
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


def test_arcface_sees_rgb_from_minus_1_to_1(tmp_path, monkeypatch):
    opened = []

    class Network:
        """Returns the mean of each channel, in the place of glintr100."""

        def __init__(self, path):
            opened.append(path)

        def __call__(self, pictures):
            return [pictures.mean(axis=(2, 3))]

    monkeypatch.setattr(face_embedding, "OnnxNetwork", Network)
    picture = np.full((112, 112, 3), (0, 127.5, 255), np.float32).astype(np.uint8)
    assert ArcFace(tmp_path).embed(picture) == pytest.approx([-1, 127 / 127.5 - 1, 1], abs=1e-6)
    assert opened == [tmp_path / "stable_animator" / "models" / "antelopev2" / "glintr100.onnx"]


def test_arcface_that_is_not_there_is_a_reason(tmp_path):
    networks = open_networks(64, 64, arcface_weights=str(tmp_path))
    assert networks.faces is None and "glintr100.onnx does not exist" in networks.no_faces
