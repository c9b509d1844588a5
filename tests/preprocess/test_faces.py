"""Faces in frames, found by small networks: boxes, embeddings, masks, and files that are missing or no networks."""

import sys

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess.faces import DETECTOR, FOLDER, RECOGNISER, FaceAnalyzer, draw_mask
from tests.support.painted_faces import painted_faces, write_face_networks

SMALL, LARGE = (20, 30, 50, 70), (80, 10, 160, 110)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_face_networks(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def analyzer(folder):
    return FaceAnalyzer(folder)


def test_faces_are_found_where_they_are_the_largest_first(analyzer):
    faces = analyzer.find(painted_faces((120, 180), SMALL, LARGE))
    for face, box, score in zip(faces, (LARGE, SMALL), (0.8, 0.9), strict=True):
        assert np.abs(face.box - box).max() < 0.6  # the picture is looked at in another size
        assert face.score == pytest.approx(score)
        assert face.area == pytest.approx((box[2] - box[0]) * (box[3] - box[1]), rel=0.05)


@pytest.mark.parametrize("size", [(300, 200), (97, 411), (640, 640), (1500, 900)])
def test_boxes_are_in_pixels_of_frames_of_all_sizes(analyzer, size):
    box = np.array([size[1] // 4, size[0] // 3, size[1] // 2, size[0] // 2])
    (face,) = analyzer.find(painted_faces(size, box))
    assert np.abs(face.box - box).max() < 1.5 * max(1, max(size) / 640)


def test_embedding_is_that_of_the_largest_face(analyzer):
    both = analyzer.embed(painted_faces((120, 180), SMALL, LARGE))
    assert both.shape == (512,) and both.dtype == np.float32
    faces = analyzer.find(painted_faces((120, 180), SMALL, LARGE))
    assert np.array_equal(both, faces[0].embedding)
    similarity = np.dot(both, faces[1].embedding) / np.linalg.norm(both) / np.linalg.norm(faces[1].embedding)
    assert similarity < 0.5  # the other person's is another


def test_without_a_face_there_is_no_embedding(analyzer):
    assert analyzer.find(painted_faces((120, 180))) == []
    assert analyzer.embed(painted_faces((120, 180))) is None


def test_channels_decide_what_the_recogniser_sees(folder, analyzer):
    frame = painted_faces((120, 180), LARGE)
    frame[40:60, 100:140] = (200, 0, 0)  # red lips
    bgr = FaceAnalyzer(folder, channels="bgr")
    assert np.allclose(bgr.embed(frame), analyzer.embed(frame[..., ::-1]), atol=1e-6)
    assert np.abs(bgr.embed(frame) - analyzer.embed(frame)).max() > 0.05


def test_detector_alone_needs_no_recogniser(tmp_path):
    (write_face_networks(tmp_path) / FOLDER / RECOGNISER).unlink()
    (face,) = FaceAnalyzer(tmp_path, recognises=False).find(painted_faces((120, 180), LARGE))
    assert face.embedding is None
    with pytest.raises(MissingFileError, match=RECOGNISER):
        FaceAnalyzer(tmp_path)


def test_missing_weights_are_an_error_that_names_the_command(tmp_path):
    command = "`python scripts/download_weights.py --only antelopev2`"
    message = f"models/antelopev2/{DETECTOR}, .*models/antelopev2/{RECOGNISER} do not exist; {command}"
    with pytest.raises(MissingFileError, match=message):
        FaceAnalyzer(tmp_path)


def test_file_that_is_no_network_is_an_error(tmp_path):
    (write_face_networks(tmp_path) / FOLDER / DETECTOR).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"the networks in .* cannot be used: .*; those of antelopev2 are accepted"):
        FaceAnalyzer(tmp_path)


def test_nothing_is_fetched(folder, monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: pytest.fail("a connection"))
    FaceAnalyzer(folder)


def test_insightface_that_is_not_installed_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(InputError, match="insightface is not installed; `pip install insightface`"):
        FaceAnalyzer(folder)


def test_what_is_not_known_is_refused(folder):
    with pytest.raises(InputError, match="the channels 'hsv' are not known; rgb or bgr is accepted"):
        FaceAnalyzer(folder, channels="hsv")
    with pytest.raises(InputError, match="no CUDA; device cpu"):
        FaceAnalyzer(folder, "gpu")


def test_mask_is_set_in_all_boxes_with_their_corners_cut_to_whole_pixels():
    mask = draw_mask([(2.9, 1.2, 4.9, 3.9), (7, 0, 20, 2)], (6, 10))
    expected = np.zeros((6, 10), np.uint8)
    expected[1:4, 2:5] = 255
    expected[0:3, 7:10] = 255
    assert np.array_equal(mask, expected)


def test_mask_without_faces_is_set_all_over():
    mask = draw_mask([], (3, 4))
    assert mask.shape == (3, 4) and mask.min() == 255
