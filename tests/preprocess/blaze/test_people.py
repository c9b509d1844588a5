"""Regions from faces, and who is followed."""

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.detector import Detection
from ppdiffusers_ext.preprocess.blaze.face_finder import tiles
from ppdiffusers_ext.preprocess.blaze.people import PeopleFinder, body_region
from tests.support.real_people import cartoon, group, picture, sample, video_frame


def test_region_from_a_face_is_below_it():
    keypoints = np.array([[45.0, 50], [55, 50], [50, 55], [50, 60], [40, 50], [60, 50]])
    region = body_region(Detection(0.9, np.array([40.0, 40, 60, 60]), keypoints), 4.0, 14.0)
    assert region.center == pytest.approx([50, 50 + 80]) and region.size == pytest.approx(280)


def test_people_of_a_group_stay_the_same_from_frame_to_frame(networks):
    find = PeopleFinder(networks)
    first, then = find(group()), [find(group()) for _ in range(3)][-1]
    assert len(first) == len(then) == 6
    noses = [np.array([one.face.joints[0] for one in people]) for people in (first, then)]
    assert np.linalg.norm(noses[0][:, None] - noses[1][None], axis=-1).min(axis=1).max() < 8


def test_detector_rests_while_a_person_is_followed(networks, monkeypatch):
    find, calls = PeopleFinder(networks), []
    detect = find._detect
    monkeypatch.setattr(find, "_detect", lambda *arguments: calls.append(1) or detect(*arguments))
    assert len(find(cartoon())) == 1
    calls.clear()
    for _ in range(11):
        assert len(find(cartoon())) == 1
    assert not calls


def test_people_of_another_scene_are_looked_for_anew(networks, monkeypatch):
    find, calls = PeopleFinder(networks), []
    detect = find._detect
    monkeypatch.setattr(find, "_detect", lambda *arguments: calls.append(1) or detect(*arguments))
    bright = np.where((cartoon() > 110) & (cartoon() < 150), 255, cartoon()).astype(np.uint8)
    assert [len(find(frame)) for frame in (cartoon(), cartoon(), bright, bright)] == [1] * 4
    assert len(calls) == 2 * (1 + len(tiles(bright)))


def test_newcomer_is_found_beside_one_who_is_followed(networks):
    find, alone = PeopleFinder(networks), np.concatenate([cartoon()[:, :128], np.full((256, 128, 3), 74, np.uint8)], 1)
    both = np.concatenate([cartoon()[:, 30:158], cartoon()[:, 30:158]], axis=1)
    assert [len(find(alone)) for _ in range(3)] == [1] * 3
    assert len([find(both) for _ in range(20)][-1]) == 2


def row(people, columns, width, height):
    """Pictures beside and below each other, each whole on a grey field of so many pixels."""
    rows = [np.full((height, columns * width, 3), 128, np.uint8) for _ in range(-(-len(people) // columns))]
    for number, person in enumerate(people):
        scale = min(width / person.shape[1], height / person.shape[0])
        small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        left, top = number % columns * width + (width - small.shape[1]) // 2, (height - small.shape[0]) // 2
        rows[number // columns][top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.concatenate(rows)


@pytest.mark.parametrize(
    "columns, width, height, least", [(3, 512, 704, 6), (3, 160, 220, 6), (6, 256, 480, 5), (6, 128, 240, 6)]
)
def test_people_who_are_small_in_a_wide_picture_are_found_once(networks, columns, width, height, least):
    names = ("girl_in_black", "iron_man", "sora_woman", "younglady")
    people = [picture(sample(f"reference_images/{name}.png")) for name in names]
    people += [video_frame(sample("driving_videos/talking_head.mp4"), 50), people[0][:, ::-1]]
    found = PeopleFinder(networks)(row(people, columns, width, height))
    places = [tuple((one.body.points[0] // (width, height)).astype(int)) for one in found if one.body is not None]
    assert least <= len(found) == len(places) == len(set(places)) <= 6


def test_drawn_people_in_a_row_are_found(networks):
    assert len(PeopleFinder(networks)(row([cartoon()] * 6, 6, 256, 256))) == 6


def test_person_who_fills_the_picture_is_one(networks):
    video = sample("driving_videos/talking_head.mp4")
    find = PeopleFinder(networks)
    assert [len(find(video_frame(video, step))) for step in range(18)] == [1] * 18
