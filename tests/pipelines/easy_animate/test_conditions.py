"""What is known of a video that is to be made: pictures at its ends, another video, a mask."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate.conditions import count_frames, fit, know_pictures, know_video
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

CONFIG = EasyAnimateConfig(width=64, height=32, num_frames=8, fps=12)


def plain(value, height=32, width=64):
    return np.full((height, width, 3), value, np.uint8)


def read(path, config):
    return fit(np.asarray(read_image(path)), config, path)


def know_masked(video, mask):
    return know_video(replace(CONFIG, video=video, mask=str(mask)), open_frames(video), open_frames(mask))


@pytest.fixture
def video(tmp_path):
    """A second of 24 frames, each brighter than the one before."""
    with VideoWriter(tmp_path / "v.mp4", 24, 64, 32) as writer:
        for i in range(24):
            writer.write(plain(10 * i))
    return str(tmp_path / "v.mp4")


def test_start_and_end_are_kept_and_the_rest_is_to_be_made():
    known = know_pictures(8, [plain(1), plain(2)], [plain(9)])
    video, mask = known.tensors()
    assert mask[0, 0, :, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert (video * 255).round()[0, 0, [0, 1, 7], 0, 0].tolist() == [1, 2, 9]
    assert video.shape == [1, 3, 8, 32, 64]
    assert known.picture[0, 0, 0] == 1
    with pytest.raises(InputError, match="no part of 2 frames"):
        know_pictures(2, [plain(1)] * 2, [plain(9)])


@pytest.mark.parametrize(("way", "left"), [("fit", 200), ("crop", 200), ("pad", 0)])
def test_a_picture_of_another_shape_is_fitted_with_a_notice(tmp_path, caplog, way, left):
    write_image(tmp_path / "p.png", plain(200, 64, 64))
    picture = read(tmp_path / "p.png", replace(CONFIG, resize=way))
    assert picture.shape == (32, 64, 3)
    assert abs(int(picture[16, 2, 0]) - left) < 2
    assert "64x64, of another shape than 64x32, and is" in caplog.text


def test_a_picture_of_the_same_shape_is_resized_in_silence(tmp_path, caplog):
    write_image(tmp_path / "p.png", plain(200, 64, 128))
    assert read(tmp_path / "p.png", CONFIG).shape == (32, 64, 3)
    assert caplog.text == ""


def test_a_video_is_taken_at_the_rate_that_is_asked_for(video):
    config = replace(CONFIG, video=video)
    assert count_frames(config, open_frames(config.video), 8) == 8
    known = know_video(config, open_frames(config.video))
    assert known.mask.all()
    assert known.picture is None
    assert np.abs(known.video[:, 0, 0, 0].astype(int) - np.arange(8) * 20).max() < 12


def test_a_short_video_gives_fewer_frames_with_a_notice(video, caplog):
    config = replace(CONFIG, video=video, num_frames=144)
    assert count_frames(config, open_frames(config.video), 8) == 8
    assert "has 12 frames at 12 frames a second: the result has 8" in caplog.text
    with pytest.raises(InputError, match="has 2 frames at 2 frames a second; 8 or more"):
        count_frames(replace(config, fps=2), open_frames(config.video), 8)


def test_a_masks_white_is_to_be_made(video, tmp_path):
    grey = np.full((32, 64), 239, np.uint8)
    grey[:, 32:] = 240
    write_image(tmp_path / "m.png", grey)
    known = know_masked(video, tmp_path / "m.png")
    assert known.mask.shape == (8, 32, 64)
    assert not known.mask[:, :, :32].any()
    assert known.mask[:, :, 32:].all()


def test_a_mask_may_be_a_video_of_as_many_frames(video, tmp_path):
    with VideoWriter(tmp_path / "m.mp4", 12, 64, 32) as writer:
        writer.write(np.stack([plain(255 if i == 3 else 0) for i in range(8)]))
    known = know_masked(video, tmp_path / "m.mp4")
    assert known.mask.any(axis=(1, 2)).tolist() == [i == 3 for i in range(8)]
    with VideoWriter(tmp_path / "short.mp4", 12, 64, 32) as writer:
        writer.write(np.stack([plain(255)] * 3))
    with pytest.raises(InputError, match="has 3 frames at 12 frames a second, and the video 8"):
        know_masked(video, tmp_path / "short.mp4")
