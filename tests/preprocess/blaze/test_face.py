"""Which of the mesh's points stand for the 68, and where faces are looked for."""

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.detector import Detection
from ppdiffusers_ext.preprocess.blaze.face import Face, region_from_mesh, region_of


def test_68_different_points_of_the_mesh_are_taken():
    mesh = np.stack([np.arange(468.0), np.zeros(468)], axis=1)
    face = Face(mesh, 1.0)
    assert len(np.unique(face.points[:, 0])) == 68 and face.joints.shape == (5, 2)


def test_region_of_a_detected_face_is_turned_as_its_eyes():
    keypoints = np.array([[40.0, 50], [60, 50], [50, 60], [50, 70], [35, 52], [65, 52]])
    region = region_of(Detection(0.9, np.array([30.0, 30, 70, 70]), keypoints))
    assert region.size == pytest.approx(60) and region.angle == pytest.approx(0)
    assert region.center == pytest.approx([50, 60 - 0.1 * 20])
    turned = region_of(Detection(0.9, np.array([30.0, 30, 70, 70]), keypoints[:, ::-1] * (1, -1)))
    assert turned.angle == pytest.approx(-np.pi / 2)


def test_region_of_a_known_mesh_is_half_again_as_large():
    mesh = np.random.default_rng(0).uniform(0, 100, (468, 2))
    mesh[33], mesh[263] = (20, 50), (80, 50)
    region = region_from_mesh(mesh)
    assert region.size == pytest.approx(1.5 * np.ptp(mesh, axis=0).max()) and region.angle == 0
