"""Evaluation of datasets by protocols: properties that numbers have, and what is refused before any is computed."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics import tasks
from ppdiffusers_ext.metrics.catalogue import choose_metrics
from ppdiffusers_ext.metrics.dataset import evaluate, make_plan
from ppdiffusers_ext.metrics.dataset_report import numbers_of
from ppdiffusers_ext.metrics.protocol import read_protocol
from ppdiffusers_ext.metrics.tasks import Weights
from tests.support.evaluated import Averages, moving, noisy, write_frames
from tests.support.odd_videos import encode

DISCO = read_protocol("disco")
WEIGHTS = Weights(
    "nowhere", tuple((name, (("a", name),)) for name in ("inception_fid", "resnet3d_fidvid", "i3d_fvd")), "eager"
)
PIXELS = "disco_ssim,disco_psnr,disco_psnr_overflow,disco_l1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """true/ with two clips of 18 frames, and noisy/AMOUNT/ of them."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        frames = moving(number, 18)
        write_frames(folder / "true" / str(number), frames)
        for amount in (4, 16, 48):
            write_frames(folder / f"noisy{amount}" / str(number), noisy(frames, amount))
    return folder


@pytest.fixture(autouse=True)
def small_features(monkeypatch):
    monkeypatch.setattr(tasks, "open_features", lambda *of: Averages())


def planned(prediction, truth, metrics=PIXELS, protocol=DISCO, paired=None):
    chosen = choose_metrics(metrics, protocol.metrics(), "it")
    return make_plan(prediction, truth, protocol, chosen, WEIGHTS, paired)


def evaluated(tmp_path, *arguments, **more):
    tmp_path.mkdir(exist_ok=True)
    return evaluate(planned(*arguments, **more), tmp_path, {})


def values(result):
    return {name: number["value"] for name, number in numbers_of(result).items()}


def test_equal_inputs_are_perfect(folder, tmp_path):
    found = values(evaluated(tmp_path, folder / "true", folder / "true", f"{PIXELS},distribution"))
    assert found == {
        "disco_ssim": pytest.approx(1, abs=1e-12), "disco_psnr": 100, "disco_psnr_overflow": 100, "disco_l1": 0,
        "fid": 0, "fid_vid": 0, "fvd": 0,
    }  # fmt: skip


def test_numbers_worsen_with_noise_and_do_not_depend_on_the_order(folder, tmp_path):
    metrics = "disco_ssim,disco_psnr,disco_l1,distribution"
    rows = [values(evaluated(tmp_path, folder / f"noisy{n}", folder / "true", metrics)) for n in (4, 16, 48)]
    for name in ("disco_ssim", "disco_psnr"):
        assert rows[0][name] > rows[1][name] > rows[2][name]
    for name in ("disco_l1", "fid", "fid_vid", "fvd"):
        assert 0 < rows[0][name] < rows[1][name] < rows[2][name]
    other = values(evaluated(tmp_path, folder / "true", folder / "noisy16", metrics))
    assert other == pytest.approx(rows[1], rel=1e-9)


def test_numbers_worsen_with_blur(folder, tmp_path):
    rows = []
    for sigma in (0.7, 1.5, 4):
        for number in range(2):
            blurred = gaussian_filter(moving(number, 18), (0, sigma, sigma, 0))
            write_frames(tmp_path / str(sigma) / str(number), blurred)
        rows.append(values(evaluated(tmp_path / "kept", tmp_path / str(sigma), folder / "true")))
    assert rows[0]["disco_ssim"] > rows[1]["disco_ssim"] > rows[2]["disco_ssim"]
    assert rows[0]["disco_psnr"] > rows[1]["disco_psnr"] > rows[2]["disco_psnr"]
    assert rows[0]["disco_l1"] < rows[1]["disco_l1"] < rows[2]["disco_l1"]


def test_windows_are_counted_over_all_clips(folder, tmp_path):
    result = evaluated(tmp_path, folder / "noisy4", folder / "true", "distribution")
    counts = {name: (n["num_predictions"], n["num_truths"]) for name, n in result["distribution"].items()}
    assert counts == {"fid": (36, 36), "fid_vid": (6, 6), "fvd": (6, 6)}
    assert result["clips"] == [] and result["paired"] == {}


@pytest.mark.parametrize(
    "ending, settings", [("bmp", {}), ("tiff", {}), ("webp", {"lossless": True}), ("mkv", "bgr0"), ("mkv", "gbrp10le")]
)
def test_format_without_loss_changes_nothing(folder, tmp_path, ending, settings):
    frames = noisy(moving(0, 4), 16)
    write_frames(tmp_path / "png", frames)
    other = tmp_path / "other"
    if ending == "mkv":
        other = encode(tmp_path / "other.mkv", frames, "ffv1", settings)
    else:
        other.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(other / f"{number}.{ending}", **settings)
    truth = write_frames(tmp_path / "gt", moving(0, 4))
    found = [evaluated(tmp_path / "kept", path, truth) for path in (tmp_path / "png", other)]
    assert numbers_of(found[0]) == numbers_of(found[1])
    assert found[0]["clips"][0]["frames"] == found[1]["clips"][0]["frames"]


def test_grey_is_its_three_equal_channels_and_what_is_transparent_lies_on_white(tmp_path):
    grey = moving(0, 2)[..., 0]
    alpha = np.zeros((2, 64, 64, 4), np.uint8)
    alpha[:, :32, :, :3], alpha[:, :32, :, 3] = 90, 255
    shown = np.full((2, 64, 64, 3), 255, np.uint8)
    shown[:, :32] = 90
    for name, frames in {"grey": grey, "rgb": np.repeat(grey[..., None], 3, -1), "alpha": alpha, "on": shown}.items():
        (tmp_path / name).mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / name / f"{number}.png")
    for one, other in (("grey", "rgb"), ("alpha", "on")):
        assert values(evaluated(tmp_path / "kept", tmp_path / one, tmp_path / other))["disco_l1"] == 0


def test_one_frame_has_paired_numbers_and_no_distances(tmp_path):
    truth = write_frames(tmp_path / "gt", moving(0, 1))
    prediction = write_frames(tmp_path / "pred", noisy(moving(0, 1), 9))
    assert values(evaluated(tmp_path / "kept", prediction, truth))["disco_psnr"] < 50
    with pytest.raises(InputError, match="FID needs two runs of 1 frame or more of each side; the predictions have 1"):
        planned(prediction, truth, "fid")
    with pytest.raises(InputError, match="FVD needs two runs of 16 frames .* --metrics without fvd"):
        planned(prediction, truth, "fvd")


def test_names_that_differ_leave_distances(folder, tmp_path):
    for name in ("a", "b"):
        write_frames(tmp_path / "pred" / name, moving(3, 17))
    result = evaluated(tmp_path / "kept", tmp_path / "pred", folder / "true", f"{PIXELS},fid")
    assert list(result["distribution"]) == ["fid"] and result["paired"] == {}
    assert "has no video for a, b" in result["not_measured"]["disco_ssim"]
    for more in ({"paired": True}, {"metrics": PIXELS}):
        with pytest.raises(InputError, match="has no video for a, b of .*pred"):
            planned(tmp_path / "pred", folder / "true", **more)


def test_one_kind_alone_can_be_asked_for(folder, tmp_path):
    both = f"{PIXELS},fid"
    only = evaluated(tmp_path, folder / "noisy4", folder / "true", both, paired=True)
    assert list(only["paired"]) == PIXELS.split(",") and only["distribution"] == {}
    assert only["not_measured"] == {"fid": "--paired leaves it out"}
    only = evaluated(tmp_path, folder / "noisy4", folder / "true", both, paired=False)
    assert only["paired"] == {} and list(only["distribution"]) == ["fid"]
    with pytest.raises(InputError, match="--no-paired leaves nothing"):
        planned(folder / "noisy4", folder / "true", paired=False)


def test_rule_of_lengths_is_the_protocols(folder, tmp_path):
    for number in range(2):
        write_frames(tmp_path / "short" / str(number), moving(number, 10))
    with pytest.raises(InputError, match="has 10 frames, .* 18; protocol disco accepts the same number"):
        planned(tmp_path / "short", folder / "true")
    shortest = replace(DISCO, different_lengths="shortest")
    result = evaluated(tmp_path / "kept", tmp_path / "short", folder / "true", f"{PIXELS},fid", protocol=shortest)
    assert [clip["num_frames"] for clip in result["clips"]] == [10, 10]
    alone = evaluated(tmp_path / "kept", tmp_path / "short", folder / "true", "fid", protocol=shortest)
    assert alone["distribution"] == result["distribution"]
    assert values(result)["disco_l1"] == values(result)["fid"] == 0


def test_what_is_kept_of_a_truth_serves_another_system(folder, tmp_path):
    evaluated(tmp_path, folder / "noisy4", folder / "true", "fid")
    before = {path.name for path in tmp_path.iterdir()}
    evaluated(tmp_path, folder / "noisy16", folder / "true", "fid")
    assert len(before) == 4 and len(list(tmp_path.iterdir())) == 6
