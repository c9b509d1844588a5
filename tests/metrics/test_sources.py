"""Finding, pairing and opening what is compared, and the messages about what cannot be."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.sources import find_pairs, find_sets, natural_order, open_clip


def write_video(path, num_frames=3, width=32, height=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, Fraction(15), width, height) as writer:
        for index in range(num_frames):
            writer.write(np.full((height, width, 3), 40 * index, np.uint8))
    return path


def write_frames(folder, names, width=32, height=24):
    """A picture for each name; the brightness counts up in the order of the names."""
    for index, name in enumerate(names):
        write_image(folder / name, np.full((height, width, 3), 10 * index, np.uint8))
    return folder


def test_natural_order_goes_by_the_value_of_numbers():
    ordered = ["2.png", "10.png", "A1b.png", "a2b.png", "a2b1.png", "a10b.png", "b.png", "ß3.png"]
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural_order) == ordered


def test_folder_of_frames_is_read_in_natural_order(tmp_path):
    folder = write_frames(tmp_path / "frames", [f"frame{index}.png" for index in range(12)])
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".hidden.png").write_bytes(b"not a frame")
    clip = open_clip(folder)
    assert (clip.width, clip.height, clip.num_frames) == (32, 24, 12)
    assert [int(frame[0, 0, 0]) for frame in clip.frames()] == [10 * index for index in range(12)]
    assert [int(frame[0, 0, 0]) for frame in clip.frames(2)] == [0, 10]


def test_folder_may_mix_formats_of_pictures(tmp_path):
    folder = write_frames(tmp_path, ["1.JPG", "2.webp", "3.png"])
    assert [frame.shape for frame in open_clip(folder).frames()] == [(24, 32, 3)] * 3


def test_video_is_opened(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    clip = open_clip(path)
    assert (clip.width, clip.height, clip.num_frames) == (32, 24, 3)
    assert np.array_equal(list(clip.frames()), list(read_frames(path)))
    assert len(list(clip.frames(2))) == 2


def test_video_may_be_compared_with_a_folder_of_frames(tmp_path):
    video, folder = write_video(tmp_path / "a.mp4"), write_frames(tmp_path / "frames", ["1.png"])
    (pair,) = find_pairs(video, str(folder))
    assert (pair.name, pair.prediction.path, pair.truth.path) == ("a.mp4", video, folder)


def test_folders_of_videos_are_paired_by_name(tmp_path):
    for name in ("clip10.mp4", "clip2.mov"):
        write_video(tmp_path / "pred" / name)
    for name in ("clip2.mp4", "clip10.mp4"):
        write_video(tmp_path / "gt" / name)
    pairs = find_pairs(tmp_path / "pred", tmp_path / "gt")
    assert [(pair.name, pair.prediction.path.name, pair.truth.path.name) for pair in pairs] == [
        ("clip2", "clip2.mov", "clip2.mp4"),
        ("clip10", "clip10.mp4", "clip10.mp4"),
    ]


def test_names_without_partner_are_named_on_both_sides(tmp_path):
    for name in "abcdefgx":
        write_video(tmp_path / "pred" / f"{name}.mp4", 1)
    for name in "xy":
        write_video(tmp_path / "gt" / f"{name}.mp4", 1)
    with pytest.raises(InputError, match=r"gt has no video for a, b, c, d, e and 2 more of .*pred has no video for y"):
        find_pairs(tmp_path / "pred", tmp_path / "gt")


def test_what_cannot_be_compared_is_named(tmp_path):
    video, frames = write_video(tmp_path / "a.mp4"), write_frames(tmp_path / "frames", ["1.png"])
    videos = write_video(tmp_path / "videos" / "a.mp4").parent
    (tmp_path / "empty").mkdir()
    mixed = write_frames(write_video(tmp_path / "mixed" / "b.mp4").parent, ["a.png"])
    twice = write_video(write_video(tmp_path / "twice" / "a.mp4").with_suffix(".mov")).parent
    text = video.with_suffix(".txt")
    text.write_text("no video")
    cases = [
        (MissingFileError, "nowhere", video, r"nowhere does not exist; a video, a folder of frames"),
        (InputError, video, tmp_path / "empty", r"empty holds neither pictures nor videos"),
        (InputError, mixed, frames, r"mixed holds pictures and videos, a.png and b.mp4"),
        (InputError, videos, frames, r"videos is a folder of videos, .*frames is a folder of frames"),
        (InputError, video, videos, r"a.mp4 is a video, .*videos is a folder of videos; two folders"),
        (InputError, twice, videos, r"twice holds a.mov and a.mp4; one video of each name"),
        (InputError, text, video, r"a.txt is not a video"),
    ]
    for kind, prediction, truth, message in cases:
        with pytest.raises(kind, match=message):
            find_pairs(prediction, truth)
    with pytest.raises(InputError, match="videos is a folder of videos; a video or a folder of frames is accepted"):
        open_clip(videos)


def test_frame_of_another_size_is_named(tmp_path):
    write_frames(write_frames(tmp_path, ["1.png", "2.png"]), ["3.png"], width=40)
    with pytest.raises(InputError, match=r"3.png has 40x24 pixels, 1.png 32x24"):
        list(open_clip(tmp_path).frames())


def test_damaged_frame_is_named(tmp_path):
    write_frames(tmp_path, ["1.png", "2.png"])
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    with pytest.raises(InputError, match="2.png is not a picture that can be read"):
        list(open_clip(tmp_path).frames())


@pytest.mark.parametrize("ending", ["webp", "png"])
def test_animated_pictures_in_a_folder_are_videos(tmp_path, ending):
    for side, level in (("pred", 10), ("gt", 200)):
        for name in "ab":
            (tmp_path / side).mkdir(exist_ok=True)
            frames = [Image.new("RGB", (32, 24), (level * i % 256, 40, 60)) for i in range(3)]
            frames[0].save(
                tmp_path / side / f"{name}.{ending}", save_all=True, append_images=frames[1:], lossless=True
            )
    pairs = find_pairs(tmp_path / "pred", tmp_path / "gt")
    assert [(pair.name, pair.prediction.num_frames) for pair in pairs] == [("a", 3), ("b", 3)]
    sets = find_sets(tmp_path / "pred", tmp_path / "gt")
    assert [clip.num_frames for clip in sets.predictions.values()] == [3, 3] and not sets.unpaired
    write_frames(tmp_path / "pred", ["c.png"])
    with pytest.raises(InputError, match="holds pictures and videos"):
        find_pairs(tmp_path / "pred", tmp_path / "gt")
