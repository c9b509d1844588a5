"""Embeddings of faces: made once, and made anew for another picture, another size and other networks."""

import shutil

import numpy as np
import pytest

from ppdiffusers_ext.errors import MissingFileError
from ppdiffusers_ext.preprocess.faces import FOLDER, RECOGNISER, FaceAnalyzer
from ppdiffusers_ext.training.stable_animator.face_embeddings import FaceEmbeddings
from tests.support.painted_faces import painted_faces, write_face_networks

FACE, OTHER = (30, 20, 70, 70), (10, 10, 40, 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_face_networks(tmp_path_factory.mktemp("faces"))


def test_embedding_is_that_of_the_face_and_is_made_once(folder, tmp_path, monkeypatch):
    picture = painted_faces((96, 96), FACE)
    embeddings = FaceEmbeddings(folder, tmp_path / "cache")
    first = embeddings(picture)
    assert np.array_equal(first, FaceAnalyzer(folder, channels="bgr").embed(picture)) and np.abs(first).max() > 0
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(FaceEmbeddings, "_embed", lambda *_: pytest.fail("it is made again"))
    assert np.array_equal(FaceEmbeddings(folder, tmp_path / "cache")(picture), first)


def test_another_picture_and_other_networks_are_not_the_same(folder, tmp_path):
    embeddings = FaceEmbeddings(folder, tmp_path / "cache")
    embeddings(painted_faces((96, 96), FACE))
    embeddings(painted_faces((96, 96), OTHER))
    embeddings(painted_faces((64, 96), FACE))
    assert len(list((tmp_path / "cache").iterdir())) == 3
    others = write_face_networks(tmp_path / "others")
    content = bytearray((others / FOLDER / RECOGNISER).read_bytes())
    content[-1] ^= 1  # of the same size and name
    (others / FOLDER / RECOGNISER).write_bytes(content)
    key = FaceEmbeddings(others, tmp_path / "cache")._key(painted_faces((96, 96), FACE))
    assert not (tmp_path / "cache" / f"{key}.npy").exists()


def test_the_same_networks_elsewhere_are_the_same(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copied")
    picture = painted_faces((96, 96), FACE)
    keys = {FaceEmbeddings(place, tmp_path / "cache")._key(picture) for place in (folder, tmp_path / "copied")}
    assert len(keys) == 1


def test_no_face_is_zeros_and_a_damaged_file_is_made_again(folder, tmp_path):
    embeddings, picture = FaceEmbeddings(folder, tmp_path / "cache"), painted_faces((96, 96))
    assert np.all(embeddings(picture) == 0)
    (path,) = (tmp_path / "cache").iterdir()
    for damage in (b"", b"what is no array", path.read_bytes()[:100]):
        path.write_bytes(damage)
        assert np.all(embeddings(picture) == 0) and embeddings(picture).shape == (512,)
    np.save(path, np.ones(3))
    assert embeddings(picture).shape == (512,)


def test_missing_networks_are_told_at_once(tmp_path):
    with pytest.raises(MissingFileError, match="--only antelopev2"):
        FaceEmbeddings(tmp_path, tmp_path / "cache")
