"""Samples and batches of captioned clips: the same whoever asks, of one size, and never silently without texts."""

import dataclasses

import numpy as np
import pytest

from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip
from ppdiffusers_ext.data.easy_animate.samples import CaptionedCollate, CaptionedSamples, number_items
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.errors import InputError
from tests.support.captioned import numbers_of, write_picture, write_video

SETTINGS = SampleSettings(
    video_sample_size=64,
    image_sample_size=64,
    token_sample_size=64,
    video_sample_n_frames=16,
    video_sample_stride=1,
    enable_bucket=True,
    train_mode="inpaint",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three wide videos, one high one and two pictures, with the sizes that they have."""
    folder = tmp_path_factory.mktemp("clips")
    sizes = [(96, 48), (96, 48), (100, 50), (48, 96)]
    videos = [
        CaptionedClip(write_video(folder / f"{number}.mp4", 40, *size), f"video {number}", True, *size)
        for number, size in enumerate(sizes)
    ]
    pictures = [
        CaptionedClip(write_picture(folder / f"{number}.png", 80, 80, number), f"picture {number}", False, 80, 80)
        for number in range(2)
    ]
    return videos + pictures


def samples_of(clips, settings=SETTINGS, length=64, seed=3, batch_size=2, samples_per_step=2):
    return CaptionedSamples(clips, length, seed, settings, batch_size, samples_per_step)


def batch_of(samples, number, size=2, settings=SETTINGS, seed=3):
    return CaptionedCollate(settings, seed)([samples[number * size + place] for place in range(size)])


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_batch_has_what_training_needs(clips):
    samples = samples_of(clips)
    shapes = set()
    for number in range(20):
        batch = batch_of(samples, number)
        pixels = batch["pixel_values"]
        count, height, width = pixels.shape[1], *pixels.shape[3:]
        shapes.add((count, height, width))
        assert pixels.dtype == np.float32 and -1 <= pixels.min() < pixels.max() <= 1
        assert batch["masks"].shape == (2, count, 1, height, width) and batch["masks"].dtype == np.float32
        assert set(np.unique(batch["masks"])) <= {0, 1}
        assert batch["clip_pixels"].shape == (2, height, width, 3) and batch["clip_pixels"].dtype == np.float32
        assert batch["index"].tolist() == [2 * number, 2 * number + 1] and batch["index"].dtype == np.int64
        assert len(batch["texts"]) == len(batch["clips"]) == 2 and batch["failures"] == [] and batch["repeats"] == 1
        for place in range(2):  # the frame that CLIP sees is one of the sample
            seen = (pixels[place].transpose(0, 2, 3, 1) + 1) * 127.5
            assert np.abs(seen - batch["clip_pixels"][place]).max(axis=(1, 2, 3)).min() < 1e-3
    assert shapes == {(16, 32, 80), (16, 80, 32), (1, 64, 64)}


def test_samples_follow_from_the_seed_and_their_numbers_alone(clips):
    forwards = [samples_of(clips)[index] for index in range(12)]
    backwards = [samples_of(clips)[index] for index in reversed(range(12))][::-1]
    assert all(equal(one, other) for one, other in zip(forwards, backwards))
    other = samples_of(clips, seed=4)
    assert not all(equal(one, other[index]) for index, one in enumerate(forwards))
    assert equal(batch_of(samples_of(clips), 5), batch_of(samples_of(clips), 5))
    batches = [[batch_of(samples_of(clips), number, seed=seed) for number in range(4)] for seed in (3, 9)]
    assert not all(np.array_equal(*(batch["masks"] for batch in pair)) for pair in zip(*batches))


def test_large_batch_is_the_small_ones_that_share_its_size(clips):
    settings = dataclasses.replace(SETTINGS, random_frame_crop=True, random_ratio_crop=True)
    samples = samples_of(clips, settings, batch_size=4, samples_per_step=4)
    for number in range(6):
        large = batch_of(samples, number, 4, settings)
        small = [batch_of(samples, 2 * number + half, 2, settings) for half in range(2)]
        for name in ("pixel_values", "masks", "clip_pixels", "index"):
            assert np.array_equal(large[name], np.concatenate([each[name] for each in small]))
        assert large["texts"] == [text for each in small for text in each["texts"]]


def test_all_batches_of_a_step_have_as_many_tokens(clips):
    settings = dataclasses.replace(
        SETTINGS, video_sample_size=512, token_sample_size=512, keep_all_node_same_token_length=True
    )
    samples = samples_of(clips[:3], settings, batch_size=1, samples_per_step=4)
    lengths = [[len(samples[4 * step + place]["pixel_values"]) for place in range(4)] for step in range(6)]
    assert all(len(set(of_step)) == 1 for of_step in lengths)
    assert len({of_step[0] for of_step in lengths}) > 1


def test_frames_follow_each_other_in_the_middle_of_the_file(clips):
    samples = samples_of(clips)
    starts = set()
    for index in range(40):
        sample = samples[index]
        if len(sample["pixel_values"]) > 1:
            numbers = numbers_of(sample["pixel_values"])
            assert numbers == list(range(numbers[0], numbers[0] + 16)) and 3 <= numbers[0] <= 20
            starts.add(numbers[0])
    assert len(starts) > 3


def test_batch_is_as_long_as_its_shortest_video(tmp_path):
    clips = [
        CaptionedClip(write_video(tmp_path / f"{frames}.mp4", frames), "x", True, 64, 48) for frames in (40, 12, 13)
    ]
    samples = samples_of(clips, dataclasses.replace(SETTINGS, video_sample_n_frames=17))
    lengths = {len(samples[index]["pixel_values"]) for index in range(12)}
    assert lengths == {8, 16}  # whole numbers of what is encoded at once
    batches = [batch_of(samples, number) for number in range(6)]
    assert [batch["pixel_values"].shape[1] for batch in batches] == [
        min(len(samples[2 * number + place]["pixel_values"]) for place in range(2)) for number in range(6)
    ]
    assert {batch["masks"].shape[1] for batch in batches} == {8, 16}


def test_without_buckets_all_are_squares_and_sizes_need_not_be_known(clips):
    settings = dataclasses.replace(SETTINGS, enable_bucket=False, train_mode="normal", image_sample_size=32)
    unknown = [dataclasses.replace(clip, width=None, height=None) for clip in clips]
    samples = samples_of(unknown, settings)
    shapes = {samples[index]["pixel_values"].shape for index in range(30)}
    assert shapes == {(16, 3, 64, 64), (1, 3, 32, 32)}
    assert "masks" not in batch_of(samples, 0, settings=settings)


def test_videos_come_as_often_as_they_are_to_be_repeated(clips):
    assert number_items([True, False, True], 2).tolist() == [1, 0, 2, 0, 2]
    samples = samples_of(clips, dataclasses.replace(SETTINGS, video_repeat=3), batch_size=1)
    epoch = [samples[index]["clip"] for index in range(3 * 4 + 2)]
    assert sorted(epoch.count(str(clip.path)) for clip in clips) == [1, 1, 3, 3, 3, 3]


def test_no_video_left_is_refused(clips):
    with pytest.raises(InputError, match="--video_repeat 0"):
        samples_of(clips[:4], dataclasses.replace(SETTINGS, video_repeat=0))


# Captions


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)])
def test_captions_are_dropped_as_often_as_asked_for(clips, ratio, low, high):
    samples = samples_of(clips[4:], dataclasses.replace(SETTINGS, text_drop_ratio=ratio), 100)
    texts = [samples[index]["text"] for index in range(100)]
    assert low <= texts.count("") <= high
    assert {text for text in texts if text} <= {"picture 0", "picture 1"}


def test_captions_are_dropped_in_a_tenth_by_itself_so_that_guidance_has_its_start():
    assert SampleSettings().text_drop_ratio == 0.1


# Clips that cannot be read


def test_clip_that_cannot_be_read_is_counted_named_and_replaced_by_one_of_its_shape(clips, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    bad = dataclasses.replace(clips[0], path=tmp_path / "bad.mp4")
    samples = samples_of([bad, *clips[1:]])
    replaced = [sample for index in range(30) if (sample := samples[index])["failures"]]
    assert replaced
    for sample in replaced:
        assert all("bad.mp4: " in failure for failure in sample["failures"]) and len(sample["failures"]) == 1
        assert sample["clip"] in {str(clips[1].path), str(clips[2].path)}
    batch = CaptionedCollate(SETTINGS, 3)(replaced[:2])
    assert len(batch["failures"]) == 2


def test_only_clip_of_a_shape_is_replaced_by_one_of_its_kind(clips, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    bad = dataclasses.replace(clips[3], path=tmp_path / "bad.mp4")
    samples = samples_of([*clips[:3], bad])
    replaced = [sample for index in range(30) if (sample := samples[index])["failures"]]
    assert {sample["pixel_values"].shape[2:] for sample in replaced} == {(80, 32)}


def test_video_that_is_too_short_is_replaced_and_not_cut_to_one_frame(clips, tmp_path):
    short = dataclasses.replace(clips[0], path=write_video(tmp_path / "short.mp4", 6, 96, 48))
    samples = samples_of([short, *clips[1:3]])
    found = [samples[index] for index in range(20)]
    assert {len(sample["pixel_values"]) for sample in found} == {16}
    failures = [failure for sample in found for failure in sample["failures"]]
    assert failures and all("short.mp4: it has 6 frames, of which a sample can have 4" in text for text in failures)


def test_nothing_but_bad_clips_is_an_error_and_no_endless_loop(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    samples = samples_of([CaptionedClip(tmp_path / "bad.mp4", "x", True, 64, 48)])
    with pytest.raises(InputError, match="none of 20 clips can be read, the last: .*bad.mp4"):
        samples[0]
