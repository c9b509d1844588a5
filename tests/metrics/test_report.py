"""Tables and JSON of results."""

import json
import math

import pytest

from ppdiffusers_ext.metrics.evaluation import PairResult
from ppdiffusers_ext.metrics.report import Table, mean_scores, to_json, write_json

FRAME = {"psnr": math.inf, "psnr_uint8_overflow": 100.0, "ssim": 1.0, "l1": 0.0, "flicker": None}


def make_result(name="a", **scores):
    scores = {"psnr": 20.0, "psnr_uint8_overflow": 30.0, "ssim": 0.5, "l1": 0.25, "flicker": 3.0, **scores}
    counts = {"num_frames": 1, "identical_frames": 0}
    return PairResult(name, {**scores, **counts}, (FRAME,), f"pred/{name}", f"gt/{name}", 32, 24, (40, 48))


def test_rows_are_as_wide_as_the_header():
    first, second = make_result(), make_result("a long name", psnr=100.0, flicker=None)
    table = Table([first.name, second.name])
    lines = [table.header(), table.row(first.name, first.scores), table.row(second.name, second.scores)]
    lines.append(table.row("mean", mean_scores([first, second])))
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == "frames PSNR dB PSNR overflow SSIM L1 flicker".split()
    assert lines[1].split() == "a 1 20.00 30.00 0.5000 0.2500 3.000".split()
    assert lines[2].split() == "a long name 1 100.00 30.00 0.5000 0.2500 -".split()
    assert lines[3].split() == "mean 60.00 30.00 0.5000 0.2500 3.000".split()


def test_mean_leaves_out_flicker_that_is_not_there():
    results = [make_result(), make_result(psnr=30.0, flicker=None)]
    assert mean_scores(results) == {
        "psnr": 25.0,
        "psnr_uint8_overflow": 30.0,
        "ssim": 0.5,
        "l1": 0.25,
        "flicker": 3.0,
    }
    assert mean_scores([make_result(flicker=None)])["flicker"] is None
    with pytest.raises(ValueError, match="at least one"):
        mean_scores([])


def test_json_is_strict():
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    report = json.loads(to_json([make_result(flicker=None)], per_frame=True), parse_constant=refuse)
    (pair,) = report["pairs"]
    assert pair["flicker"] is None and report["mean"]["flicker"] is None
    assert pair["frames"] == [{**FRAME, "psnr": None}]
    assert pair["prediction"] == "pred/a" and pair["resized_from"] == [40, 48] and pair["num_frames"] == 1


def test_json_has_frames_only_where_asked_for():
    assert "frames" not in json.loads(to_json([make_result()]))["pairs"][0]


def test_file_is_written(tmp_path):
    write_json(tmp_path / "new" / "scores.json", [make_result()])
    assert (tmp_path / "new" / "scores.json").read_text() == to_json([make_result()])
