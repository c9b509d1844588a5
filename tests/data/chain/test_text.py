"""Text on the picture: areas, and what is text and what is none."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ppdiffusers_ext.data.chain import text
from ppdiffusers_ext.data.chain.text import TextArea, text_share
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.errors import InputError
from tests.data.chain.measuring import measured


def subtitled(words, size=26):
    """A picture with words on it, and the share that the box around them covers."""
    picture = Image.fromarray(synthetic_clip(0, 1, 480, 272).target[0])
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    draw.text((40, 200), words, "white", font, stroke_width=2, stroke_fill="black")
    left, top, right, bottom = draw.textbbox((40, 200), words, font, stroke_width=2)
    return np.asarray(picture), (right - left) * (bottom - top) / (480 * 272)


def test_share_of_subtitles_is_that_of_the_box_around_them():
    frame, share = subtitled("Previously on the show")
    assert measured(TextArea(), [frame])["text_score"] == pytest.approx(share, rel=0.3)


def test_picture_without_text_has_none():
    assert measured(TextArea(), [synthetic_clip(0, 1, 480, 272).target[0]]) == {"text_score": 0.0}


def test_frame_in_the_middle_counts(monkeypatch):
    seen = []
    monkeypatch.setattr(text, "_readers", [lambda picture, use_cls: (seen.append(picture[0, 0, 0]), (None, None))[1]])
    measured(TextArea(), [np.full((64, 64, 3), index, np.uint8) for index in range(7)])
    assert seen == [3]


def test_areas_count_that_are_read_for_certain(monkeypatch):
    quads = [[[0, 0], [side, 0], [side, 10], [0, 10]] for side in (10, 20, 40)]
    found = [(quads[0], "blot", 0.59), (quads[1], "x ", 0.9), (quads[2], "text", 0.6)]
    monkeypatch.setattr(text, "_readers", [lambda picture, use_cls: (found, None)])
    frame = np.zeros((100, 100, 3), np.uint8)
    score, all_found = (
        measured(TextArea(short_side=100, min_score=least), [frame])["text_score"] for least in (0.6, 0)
    )
    assert (score, all_found) == (0.04, 0.07)


def test_areas_that_overlap_count_twice_and_those_inside_out_do_not():
    assert text_share([(10, 60, 20, 40), (10, 60, 20, 40), (150, 120, 5, 9)], [], 100, 200) == 0.1


def test_quads_count_with_their_area():
    assert text_share([], [[[10, 0], [20, 10], [10, 20], [0, 10]]], 100, 100) == 0.02


def test_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(InputError, match="pip install 'ppdiffusers_ext"):
        TextArea().check()
