"""The numbers for two videos: means over frames, flicker, and the same whether streamed or not."""

import math
import tracemalloc

import numpy as np
import pytest

from ppdiffusers_ext.metrics.frames import frame_l1, frame_psnr, frame_psnr_uint8_overflow, frame_ssim
from ppdiffusers_ext.metrics.video import METRICS, PSNR_CAP, VideoMetrics, mean_by_way, video_metrics


def noise(seed, num_frames=5, height=16, width=20, high=256):
    return np.random.RandomState(seed).randint(0, high, (num_frames, height, width, 3), dtype=np.uint8)


def flat(*levels):
    """One frame for each level."""
    return np.stack([np.full((16, 20, 3), level, np.uint8) for level in levels])


def test_means_over_frames():
    prediction, truth = noise(0), noise(1)
    result = video_metrics(prediction, truth)
    functions = {
        "psnr": frame_psnr,
        "psnr_uint8_overflow": frame_psnr_uint8_overflow,
        "ssim": frame_ssim,
        "l1": frame_l1,
    }
    for name, function in functions.items():
        expected = np.mean([function(*pair) for pair in zip(prediction, truth)])
        assert result[name] == pytest.approx(expected, abs=1e-12), name
    assert result["num_frames"] == 5 and result["identical_frames"] == 0


def test_flicker_is_the_mean_difference_of_changes():
    prediction, truth = noise(0), noise(1)
    changes = np.diff(prediction.astype(int), axis=0) - np.diff(truth.astype(int), axis=0)
    assert video_metrics(prediction, truth)["flicker"] == pytest.approx(np.abs(changes).mean())


def test_flicker_in_closed_form():
    # Brightness that jumps by 10 levels and back, against a truth that stands still.
    assert video_metrics(flat(100, 110, 100), flat(50, 50, 50))["flicker"] == 10
    # The largest there is: from black to white while the truth goes from white to black.
    assert video_metrics(flat(0, 255), flat(255, 0))["flicker"] == 510


def test_video_that_differs_by_a_constant_picture_does_not_flicker():
    truth = noise(0, high=200)
    constant = noise(1, num_frames=1, high=56)
    assert video_metrics(truth + constant, truth)["flicker"] == 0


def test_perfect_video():
    truth = noise(0)
    assert video_metrics(truth, truth) == {
        "psnr": PSNR_CAP,
        "psnr_uint8_overflow": 100.0,
        "ssim": pytest.approx(1, abs=1e-12),
        "l1": 0.0,
        "flicker": 0.0,
        "num_frames": 5,
        "identical_frames": 5,
    }


def test_identical_frame_counts_with_the_cap():
    result = video_metrics(flat(10, 20), flat(10, 21))
    assert result["psnr"] == pytest.approx((PSNR_CAP + 20 * math.log10(255)) / 2)
    assert result["identical_frames"] == 1


def test_frame_above_the_cap_does_not_count_more_than_an_identical_one():
    truth = np.zeros((1, 400, 450, 3), np.uint8)
    prediction = truth.copy()
    prediction[0, 0, 0, 0] = 1
    assert frame_psnr(prediction[0], truth[0]) > PSNR_CAP
    assert video_metrics(prediction, truth)["psnr"] == PSNR_CAP


def test_single_frame_has_no_flicker():
    result = video_metrics(noise(0, 1), noise(1, 1))
    assert result["flicker"] is None
    assert all(math.isfinite(result[name]) for name in METRICS if name != "flicker")


def test_add_returns_the_numbers_of_the_frame():
    metrics = VideoMetrics()
    first = metrics.add(flat(10)[0], flat(10)[0])
    assert first["psnr"] == math.inf and first["flicker"] is None
    second = metrics.add(flat(30)[0], flat(20)[0])
    assert second["flicker"] == 10 and second["l1"] == pytest.approx(10 / 255)
    assert tuple(first) == tuple(second) == METRICS


def test_frames_that_come_one_by_one_give_the_same_bits():
    prediction, truth = noise(0), noise(1)
    metrics = VideoMetrics()
    for pair in zip(prediction, truth):
        metrics.add(*pair)
    assert metrics.result() == metrics.result() == video_metrics(prediction, truth)
    assert video_metrics(iter(prediction), (frame for frame in truth)) == metrics.result()


def test_reused_buffer_of_a_frame_does_not_change_the_flicker():
    metrics, buffer = VideoMetrics(), np.empty((16, 20, 3), np.uint8)
    for frame in flat(0, 10, 20):
        buffer[:] = frame
        metrics.add(buffer, flat(0)[0])
    assert metrics.result()["flicker"] == 10


def test_memory_does_not_grow_with_the_video():
    frame = noise(0, num_frames=1, height=64, width=80)[0]

    def peak(num_frames):
        video_metrics([frame], [frame])  # what the first call allocates for good
        tracemalloc.start()
        video_metrics((frame for _ in range(num_frames)), (frame for _ in range(num_frames)))
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    assert peak(60) < peak(6) + 5 * frame.nbytes


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no frames were added"):
        VideoMetrics().result()
    with pytest.raises(ValueError, match="zip"):
        video_metrics(noise(0, 3), noise(1, 2))
    metrics = VideoMetrics()
    metrics.add(noise(0)[0], noise(1)[0])
    with pytest.raises(ValueError, match=r"frame 1 has shape \(18, 20, 3\), the one before \(16, 20, 3\)"):
        metrics.add(noise(0, height=18)[0], noise(1, height=18)[0])


def test_numbers_are_averaged_over_clips_by_way():
    scores = [{"ours": {"psnr": 20.0, "ssim": 0.5}, "copy": {"psnr": 10.0}}]
    assert mean_by_way(scores) == scores[0]
    scores.append({"ours": {"psnr": 30.0, "ssim": 0.7}, "copy": {"psnr": 12.0}})
    assert mean_by_way(scores) == {"ours": {"psnr": 25.0, "ssim": pytest.approx(0.6)}, "copy": {"psnr": 11.0}}
    assert mean_by_way(scores, ["psnr"]) == {"ours": {"psnr": 25.0}, "copy": {"psnr": 11.0}}
