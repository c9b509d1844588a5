"""Comparing a pair of clips: what is refused, resizing, and the numbers."""

import logging
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.evaluation import check_pair, evaluate_pair
from ppdiffusers_ext.metrics.sources import find_pairs
from ppdiffusers_ext.metrics.video import video_metrics


def make_frames(seed, num_frames=4, width=32, height=24):
    coarse = np.random.RandomState(seed).randint(0, 256, (num_frames, 4, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in coarse])


def write_folder(folder, frames):
    for index, frame in enumerate(frames):
        write_image(folder / f"{index}.png", frame)
    return folder


@pytest.fixture
def make_pair(tmp_path):
    """Call it for the `Pair` of two sequences of frames, written as folders "pred" and "gt"."""

    def make(prediction, truth):
        folders = write_folder(tmp_path / "pred", prediction), write_folder(tmp_path / "gt", truth)
        return find_pairs(*folders)[0]

    return make


def test_numbers_are_those_of_the_frames(make_pair):
    prediction, truth = make_frames(0), make_frames(1)
    pair = make_pair(prediction, truth)
    result = evaluate_pair(pair)
    assert result.scores == video_metrics(prediction, truth)
    assert len(result.frames) == 4 and result.frames[1]["flicker"] > 0
    assert (result.name, result.width, result.height, result.resized_from) == ("pred", 32, 24, None)
    assert (result.prediction, result.truth) == (str(pair.prediction.path), str(pair.truth.path))


def test_length_compares_the_first_frames_of_both(make_pair):
    prediction, truth = make_frames(0, 3), make_frames(1, 5)
    pair = make_pair(prediction, truth)
    assert evaluate_pair(pair, length=2).scores == video_metrics(prediction[:2], truth[:2])
    assert evaluate_pair(pair, length=3).scores == video_metrics(prediction, truth[:3])


def test_resize_brings_the_prediction_to_the_size_of_the_truth(make_pair, caplog, monkeypatch):
    prediction, truth = make_frames(0, width=40, height=48), make_frames(1)
    caplog.set_level(logging.INFO, "ppdiffusers_ext")
    monkeypatch.setattr(logging.getLogger("ppdiffusers_ext"), "propagate", True)  # running a command turns it off
    result = evaluate_pair(make_pair(prediction, truth), resize=True)
    resized = [np.asarray(Image.fromarray(frame).resize((32, 24), Image.Resampling.BICUBIC)) for frame in prediction]
    assert result.scores == video_metrics(resized, truth)
    assert (result.width, result.height, result.resized_from) == (32, 24, (40, 48))
    assert "pred is resized from 40x48 to 32x24 (bicubic)" in caplog.text


def test_resize_leaves_the_same_size_alone(make_pair):
    prediction, truth = make_frames(0), make_frames(1)
    result = evaluate_pair(make_pair(prediction, truth), resize=True)
    assert result.resized_from is None
    assert result.scores == video_metrics(prediction, truth)


@pytest.mark.parametrize("function", [check_pair, evaluate_pair])
def test_different_numbers_of_frames_name_both(make_pair, function):
    pair = make_pair(make_frames(0, 3), make_frames(1, 5))
    with pytest.raises(InputError, match=r"pred has 3 frames, .*gt 5; .* --length 3 to compare only the first"):
        function(pair)
    for length in (0, 4):
        with pytest.raises(InputError, match=f"the first {length} frames: .*pred has 3 frames, .*1 to 3 are accepted"):
            function(pair, length=length)


@pytest.mark.parametrize("function", [check_pair, evaluate_pair])
def test_different_sizes_name_both(make_pair, function):
    pair = make_pair(make_frames(0, width=40), make_frames(1))
    with pytest.raises(InputError, match=r"pred has 40x24 pixels, .*gt 32x24; .* --resize"):
        function(pair)


def test_video_that_is_too_small_for_ssim_is_named(tmp_path):
    for name in ("pred.mp4", "gt.mp4"):
        with VideoWriter(tmp_path / name, Fraction(15), 16, 10) as writer:
            writer.write(make_frames(0, width=16, height=10))
    (pair,) = find_pairs(tmp_path / "pred.mp4", tmp_path / "gt.mp4")
    with pytest.raises(InputError, match="gt.mp4 has 16x10 pixels, too small for SSIM; at least 11x11"):
        check_pair(pair)
