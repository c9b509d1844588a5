"""The measure of the small model: its ways to compare, and what the figures come to."""

from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.metrics.video import video_metrics
from ppdiffusers_ext.pipelines.animate_anyone.demo import WAYS, DemoEvaluation, summary
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.runtime import Runtime
from scripts.command import run
from scripts.evaluate import make_parser, work

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def evaluation():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = Pose2VidConfig.load("configs/inference/demo.yaml", width=64, height=64, steps=1)
        return DemoEvaluation(config, Runtime.choose("cpu", "fp32"), num_frames=3)


def test_clip_has_the_frames_of_each_way(evaluation):
    truth, poses, predictions = evaluation.clip(5, 0)
    assert truth.shape == poses.shape == (3, 64, 64, 3)
    assert tuple(predictions) == WAYS
    for frames in predictions.values():
        assert frames.shape == truth.shape and frames.dtype == np.uint8
    repeated = predictions["reference repeated"]
    assert np.array_equal(repeated[0], repeated[2]) and not np.array_equal(repeated[0], truth[0])


def test_frames_from_the_autoencoder_are_near_the_true_ones(evaluation):
    """Nearer than what the model animates, frame by frame in their order."""
    truth, _, predictions = evaluation.clip(5, 0)
    decoded, animated = (video_metrics(predictions[way], truth) for way in ("autoencoder", "model"))
    assert decoded["psnr"] > max(22, animated["psnr"] + 1)


def test_clips_are_of_the_kind_that_the_model_was_trained_on(evaluation, monkeypatch):
    known = synthetic_clip((5, 0), 3, 64, 64, figures="detailed", still=1.0)
    np.testing.assert_array_equal(evaluation.clip(5, 0)[0], known.target)
    monkeypatch.setattr(evaluation, "_drawing", Drawing(figures="simple"))
    np.testing.assert_array_equal(evaluation.clip(5, 0)[0], synthetic_clip((5, 0), 3, 64, 64).target)


def test_same_seed_gives_the_same_numbers_and_others_other_clips(evaluation):
    scores = evaluation.scores(5, 0)
    assert scores == evaluation.scores(5, 0)
    assert scores["reference repeated"] != evaluation.scores(5, 1)["reference repeated"]
    assert scores["reference repeated"] != evaluation.scores(6, 0)["reference repeated"]


def test_frames_of_stage_1_do_not_know_of_each_other(evaluation):
    _, poses, predictions = evaluation.clip(5, 0)
    unet = evaluation._single.denoising_unet
    assert not any("motion_modules" in name for name, _ in unet.named_parameters())
    assert unet.max_frames is None


def scores_of(**psnr_and_flicker):
    ways = {way: psnr_and_flicker[way.split()[0]] for way in WAYS}
    return {
        way: {"psnr": psnr, "psnr_uint8_overflow": 30.0, "ssim": 0.9, "l1": 0.1, "flicker": flicker}
        for way, (psnr, flicker) in ways.items()
    }


def test_summary_is_of_means_over_the_clips():
    first = scores_of(model=(25, 1.0), stage=(24, 3.0), autoencoder=(40, 0), reference=(18, 5), mean=(20, 5))
    second = scores_of(model=(23, 2.0), stage=(22, 3.0), autoencoder=(40, 0), reference=(19, 5), mean=(14, 5))
    result = summary([first, second])
    assert result["ways"]["model"]["psnr"] == 24
    assert result["psnr_above_baseline"] == pytest.approx(24 - 18.5)
    assert result["flicker_below_stage_1"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--demo", "a.mp4", "b.mp4"], "--demo takes no PRED"),
        (["--demo", "--resize"], "--demo takes no PRED and GT, --per-frame"),
        ([], "nothing to compare; PRED and GT, PRED and --reference-image, or --demo, are accepted"),
        (["a.mp4"], "nothing to compare"),
    ],
)
def test_bad_options_of_the_command_are_refused(arguments, message, capsys):
    assert run(make_parser(), work, arguments) == 2
    assert message in capsys.readouterr().err


def test_too_few_clips_are_refused(capsys):
    assert run(make_parser(), work, ["--demo", "--clips", "0"]) == 2
    assert "--clips is 0; a whole number from 1 to 10000" in capsys.readouterr().err
