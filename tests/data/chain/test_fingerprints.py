"""Fingerprints: nearly the same for a clip that is coded anew, others for other clips."""

import cv2
import numpy as np

from ppdiffusers_ext.data.chain.fingerprints import Fingerprint, hash_of
from ppdiffusers_ext.data.video import read_frames
from tests.data.chain.measuring import measured
from tests.support.odd_videos import encode


def scenes(seed, count=10, height=72, width=128):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (2, 9, 16, 3)).astype(np.float32)
    mixed = [(small[0] * (1 - t) + small[1] * t).astype(np.uint8) for t in np.linspace(0, 1, count)]
    return [cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in mixed]


def distance(first, second):
    pairs = zip(measured(Fingerprint(), first)["fingerprint"], measured(Fingerprint(), second)["fingerprint"])
    return np.mean([(int(a, 16) ^ int(b, 16)).bit_count() for a, b in pairs])


def test_fingerprint_is_a_hash_of_each_frame():
    (*hashes,) = measured(Fingerprint(num_frames=3), scenes(0))["fingerprint"]
    assert len(hashes) == len(set(hashes)) == 3 and all(len(each) == 16 for each in hashes)


def test_clip_coded_anew_smaller_and_darker_keeps_its_fingerprint(tmp_path):
    frames = scenes(0)
    small = [(cv2.resize(frame, (64, 36)) * 0.8).astype(np.uint8) for frame in frames]
    coded = list(read_frames(encode(tmp_path / "a.mp4", small, crf=30)))
    assert distance(frames, coded) < 5


def test_frame_rate_does_not_matter():
    assert distance(scenes(0, 10), scenes(0, 30)) < 5


def test_other_clips_have_other_fingerprints():
    assert min(distance(scenes(0), scenes(seed)) for seed in range(1, 8)) > 15


def test_flat_frames_have_no_bits_whatever_their_noise():
    rng = np.random.default_rng(0)
    assert [hash_of(np.full((60, 80, 3), value, np.uint8)) for value in (0, 90, 255)] == [0, 0, 0]
    assert hash_of(rng.integers(10, 13, (60, 80, 3), np.uint8)) == 0


def test_short_clip_repeats_its_frames():
    hashes = measured(Fingerprint(), scenes(0)[::9])["fingerprint"]
    assert len(hashes) == 5 and len(set(hashes)) == 2
