"""Skeletons and face masks of clips: what is drawn is what the commands of each system draw, and complete."""

from itertools import islice
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.chain.faces import Faces
from ppdiffusers_ext.data.chain.skeletons import SkeletonPictures, SkeletonVideos
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.preprocess.estimators import open_estimator
from ppdiffusers_ext.preprocess.extraction import style_of
from ppdiffusers_ext.preprocess.face_finders import open_finder
from ppdiffusers_ext.preprocess.faces import write_face_masks
from ppdiffusers_ext.preprocess.videos import write_training_skeletons
from tests.support.chain_videos import FPS, HEIGHT, WIDTH, Scene, frames_of

COUNT, EMPTY = 4, 1
ROW = {"key": "of me/walk_0.mp4", "video": "of me/walk.mp4", "width": WIDTH, "height": HEIGHT, "num_frames": COUNT}


def write_clip(path, scene, empty=0):
    """A clip of a scene, whose first frames, if so many are asked for, are grey."""
    with VideoWriter(path, FPS, WIDTH, HEIGHT) as writer:
        for index, frame in enumerate(islice(frames_of(scene), COUNT)):
            writer.write(np.full_like(frame, 128) if index < empty else frame)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(Path("nowhere"), tmp_path_factory.mktemp("run"))
    write_clip(place.file_of(ROW), Scene(1), empty=EMPTY)
    return place


@pytest.fixture(scope="module")
def drawn(place):
    """The columns of the steps that make pictures."""
    steps = SkeletonPictures(style="stable_animator", folder="animation_data"), Faces()
    row = dict(ROW)
    for step in steps:
        row |= step(row, place)
    return row


def pictures(folder):
    return {path.name: np.asarray(PIL.Image.open(path).convert("RGB")) for path in folder.iterdir()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_pictures_are_the_frames_of_the_clip(place, drawn):
    found = pictures(place.output / drawn["clip_folder"] / "images")
    assert drawn["clip_folder"] == "animation_data/of me/walk_0"
    assert same(found, {f"frame_{i}.png": frame for i, frame in enumerate(open_frames(place.file_of(ROW)))})


def test_skeletons_are_those_that_the_command_draws(place, drawn, tmp_path):
    folder = place.output / drawn["clip_folder"]
    source = open_frames(folder / "images")
    estimator, style = open_estimator("embedded", threads=1), style_of("stable_animator")
    write_training_skeletons(source, tmp_path, estimator, style, source.names)
    found = pictures(folder / "poses")
    assert same(found, pictures(tmp_path))
    assert [found[f"frame_{i}.png"].any() for i in range(COUNT)] == [False] + [True] * 3


def test_masks_are_those_that_the_command_makes(place, drawn, tmp_path):
    folder = place.output / drawn["clip_folder"]
    source = open_frames(folder / "images")
    without = write_face_masks(source, tmp_path, open_finder("embedded", threads=1), source.names)
    assert same(pictures(folder / "faces"), pictures(tmp_path))
    assert drawn["face_share"] == round(1 - without / COUNT, 5)


def test_shares_are_of_frames_in_which_somebody_is_found(drawn):
    assert (drawn["skeleton_share"], drawn["face_share"]) == (0.75, 0.75)


def test_pictures_of_an_earlier_run_are_replaced(place, drawn):
    row = {**ROW, "key": "again_0.mp4"}
    write_clip(place.file_of(row), Scene(2))
    folder = place.output / "animation_data" / "again_0"
    for name in ("images", "faces"):
        (folder / name).mkdir(parents=True)
        (folder / name / "frame_99.png").touch()
    steps = SkeletonPictures(style="stable_animator", folder="animation_data"), Faces()
    for step in steps:
        row |= step(row, place)
    assert all(len(list((folder / name).iterdir())) == COUNT for name in ("images", "poses", "faces"))
    assert all(step.is_kept(row, place) for step in steps)
    for step in steps:
        step.forget(row, place)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert not any(step.is_kept(row, place) for step in steps)


def test_skeleton_video_has_the_frames_of_the_clip(place):
    step = SkeletonVideos(style="animate_anyone", folder="video_dwpose")
    columns = step(ROW, place)
    assert columns == {"kps_path": "video_dwpose/of me/walk_0.mp4", "skeleton_share": 0.75}
    video = open_frames(place.output / columns["kps_path"])
    assert (video.num_frames, video.fps, video.height) == (COUNT, FPS, 512)
    assert [int(frame.max()) > 100 for frame in video] == [False] + [True] * 3
    assert step.is_kept(columns, place)
    step.forget(columns, place)
    assert not step.is_kept(columns, place)


def test_settings_that_change_drawings_are_told():
    one, other = (
        SkeletonVideos(style="animate_anyone", folder="f", hands=hands).settings() for hands in (True, False)
    )
    assert one != other
