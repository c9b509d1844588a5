import numpy as np
import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.data.figures.bodies import random_body
from ppdiffusers_ext.data.figures.motions import standing
from ppdiffusers_ext.data.figures.postures import place_joints
from ppdiffusers_ext.data.figures.recorded import recorded_head, recorded_motion, tables


class Chosen:
    """Gives the numbers of a list, instead of random ones, and then what is least."""

    def __init__(self, *numbers):
        self._numbers = list(numbers)

    def integers(self, *limits):
        return self._numbers.pop(0) if self._numbers else 0

    def uniform(self, low, high, size=None):
        return np.full(size, low) if size else low


def test_tables_are_small_and_of_numbers_alone():
    bodies, faces = tables()
    assert len(bodies) == 4 and len(faces) == 1
    assert all(np.isfinite(points).all() for table in bodies.values() for points in table.joints.values())
    assert sum(path.stat().st_size for path in (packaged.FOLDER / "assets" / "motions").iterdir()) < 1e5
    assert min(len(table.joints["neck"]) for table in bodies.values()) > 60


@pytest.mark.parametrize("number", range(4))
def test_a_body_takes_the_directions_of_a_table(number):
    """Seen from the front, arms point where the table has them, on a body of other proportions."""
    bodies, _ = tables()
    table = list(bodies.values())[number].joints
    body = random_body(np.random.default_rng(3))
    move = recorded_motion(Chosen(number, 0), body)
    angles = []
    for index in range(0, len(table["neck"]) - 1, 9):
        joints = place_joints(body, move(index))
        for side, name in enumerate("rl"):
            for first, second, start, end in (
                ("shoulder", "elbow", joints.shoulders[side], joints.elbows[side]),
                ("elbow", "wrist", joints.elbows[side], joints.wrists[side]),
            ):
                wanted = table[f"{name}_{second}"][index] - table[f"{name}_{first}"][index]
                longest = np.linalg.norm(table[f"{name}_{second}"] - table[f"{name}_{first}"], axis=1).max()
                if np.linalg.norm(wanted) > 0.5 * longest:
                    found = (end - start)[:2] * (1, -1)
                    cosine = wanted @ found / np.linalg.norm(wanted) / np.linalg.norm(found)
                    angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    assert len(angles) > 20 and max(angles) < 3


def test_mirrored_motion_is_the_other_sides():
    body = random_body(np.random.default_rng(3))
    plain, mirrored = (recorded_motion(Chosen(0, number), body)(12) for number in (0, 1))
    np.testing.assert_allclose(plain.arms, mirrored.arms[::-1], atol=1e-6)
    assert plain.lean == pytest.approx(-mirrored.lean)


def test_a_motion_goes_back_at_its_end_without_a_jump():
    body = random_body(np.random.default_rng(3))
    move = recorded_motion(Chosen(1, 0), body)
    last = len(list(tables()[0].values())[1].joints["neck"]) - 1
    np.testing.assert_allclose(move(last + 5).arms, move(last - 5).arms, atol=1e-9)
    np.testing.assert_allclose(move(-3).arms, move(3).arms, atol=1e-9)


def test_a_recorded_head_speaks():
    stand = standing(np.random.default_rng(0))
    move = recorded_head(np.random.default_rng(0), lambda index: stand)
    postures = [move(index) for index in range(200)]
    assert list(tables()[1].values())[0].speed == 12.5 / 15
    assert np.ptp([posture.mouth for posture in postures]) > 0.4
    assert np.ptp([posture.eyes for posture in postures]) > 0.3
    assert np.abs(np.stack([posture.head for posture in postures])).max() < 0.5
