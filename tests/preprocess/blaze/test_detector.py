"""Anchors, decoding and weighted suppression, on numbers made up from boxes that are known."""

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.detector import (
    CLOSE_FACES,
    FACES,
    PEOPLE,
    Detector,
    anchors,
    decode,
    overlap,
    suppress,
)
from ppdiffusers_ext.preprocess.blaze.regions import Region


@pytest.mark.parametrize("layout, count", [(PEOPLE, 2254), (CLOSE_FACES, 896), (FACES, 2304)])
def test_there_are_as_many_anchors_as_the_network_has_rows(layout, count):
    centers = anchors(layout)
    assert centers.shape == (count, 2) and centers.min() > 0 and centers.max() < 1
    assert centers[0] == pytest.approx(layout.strides[0] / 2 / layout.side)


def rows(layout, boxes):
    """What the network says of boxes: {anchor: (points in fractions, logit)}."""
    centers = anchors(layout)
    numbers, scores = np.zeros((1, len(centers), 12), np.float32), np.full((1, len(centers), 1), -50, np.float32)
    for anchor, (points, logit) in boxes.items():
        sides = points[1] - points[0]
        values = [(points[0] + points[1]) / 2 - centers[anchor], sides, *(points[2:] - centers[anchor])]
        numbers[0, anchor], scores[0, anchor] = np.concatenate(values) * layout.side, logit
    return numbers, scores


POINTS = np.array([[0.2, 0.1], [0.5, 0.8], [0.3, 0.4], [0.3, 0.1], [0.35, 0.3], [0.35, 0.0]])


def test_boxes_come_back():
    numbers, scores = rows(PEOPLE, {300: (POINTS, 2.0), 900: (POINTS, -0.1)})
    points, certain = decode(numbers, scores, anchors(PEOPLE), PEOPLE.side, PEOPLE.least)
    assert points[0] == pytest.approx(POINTS, abs=1e-6) and certain == pytest.approx([1 / (1 + np.exp(-2.0))])


def test_overlapping_boxes_become_their_mean_by_scores():
    far = POINTS + 0.45
    points = np.stack([POINTS, POINTS + 0.02, far])
    (best, mean), (other, alone) = suppress(points, np.array([0.9, 0.6, 0.7]))
    assert (best, other) == (0.9, 0.7) and alone == pytest.approx(far)
    assert mean == pytest.approx(POINTS + 0.02 * 0.6 / 1.5)


def test_nothing_and_empty_boxes_are_no_trouble():
    assert suppress(np.zeros((0, 6, 2)), np.zeros(0)) == []
    assert len(suppress(np.zeros((2, 6, 2)), np.array([0.6, 0.7]))) == 2


@pytest.mark.parametrize("box, expected", [((0, 0, 2, 2), 1), ((1, 0, 3, 2), 1 / 3), ((2, 2, 3, 3), 0)])
def test_overlap(box, expected):
    assert overlap(np.array([0.0, 0, 2, 2]), np.array([box], float)) == pytest.approx([expected])


def test_detections_are_in_pixels_of_the_frame_whatever_region_was_looked_at():
    outputs = rows(PEOPLE, {300: (POINTS, 2.0)})
    detect = Detector(lambda picture: outputs, PEOPLE)
    region = Region(np.array([60.0, 40.0]), 80.0, np.pi / 2)
    (found,) = detect(np.zeros((100, 100, 3), np.uint8), region)
    assert found.keypoints == pytest.approx(region.to_frame(POINTS[2:]), abs=1e-4)
    corners = region.to_frame(POINTS[:2])
    assert found.box == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)], abs=1e-4)
    assert found.size == pytest.approx(0.7 * 80, abs=1e-3)
