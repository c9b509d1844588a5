"""Benchmarks of EasyAnimate's training: what they write and run is a training, and other computations are refused."""

import json
import os

import numpy as np
import pytest

from benchmarks import cached_latents, easy_train_step, easy_training
from benchmarks.harness import ContestantError
from scripts.training import main
from tests.benchmarks.test_benchmarks import assert_bad_input, benchmarks

pytestmark = pytest.mark.long

PEER_PYTHON = os.environ.get("PEER_PYTHON")
TINY = ("train_step", "--system", "easy_animate", "--small", "--size", "8", "--frames", "8", "--layers", "4")
TINY += ("--repeats", "1", "--threads", "1")


def measure(folder, **others):
    process = benchmarks(*TINY, "--json", folder / "result.json", **others)
    assert process.returncode == 0, process.stderr
    return process.stdout, json.loads((folder / "result.json").read_text())


def test_step_without_torch_has_the_figures_of_ours(tmp_path):
    output, fields = measure(tmp_path)
    ours = fields["ours"]
    assert fields["benchmark"] == "train_step"
    assert fields["peers"] == fields["ratios"] == fields["processor_ratios"] == {}
    assert fields["settings"]["latents"] == [1, 4, 2, 8, 8]
    assert ours["trained_parameters"] == ours["parameters"] > 1e5
    assert len(ours["losses"]) == 3  # of the step that is compared, of the warm-up, and of the one repeat
    assert ours["losses"][2] < ours["losses"][0]
    assert 0 < ours["processor_seconds"] == ours["processor_times"][0] < 60
    assert "torch_sdpa is left out" in output


@pytest.mark.skipif(not PEER_PYTHON, reason="PEER_PYTHON does not name a Python with torch and diffusers")
def test_peer_computes_the_same_prediction_loss_and_gradients(tmp_path):
    output, fields = measure(tmp_path, peer_python=PEER_PYTHON)
    ours, peer = fields["ours"], fields["peers"]["torch_sdpa"]
    assert peer["losses"] == pytest.approx(ours["losses"], rel=1e-3)  # of the steps that follow, too
    assert peer["gradient_norm"] == pytest.approx(ours["gradient_norm"], rel=1e-5)
    assert peer["trained_parameters"] == ours["trained_parameters"]
    assert fields["processor_ratios"].keys() == fields["ratios"].keys() == {"torch_sdpa"}
    assert "processor seconds" in output


ROW = {"trained_parameters": 10, "losses": [1.0, 0.5], "gradient_norm": 2.0}


@pytest.mark.parametrize(
    ("change", "difference", "words"),
    [
        ({"trained_parameters": 9}, 0.0, "10 parameters of ours learn, and 9"),
        ({"losses": [1.001, 0.5]}, 0.0, "losses of ours begin with 1.0, and 1.001"),
        ({"gradient_norm": 2.001}, 0.0, "gradient_norm of ours begin with 2.0, and 2.001"),
        ({"gradient_norm": float("nan")}, 0.0, "gradient_norm of ours"),
        ({}, 0.01, "differs from ours by 0.01"),
        ({}, float("nan"), "differs from ours by nan"),
    ],
)
def test_other_computations_are_refused(change, difference, words):
    easy_train_step.check_same(ROW, {**ROW, "losses": [1.00001, 0.7]}, 1e-6)
    with pytest.raises(ContestantError, match=words):
        easy_train_step.check_same(ROW, {**ROW, **change}, difference)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train_step", "--system", "easy_animate", "--frames", "12"), ("--frames 12", "multiple of 8")),
        (("train_step", "--system", "easy_animate", "--layers", "3"), ("--layers 3", "even number")),
        (("train_step", "--rounds", "0"), ("--rounds 0", "1 or more")),
        (("cached_latents", "--rounds", "0"), ("--rounds 0", "1 or more")),
        (("cached_latents", "--steps", "1"), ("--steps 1", "2 or more")),
    ],
)
def test_option_out_of_range_is_an_error_that_says_what_is_accepted(arguments, words):
    assert_bad_input(benchmarks(*arguments), *words)


def test_inputs_have_padding_which_learns_what_stands_for_it():
    network = {**easy_train_step.QUARTER, "num_layers": 2}
    arrays = easy_training.inputs({"network": network, "latents": [2, 4, 2, 8, 8]})
    for name, tokens in (("mask", 77), ("mask_2", 256), ("clip_mask", 16)):
        assert arrays[name].shape == (2, tokens)
        assert arrays[name].sum() == 2 * (tokens - easy_training.PADDING)


def test_networks_and_clips_that_are_written_are_trained_on_with_kept_latents_and_without(tmp_path):
    settings = cached_latents.settings_of(True, 2)
    cached_latents.write({"folder": str(tmp_path), **settings})
    files = {name: str(cached_latents._write_options(tmp_path, name, settings)) for name in ("cached", "clips")}
    assert main("cache_latents", [files["cached"]]) == 0
    kept = list((tmp_path / "latents" / "clips").rglob("*.safetensors"))
    assert len(kept) == settings["clips"]
    for file in files.values():
        assert main("easy_animate", [file]) == 0
    weights = [tmp_path / "out" / name / "transformer" / "diffusion_pytorch_model.safetensors" for name in files]
    assert all(path.stat().st_size > 1e5 for path in weights)


def test_epochs_figures_are_medians_of_seconds_and_the_worst_of_the_rest():
    runs = [{"seconds": s, "data_share": d, "peak_bytes": p} for s, d, p in ((3, 0.1, 5), (1, 0.3, 4), (2, 0.2, 9))]
    row = cached_latents._middle(runs)
    assert row == {"seconds": 2, "times": [3, 1, 2], "data_share": 0.3, "peak_bytes": 9}


def test_quarter_has_a_quarter_of_each_width():
    from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
    from ppdiffusers_ext.weights.assignment import create

    full = create(HunyuanTransformer3D).config
    for name in ("num_attention_heads", "hidden_size", "cross_attention_dim", "cross_attention_dim_t5"):
        assert 4 * cached_latents.QUARTER["transformer"][name] == 4 * easy_train_step.QUARTER[name] == full[name]
    for name in ("pooled_projection_dim", "projection_dim"):
        assert 4 * cached_latents.QUARTER["transformer"][name] == 4 * easy_train_step.QUARTER[name] == full[name]
    widths = np.array(cached_latents.QUARTER["vae"]["block_out_channels"])
    np.testing.assert_array_equal(4 * widths, [128, 256, 512, 512])
