"""StableAnimator's training clips: folders and videos give the same, what is missing is told or made up for."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.stable_animator.clips import (
    AnimationClip,
    Frames,
    choose_frames,
    find_animation_clips,
    read_embedding,
    read_sample,
)
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError

COUNT = 12


def frame_of(number, shift=0):
    """(32, 48, 3) of one colour that tells the number."""
    return np.full((32, 48, 3), 20 * number + shift, np.uint8)


def write_clip(folder, count=COUNT, faces=True):
    for i in range(count):
        write_image(folder / "images" / f"frame_{i}.png", frame_of(i))
        write_image(folder / "poses" / f"frame_{i}.png", frame_of(i, 5))
        if faces:
            mask = np.zeros((32, 48), np.uint8)
            mask[:16] = 255
            write_image(folder / "faces" / f"frame_{i}.png", mask)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_clip(tmp_path / "rec" / "00001")


def clip_of(folder):
    return AnimationClip(folder / "images", folder / "poses", folder / "faces")


def read(clip, seed=0, count=3, **options):
    return read_sample(clip, np.random.default_rng(seed), 64, 32, count, **options)


def test_sample_has_frames_skeletons_and_masks_of_the_same_moments(folder):
    sample = read(clip_of(folder))
    assert sample.pixels.shape == sample.poses.shape == (3, 3, 32, 64)
    assert sample.masks.shape == (3, 1, 32, 64) and sample.reference.shape == (3, 32, 64)
    numbers = np.round((sample.pixels.mean(axis=(1, 2, 3)) + 1) * 127.5 / 20).astype(int)
    assert np.all(np.diff(numbers) == 4)
    assert np.allclose((sample.poses - sample.pixels) * 127.5, 5, atol=1e-3)
    assert np.all(sample.masks[:, :, :15] == 1) and np.all(sample.masks[:, :, 17:] == 0)
    number = int(sample.picture[0, 0, 0]) // 20
    assert sample.place == f"{folder}/images:frame_{number}" and number not in numbers


def test_videos_give_the_frames_of_folders(folder, tmp_path):
    for name in ("images", "poses", "faces"):
        frames = Frames(folder / name).read(range(COUNT))
        with VideoWriter(tmp_path / "vec" / "1" / f"{name}.mp4", 8, 48, 32, crf=0) as writer:
            writer.write(np.stack([np.asarray(frame) for frame in frames]))
    (clip,) = find_animation_clips(tmp_path / "vec")
    of_videos, of_folders = read(clip), read(clip_of(folder))
    assert np.abs(of_videos.pixels - of_folders.pixels).max() < 4 / 127.5  # colours are stored as YUV
    assert np.abs(of_videos.masks - of_folders.masks).mean() < 0.05
    assert of_videos.place.endswith(of_folders.place.rpartition("_")[2])


def test_missing_masks_are_ones(folder):
    (folder / "faces" / "frame_4.png").unlink()
    for seed in range(6):
        sample = read(clip_of(folder), seed)
        assert set(np.unique(sample.masks[:, :, -1])) <= {0.0, 1.0}
    without = AnimationClip(folder / "images", folder / "poses")
    assert np.all(read(without).masks == 1)


def test_missing_skeletons_are_told(folder):
    for i in range(COUNT):
        if i % 4 == 1:
            (folder / "poses" / f"frame_{i}.png").unlink()
    with pytest.raises(InputError, match="poses lacks the skeleton of frame_"):
        for seed in range(20):
            read(clip_of(folder), seed)


@pytest.mark.parametrize("video", ["images", "poses"])
def test_folder_of_another_length_than_a_video_is_told(folder, video):
    with VideoWriter(folder / f"{video}.mp4", 8, 48, 32) as writer:
        writer.write(np.stack([frame_of(i) for i in range(COUNT + 3)]))
    shutil.rmtree(folder / video)
    (clip,) = find_animation_clips(folder.parent)
    with pytest.raises(InputError, match=r"poses(\.mp4)? has \d+ frames, .*images(\.mp4)? \d+"):
        read(clip)


def test_masks_that_a_folder_lacks_beside_a_video_are_ones(folder):
    for name in ("images", "poses"):
        with VideoWriter(folder / f"{name}.mp4", 8, 48, 32) as writer:
            writer.write(np.stack([frame_of(i) for i in range(COUNT)]))
        shutil.rmtree(folder / name)
    for i in range(COUNT):
        if i > 1:
            (folder / "faces" / f"frame_{i}.png").unlink()
    (clip,) = find_animation_clips(folder.parent)
    assert np.all(read(clip).masks[1:] == 1)


def test_videos_of_other_lengths_are_told(tmp_path):
    for name, count in (("images", 6), ("poses", 5)):
        with VideoWriter(tmp_path / "1" / f"{name}.mp4", 8, 48, 32) as writer:
            writer.write(np.stack([frame_of(i) for i in range(count)]))
    (clip,) = find_animation_clips(tmp_path)
    with pytest.raises(InputError, match="poses.mp4 has 5 frames, .*images.mp4 6"):
        read(clip)


@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 5))
def test_reference_is_none_of_the_frames_in_order(num_frames, count, seed):
    rng = np.random.default_rng(seed)
    targets, reference = choose_frames(rng, num_frames, count) if num_frames > count else (None, None)
    if targets is not None:
        assert len(targets) == count and targets == sorted(targets) and reference not in targets
        assert 0 <= min(*targets, reference) <= max(*targets, reference) < num_frames


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 5), st.integers(0, 5))
def test_reference_is_one_of_the_first_frames(num_frames, count, first, seed):
    rng = np.random.default_rng(seed)
    if num_frames < first + count:
        with pytest.raises(InputError, match=f"it has {num_frames} frames; {count} are needed after the {first} that"):
            choose_frames(rng, num_frames, count, 4, first)
        return
    targets, reference = choose_frames(rng, num_frames, count, 4, first)
    assert 0 <= reference < first <= min(targets) and max(targets) < num_frames
    assert targets == sorted(targets) and len(set(targets)) == count


def test_joints_are_those_of_the_frames(folder):
    joints = np.random.default_rng(2).random((COUNT, 18, 3)).astype(np.float32)
    joints[:, 0, 0] = np.arange(COUNT)
    np.save(folder / "keypoints.npy", joints)
    (clip,) = find_animation_clips(folder.parent)
    sample = read(clip, reference_frames=2)
    numbers = sample.joints[:, 0, 0].astype(int)
    np.testing.assert_array_equal(sample.joints, joints[numbers])
    shown = [int(sample.picture[0, 0, 0]), *np.round((sample.pixels[:, 0, 0, 0] + 1) * 127.5).astype(int)]
    assert [number // 20 for number in shown] == numbers.tolist() and numbers[0] < 2
    assert not read(clip_of(folder)).joints.any(), "without the file there are none"
    np.save(folder / "keypoints.npy", joints[1:])
    with pytest.raises(InputError, match=r"keypoints.npy holds float32 .*; an array of numbers \(12, 18, 3\) is"):
        read(clip)


def test_clip_without_a_frame_for_the_reference_is_refused():
    with pytest.raises(InputError, match="it has 4 frames; 5 are needed"):
        choose_frames(np.random.default_rng(0), 4, 4)


def test_path_lists_name_clips_and_pass_over_what_is_none(folder, tmp_path, caplog):
    write_clip(tmp_path / "rec" / "00002", faces=False)
    write_image(tmp_path / "rec" / "00003" / "images" / "frame_0.png", frame_of(0))
    (tmp_path / "list.txt").write_text(f"rec/00001\n\n{tmp_path}/rec/00002\nrec/00003\nrec/nowhere\n")
    first, second = find_animation_clips(tmp_path / "list.txt")
    assert first == clip_of(folder) and second.faces is None
    assert "2 clips of the 4" in caplog.text and "00003" in caplog.text
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text("rec/00001\n")
    assert find_animation_clips(tmp_path / "lists" / "list.txt", tmp_path) == [first]
    assert find_animation_clips(tmp_path / "rec") == [first, second]


def test_lists_that_cannot_be_used_are_told(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere.txt do not exist; a text file of paths, or a folder"):
        find_animation_clips(tmp_path / "nowhere.txt")
    (tmp_path / "list.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="none of the 2 folders of .* is a clip; a folder with images, poses"):
        find_animation_clips(tmp_path / "list.txt")


def test_embedding_beside_the_frames_is_that_of_the_clips_face(folder, tmp_path):
    (clip,) = find_animation_clips(tmp_path / "rec")
    assert clip.embedding is None
    values = np.random.default_rng(0).standard_normal(512)
    np.save(folder / "face.npy", values)
    (clip,) = find_animation_clips(tmp_path / "rec")
    np.testing.assert_array_equal(read_embedding(clip.embedding), values.astype(np.float32))


@pytest.mark.parametrize(
    "values", [np.zeros(511), np.zeros((1, 512)), np.zeros(512, int), np.full(512, np.nan), np.array([object()])]
)
def test_embeddings_that_are_none_are_told(tmp_path, values):
    np.save(tmp_path / "face.npy", values)
    with pytest.raises(InputError, match="face embedding .*face.npy .*accepted"):
        read_embedding(tmp_path / "face.npy")


def test_missing_embedding_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist; a .npy file is accepted"):
        read_embedding(tmp_path / "face.npy")
