"""Colours that are brought back to a reference: the drift goes, motion and light of single frames stay."""

import numpy as np
import pytest

from ppdiffusers_ext.data.colour_drift import SPAN, ColourAnchor, to_lab, to_rgb


def scene(seed=0):
    """(64, 64, 3) uint8: soft colours, none near the bounds of sRGB."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(70, 180, (4, 4, 3))
    return np.kron(coarse, np.ones((16, 16, 1))).astype(np.uint8)


def drifting(count, seed=0):
    """Frames of a scene that become lighter and redder, 30 levels of red in 100 frames, while a square moves."""
    for i in range(count):
        frame = scene(seed).astype(float) + np.array([0.3, 0.1, -0.05]) * i
        frame[20:40, i % 40 : i % 40 + 12] -= 25
        yield frame.clip(0, 255).round().astype(np.uint8)


def means(frames):
    return np.array([to_lab(frame).reshape(-1, 3).mean(axis=0) for frame in frames])


def test_lab_is_that_of_known_colours():
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2], [32.3, 79.19, -107.86]]
    assert to_lab(colours)[0] == pytest.approx(np.array(expected), abs=0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.abs(to_rgb(to_lab(pixels)).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("reference", [None, scene()])
def test_strength_of_zero_leaves_every_bit(reference):
    for frame in drifting(3):
        assert ColourAnchor(0, reference).correct(frame) is frame


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("has_reference", [True, False])
def test_drift_goes_by_the_strength(seed, has_reference):
    frames = list(drifting(120, seed))
    wanted = means([frames[0]])[0]
    before = np.linalg.norm(means(frames[-20:]) - wanted, axis=1).mean()
    after = {}
    for strength in (0.5, 1.0):
        anchor = ColourAnchor(strength, frames[0] if has_reference else None)
        corrected = list(anchor.correct_all(frames))
        after[strength] = np.linalg.norm(means(corrected[-20:]) - wanted, axis=1).mean()
    assert before > 9
    assert after[1.0] < 0.4 * before and after[1.0] < after[0.5] < 0.75 * before


@pytest.mark.parametrize("seed", range(4))
def test_no_flicker_is_added_and_a_flash_stays(seed):
    random = np.random.default_rng(seed)
    frames = list(drifting(90, seed))
    trembling = [(frame + random.normal(0, 1.5)).clip(0, 255).astype(np.uint8) for frame in frames]
    trembling[60] = (trembling[60].astype(int) + 40).clip(0, 255).astype(np.uint8)
    corrected = list(ColourAnchor(1.0, frames[0]).correct_all(trembling))
    steps = [np.abs(np.diff(means(video)[SPAN:], n=2, axis=0))[:, 0].mean() for video in (trembling, corrected)]
    assert steps[1] <= 1.05 * steps[0]
    flash = [means(video)[60, 0] - means(video)[59, 0] for video in (trembling, corrected)]
    assert flash[1] > 0.8 * flash[0]


def test_motion_stays_and_a_plain_picture_is_not_blown_up():
    frames = list(drifting(60))
    corrected = list(ColourAnchor(1.0, frames[0]).correct_all(frames))
    dark = [frame[20:40, i % 40 : i % 40 + 12].mean() for i, frame in enumerate(corrected)]
    assert max(dark) < min(frame[45:].mean() for frame in corrected) + 40
    plain = np.full((32, 32, 3), 120, np.uint8)
    plain[:16] += 1
    made = ColourAnchor(1.0, scene()).correct(plain)
    assert np.ptp(made, axis=(0, 1)).max() <= 3


def test_first_frames_are_the_anchor_where_there_is_no_picture():
    frames = list(drifting(SPAN + 1))
    corrected = list(ColourAnchor(1.0).correct_all(frames))
    assert all((one == other).all() for one, other in zip(corrected[: SPAN - 1], frames))
