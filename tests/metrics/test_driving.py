"""Driving poses as JSON: what is read of them, and what is refused."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.driving import check_length, read_driver
from ppdiffusers_ext.metrics.poses import PARTS


def points(count, x=0.0, score=0.9):
    return [[x + i, 2.0 * i, score] for i in range(count)]


def person(x=0.0, **parts):
    whole = {"body": 18, "left_hand": 21, "right_hand": 21, "face": 68}
    return {**{part: points(count, x) for part, count in whole.items()}, **parts}


def write(folder, *frames, **values):
    path = folder / "poses.json"
    path.write_text(
        json.dumps({"estimator": "dwpose", "frames": [{"people": list(frame)} for frame in frames], **values})
    )
    return path


def test_points_are_in_their_order(tmp_path):
    driver = read_driver(write(tmp_path, [person(5.0)], []))
    assert driver.estimator == "dwpose" and driver.poses[1] is None
    (one, _) = driver.poses
    assert one.seen.all()
    for part, start in (("body", 0), ("hands", 18), ("hands", 39), ("face", 60)):
        assert PARTS[part].start <= start < PARTS[part].stop
        assert one.xy[start].tolist() == [5, 0] and one.xy[start + 17].tolist() == [22, 34]


def test_what_is_null_or_uncertain_is_not_seen(tmp_path):
    body = points(18)
    body[3], body[4], body[5] = None, [1, 2, 0.3], [1, 2, 0.31]
    driver = read_driver(write(tmp_path, [person(body=body, left_hand=None, face=None)], [{"body": body}]))
    for one, hand in zip(driver.poses, (True, False)):
        assert one.seen[:18].tolist() == [i not in (3, 4) for i in range(18)]
        assert not one.seen[18:39].any() and not one.seen[60:].any()
        assert one.seen[39:60].all() == hand


def test_largest_person_drives(tmp_path):
    large = person(body=(np.array(points(18)) * (3, 3, 1)).tolist())
    for people in ([person(), large], [large, person()]):
        assert read_driver(write(tmp_path, people)).poses[0].xy[1].tolist() == [3, 6]


@pytest.mark.parametrize("estimator", [None, 3, ["a"], "a" * 10_000])
def test_estimator_without_a_name_is_unknown(tmp_path, estimator):
    assert read_driver(write(tmp_path, [], estimator=estimator)).estimator == "unknown"


@pytest.mark.parametrize(
    "frames",
    [
        *(None, 3, {}, "x", [3], [None], [[]], [{}], [{"people": None}], [{"people": {}}]),
        *([{"people": [one]}] for one in (None, 3, [], "x", {"body": 3}, {"body": {}}, {"body": []})),
        *([{"people": [{"body": points(count)}]}] for count in (1, 17, 19)),
        *([{"people": [{"face": points(count)}]}] for count in (67, 133)),
        *(
            [{"people": [{"body": [point, *points(17)]}]}]
            for point in (3, [], [1, 2], [1, 2, 3, 4], [1, 2, None], ["1", 2, 3], [True, 2, 3], {}, [1e7, 2, 3])
        ),
        [{"people": [{"body": [[10**400, 2, 3], *points(17)]}]}],
    ],
)
def test_another_form_is_refused(tmp_path, frames):
    with pytest.raises(InputError, match=r"poses\.json.*; a file that scripts\.estimate_poses wrote is accepted"):
        read_driver(write(tmp_path, frames=frames))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b'{"frames": NaN}', b"\xff\xfe", b"[" * 5000])
def test_what_is_no_such_json_is_refused(tmp_path, content):
    (tmp_path / "poses.json").write_bytes(content)
    with pytest.raises(InputError, match="scripts.estimate_poses"):
        read_driver(tmp_path / "poses.json")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(MissingFileError):
        read_driver(tmp_path / "poses.json")
    with pytest.raises(InputError):
        read_driver(tmp_path)


def test_another_number_of_frames_is_refused(tmp_path):
    path = write(tmp_path, [person()], [])
    driver = read_driver(path)
    check_length(path, driver, 2, "out.mp4")
    with pytest.raises(InputError, match=r"poses\.json have 2 frames, .*out\.mp4.* has 3; as many are accepted"):
        check_length(path, driver, 3, "out.mp4")
