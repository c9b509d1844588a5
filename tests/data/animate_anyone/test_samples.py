"""Samples of clips: which frames, which crop, the same from the same number, and another clip for a damaged one."""

import collections
from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles
from ppdiffusers_ext.data.animate_anyone.samples import (
    FrameChoice,
    TrainingClips,
    TrainingPictures,
    choose_crop,
    choose_image,
    choose_video,
)
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError


def rngs(count=300):
    return (np.random.default_rng(seed) for seed in range(count))


@pytest.mark.parametrize("num_frames", [2, 3, 10, 29, 30, 31, 61, 200])
def test_target_keeps_its_distance_from_the_reference_where_it_can(num_frames):
    for rng in rngs():
        chosen = choose_image(rng, num_frames, margin=30)
        (target,) = chosen.targets
        assert 0 <= target < num_frames
        if chosen.reference + 30 < num_frames or chosen.reference > 30:
            assert abs(target - chosen.reference) >= 30


@pytest.mark.parametrize(
    ("num_frames", "count", "stride"), [(200, 24, 4), (93, 24, 4), (50, 24, 4), (5, 8, 2), (2, 4, 1)]
)
def test_targets_are_evenly_spaced_and_cover_what_they_can(num_frames, count, stride):
    starts = set()
    for rng in rngs():
        chosen = choose_video(rng, num_frames, count, stride)
        assert len(chosen.targets) == count
        assert 0 <= min(chosen.targets) <= max(chosen.targets) < num_frames
        span = min(num_frames, (count - 1) * stride + 1)
        assert chosen.targets[-1] - chosen.targets[0] == span - 1
        if span < num_frames:
            assert set(np.diff(chosen.targets)) == {stride}
        starts.add(chosen.targets[0])
    assert len(starts) > 1 or span == num_frames


@pytest.mark.parametrize("num_frames", [2, 3, 40])
@pytest.mark.parametrize("first", [0, 1, 3, 50])
def test_reference_is_one_of_the_first_frames(num_frames, first):
    choices = (
        lambda rng: choose_image(rng, num_frames, 6, first),
        lambda rng: choose_video(rng, num_frames, 8, 1, first),
    )
    for choose in choices:
        chosen = [choose(rng) for rng in rngs(800)]
        assert {choice.reference for choice in chosen} == set(range(min(first or num_frames, num_frames)))
        assert max(max(choice.targets) for choice in chosen) == num_frames - 1, "targets are of the whole clip"


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (512, 512), (200, 1000)])
def test_crop_is_within_the_picture_and_its_ratio_within_the_bounds(size):
    for scale in ((1.0, 1.0), (0.5, 0.8)):
        for rng in rngs():
            left, top, right, bottom = choose_crop(rng, *size, scale, (0.9, 1.1))
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
            assert 0.89 < (right - left) / (bottom - top) < 1.12


def test_whole_picture_is_cropped_to_the_middle_where_its_ratio_is_out_of_bounds():
    assert choose_crop(np.random.default_rng(0), 512, 832) == (0, 131, 512, 700)
    assert choose_crop(np.random.default_rng(0), 832, 512) == (160, 0, 672, 512)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Four clips of drawn people; the third cannot be read."""
    folder, clips = tmp_path_factory.mktemp("clips"), []
    for index in range(4):
        clip = synthetic_clip(index, 12, 64, 64)
        files = ClipFiles(folder / f"{index}.mp4", folder / f"{index}_pose.mp4")
        for path, frames in ((files.video, clip.target), (files.pose, clip.pose)):
            with VideoWriter(path, clip.fps, 64, 64) as writer:
                writer.write(frames)
        clips.append(files)
    clips[2].video.write_bytes(b"no video")
    return clips


def stage_2(clips, length=40, seed=5, **options):
    return TrainingClips(clips, length, seed, 32, 48, lambda rng, frames: choose_video(rng, frames, 4, 2), **options)


def test_sample_has_the_shapes_and_ranges_of_training(clips):
    sample = stage_2(clips)[0]
    assert sample["pixel_values"].shape == sample["pose_pixel_values"].shape == (3, 4, 48, 32)
    assert sample["reference_pixel_values"].shape == (3, 48, 32)
    assert sample["reference_image"].shape == (64, 64, 3)
    assert sample["pixel_values"].dtype == sample["pose_pixel_values"].dtype == np.float32
    assert -1 <= sample["pixel_values"].min() < 0 < sample["pixel_values"].max() <= 1
    assert 0 == sample["pose_pixel_values"].min() < sample["pose_pixel_values"].max() <= 1


def test_joints_are_where_the_sample_has_them(clips, tmp_path):
    """Those of a clip that has none are all unseen."""
    assert stage_2(clips)[0]["joints"].shape == (5, 18, 3) and not stage_2(clips)[0]["joints"].any()
    joints = np.random.default_rng(2).random((12, 18, 3)).astype(np.float32)
    np.save(tmp_path / "joints.npy", joints)
    files = replace(clips[0], keypoints=tmp_path / "joints.npy")
    choice = FrameChoice(3, (7, 1))
    whole = TrainingClips([files], 1, 0, 64, 64, lambda *_: choice, ratio=(1.0, 1.0))[0]["joints"]
    np.testing.assert_allclose(whole, joints[[3, 7, 1]], atol=1e-6)
    narrow = TrainingClips([files], 1, 0, 32, 64, lambda *_: choice, ratio=(0.5, 0.5))[0]["joints"]
    np.testing.assert_allclose(narrow[..., 1:], joints[[3, 7, 1]][..., 1:], atol=1e-6)
    left = 64 * (joints[[3, 7, 1]] - narrow / 2)[..., 0]  # of the box of 32 by 64 pixels
    np.testing.assert_allclose(left, np.full_like(left, round(float(left[0, 0]))), atol=1e-4)


def test_frames_are_those_of_the_files_and_share_their_crop(clips):
    chosen = []

    def choose(rng, num_frames):
        chosen.append(choose_video(rng, num_frames, 4, 2))
        return chosen[-1]

    sample = TrainingClips(clips[:1], 1, 0, 64, 64, choose, ratio=(1.0, 1.0))[0]
    video, poses = (np.stack(list(read_frames(path))) for path in (clips[0].video, clips[0].pose))
    expected = video[list(chosen[0].targets)].transpose(3, 0, 1, 2) / 127.5 - 1
    np.testing.assert_allclose(sample["pixel_values"], expected, atol=1e-6)
    np.testing.assert_allclose(
        sample["pose_pixel_values"], poses[list(chosen[0].targets)].transpose(3, 0, 1, 2) / 255, atol=1e-6
    )
    np.testing.assert_array_equal(sample["reference_image"], video[chosen[0].reference])
    np.testing.assert_allclose(
        sample["reference_pixel_values"], video[chosen[0].reference].transpose(2, 0, 1) / 127.5 - 1, atol=1e-6
    )


def test_pictures_are_the_targets_of_clips_without_their_references_and_poses(clips, tmp_path):
    options = (40, 5, 32, 48, lambda rng, frames: choose_image(rng, frames, 3), (0.25, 1.0))
    whole, pictures = TrainingClips(clips, *options), TrainingPictures(clips, *options)
    for index in range(8):
        expected, picture = whole[index], pictures[index]
        assert set(picture) == {"pixel_values", "clip", "index", "failures"}
        assert all(picture[name] == expected[name] for name in ("clip", "index", "failures"))
        np.testing.assert_array_equal(picture["pixel_values"], expected["pixel_values"])
    without_pose = [ClipFiles(clips[0].video, tmp_path / "none.mp4")]
    assert TrainingPictures(without_pose, *options)[0]["failures"] == []


def test_sample_follows_from_seed_and_number(clips):
    first, again, other = stage_2(clips), stage_2(clips), stage_2(clips, seed=6)
    for index in (7, 3, 20):
        for key in ("pixel_values", "pose_pixel_values", "reference_pixel_values"):
            np.testing.assert_array_equal(first[index][key], again[index][key])
    assert any(first[index]["clip"] != other[index]["clip"] for index in range(10))


def test_each_epoch_has_every_clip_once_in_another_order(clips):
    good = [clip for clip in clips if clip is not clips[2]]
    dataset = stage_2(good, length=60)
    epochs = [tuple(dataset[index]["clip"] for index in range(start, start + 3)) for start in range(0, 60, 3)]
    assert {frozenset(epoch) for epoch in epochs} == {frozenset(str(clip.video) for clip in good)}
    assert len(set(epochs)) > 3


def test_clip_that_cannot_be_read_is_replaced_and_named(clips):
    dataset = stage_2(clips)
    samples = [dataset[index] for index in range(40)]
    failed = [failure for sample in samples for failure in sample["failures"]]
    assert len(failed) >= 10  # once in each epoch of four
    assert all(failure.startswith(str(clips[2].video)) for failure in failed)
    read = collections.Counter(sample["clip"] for sample in samples)
    assert set(read) == {str(clip.video) for clip in clips} - {str(clips[2].video)}


def test_pose_video_of_another_length_is_a_failure(clips, tmp_path):
    with VideoWriter(tmp_path / "pose.mp4", 15, 64, 64) as writer:
        writer.write(np.zeros((5, 64, 64, 3), np.uint8))
    dataset = stage_2([ClipFiles(clips[0].video, tmp_path / "pose.mp4"), clips[1]])
    failures = [failure for index in range(10) for failure in dataset[index]["failures"]]
    assert failures
    assert "has 5 frames, the video 12" in failures[0]


def test_data_of_which_nothing_can_be_read_stop_the_run(clips, tmp_path):
    missing = ClipFiles(clips[0].video, tmp_path / "nowhere.mp4")
    with pytest.raises(InputError, match="none of 20 clips can be read, the last: .*nowhere.mp4 does not exist"):
        stage_2([missing, clips[2]])[0]
