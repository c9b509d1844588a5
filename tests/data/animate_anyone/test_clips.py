"""Training clips in folders and meta files: what is found, and what is said of each."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles, check_clip, find_clips
from ppdiffusers_ext.data.keypoints import read_keypoints
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess.videos import find_videos


def write_video(path, frames=6, width=48, height=64, fps=15, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps, width, height) as writer:
        writer.write(np.random.default_rng(seed).integers(0, 255, (frames, height, width, 3), dtype=np.uint8))
    return path


@pytest.fixture
def folder(tmp_path):
    """Three clips, as `video/` and `video_dwpose/`."""
    for name in ("00001.mp4", "00002.mp4", "sub/00003.mp4"):
        for kind in ("video", "video_dwpose"):
            write_video(tmp_path / "data" / kind / name)
    return tmp_path / "data"


def clips_of(folder, *names):
    return [ClipFiles(folder / "video" / name, folder / "video_dwpose" / name) for name in names]


def write_meta(path, clips):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"video_path": str(clip.video), "kps_path": str(clip.pose)} for clip in clips]))
    return path


def test_pairs_of_a_folder_are_found(folder):
    assert find_clips(folder) == clips_of(folder, "00001.mp4", "00002.mp4", "sub/00003.mp4")


def test_what_a_killed_run_has_left_in_a_folder_is_no_clip(folder):
    for place in ("video", "meta_data"):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / ".some.a1b2c3-01234567.part.mp4").write_bytes(b"\0")
        (folder / place / ".some.a1b2c3-01234567.part.json").write_text("[")
    assert find_clips(folder) == clips_of(folder, "00001.mp4", "00002.mp4", "sub/00003.mp4")
    assert find_videos(folder / "video") == [clip.video for clip in find_clips(folder)]


def test_meta_files_of_a_folder_go_before_its_videos(folder):
    clips = clips_of(folder, "00002.mp4")
    write_meta(folder / "meta_data" / "some_meta.json", clips)
    assert find_clips(folder) == clips


def test_several_sources_are_joined_and_each_clip_is_there_once(folder, tmp_path):
    meta = write_meta(tmp_path / "meta.json", clips_of(folder, "00002.mp4", "00001.mp4"))
    expected = clips_of(folder, "00002.mp4", "00001.mp4", "sub/00003.mp4")
    assert find_clips([meta, folder]) == find_clips(f"{meta}, {folder}") == expected


@pytest.mark.parametrize("start", ["video", "data/video", "./data/video"])
def test_paths_of_a_meta_file_are_relative_to_it_or_to_a_folder_above(folder, start):
    meta = folder / "meta_data" / "meta.json"
    meta.parent.mkdir()
    names = f"{start}/00001.mp4", f"{start.replace('video', 'video_dwpose')}/00001.mp4"
    meta.write_text(json.dumps([dict(zip(("video_path", "kps_path"), names))]))
    ((video, pose),) = [(clip.video, clip.pose) for clip in find_clips(meta)]
    assert video.samefile(folder / "video" / "00001.mp4")
    assert pose.samefile(folder / "video_dwpose" / "00001.mp4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"video_path": "a.mp4", "kps_path": "b.mp4"}', "holds a dict"),
        ("[]", "hold no clips"),
        ('["a.mp4"]', "entry 0 of meta file"),
        ('[{"video_path": "a.mp4", "kps_path": "b.mp4"}, {"video_path": "a.mp4"}]', "entry 1 of meta file"),
        ('[{"video_path": 3, "kps_path": "b.mp4"}]', "entry 0 of meta file"),
    ],
)
def test_meta_file_that_is_none_is_refused_with_what_is_accepted(tmp_path, content, message):
    (tmp_path / "meta.json").write_text(content)
    with pytest.raises(InputError, match=f"{message}.*a JSON list of video_path and kps_path"):
        find_clips(tmp_path / "meta.json")


def test_missing_and_empty_sources_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere do not exist"):
        find_clips("nowhere")
    with pytest.raises(InputError, match="hold no clips"):
        find_clips(tmp_path)
    with pytest.raises(InputError, match="no training data are named"):
        find_clips(" , ")


# Checks


def test_good_clip_is_described(folder):
    report = check_clip(clips_of(folder, "00001.mp4")[0])
    assert report.problems == ()
    assert (report.num_frames, report.width, report.height, report.fps) == (6, 48, 64, 15)
    assert report.duration == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("pose", "problem"),
    [
        ({"frames": 5}, "the pose video has 5 frames, the video 6"),
        ({"fps": 30}, "30.00 frames a second, the video 15.00"),
        ({"width": 64}, "of another shape: 64x64, the video 48x64"),
    ],
)
def test_pose_video_that_does_not_fit_is_a_problem(folder, pose, problem):
    (clip,) = clips_of(folder, "00001.mp4")
    write_video(clip.pose, **pose)
    (said,) = check_clip(clip).problems
    assert problem in said


def test_pose_video_of_another_size_but_the_same_shape_is_fine(folder):
    (clip,) = clips_of(folder, "00001.mp4")
    write_video(clip.pose, width=96, height=128)
    assert check_clip(clip).problems == ()


@pytest.mark.parametrize(("width", "is_fine"), [(50, True), (52, False)])  # of 48: 704x512 of 640x480 is 3 % off
def test_pose_video_may_be_off_by_what_rounding_its_sides_makes(folder, width, is_fine):
    (clip,) = clips_of(folder, "00001.mp4")
    write_video(clip.pose, width=width)
    assert (check_clip(clip).problems == ()) == is_fine


def test_missing_pose_video_is_a_problem(folder):
    (clip,) = clips_of(folder, "00001.mp4")
    clip.pose.unlink()
    assert check_clip(clip).problems == (f"there is no pose video {clip.pose}",)


@pytest.mark.parametrize("which", ["video", "pose"])
def test_damaged_video_is_a_problem(folder, which):
    (clip,) = clips_of(folder, "00001.mp4")
    path = getattr(clip, which)
    path.write_bytes(path.read_bytes()[:-200])
    report = check_clip(clip)
    assert str(path) in report.problems[0]
    assert (report.num_frames is None) == (which == "video")


def test_clip_that_is_shorter_than_a_sample_is_a_problem(folder):
    assert check_clip(clips_of(folder, "00001.mp4")[0], min_frames=7).problems == (
        "it has 6 frames, a sample needs 7",
    )


def test_joints_of_a_folder_are_found_where_it_has_some(folder):
    (folder / "keypoints").mkdir()
    joints = np.random.default_rng(0).random((6, 18, 3))
    np.save(folder / "keypoints" / "00001.npy", joints)
    first, *others = find_clips(folder)
    assert first.video.stem == "00001" and all(clip.keypoints is None for clip in others)
    np.testing.assert_array_equal(read_keypoints(first.keypoints, 6), joints.astype(np.float32))
    assert check_clip(first).problems == ()


def no_npy(path):
    path.write_bytes(b"no array")


BAD_JOINTS = {
    "text": no_npy,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: path.mkdir(),
    "objects": lambda path: np.save(path, np.array([{}] * 6, object), allow_pickle=True),
    "words": lambda path: np.save(path, np.full((6, 18, 3), "a")),
    "another length": lambda path: np.save(path, np.zeros((5, 18, 3))),
    "other joints": lambda path: np.save(path, np.zeros((6, 25, 3))),
    "no scores": lambda path: np.save(path, np.zeros((6, 18, 2))),
    "cut off": lambda path: (np.save(path, np.zeros((6, 18, 3))), path.write_bytes(path.read_bytes()[:500])),
    "not finite": lambda path: np.save(path, np.full((6, 18, 3), np.nan)),
    "complex": lambda path: np.save(path, np.zeros((6, 18, 3), complex)),
    "a header that lies": lambda path: path.write_bytes(
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 18, 3), }".ljust(117)
        + b"\n"
    ),
    "several": lambda path: (np.savez(path.with_suffix(".npz"), a=1), path.with_suffix(".npz").rename(path)),
}


@pytest.mark.parametrize("kind", BAD_JOINTS)
def test_file_that_holds_no_joints_is_a_problem_of_its_clip(folder, kind):
    path = folder / "keypoints" / "00001.npy"
    path.parent.mkdir()
    BAD_JOINTS[kind](path)
    (problem,) = check_clip(find_clips(folder)[0]).problems
    assert str(path) in problem and "an array of numbers (6, 18, 3) is accepted" in problem
