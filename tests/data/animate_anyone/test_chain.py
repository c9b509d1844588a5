"""What the data chain writes for training: a meta file whose clips the checks and the trainer find."""

import json

import pytest

from ppdiffusers_ext.data.animate_anyone import chain
from ppdiffusers_ext.data.animate_anyone.check import check_dataset
from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.chain.filtering import bounds_of, judge
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter


def write_video(path, frames):
    with VideoWriter(path, 12, frames.shape[2], frames.shape[1]) as writer:
        writer.write(frames)


@pytest.fixture
def place(tmp_path):
    """A finished run of two clips."""
    place = Place(tmp_path, tmp_path / "run")
    rows = []
    for number, key in enumerate(("a_0.mp4", "some folder/b_1.mp4")):
        clip = synthetic_clip(number, 5, 64, 64)
        rows.append({"key": key, "video": "a.mp4", "kps_path": f"video_dwpose/{key}"})
        write_video(place.clips / key, clip.target)
        write_video(place.output / "video_dwpose" / key, clip.pose)
    (written,) = chain.finish(iter(rows), place)
    assert written == place.output / "meta_data" / "ubcNbili_meta.json"
    return place


def test_every_clip_of_a_run_passes_the_check_of_training_data(place):
    reports = check_dataset([str(place.output)])
    assert [report.problems for report in reports] == [(), ()]
    assert [report.num_frames for report in reports] == [5, 5]


def test_a_run_that_was_moved_is_found(place, tmp_path):
    moved = place.output.rename(tmp_path / "elsewhere")
    clips = find_clips([str(moved / "meta_data" / "ubcNbili_meta.json")])
    assert [clip.video for clip in clips] == [moved / "clips" / key for key in ("a_0.mp4", "some folder/b_1.mp4")]
    assert all(clip.pose.exists() for clip in clips)


def test_meta_file_has_the_originals_fields(place):
    (first, _) = json.loads((place.output / "meta_data" / "ubcNbili_meta.json").read_text())
    assert first == {"video_path": "clips/a_0.mp4", "kps_path": "video_dwpose/a_0.mp4"}


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"people_median": 1, "people_max": 1}, None),
        ({"people_median": 1, "people_max": 2}, "people_max"),
        ({"people_median": 0, "people_max": 1}, "people_median"),
        ({"people_median": 1}, "people_max"),
    ],
)
def test_clips_of_one_person_are_kept_and_no_others(columns, column):
    bounds = {name: bounds_of(values, name) for name, values in chain.PROFILE.thresholds["people"].items()}
    assert [reason.split()[0] for reason in judge(columns, bounds)] == ([column] if column else [])


def test_skeletons_are_drawn_as_the_weights_were_trained():
    (step,) = chain.PROFILE.own_steps(None)
    assert (step.name, step.style, step.folder) == ("skeletons", "animate_anyone", "video_dwpose")
    assert step.name in chain.PROFILE.steps


def test_a_run_that_keeps_nothing_has_no_meta_file(place):
    assert chain.finish(iter(()), place) == ()
    assert list((place.output / "meta_data").iterdir()) == []
