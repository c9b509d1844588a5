"""The recogniser of drawn people: it tells them apart, and its file is what the optimisation of faces loads."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.data.stable_animator.clips import Frames, find_animation_clips, read_embedding
from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
from ppdiffusers_ext.pipelines.stable_animator.faces import load_recognizer
from ppdiffusers_ext.training.stable_animator.recognizer import _tightened, read_heads, train_recognizer


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_animation_clips(folder, 0, range(4), 6, 64)
    return find_animation_clips(folder)


@paddle.no_grad()
def recognise(path, clips):
    """Cosines (clips, clips) between what is recognised in each and who each is."""
    network, rng = load_recognizer(path), np.random.default_rng(1)
    heads = [paddle.to_tensor(read_heads(clip, rng).astype(np.float32) / 127.5 - 1) for clip in clips]
    seen = np.stack([network(each).numpy().mean(axis=0) for each in heads])
    truth = np.stack([read_embedding(clip.embedding) for clip in clips])
    return (seen @ truth.T) / np.linalg.norm(seen, axis=1)[:, None] / np.linalg.norm(truth, axis=1)


def test_heads_are_cut_out_as_masks_and_as_detectors_have_them():
    box, rng = (10, 50, 20, 60), np.random.default_rng(0)
    boxes = np.array([_tightened(box, rng) for _ in range(200)])
    assert boxes.min(axis=0).tolist() == [10, 47, 20, 57] and boxes.max(axis=0).tolist() == [27, 50, 23, 60]
    assert _tightened((5, 5, 7, 7), rng) == (5, 5, 7, 7)


def test_people_are_told_apart(clips, tmp_path):
    with paddle.enable_grad():
        before, after = (train_recognizer(clips, tmp_path / f"{n}.safetensors", n, 8, 0) for n in (1, 24))
    assert after > max(before, 0.6)
    cosines = recognise(tmp_path / "24.safetensors", clips)
    assert (cosines.argmax(axis=1) == np.arange(4)).all()


def test_same_seed_gives_the_same_bits(clips, tmp_path):
    for name in "ab":
        train_recognizer(clips, tmp_path / f"{name}.safetensors", 2, 4, 3)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_heads_are_cut_out_where_the_masks_are(clips):
    heads = read_heads(clips[0], np.random.default_rng(0))
    assert heads.shape == (4, 3, 112, 112) and heads.dtype == np.uint8
    (picture,) = Frames(clips[0].images).read([0])
    assert heads.astype(float).std() > 0.5 * np.asarray(picture).std()  # not of the wall alone
