"""What is seen in rendered clips is what they were rendered of, also when they are blurred and noisy."""

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.data.easy_animate.synthetic import synthetic_scene
from ppdiffusers_ext.data.scenes import COLORS, MOTIONS, Scene, all_scenes, draw_scene
from ppdiffusers_ext.metrics.scenes import (
    PROPERTIES,
    MotionClassifier,
    chance_parts,
    is_at_night,
    mean_lightness,
    motion_features,
    name_colors,
    right_parts,
)

SIDE, FRAMES = 48, 16


@pytest.fixture(scope="module")
def clips():
    drawn = [synthetic_scene((21, number), held_out=True) for number in range(18)]
    return [(scene, draw_scene(scene, (21, i, 1), FRAMES + 3, SIDE)[3:]) for i, (scene, _) in enumerate(drawn)]


@pytest.fixture(scope="module")
def classifier():
    return MotionClassifier(1, FRAMES, SIDE, clips=10)


def soft(frames, seed):
    """Frames as a small autoencoder leaves them: of half the size, noisy, and paler."""
    small = [
        cv2.resize(cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (SIDE, SIDE)) for f in frames
    ]
    noise = np.random.default_rng(seed).normal(0, 5, np.shape(small))
    return (0.93 * np.array(small, float) + 8 + noise).clip(0, 255).astype(np.uint8)


def test_colours_of_rendered_clips_are_named(clips):
    for change in (lambda frames, _: frames, soft):
        assert [name_colors(change(f, i)) for i, (_, f) in enumerate(clips)] == [
            (scene.shirt, scene.background) for scene, _ in clips
        ]


@pytest.mark.parametrize("shirt", COLORS)
def test_each_shirt_is_told_from_each_background(shirt):
    for background in (name for name in COLORS if name != shirt):
        for motion in ("squat", "raise"):
            frames = draw_scene(Scene(shirt, background, motion), (5, len(shirt)), 3, SIDE)
            assert name_colors(frames) == (shirt, background)


def test_motions_of_other_clips_are_named(clips, classifier):
    assert classifier.accuracy(77, 30, FRAMES, SIDE) >= 0.98
    assert [classifier(frames) for _, frames in clips] == [scene.motion for scene, _ in clips]
    assert np.mean([classifier(soft(f, i)) == scene.motion for i, (scene, f) in enumerate(clips)]) >= 0.75


def test_motion_is_named_whatever_the_colours(classifier):
    for number, motion in enumerate(MOTIONS):
        scenes = [scene for scene in all_scenes() if scene.motion == motion][:: 23 + number]
        assert {classifier(draw_scene(scene, (8, number), FRAMES, SIDE)) for scene in scenes} == {motion}


@pytest.mark.parametrize("picture", ["black", "noise", "flat"])
def test_videos_without_anybody_are_something_and_no_error(classifier, picture):
    rng = np.random.default_rng(0)
    frames = {
        "black": np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8),
        "noise": rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8),
        "flat": np.full((FRAMES, SIDE, SIDE, 3), (240, 138, 30), np.uint8),
    }[picture]
    shirt, background = name_colors(frames)
    assert shirt in COLORS and background in COLORS and classifier(frames) in MOTIONS
    assert np.isfinite(motion_features(frames)).all()
    if picture == "flat":
        assert shirt == background == "orange" and not is_at_night(frames)


def test_clips_at_night_are_told_from_those_by_day():
    for number, scene in enumerate(all_scenes()[::23]):
        day, night = (draw_scene(scene, (2, number), 4, SIDE, style) for style in ("day", "night"))
        assert is_at_night(night) and not is_at_night(day)
        assert mean_lightness(night) < 0.75 * mean_lightness(day)


def test_parts_count_what_is_right_and_chance_is_against_other_prompts():
    wanted = [Scene("red", "blue", "wave"), Scene("green", "white", "jump"), Scene("red", "pink", "walk")]
    seen = [wanted[0], Scene("green", "blue", "jump"), Scene("blue", "pink", "walk")]
    assert right_parts(wanted, seen) == pytest.approx({"shirt": 2 / 3, "background": 2 / 3, "motion": 1, "all": 1 / 3})
    chance = chance_parts(wanted, wanted)
    assert chance == pytest.approx({"shirt": 1 / 3, "background": 0, "motion": 0, "all": 0})
    assert list(chance) == [*PROPERTIES, "all"] and set(chance_parts(wanted[:1], seen[:1]).values()) == {0.0}
