"""Samples of StableAnimator's training clips: what follows from a number, and what takes the place of bad clips."""

import numpy as np
import pytest

from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
from ppdiffusers_ext.data.stable_animator.samples import AnimationSamples, ClipSet
from ppdiffusers_ext.errors import InputError
from tests.data.stable_animator.test_clips import write_clip


def embed(picture):
    return np.full(512, picture.mean(), np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("animation_data") / "rec"
    for number in range(3):
        write_clip(folder / f"{number:05d}", count=8 + number)
    return find_animation_clips(folder)


def make(sets, length=64, seed=3, samples_per_step=2):
    return AnimationSamples(sets, length, seed, samples_per_step, 2, 4, embed)


def test_sample_follows_from_its_number_alone(clips):
    samples, again = make([ClipSet(clips, 32, 32)]), make([ClipSet(clips, 32, 32)])
    first, second = samples[5], again[5]
    assert first["pixel_values"].shape == first["pose_pixels"].shape == (2, 3, 32, 32)
    assert first["face_masks"].shape == (2, 1, 32, 32) and first["reference_image"].shape == (3, 32, 32)
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key
    assert make([ClipSet(clips, 32, 32)], seed=4)[5]["clip"] != first["clip"]
    expected = np.round((first["reference_image"].mean() + 1) * 127.5)
    assert first["face_embedding"][0] == pytest.approx(expected, abs=0.5) and first["failures"] == []


def test_epoch_has_every_clip_once(clips):
    samples = make([ClipSet(clips, 32, 32)])
    for epoch in range(3):
        places = {samples[3 * epoch + i]["clip"].rpartition(":")[0] for i in range(3)}
        assert len(places) == 3


def test_steps_are_of_one_set_each_by_their_shares(clips):
    sets = [ClipSet(clips, 32, 32, share=3), ClipSet(clips, 16, 48, share=1)]
    samples = make(sets, length=4000)
    numbers = [samples.set_of(index) for index in range(4000)]
    assert numbers[::2] == numbers[1::2]
    assert np.mean(numbers) == pytest.approx(0.25, abs=0.04)
    for index in (numbers.index(0), numbers.index(1)):
        width, height = ((32, 32), (16, 48))[numbers[index]]
        assert samples[index]["pixel_values"].shape == (2, 3, height, width)


def test_clip_that_cannot_be_read_is_replaced_and_named(clips, tmp_path):
    short = find_animation_clips(write_clip(tmp_path / "short" / "1", count=2).parent)
    samples = make([ClipSet([*clips, *short], 32, 32)])
    seen = [samples[index]["failures"] for index in range(4)]
    (failures,) = [each for each in seen if each]
    assert "it has 2 frames; 3 are needed" in failures[0] and "images" in failures[0]
    with pytest.raises(InputError, match="none of 20 clips can be read, the last: .*it has 2 frames"):
        make([ClipSet(short, 32, 32)])[0]


def test_embedding_of_a_clip_is_not_looked_for(clips, tmp_path):
    folder = write_clip(tmp_path / "known" / "1")
    np.save(folder / "face.npy", np.full(512, 7.0, np.float32))
    known = find_animation_clips(tmp_path / "known")
    samples = AnimationSamples([ClipSet(known, 32, 32)], 4, 0, 1, 2, 4, embed=None)
    assert np.all(samples[0]["face_embedding"] == 7)
