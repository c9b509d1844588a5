"""People in clips, by the networks that ship with the package."""

import numpy as np

from ppdiffusers_ext.data.chain import people
from ppdiffusers_ext.data.chain.people import People
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.packaged import FOLDER
from ppdiffusers_ext.preprocess.presence import Presence
from tests.data.chain.measuring import measured


def test_person_is_counted_and_measured():
    picture = np.asarray(read_image(FOLDER / "assets" / "reference.png"))
    columns = measured(People(num_frames=2), [picture] * 2)
    assert (columns["people_median"], columns["people_max"]) == (1, 1)
    assert columns["person_visibility"] == 1.0
    assert 0.1 < columns["person_share"] < 0.5


def test_close_up_shows_less_of_a_larger_person():
    far, close = (
        measured(People(num_frames=1), list(synthetic_clip(2, 1, 320, 320, close=is_close).target))
        for is_close in (False, True)
    )
    assert far["people_max"] == close["people_max"] == 1
    assert far["person_visibility"] == 1.0 and close["person_visibility"] < 0.8
    assert close["person_share"] > 1.5 * far["person_share"]


def test_nobody_is_in_noise():
    noise = list(np.random.default_rng(0).integers(0, 255, (2, 180, 320, 3), np.uint8))
    nobody = {"people_median": 0, "people_max": 0, "person_share": 0.0, "person_visibility": 0.0}
    assert measured(People(num_frames=2), noise) == nobody


def test_columns_sum_up_the_frames(monkeypatch):
    seen = iter([Presence(0, 0.0, 0.0), Presence(1, 0.5, 0.1), Presence(3, 0.7, 0.3), Presence(1, 0.9, 0.2)])
    monkeypatch.setattr(people, "find_presence", lambda networks, frame: next(seen))
    columns = measured(People(num_frames=4), [np.zeros((32, 32, 3), np.uint8)] * 4)
    assert columns == {"people_median": 1, "people_max": 3, "person_share": 0.2, "person_visibility": 0.7}


def test_large_frames_are_looked_at_in_a_smaller_size(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        people, "find_presence", lambda networks, frame: (sizes.append(frame.shape), Presence(0, 0.0, 0.0))[1]
    )
    for size in ((1080, 1920), (240, 320)):
        measured(People(num_frames=1), [np.zeros((*size, 3), np.uint8)])
    assert sizes == [(720, 1280, 3), (240, 320, 3)]
