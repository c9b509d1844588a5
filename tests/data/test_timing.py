"""Rates and times of frames follow from the times of packets, whatever a file claims."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.timing import DEFAULT_FPS, MOST_FPS, measure
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.support.odd_videos import animation, browser_webm, encode, ramp

RATES = [Fraction(*each) for each in ((24, 1), (25, 1), (30, 1), (30000, 1001), (24000, 1001), (60, 1), (60000, 1001),
                                      (15, 2), (8, 1), (16800, 559), (10, 1), (120, 1), (240, 1))]  # fmt: skip
UNITS = [Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 600), Fraction(1, 15360)]
NONSENSE = [Fraction(1000), Fraction(90000), Fraction(1, 10**6), None]


def rounded(rate, unit, count, how=round):
    return [how(i / (rate * unit)) for i in range(count)]


@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("how", [round, int], ids=["rounded", "cut"])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("rate", RATES)
def test_even_rates_are_found_exactly_in_rounded_times(rate, unit, how, claims):
    ticks = rounded(rate, unit, 200, how)
    found = measure(ticks, unit, 0, [*NONSENSE, rate] if claims else NONSENSE, "a")
    assert found.is_even
    assert found.fps == rate or (not claims and abs(float(found.fps / rate) - 1) < 2 / ticks[-1])
    assert found.times == pytest.approx([i / rate for i in range(200)], rel=1e-3)
    assert found.duration == pytest.approx(float(200 / rate), rel=1e-3)


@pytest.mark.parametrize("count", [2, 3, 10, 500])
@pytest.mark.parametrize("rate", RATES)
def test_a_claim_is_believed_where_the_times_agree(rate, count):
    assert measure(rounded(rate, Fraction(1, 1000), count), Fraction(1, 1000), 0, [rate], "a").fps == rate


@pytest.mark.parametrize("claim", [*NONSENSE, Fraction(15), Fraction(60)])
@pytest.mark.parametrize("jitter", [3, 8, 14])
def test_uneven_times_stay_and_have_the_rate_of_most(claim, jitter):
    rng = np.random.default_rng(jitter)
    ticks = np.cumsum([0, *rng.integers(33 - jitter, 34 + jitter, 200)]).tolist()
    found = measure(ticks, Fraction(1, 1000), 0, [claim], "a")
    assert not found.is_even and found.times == pytest.approx([tick / 1000 for tick in ticks])
    assert float(found.fps) == pytest.approx(30, rel=0.05)
    assert found.duration == pytest.approx(ticks[-1] / 1000 + 1 / 30, abs=0.005)


def test_pauses_do_not_slow_the_rate_down():
    ticks = [40 * i + (20_000 if i > 20 else 0) for i in range(50)]
    found = measure(ticks, Fraction(1, 1000), 40, [Fraction(50, 22)], "a")
    assert found.fps == 25 and found.duration == pytest.approx(22.0)


@pytest.mark.parametrize("last, expected", [(0, 1 / 25), (1, 1 / 25), (400, 0.4), (5000, 5.0)])
def test_last_frame_lasts_as_long_as_it_says(last, expected):
    ticks = [0, 40, 80, 200, 240, 280, 320, 400]
    assert measure(ticks, Fraction(1, 1000), last, [], "a").duration == pytest.approx(0.4 + expected)


@pytest.mark.parametrize("last, claims, fps", [
    (1, [Fraction(90000)], DEFAULT_FPS), (0, [], DEFAULT_FPS), (0, [None], DEFAULT_FPS),
    (1, [Fraction(1000)], DEFAULT_FPS), (40, [], 25), (33, [Fraction(30000, 1001)], Fraction(30000, 1001)),
    (500, [], 2),
])  # fmt: skip
def test_rate_of_a_single_frame_is_plausible(last, claims, fps):
    found = measure([77], Fraction(1, 1000), last, claims, "a")
    assert (found.fps, found.times, found.duration) == (fps, (0.0,), pytest.approx(float(1 / fps)))


@pytest.mark.parametrize("ticks, words", [
    ([5] * 9, "does not say when"), (range(9), "has 1000 frames a second; up to 480"),
    ([0, 33, 66, 10**9], "shows a frame for"), ([0, 700_000], "shows a frame for 700 seconds")])  # fmt: skip
def test_times_of_no_video_are_refused(ticks, words):
    with pytest.raises(InputError, match=f"a.webm {words}"):
        measure(list(ticks), Fraction(1, 1000), 1, NONSENSE, "a.webm")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.integers(0, 3000), min_size=0, max_size=60), unit=st.sampled_from(UNITS),
       last=st.integers(0, 3000), claim=st.sampled_from([*NONSENSE, *RATES]))  # fmt: skip
def test_any_times_give_a_plausible_rate_and_the_same_times(steps, unit, last, claim):
    ticks = list(itertools.accumulate(steps, initial=0))
    try:
        found = measure(ticks, unit, last, [claim], "a")
    except InputError:
        return
    assert 0 < found.fps <= MOST_FPS and len(found.times) == len(ticks)
    assert np.allclose(found.times, [float(tick * unit) for tick in ticks], atol=float(unit) * 1.01)
    assert found.times[-1] < found.duration


# ---------------------------------------------------------------- in files


def uneven(count, seed=0):
    """Milliseconds at which frames of a recorder of screens begin: about 30 a second, with pauses."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(20, 48, count - 1)
    steps[:: count // 4] += 700
    return np.concatenate([[0], np.cumsum(steps)]).tolist()


MAKERS = {
    "vp8 of a browser": lambda path, frames, times: browser_webm(path / "a.webm", frames, times),
    "vp9 of a browser": lambda path, frames, times: browser_webm(path / "a.webm", frames, times, "libvpx-vp9"),
    "mp4": lambda path, frames, times: encode(path / "a.mp4", frames, times=times),
    "mkv": lambda path, frames, times: encode(path / "a.mkv", frames, times=times),
    "mov": lambda path, frames, times: encode(path / "a.mov", frames, times=times, bf=0),
    "webp": lambda path, frames, times: animation(path / "a.webp", frames, np.diff([*times, times[-1] + 33]).tolist()),
    "apng": lambda path, frames, times: animation(path / "a.png", frames, np.diff([*times, times[-1] + 33]).tolist()),
}


@pytest.mark.parametrize("fps", [None, 24, 12, 50])
@pytest.mark.parametrize("kind", MAKERS)
def test_resampled_frames_are_shown_when_the_file_shows_them(tmp_path, kind, fps):
    times = uneven(60)
    source = open_frames(MAKERS[kind](tmp_path, ramp(60), times))
    fps = fps or source.fps
    assert source.num_frames == 60 and source.fps <= 60
    stored, shown = [frame[-1, -1, 0] for frame in source], [frame[-1, -1, 0] for frame in source.resampled(fps)]
    end = times[-1] / 1000 + 0.033
    assert len(shown) / float(fps) == pytest.approx(end, abs=0.75 / float(fps) + 0.02)
    for k, value in enumerate(shown):
        middle = (k + 0.5) / float(fps) * 1000
        near = [i for i, time in enumerate(times) if time <= middle + 3 and (i == 59 or times[i + 1] > middle - 3)]
        assert value in [stored[i] for i in near]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_range_of_frames_begins_when_its_first_one_does(tmp_path, kind):
    times = uneven(60)
    source = open_frames(MAKERS[kind](tmp_path, ramp(60), times))
    for index in (0, 1, 30, 59):
        assert source.start_of(index) == pytest.approx(times[index] / 1000, abs=0.002)
    first = next(source.resampled(source.fps, 30, 60))
    assert np.array_equal(first, next(source.read(30)))
    seconds = source.resampled_count(100, 30, 50) / 100
    assert seconds == pytest.approx((times[50] - times[30]) / 1000, abs=0.011)


def test_variable_rate_whose_thirtieth_frame_comes_after_three_seconds(tmp_path):
    times = [100 * i if i < 30 else 3000 + 40 * (i - 30) for i in range(70)]
    source = open_frames(encode(tmp_path / "a.mp4", ramp(70), times=times))
    assert source.start_of(30) == pytest.approx(3.0, abs=0.001)
    assert source.resampled_count(25, 30, 60) == 30 and source.resampled_count(25, 0, 30) == 75


@pytest.mark.parametrize("count", [1, 2, 5])
def test_short_videos_of_browsers_have_a_plausible_rate(tmp_path, count):
    path = browser_webm(tmp_path / "a.webm", ramp(count), uneven(45)[:count])
    info = probe_video(path)
    assert 1 <= info.fps <= 60 and info.num_frames == len(list(read_frames(path))) == count
