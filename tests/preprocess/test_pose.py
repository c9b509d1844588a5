"""The way from frames to poses, with small networks of DWPose's inputs and outputs; its numbers: tests/parity."""

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess import pose as module
from ppdiffusers_ext.preprocess.pose import DETECTOR, ESTIMATOR, PoseEstimator
from tests.support.people import SIZE, STANDING, painted, write_networks

FRAME = (240, 180)
BOX = (40, 30, 130, 150)  # three to four, as the crops: nothing is added around


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_networks(tmp_path_factory.mktemp("DWPose"))


def expected_body(box=BOX, size=FRAME):
    left, top, right, bottom = box
    return (STANDING * (right - left, bottom - top) + (left, top)) / (size[1], size[0])


def test_joints_are_where_the_person_is(folder):
    (pose,) = PoseEstimator(folder)([painted(FRAME, BOX)])
    assert len(pose) == 1
    # Half a position of the network's, which counts in half pixels of its crop, and a pixel of the detector's.
    tolerance = (1.25 * (BOX[2] - BOX[0]) / SIZE[1] + 1) / FRAME[1]
    assert np.abs(pose.body[0] - expected_body()).max() < tolerance
    assert pose.body_scores[0] == pytest.approx([0.8, 1, *[0.8] * 16])
    assert pose.hands.shape == (1, 2, 21, 2) and pose.face.shape == (1, 68, 2)
    assert np.abs(pose.hands[0] - expected_body()[[7, 4], None]).max() < tolerance


def test_person_that_moves_is_followed_by_the_joints(folder):
    frames = [painted(FRAME, (left, 30, left + 90, 150)) for left in (10, 40, 70)]
    xs = [pose.body[0, :, 0].mean() * FRAME[1] for pose in PoseEstimator(folder)(frames)]
    assert np.diff(xs) == pytest.approx([30, 30], abs=1.5)


@pytest.mark.parametrize("batch, batch_size", [(1, 1), (1, 4), ("n", 3), (2, 3)])
def test_how_frames_are_batched_changes_nothing(tmp_path, folder, batch, batch_size):
    frames = [painted(FRAME, (left, 30, left + 90, 150)) for left in range(10, 60, 10)]
    expected = list(PoseEstimator(folder, batch_size=1)(frames))
    ours = list(PoseEstimator(write_networks(tmp_path / "DWPose", batch), batch_size=batch_size)(frames))
    assert len(ours) == len(expected) == 5
    for one, other in zip(ours, expected):
        assert (one.body == other.body).all() and (one.face_scores == other.face_scores).all()


def test_frames_are_taken_as_they_are_needed(folder):
    taken = []

    def frames():
        for i in range(10):
            taken.append(i)
            yield painted(FRAME, BOX)

    next(PoseEstimator(folder, batch_size=2)(frames()))
    assert taken == [0, 1]


def test_whole_frame_is_a_person_where_nobody_is_found(folder):
    (pose,) = PoseEstimator(folder)([painted(FRAME)])
    assert len(pose) == 1 and not pose.visible().any()


def test_networks_see_colours_in_the_order_asked_for(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "letterbox", lambda frame, size: seen.append(frame) or (np.zeros((3, *size), "f4"), 1))
    frame = painted(FRAME)
    frame[..., 0] = 7
    for channels in ("rgb", "bgr"):
        list(PoseEstimator(folder, channels=channels)([frame]))
    assert (seen[0] == frame).all() and (seen[1] == frame[..., ::-1]).all()


def test_missing_networks_are_named_with_how_to_get_them(tmp_path, folder):
    with pytest.raises(
        MissingFileError,
        match=f"{DETECTOR}, .*{ESTIMATOR} do not exist; `python scripts/download_weights.py --only DWPose`",
    ):
        PoseEstimator(tmp_path)


def test_what_is_no_network_is_refused(tmp_path, folder):
    for name in (DETECTOR, ESTIMATOR):
        (tmp_path / name).write_bytes(b"no network")
    with pytest.raises(InputError, match=f"{DETECTOR} cannot be opened as an ONNX file: .* is accepted"):
        PoseEstimator(tmp_path)


def test_bad_options_are_refused(folder):
    with pytest.raises(InputError, match="channels 'rbg' are not known; rgb or bgr is accepted"):
        PoseEstimator(folder, channels="rbg")
    with pytest.raises(InputError, match="no CUDA"):
        PoseEstimator(folder, device="gpu")
