"""Regions from faces, and who is followed."""

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.detector import Detection
from ppdiffusers_ext.preprocess.blaze.people import PeopleFinder, body_region
from tests.support.real_people import cartoon, group


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
    for _ in range(12):
        assert len(find(cartoon())) == 1
    assert len(calls) == 1


def test_people_of_another_scene_are_looked_for_anew(networks, monkeypatch):
    find, calls = PeopleFinder(networks), []
    detect = find._detect
    monkeypatch.setattr(find, "_detect", lambda *arguments: calls.append(1) or detect(*arguments))
    bright = np.where((cartoon() > 110) & (cartoon() < 150), 255, cartoon()).astype(np.uint8)
    assert [len(find(frame)) for frame in (cartoon(), cartoon(), bright, bright)] == [1] * 4
    assert len(calls) == 2


def test_newcomer_is_found_beside_one_who_is_followed(networks):
    find, alone = PeopleFinder(networks), np.concatenate([cartoon()[:, :128], np.full((256, 128, 3), 74, np.uint8)], 1)
    both = np.concatenate([cartoon()[:, 30:158], cartoon()[:, 30:158]], axis=1)
    assert [len(find(alone)) for _ in range(3)] == [1] * 3
    assert len([find(both) for _ in range(20)][-1]) == 2
