import numpy as np
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.keypoints import read_keypoints
from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.data.openpose import PALETTE as KEYPOINT_COLORS
from ppdiffusers_ext.data.skeletons import WEIGHTED
from ppdiffusers_ext.data.stable_animator.clips import Frames, find_animation_clips, read_embedding
from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
from ppdiffusers_ext.data.synthetic import synthetic_clip, write_clips


def test_shapes_and_types():
    clip = synthetic_clip(0, 3, width=64, height=96)
    assert clip.reference.shape == (96, 64, 3)
    assert clip.pose.shape == clip.target.shape == (3, 96, 64, 3)
    assert clip.reference.dtype == clip.pose.dtype == clip.target.dtype == np.uint8
    assert clip.fps > 0
    assert len(KEYPOINTS) == 18


def test_same_seed_gives_the_same_bits():
    first, second = (synthetic_clip(5, 2, 64, 64) for _ in range(2))
    for name in ("reference", "pose", "target"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_simple_figures_are_those_that_the_shipped_models_know():
    """The brightness of 4x4 squares of a clip, as it was when they were trained."""
    clip = synthetic_clip(0, 2, 64, 64, entrance=1)
    squares = clip.target[-1].reshape(4, 16, 4, 16, 3).mean(axis=(1, 3, 4))
    known = [
        [176.4, 174.2, 175.2, 176.4],
        [181.2, 174.8, 168.5, 181.2],
        [186.1, 176.4, 162.3, 186.1],
        [143.7, 140.6, 134.6, 143.7],
    ]
    np.testing.assert_allclose(squares, known, atol=0.3)


def test_longer_clip_begins_with_the_shorter_one():
    short, long = synthetic_clip(5, 2, 64, 64), synthetic_clip(5, 4, 64, 64)
    np.testing.assert_array_equal(long.target[:2], short.target)
    np.testing.assert_array_equal(long.pose[:2], short.pose)


def test_seeds_give_different_people_and_motions():
    clips = [synthetic_clip(seed, 1, 64, 64) for seed in range(20)]
    for name in ("reference", "pose", "target"):
        assert len({getattr(clip, name).tobytes() for clip in clips}) == 20


def test_motion_is_visible_and_smooth():
    for seed in range(4):
        pose = synthetic_clip(seed, 38, 128, 128).pose.astype(float)
        steps = np.abs(np.diff(pose, axis=0)).mean(axis=(1, 2, 3))
        apart = max(np.abs(frame - pose[0]).mean() for frame in pose)
        assert steps.max() < 0.9 * apart  # no jump is as large as the whole movement
        assert apart > 1


def test_pose_is_drawn_on_black_in_the_colours_of_openpose():
    pose = synthetic_clip(0, 1, 256, 256).pose[0]
    assert (pose == 0).all(axis=-1).mean() > 0.9
    colors = {tuple(color) for color in pose.reshape(-1, 3)}
    assert {(255, 85, 0), (255, 255, 0), (0, 255, 170), (153, 0, 0), (153, 153, 0)} <= colors

    def place(color):
        return np.argwhere((pose == color).all(axis=-1)).mean(axis=0)

    right_wrist, left_wrist = place((170, 255, 0)), place((0, 255, 85))
    neck, right_ankle, left_ankle = place((255, 85, 0)), place((0, 170, 255)), place((85, 0, 255))
    assert right_wrist[1] < neck[1] < left_wrist[1]  # the person's right is on the viewer's left
    assert right_ankle[1] < left_ankle[1]
    assert neck[0] < right_ankle[0]


def test_figure_follows_the_pose():
    """Where the pose has limbs, the target differs from the empty room."""
    for seed in range(4):
        clip = synthetic_clip(seed, 12, 128, 128)
        room = np.median(clip.target[:, :, :8], axis=(0, 2))[:, None]  # the left edge, where nobody stands
        figure = np.abs(clip.target - room).max(axis=-1) > 4
        limbs = clip.pose.max(axis=-1) > 100
        assert figure[limbs].mean() > 0.97


@pytest.mark.parametrize("size", [(256, 256), (512, 768), (768, 256), (96, 256)])
def test_figure_stays_inside_the_picture(size):
    for seed in range(3):
        clip = synthetic_clip(seed, 8, *size)
        assert clip.pose[:, :1].max() == clip.pose[:, -1:].max() == 0
        assert clip.pose[:, :, :1].max() == clip.pose[:, :, -1:].max() == 0


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="0 frames of 64x64"):
        synthetic_clip(0, 0, 64, 64)
    with pytest.raises(ValueError, match="1 frames of 8x64"):
        synthetic_clip(0, 1, 8, 64)


def test_heads_are_white_in_the_masks_and_move_with_the_pose():
    clip = synthetic_clip(3, 12, 128, 128)
    assert clip.face.shape == (12, 128, 128) and clip.face.dtype == np.uint8
    for mask, pose in zip(clip.face, clip.pose):
        rows, columns = np.nonzero(mask == 255)
        head = np.argwhere((pose == KEYPOINT_COLORS[0]).all(axis=-1))  # the nose
        assert rows.min() <= head[:, 0].mean() <= rows.max() and columns.min() <= head[:, 1].mean() <= columns.max()
        assert 0.005 < (mask == 255).mean() < 0.05


def test_identities_tell_people_apart_and_alike_heads_are_near():
    clips = [synthetic_clip(seed, 1, 16, 16) for seed in range(40)]
    vectors = np.stack([clip.identity for clip in clips])
    assert vectors.shape == (40, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors.std(axis=1), 1, rtol=1e-5)
    cosines = np.corrcoef(vectors)[np.triu_indices(40, 1)]
    assert np.percentile(cosines, 90) < 0.9 and abs(cosines.mean()) < 0.4
    np.testing.assert_array_equal(synthetic_clip(5, 3, 64, 64, entrance=2).identity, clips[5].identity)


def test_written_clips_are_of_the_figures_that_are_asked_for(tmp_path):
    write_clips(tmp_path / "any", 1, [0], 2, 64)
    write_clips(tmp_path / "detailed", 1, [0], 2, 64, figures="detailed")
    for figures, folder in (("simple", "any"), ("detailed", "detailed")):
        drawn = synthetic_clip((1, 0), 2, 64, 64, figures=figures)
        for kind, frames in (("video", drawn.target), ("video_dwpose", drawn.pose)):
            found = np.stack(list(open_frames(tmp_path / folder / kind / "00000.mp4")))
            assert found.shape == frames.shape
            assert np.abs(found.astype(int) - frames).mean() < 2  # of colours as fine as drawn
    assert not (tmp_path / "any" / "keypoints").exists()
    joints = read_keypoints(tmp_path / "detailed" / "keypoints" / "00000.npy", 2)
    for found, pose in zip(joints, drawn.skeletons):
        np.testing.assert_allclose(found, np.concatenate([pose.body[0], pose.body_scores[0][:, None]], 1), atol=1e-6)
    write_animation_clips(tmp_path / "faces", 1, [0], 1, 64, figures="detailed")
    drawn = synthetic_clip((1, 0), 1, 64, 64, close=True, figures="detailed", style=WEIGHTED)
    (clip,) = find_animation_clips(tmp_path / "faces")
    for name, frames in (("images", drawn.target), ("poses", drawn.pose)):
        np.testing.assert_array_equal(np.asarray(Frames(getattr(clip, name)).read([0])[0]), frames[0])


def test_written_clips_are_what_stable_animator_is_trained_on(tmp_path):
    write_animation_clips(tmp_path, 1, range(2), 6, 32, entrance=2)
    clips = find_animation_clips(tmp_path)
    assert len(clips) == 2
    drawn = synthetic_clip((1, 0), 6, 32, 32, entrance=2, close=True)
    frames = Frames(clips[0].images)
    assert len(frames) == 8
    np.testing.assert_array_equal(np.stack([np.asarray(frame) for frame in frames.read(range(8))]), drawn.target)
    np.testing.assert_array_equal(read_embedding(clips[0].embedding), drawn.identity)
    (mask,) = Frames(clips[0].faces).read([3])
    np.testing.assert_array_equal(np.asarray(mask)[..., 0], drawn.face[3])
