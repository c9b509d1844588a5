"""Numbers of a dataset as text, JSON, CSV and page."""

import csv
import io
import json

import pytest

from ppdiffusers_ext.metrics import tasks
from ppdiffusers_ext.metrics.catalogue import choose_metrics
from ppdiffusers_ext.metrics.dataset import evaluate, make_plan
from ppdiffusers_ext.metrics.dataset_report import text_lines, to_csv, to_html, to_json, worst_clips
from ppdiffusers_ext.metrics.protocol import read_protocol
from ppdiffusers_ext.metrics.tasks import Weights
from tests.support.evaluated import Averages, moving, noisy, write_frames

DISCO = read_protocol("disco")
NAMES = ("a<b>", "b", "c", "d")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Plan and result of four clips, "c" the worst of them and its frame 2 the worst."""
    folder, patch = tmp_path_factory.mktemp("clips"), pytest.MonkeyPatch()
    for number, name in enumerate(NAMES):
        frames = moving(number, 4)
        write_frames(folder / "gt" / name, frames)
        bad = noisy(frames, 40 if name == "c" else 3 + number)
        if name == "c":
            bad[2] = noisy(frames, 120)[2]
        write_frames(folder / "pred" / name, bad)
    patch.setattr(tasks, "open_features", lambda *of: Averages())
    metrics = choose_metrics("disco_ssim,disco_psnr,fid", DISCO.metrics(), "disco")
    plan = make_plan(
        folder / "pred",
        folder / "gt",
        DISCO,
        metrics,
        Weights("", (("inception_fid", (("fid.pth", "5" * 64),)),), "onnx"),
    )
    (folder / "kept").mkdir()
    result = evaluate(plan, folder / "kept", {})
    patch.undo()
    return plan, result


def test_text_has_the_protocol_each_clip_and_intervals(made):
    plan, result = made
    lines = list(text_lines(plan, result))
    assert lines[: len(DISCO.lines())] == DISCO.lines()
    assert f"network inception_fid: fid.pth ({'5' * 64})" in lines
    number = result["paired"]["disco_ssim"]
    assert f"disco SSIM: {number['value']:.4f} ({number['low']:.4f} to {number['high']:.4f})" in lines
    (fid,) = [line for line in lines if line.startswith("FID: ")]
    assert fid.endswith("by inception_fid, 16 generated against 16 true")
    assert [line.split()[0] for line in lines if line.split()[0] in (*NAMES, "mean")][-5:] == [*NAMES, "mean"]


def test_json_is_strict_and_has_frames_where_they_are_asked_for(made):
    _, result = made
    values = json.loads(to_json(result))
    assert values["protocol"]["name"] == "disco" and values["protocol"]["truth"]["size"] == [256, 256]
    assert values["engine"] == "onnx" and "frames" not in values["clips"][0]
    assert [len(clip["frames"]["disco_ssim"]) for clip in json.loads(to_json(result, True))["clips"]] == [4] * 4


def test_csv_has_a_line_for_each_number(made):
    _, result = made
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert len(rows) == 4 * 2 + 3
    clip = next(row for row in rows if row["name"] == "c" and row["metric"] == "disco_psnr")
    assert float(clip["value"]) == result["clips"][2]["disco_psnr"] and clip["scope"] == "clip"
    fid = rows[-1]
    assert (fid["scope"], fid["metric"], fid["network"], fid["better"]) == ("dataset", "fid", "inception_fid", "lower")
    assert float(fid["low"]) <= float(fid["high"])


def test_page_shows_the_worst_clips_and_frames(made):
    plan, result = made
    assert worst_clips(result) == ("disco_ssim", [2, 3, 1])
    page = to_html(plan, result)
    assert "a&lt;b&gt;" in page and "a<b>" not in page and "<script" not in page
    worst = page.index("The worst clips")
    heads = [page.index(f"<h3>{name}</h3>", worst) for name in ("c", "d", "b")]
    assert heads == sorted(heads)
    assert "frame 2: " in page[heads[0] : heads[1]] and page.count("data:image/jpeg;base64,") == 9
    for text in DISCO.assumptions:
        assert text.replace("'", "&#x27;") in page
