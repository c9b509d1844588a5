"""Numbers of videos of validation by name."""

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.drift import Drift
from ppdiffusers_ext.metrics.video import video_metrics
from ppdiffusers_ext.training.options import SamplingTrainerOptions
from ppdiffusers_ext.training.validation import Case, Validation
from ppdiffusers_ext.training.video_numbers import VideoNumbers
from tests.support.evaluated import moving, noisy

TRUTH = moving(0, 4)
VIDEO = noisy(TRUTH, 25)


def test_default_numbers_are_those_of_videos():
    numbers = VideoNumbers()(VIDEO, TRUTH)
    expected = video_metrics(VIDEO, TRUTH)
    assert numbers == pytest.approx({name: expected[name] for name in ("psnr", "ssim", "l1", "flicker")}, rel=1e-12)


@pytest.mark.parametrize("reference, used", [(None, TRUTH[0]), (TRUTH[2], TRUTH[2]), (TRUTH[0][:32], TRUTH[0])])
def test_person_is_measured_against_its_picture(reference, used):
    numbers = VideoNumbers("delta_e,flicker_second_difference")(VIDEO, TRUTH, reference)
    drift = Drift(used)
    for frame in VIDEO:
        drift.add(frame)
    assert numbers["delta_e"] == drift.result()["colour"]["delta_e"]
    assert numbers["flicker_second_difference"] == drift.result()["flicker_second_difference"]


def test_without_true_frames_the_first_frame_is_the_reference():
    numbers = VideoNumbers("psnr,delta_e")(VIDEO, None)
    drift = Drift(VIDEO[0])
    for frame in VIDEO:
        drift.add(frame)
    assert numbers == {"psnr": None, "delta_e": drift.result()["colour"]["delta_e"]}


class Known(Case):
    truth = TRUTH


def test_validation_gives_the_numbers_that_are_asked_for_and_names_the_others(caplog):
    numbers, picture = Validation(lambda case, index: VIDEO, lambda: [Known()], "disco_psnr,csim_mobileface")(3)
    assert list(numbers) == ["disco_psnr"] and picture.ndim == 3
    assert "not measured in this validation: csim_mobileface" in caplog.text
    caplog.clear()
    numbers, _ = Validation(lambda case, index: VIDEO, lambda: [Case()])(3)
    assert numbers == {} and caplog.text == ""


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("psnrr", InputError, "validation has no metric 'psnrr'; did you mean 'psnr'"),
        ("fvd", InputError, "validation has no metric 'fvd'"),
        ("psnr,lpips_vgg", MissingFileError, "lpips_vgg needs .*download_weights.py --only"),
        ("csim_arcface", MissingFileError, "csim_arcface needs .*--only antelopev2"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(tmp_path, monkeypatch, text, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        SamplingTrainerOptions(validation_metrics=text).check()
