"""Square parts of clips and pictures: which frames, where they are cut, and which samples stand together."""

import numpy as np
import pytest

from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip
from ppdiffusers_ext.data.easy_animate.square_clips import SquareClips, SquareSettings, choose_clip, cut_square
from tests.support.captioned import numbers_of, write_picture, write_video


class Fixed:
    """A generator that gives these numbers, and notes the bounds that it was asked for."""

    def __init__(self, *values):
        self._values, self.bounds = list(values), []

    def integers(self, bound):
        self.bounds.append(bound)
        return self._values.pop(0)

    def uniform(self, low, high):
        self.bounds.append((low, high))
        return self._values.pop(0)


@pytest.mark.parametrize(
    "num_frames, count, interval, start, expected",
    [
        (40, 5, 1, 35, [35, 36, 37, 38, 39]),
        (40, 5, 3, 27, [27, 30, 33, 36, 39]),
        (40, 1, 3, 39, [39]),
        (7, 5, 3, 0, [0, 1, 3, 4, 6]),  # closer, and cut down to whole numbers as the original does
        (3, 5, 1, 0, [0, 0, 1, 1, 2]),
        (1, 4, 2, 0, [0, 0, 0, 0]),
    ],
)
def test_frames_are_an_interval_apart_or_closer_in_short_files(num_frames, count, interval, start, expected):
    rng = Fixed(start)
    assert choose_clip(rng, num_frames, count, interval).tolist() == expected
    assert rng.bounds == [start + 1]  # the last start that there is


def test_square_is_one_of_all_frames_and_means_are_of_areas():
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    pixels = cut_square(Fixed(0.8, 4, 14), frames, 4, 0.25, 1.0)  # 16 pixels of 20, at the right and the bottom
    means = frames[:, 4:20, 14:30].reshape(3, 4, 4, 4, 4, 3).mean(axis=(2, 4)).transpose(3, 0, 1, 2)
    assert pixels.shape == (3, 3, 4, 4) and pixels.dtype == np.float32
    assert np.abs((pixels + 1) * 127.5 - means).max() < 0.51  # rounded to whole levels, as the original does


def test_bounds_of_a_square_are_those_of_its_picture():
    rng = Fixed(0.25, 0, 0)
    cut_square(rng, np.zeros((1, 20, 30, 3), np.uint8), 8, 0.25, 1.0)
    assert rng.bounds == [(0.25, 1.0), 20 - 5 + 1, 30 - 5 + 1]


@pytest.mark.parametrize("level", [0, 127, 128, 255])
def test_levels_become_minus_one_to_one(level):
    pixels = cut_square(np.random.default_rng(0), np.full((1, 9, 9, 3), level, np.uint8), 16, 0.3, 1.0)
    assert (pixels == np.float32(level / 127.5 - 1)).all()  # enlarged or not


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    videos = [CaptionedClip(write_video(folder / f"{i}.mp4", 12, 40, 32), "", True) for i in range(3)]
    pictures = []
    for i in range(3):
        write_picture(folder / f"{i}.png", 40, 32, i)
        pictures.append(CaptionedClip(folder / f"{i}.png", "", False))
    return [videos[0], *pictures, *videos[1:]]


SETTINGS = SquareSettings(video_size=16, size=24, video_len=4, slice_interval=2)


def test_batches_are_all_of_videos_or_all_of_pictures_and_epochs_have_every_clip(clips):
    samples = SquareClips(clips, 12, 0, SETTINGS, 2)
    taken = [samples[index] for index in range(12)]
    shapes = [sample["pixel_values"].shape for sample in taken]
    assert set(shapes) == {(3, 4, 16, 16), (3, 1, 24, 24)}
    assert shapes[::2] == shapes[1::2]
    assert sorted(sample["clip"] for sample in taken) == sorted(2 * [str(clip.path) for clip in clips])
    assert [sample["index"] for sample in taken] == list(range(12))


def test_a_sample_follows_from_the_seed_and_its_number(clips):
    one, other = (SquareClips(clips, length, 0, SETTINGS, 2) for length in (9, 500))
    assert all(np.array_equal(one[index]["pixel_values"], other[index]["pixel_values"]) for index in (8, 3))
    assert any(
        not np.array_equal(one[i]["pixel_values"], SquareClips(clips, 9, 1, SETTINGS, 2)[i]["pixel_values"])
        for i in (3, 8)
    )


def test_frames_of_a_sample_are_those_of_the_interval(clips):
    samples = SquareClips([clips[0]], 3, 0, SETTINGS, 1)
    for index in range(3):
        numbers = numbers_of(samples[index]["pixel_values"].transpose(1, 0, 2, 3))
        assert np.diff(numbers).tolist() == [2, 2, 2]


def test_file_that_cannot_be_read_is_named_and_replaced_by_one_of_its_kind(clips, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = CaptionedClip(tmp_path / "broken.mp4", "", True)
    samples = SquareClips([broken, *clips], 14, 0, SETTINGS, 1)
    replaced = [sample for sample in (samples[index] for index in range(14)) if sample["failures"]]
    assert len(replaced) >= 2
    for sample in replaced:
        assert sample["failures"][0].startswith(f"{broken.path}: ") and sample["clip"].endswith(".mp4")
        assert sample["pixel_values"].shape == (3, 4, 16, 16)
