"""What the commands that train small models share: how many clips there are, and how far the work is."""

import argparse

import pytest

from ppdiffusers_ext.errors import InputError
from scripts import demo_training
from scripts.demo_training import number_of_clips, progress


@pytest.mark.parametrize(
    ("clips", "quick", "expected"), [(None, False, 1600), (None, True, 16), (20, True, 20), (20, False, 20)]
)
def test_quick_takes_few_clips_unless_told(clips, quick, expected):
    assert number_of_clips(argparse.Namespace(clips=clips, quick=quick), 1600, 16) == expected


@pytest.mark.parametrize("clips", [-1, 0, 15, 10**7])
def test_too_few_or_many_clips_are_refused(clips):
    with pytest.raises(InputError, match=f"--clips {clips} is too (few|many); 16 or more is accepted"):
        number_of_clips(argparse.Namespace(clips=clips, quick=True), 1600, 16)


def test_long_work_says_what_it_does_how_much_and_how_long_it_takes(capsys, monkeypatch):
    clock = iter(range(0, 10**6, 7))  # seconds from one look at the clock to the next
    monkeypatch.setattr(demo_training.time, "monotonic", lambda: next(clock))
    assert list(progress(range(1600), "drawing clips")) == list(range(1600))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "drawing clips: 1,600"
    assert lines[1] == "drawing clips: 160 of 1,600, 2:48:00 left"
    assert lines[-1] == "drawing clips: 1,600 of 1,600, 0:00:00 left"
    assert len(lines) == 11


def test_short_work_is_one_line(capsys):
    assert list(progress(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == "reading: 3\n"
