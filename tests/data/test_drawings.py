from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.drawings import FILE, Drawing
from ppdiffusers_ext.data.synthetic import synthetic_clip, write_clips
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.errors import InputError, MissingFileError

DETAILED = Drawing(figures="detailed", side=32, num_frames=2, entrance=1, still=1.0)


def test_file_in_a_models_folder_says_how_its_clips_are_drawn(tmp_path):
    DETAILED.write(tmp_path)
    assert Drawing.read(tmp_path) == DETAILED
    (tmp_path / FILE).write_text("side: 64\n")
    assert Drawing.read(tmp_path) == Drawing(side=64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("figures: big\n", "figures in .* 'big' is not known; simple or detailed is accepted"),
        ("still: 2\n", "still in .* is 2"),
        ("colour: 2\n", "key in .*colour"),
    ],
)
def test_files_that_say_something_else_are_refused(tmp_path, text, message):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=message):
        Drawing.read(tmp_path)


def test_folder_without_the_file_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=FILE):
        Drawing.read(tmp_path)


def test_clip_is_that_of_the_seed_in_the_way_that_is_said():
    clip, known = DETAILED.clip(3), synthetic_clip(3, 2, 32, 32, figures="detailed", still=1.0)
    np.testing.assert_array_equal(clip.target, known.target)
    near = replace(DETAILED, close=True).clip(3, 48, 40, 1)
    known = synthetic_clip(3, 1, 48, 40, close=True, figures="detailed", still=1.0)
    np.testing.assert_array_equal(near.target, known.target)


def test_arguments_are_those_of_the_functions_that_write_clips(tmp_path):
    write_clips(tmp_path, 0, [0], **DETAILED.arguments)
    info = probe_video(tmp_path / "video" / "00000.mp4")
    assert (info.width, info.num_frames) == (32, 3)
