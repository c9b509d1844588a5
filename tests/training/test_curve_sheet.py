"""Curves of validation as a picture."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.curve_sheet import ValidationCurves, curve_sheet


def logged(folder, start, *validations):
    """A run that goes on at a step, and logs a step of training and the numbers of validations."""
    curves, state = ValidationCurves(), SimpleNamespace(is_world_process_zero=True, global_step=start)
    arguments = SimpleNamespace(output_dir=str(folder))
    curves.on_train_begin(arguments, state, None)
    for step, numbers in validations:
        state.global_step = step
        curves.on_log(arguments, state, None, {"loss": 0.5})
        curves.on_log(arguments, state, None, {f"eval_{name}": value for name, value in numbers.items()})


def test_numbers_and_picture_lie_in_the_runs_folder(tmp_path):
    logged(tmp_path, 0, (10, {"loss": 0.4, "psnr": 20.0}), (20, {"loss": 0.3, "psnr": 22.0}))
    curves = {"loss": [[10, 0.4], [20, 0.3]], "psnr": [[10, 20.0], [20, 22.0]]}
    assert json.loads((tmp_path / "validation.json").read_text()) == curves
    assert np.array_equal(np.asarray(read_image(tmp_path / "validation.png")), curve_sheet(curves))


def test_run_that_goes_on_keeps_the_numbers_up_to_its_checkpoint(tmp_path):
    logged(tmp_path, 0, (10, {"psnr": 20.0}), (20, {"psnr": 22.0}), (30, {"psnr": 23.0}))
    logged(tmp_path, 20, (25, {"psnr": 24.0}))
    assert json.loads((tmp_path / "validation.json").read_text()) == {"psnr": [[10, 20.0], [20, 22.0], [25, 24.0]]}
    logged(tmp_path, 0, (5, {"psnr": 1.0}))  # begun anew
    assert json.loads((tmp_path / "validation.json").read_text()) == {"psnr": [[5, 1.0]]}
    (tmp_path / "validation.json").write_text('{"psnr": 3}')
    with pytest.raises(InputError, match="has no numbers of validations"):
        logged(tmp_path, 5)


def blue(picture):
    return np.argwhere((picture == (31, 111, 180)).all(axis=2))


def test_line_rises_where_the_numbers_do():
    points = blue(curve_sheet({"psnr": [(0, 1.0), (10, 2.0), (20, 5.0)]}))
    heights = [points[points[:, 1] == x, 0].mean() for x in (points[:, 1].min(), points[:, 1].max())]
    assert heights[0] > heights[1] + 100  # rows are counted from the top


def test_each_curve_has_its_chart():
    one, three = (curve_sheet({str(i): [(1, 2.0)] for i in range(count)}) for count in (1, 3))
    assert three.shape == (2 * one.shape[0], 2 * one.shape[1], 3) and one.dtype == np.uint8
    assert len(blue(one)) > 0
    assert len(blue(curve_sheet({"a": [(1, float("nan"))]}))) == 0


def test_nothing_is_no_picture():
    with pytest.raises(ValueError, match="no curves"):
        curve_sheet({})
