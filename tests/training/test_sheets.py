"""Labelled sheets: every picture is in its place, pixel by pixel, and what is around it is letters on paper."""

import numpy as np
import pytest

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.training.sheets import labelled_sheet, write_small_sheet


def pictures(count, width=40, height=30):
    return [np.full((height, width, 3), 20 + 10 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("scale", [1, 2])
def test_pictures_stand_side_by_side_below_their_labels(scale):
    reference, pose, result = pictures(3)
    rows = [("clip 1", [("reference", reference), ("pose 0", pose), ("result 0", result)])]
    sheet = labelled_sheet("step 500", rows, scale)
    width, height = 40 * scale, 30 * scale
    cells = sheet[-height:, -3 * width :]
    for number, picture in enumerate((reference, pose, result)):
        assert (cells[:, number * width : (number + 1) * width] == picture[0, 0]).all()


def test_rows_of_several_lengths_and_sizes_are_below_each_other():
    small, large = pictures(2), pictures(3, 64, 64)
    sheet = labelled_sheet("step 1", [("a", [("x", small[0]), ("y", small[1])]), ("b", [("z", p) for p in large])])
    assert sheet.shape[0] > 30 + 64 and sheet.shape[1] > 3 * 64
    assert (sheet[-64:, -64:] == large[2][0, 0]).all()


def test_another_label_makes_another_sheet_of_the_same_size():
    sheets = [labelled_sheet("step 1", [("clip 1", [(label, pictures(1)[0])])]) for label in ("truth", "result")]
    assert sheets[0].shape == sheets[1].shape
    assert not np.array_equal(*sheets)
    rows, _, _ = np.nonzero(sheets[0] != sheets[1])
    assert rows.max() < sheets[0].shape[0] - 30  # the difference is above the picture


def test_long_label_stays_over_its_own_picture():
    blank = labelled_sheet("", [("", [("", pictures(1)[0]), ("", pictures(1)[0])])])
    long = labelled_sheet("", [("", [("an endless label", pictures(1)[0]), ("", pictures(1)[0])])])
    assert blank.shape == long.shape


def test_small_sheets_are_small_and_look_the_same(tmp_path):
    clips = [synthetic_clip(seed, 3, 96, 96, figures="detailed") for seed in range(3)]
    rows = [(f"clip {n}", [("frame", frame) for frame in clip.target]) for n, clip in enumerate(clips)]
    sheet = labelled_sheet("clips", rows)
    write_small_sheet(tmp_path / "small.png", sheet)
    small = np.asarray(read_image(tmp_path / "small.png"))
    assert small.shape == sheet.shape and np.abs(small.astype(int) - sheet).mean() < 4
    assert (tmp_path / "small.png").stat().st_size < 0.5 * sheet.size
