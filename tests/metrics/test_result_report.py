"""Gathering what can be said of a result, in one pass; what is not measured is None, for a reason."""

import io
import json

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.metrics.drift import LEAST, Drift
from ppdiffusers_ext.metrics.poses import PARTS, Points
from ppdiffusers_ext.metrics.result_report import (
    NO_DRIVER,
    NO_EMBEDDER,
    NO_PEOPLE,
    Driver,
    Networks,
    identity_of,
    measure,
    summary,
)
from tests.support.results import MeanColor, always, driver, frames, networks, standing


def test_all_is_measured_and_names_its_networks():
    pictures = frames(LEAST)
    of = networks(standing((3, 4), missing=(7,)))
    values = measure(iter(pictures), pictures[0], LEAST, of, driver(LEAST)).values
    name, identity = identity_of(values)
    assert name == "csim_mean_color"
    assert identity["frames"][0] == pytest.approx(1) and len(identity["frames"]) == LEAST
    assert (identity["mean"], identity["min"]) == (np.mean(identity["frames"]), min(identity["frames"]))
    assert identity["frames_without_face"] == 0
    assert values["poses"]["body"]["akd_pixels"] == pytest.approx(5)
    assert values["poses"]["body"]["mkr"] == pytest.approx(1 / 18)
    assert values["networks"] == {"poses": "made_up", "driving_poses": "made_up", "identity": "mean_color"}
    assert values["reasons"] == {}
    drift = Drift(pictures[0])
    for picture in pictures:
        drift.add(picture)
    assert {key: values[key] for key in drift.result()} == drift.result()


@pytest.mark.parametrize(
    "given, of, reasons",
    [
        ({}, None, {"csim": NO_EMBEDDER, "poses": NO_DRIVER}),
        ({"faces": MeanColor()}, None, {"csim": NO_PEOPLE, "poses": NO_DRIVER}),
        ({}, driver(), {"csim": NO_EMBEDDER, "poses": NO_PEOPLE}),
        ({"no_people": "no ONNX Runtime", "no_faces": "no file"}, driver(), {"csim": "no file", "poses": "no ONNX"}),
        ({}, Driver(reason="a drawing"), {"csim": NO_EMBEDDER, "poses": "a drawing"}),
        ({"people": always(standing())}, Driver([None] * 6), {"csim": NO_EMBEDDER, "poses": "show nobody"}),
        (
            {"people": always(), "faces": MeanColor()},
            driver(),
            {"csim": "reference shows no face", "poses.body": "non"},
        ),
    ],
)
def test_what_is_not_measured_is_none_for_a_reason(given, of, reasons):
    values = measure(frames(), frames()[0], 6, Networks(**given), of).values
    assert identity_of(values)[1] is None
    assert values["poses"] is None or values["poses"]["body"]["akd_pixels"] is None
    for key, words in reasons.items():
        assert words in values["reasons"][key]
    json.dumps(values, allow_nan=False)


def test_flat_reference_is_a_reason():
    values = measure(frames(), np.full((96, 64, 3), 90, np.uint8), 6).values
    assert values["sharpness"]["mean"] is None and "flat" in values["reasons"]["sharpness"]


@pytest.mark.parametrize("count", [1, 2, 8, LEAST - 1])
def test_short_result_has_no_drift_but_a_reason(count):
    values = measure(frames(count), frames()[0], count, networks(), driver(count)).values
    slopes = [values["colour"]["delta_e_per_100_frames"], *values["colour"]["lab_per_100_frames"]]
    slopes += [values["sharpness"]["per_100_frames"], identity_of(values)[1]["per_100_frames"]]
    assert slopes == [None] * 6
    assert f"the result has {count} frame" in values["reasons"]["drift"] and "24" in values["reasons"]["drift"]
    assert "drift" not in summary(values)


def test_faces_of_a_moment_have_no_slope_but_a_reason():
    found = iter([[standing()]] + [[standing()] if 10 <= i < 30 else [] for i in range(60)])
    of = Networks(lambda pictures: (next(found) for _ in pictures), "made_up", MeanColor())
    values = measure(frames(60), frames()[0], 60, of).values
    assert identity_of(values)[1]["per_100_frames"] is None and "drift" not in values["reasons"]
    assert "too close together" in values["reasons"]["csim.per_100_frames"]
    assert values["colour"]["delta_e_per_100_frames"] is not None


def test_frames_of_another_face_are_counted():
    """Somebody else in ten frames: a face of other colours."""
    pictures = [np.full((96, 64, 3), (200, 120, 40) if i < 20 else (40, 120, 200), np.uint8) for i in range(30)]
    identity = identity_of(measure(pictures, pictures[0], 30, networks()).values)[1]
    assert (identity["threshold"], identity["frames_below_threshold"]) == (MeanColor.threshold, 10)
    assert [cosine < MeanColor.threshold for cosine in identity["frames"]] == [i >= 20 for i in range(30)]
    assert identity["per_100_frames"] < -0.5


def test_frames_without_a_face_are_counted_and_left_out():
    faceless = standing(missing=range(PARTS["face"].start, PARTS["face"].stop))
    found = iter([[standing()], [standing()], [faceless], [], [standing()]])
    of = Networks(lambda pictures: (next(found) for _ in pictures), "made_up", MeanColor())
    values = measure(iter(frames(4)), frames()[0], 4, of).values
    identity = identity_of(values)[1]
    assert identity["frames_without_face"] == 2
    assert [value is None for value in identity["frames"]] == [False, True, True, False]


def test_result_without_any_face_is_told():
    found = iter([[standing()]] + [[]] * 6)
    of = Networks(lambda pictures: (next(found) for _ in pictures), "made_up", MeanColor())
    values = measure(frames(), frames()[0], 6, of).values
    assert identity_of(values) == ("csim_mean_color", None) and values["reasons"]["csim"] == "no frame shows a face"


def test_largest_face_is_embedded():
    seen = []

    class Sees(MeanColor):
        def embed(self, crop):
            seen.append(crop.mean())
            return super().embed(crop)

    def smaller(person, factor):
        return Points((person.xy - (30, 22)) * factor + (30, 22), person.seen)

    picture = frames(1)[0]
    small = smaller(standing(), 0.2)
    for people in ([standing()], [standing(), small], [small, standing()]):
        measure([picture], picture, 1, Networks(always(*people), "made_up", Sees()))
    assert len(seen) == 6 and len(set(seen)) == 1


def test_points_of_a_face_that_all_are_one_are_no_face():
    flat = Points(np.full((128, 2), 20.0), np.ones(128, bool))
    values = measure(frames(), frames()[0], 6, networks(flat), driver()).values
    assert values["reasons"]["csim"] == "the reference shows no face"


def test_few_frames_are_held_at_a_time():
    """The estimator takes two at a time; none is asked for before the others are measured."""
    alive, most = 0, 0

    def pictures():
        nonlocal alive
        for picture in frames(30):
            alive += 1
            yield picture

    def estimate(given):
        nonlocal alive, most
        given = iter(given)
        for first in given:
            chunk = [first, *(one for one in [next(given, None)] if one is not None)]
            for _ in chunk:
                most = max(most, alive)
                yield [standing()]
                alive -= 1

    measure(pictures(), frames()[0], 30, Networks(estimate, "made_up"), driver(30))
    assert most <= 4


def test_estimator_that_loses_frames_is_an_error():
    def loses(given):
        return ([standing()] for i, _ in enumerate(given) if i != 3)

    with pytest.raises(ValueError, match="zip"):
        measure(frames(), frames()[0], 6, Networks(loses, "made_up"))


def test_driver_of_another_length_is_refused():
    with pytest.raises(ValueError, match="6 frames, its driver 5"):
        measure(frames(), frames()[0], 6, networks(), driver(5))


def test_some_frames_and_the_reference_are_kept_small():
    pictures = frames(20, size=(800, 500))
    measures = measure(pictures, pictures[3], 20)
    assert [number for number, _ in measures.thumbnails] == [0, 4, 8, 11, 15, 19]
    for content in (measures.reference, measures.thumbnails[-1][1]):
        assert PIL.Image.open(io.BytesIO(content)).size == (150, 240)


def test_summary_has_what_is_measured():
    pictures = frames(LEAST)
    full = summary(measure(pictures, pictures[0], LEAST, networks(standing((3, 4))), driver(LEAST)).values)
    for words in (
        "csim_mean_color 1.000",
        "AKD 5.0 px",
        "missing joints 0.0%",
        "colour dE",
        "drift",
        "sharpness 100%",
    ):
        assert words in full
    bare = summary(measure(pictures[:1], np.zeros((96, 64, 3), np.uint8), 1).values)
    assert bare.startswith("colour dE") and not any(word in bare for word in ("csim", "AKD", "drift", "None"))
