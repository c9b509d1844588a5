"""Samples of clips: each follows from the seed and its number, and one that cannot be read is replaced."""

import pytest

from ppdiffusers_ext.data.retrying import RetryingClips
from ppdiffusers_ext.errors import InputError


class Clips(RetryingClips):
    """Samples of numbered clips, of which some cannot be read."""

    def __init__(self, count, bad=(), seed=3, error=InputError):
        super().__init__(10 * count, seed)
        self._clips, self._bad, self._error = list(range(count)), bad, error

    def _clips_of(self, index):
        return self._clips

    def _read(self, clip, rng, index):
        if clip in self._bad:
            raise self._error(f"clip {clip}\n  is   damaged")
        return {"clip": clip, "drawn": rng.random()}

    def _path_of(self, clip):
        return f"{clip}.mp4"


def test_an_epoch_has_each_clip_once_and_the_next_another_order():
    samples = [Clips(7)[index]["clip"] for index in range(14)]
    assert sorted(samples[:7]) == sorted(samples[7:]) == list(range(7))
    assert samples[:7] != samples[7:]


def test_sample_follows_from_the_seed_and_its_number_alone():
    backwards = [Clips(7)[index] for index in reversed(range(14))][::-1]
    assert backwards == [Clips(7)[index] for index in range(14)]
    assert [Clips(7, seed=4)[index]["drawn"] for index in range(3)] != [each["drawn"] for each in backwards[:3]]


@pytest.mark.parametrize("error", [InputError, OSError])
def test_clip_that_cannot_be_read_is_replaced_and_named(error):
    clips = Clips(5, bad=(1, 2), error=error)
    samples = [clips[index] for index in range(5)]
    assert all(sample["clip"] not in (1, 2) for sample in samples)
    failures = [failure for sample in samples for failure in sample["failures"]]
    assert {"1.mp4: clip 1 is damaged", "2.mp4: clip 2 is damaged"} == set(failures)
    good = [sample for sample in samples if not sample["failures"]]
    assert [sample["clip"] for sample in good] == [Clips(5)[sample["index"]]["clip"] for sample in good]


def test_dataset_of_which_nothing_can_be_read_is_given_up_and_other_errors_are_not_hidden():
    with pytest.raises(InputError, match=r"none of 20 clips can be read, the last: \d.mp4: clip \d is damaged"):
        Clips(4, bad=range(4))[0]
    with pytest.raises(ZeroDivisionError):
        Clips(4, bad=range(4), error=ZeroDivisionError)[0]
