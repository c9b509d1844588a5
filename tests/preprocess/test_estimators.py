"""Which networks estimate poses, and how a user is told."""

from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess.blaze.estimator import EmbeddedEstimator
from ppdiffusers_ext.preprocess.estimators import (
    CHOICES,
    FOLDER,
    choose_estimator,
    describe_estimator,
    estimator_files,
    open_estimator,
)
from ppdiffusers_ext.preprocess.pose import DETECTOR, ESTIMATOR, PoseEstimator
from tests.support.people import write_networks


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "there, poses, given, expected",
    [
        ((), "auto", False, "embedded"),
        ((DETECTOR,), "auto", False, "embedded"),
        ((DETECTOR, ESTIMATOR), "auto", False, "dwpose"),
        ((DETECTOR, ESTIMATOR), "embedded", False, "embedded"),
        ((), "dwpose", False, "dwpose"),
        ((), "auto", True, "dwpose"),
    ],
)
def test_auto_is_dwpose_where_its_files_are_or_its_folder_is_given(place, there, poses, given, expected):
    Path(FOLDER).mkdir(parents=True)
    for name in there:
        Path(FOLDER, name).touch()
    assert choose_estimator(poses, "elsewhere" if given else None) == expected
    told = describe_estimator(poses, "elsewhere" if given else None)
    assert told.startswith("Poses: " + {"dwpose": "DWPose", "embedded": "MediaPipe (embedded)"}[expected])
    assert ("are not in" in told) == (poses == "auto" and expected == "embedded")


def test_name_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="auto, dwpose or embedded"):
        choose_estimator("openpose")
    assert CHOICES == ("auto", "dwpose", "embedded")


def test_what_was_asked_for_is_never_replaced(place):
    for poses, folder in (("dwpose", None), ("auto", "mine")):
        for function in (open_estimator, estimator_files):
            with pytest.raises(MissingFileError, match=folder or FOLDER):
                function(poses, folder)


def test_estimators_open(place):
    write_networks(place / FOLDER)
    assert isinstance(open_estimator("auto"), PoseEstimator)
    assert isinstance(open_estimator("embedded"), EmbeddedEstimator)
    assert [path.name for path in estimator_files("auto")] == [DETECTOR, ESTIMATOR]
    assert len(estimator_files("embedded")) == 7
