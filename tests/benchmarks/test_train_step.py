"""The benchmark of a training step: its JSON, that it trains what a stage trains, and what it reads in logs."""

import json
import math
import os
import subprocess

import paddle
import pytest

from benchmarks import training_networks, training_scaling
from benchmarks.harness import ROOT, ContestantError
from benchmarks.train_step import MAX_FRAMES, SMALL, check_same
from ppdiffusers_ext.training.losses import mean_squared_error
from tests.benchmarks.test_benchmarks import assert_bad_input, benchmarks

pytestmark = pytest.mark.long

TINY = ("train_step", "--small", "--size", "8", "--batch", "2", "--frames", "2", "--repeats", "1", "--threads", "1")
PEER_PYTHON = os.environ.get("PEER_PYTHON")


def measure(folder, *arguments, **others):
    """(what the command printed, its JSON)."""
    process = benchmarks(*TINY, *arguments, "--json", folder / "result.json", **others)
    assert process.returncode == 0, process.stderr
    return process.stdout, json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return measure(tmp_path_factory.mktemp("train_step"))


def test_json_has_a_row_for_each_stage_and_for_both(measured):
    _, fields = measured
    assert fields["benchmark"] == "train_step"
    assert fields["peers"] == fields["ratios"] == {}
    assert list(fields["stages"]) == ["1", "2"]
    rows = [stage["ours"] for stage in fields["stages"].values()]
    for row in (*rows, fields["checkpointing"]["ours"]):
        assert 0 < row["seconds"] < 600
        assert 1e8 < row["peak_bytes"] < 1e11  # bytes, not kilobytes: Paddle alone has more than 100 MB
        assert 0 < row["activation_bytes"] < row["peak_bytes"]
        assert row["versions"]["paddlepaddle"]
        assert all(0 < loss < 100 for loss in row["losses"])
        assert len(row["losses"]) == 2  # of the warm-up and of the one repeat
    assert fields["ours"]["seconds"] == sum(row["seconds"] for row in rows)
    assert fields["ours"]["peak_bytes"] == max(row["peak_bytes"] for row in rows)
    samples = [row["samples_per_second"] * row["seconds"] for row in rows]
    assert samples == pytest.approx([2, 1])


def test_json_has_the_settings_that_were_measured(measured):
    _, fields = measured
    settings = fields["settings"]
    assert settings["latents"] == {"1": [2, 4, 1, 8, 8], "2": [1, 4, 2, 8, 8]}
    assert settings["networks"]["block_out_channels"] == SMALL["block_out_channels"]
    assert (settings["networks"]["repeats"], settings["networks"]["threads"]) == (1, 1)
    assert settings["scaling"] is fields["scaling"] is None


def test_stages_train_what_they_should(measured):
    _, fields = measured
    first, second = (fields["stages"][stage]["ours"] for stage in ("1", "2"))
    motion = second["parameters"] - first["parameters"]
    assert motion == second["trained_parameters"] > 0
    assert 0 < first["parameters"] - first["trained_parameters"] < 0.1 * first["parameters"]  # a frozen up block
    assert first["tensors_without_gradient"] == second["tensors_without_gradient"] == 0


def test_gradient_checkpointing_needs_less_memory_for_the_same_losses(measured):
    _, fields = measured
    checkpointing, plain = fields["checkpointing"], fields["stages"]["2"]["ours"]
    assert checkpointing["ours"]["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    ratio = checkpointing["ours"]["activation_bytes"] / plain["activation_bytes"]
    assert checkpointing["activation_bytes_ratio"] == ratio < 0.8
    assert checkpointing["seconds_ratio"] == checkpointing["ours"]["seconds"] / plain["seconds"]


def test_table_has_a_line_for_each_contestant_and_says_that_torch_was_left_out(measured):
    lines = measured[0].splitlines()
    for name in ("stage 1, ours ", "stage 2, ours ", "stage 2, ours, checkpointing ", "checkpointing: "):
        assert len([line for line in lines if line.startswith(name)]) == 1
    assert "diffusers is left out: PEER_PYTHON does not name a Python with torch and diffusers" in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--repeats", "0"), ("--repeats 0", "1 or more")),
        (("--batch", "0"), ("--batch 0", "1 or more")),
        (("--steps", "0"), ("--steps 0", "1 or more")),
        (("--frames", "33"), ("--frames 33", "1 to 32")),
        (("--size", "12"), ("--size 12", "multiple of 8")),
    ],
)
def test_option_out_of_range_is_an_error_that_says_what_is_accepted(arguments, words):
    assert_bad_input(benchmarks("train_step", *arguments), *words)


def make(stage):
    """Model, learning tensors, and the inputs as tensors."""
    # Wide enough that no group norm has a group of one number, whose gradient is none.
    shape = {"latents": [2, 4, 1, 16, 16] if stage == 1 else [1, 4, 2, 16, 16], "block_out_channels": [64] * 4}
    settings = {**SMALL, **shape, "stage": stage, "motion_max_seq_length": MAX_FRAMES}
    arrays = training_networks.inputs(settings)
    return *training_networks.make_ours(settings), {name: paddle.to_tensor(array) for name, array in arrays.items()}


@pytest.mark.parametrize("stage", [1, 2])
def test_gradients_reach_all_that_learns_and_nothing_else(stage):
    model, learning, tensors = make(stage)
    for name, parameter in model.named_parameters():
        if "motion_modules." in name and name.endswith("proj_out.weight"):
            parameter.set_value(paddle.full_like(parameter, 0.01))  # as after the first step
    prediction = model(*(tensors[name] for name in training_networks.INPUTS))
    mean_squared_error(prediction, tensors["target"]).backward()
    named = dict(model.named_parameters())
    reached = {name for name, parameter in named.items() if parameter.grad is not None and parameter.grad.abs().max()}
    learns = {name for name, parameter in named.items() if not parameter.stop_gradient}
    assert len(learns) == len(learning)
    assert reached <= learns
    # The embedding is one token, to which each query gives all of its attention whatever it is.
    missing = {".".join(name.split(".")[-4:-1]) for name in learns - reached}
    assert missing == ({"0.attn2.to_q", "0.attn2.to_k", "transformer_blocks.0.norm2"} if stage == 1 else set())


def test_memory_is_counted_in_bytes_and_with_what_is_freed_again():
    kept = paddle.zeros([1024, 1024])
    assert training_networks.allocated_by(lambda: None) == 0
    assert training_networks.allocated_by(lambda: paddle.zeros([512, 1024])) == 2 * 2**20
    assert training_networks.allocated_by(lambda: (kept + 1) + paddle.zeros([1024, 1024])) == 12 * 2**20


def test_comparison_of_different_computations_is_refused():
    row = {"trained_parameters": 10, "losses": [1.0, 0.5]}
    check_same(1, row, {**row, "losses": [1.00001, 0.7]})
    with pytest.raises(RuntimeError, match="stage 1 10 parameters of ours learn, and 11"):
        check_same(1, row, {**row, "trained_parameters": 11})
    with pytest.raises(RuntimeError, match="first loss of stage 2 is 1.0 of ours, and 1.1"):
        check_same(2, row, {**row, "losses": [1.1, 0.5]})


# The trainer's log

LOG = """\
step {}/9: loss 9.9, learning rate 0.1, {} samples/s, 0:00:01 left{}
step 7/9: wrote a checkpoint
"""


def test_log_gives_the_speed_of_the_later_half_of_the_steps():
    speeds = {1: 0.1, 2: 0.1, 3: 2.0, 4: 4.0}
    text = "".join(LOG.format(step, speed, "") for step, speed in speeds.items())
    result = training_scaling.read_log(text + text)  # a launch prints lines twice
    assert result == {"samples_per_second": pytest.approx(2 / (1 / 2 + 1 / 4)), "steps": 2}


def test_log_gives_the_share_of_the_data_by_the_time_of_its_steps():
    rows = [(1, 1.0, 0.9), (2, 1.0, 0.2), (3, 3.0, 0.6)]
    text = "".join(LOG.format(step, speed, f", waiting for data {100 * share:.1f}%") for step, speed, share in rows)
    assert training_scaling.read_log(text)["data_share"] == pytest.approx((0.2 * 3 + 0.6) / 4)


def test_log_without_speeds_is_an_error():
    with pytest.raises(ContestantError, match="no samples per second"):
        training_scaling.read_log("step 7/9: loss 1.0\n")


def test_trainer_runs_with_one_process_and_with_two():
    result = training_scaling.compare({**SMALL, "side": 64, "batch": 1, "steps": 2})
    one, two = result["one"], result["two"]
    assert one["steps"] == two["steps"] == 1
    assert result["ratio"] == two["samples_per_second"] / one["samples_per_second"] > 0
    assert all(0 <= row.get("data_share", 0) <= 1 for row in (one, two))


# The peer in torch

needs_peer = pytest.mark.skipif(not PEER_PYTHON, reason="PEER_PYTHON does not name a Python with torch and diffusers")


@needs_peer
def test_peer_learns_the_same_number_of_parameters_and_has_the_same_losses(tmp_path):
    output, fields = measure(tmp_path, peer_python=PEER_PYTHON)
    for stage, each in fields["stages"].items():
        ours, peer = each["ours"], each["peers"]["diffusers"]
        assert each["ratios"] == {"diffusers": peer["seconds"] / ours["seconds"]}
        assert peer["trained_parameters"] == ours["trained_parameters"]
        assert peer["parameters"] == ours["parameters"]
        assert peer["losses"][0] == pytest.approx(ours["losses"][0], rel=1e-4)
        assert all(math.isfinite(loss) for loss in peer["losses"])
        assert peer["tensors_without_gradient"] == 0
        assert f"stage {stage}, diffusers" in output
    assert list(fields["peers"]) == list(fields["ratios"]) == ["diffusers"]


_WIRING = """
import json, sys, torch
from benchmarks.training_peer import INPUTS, inputs, make
settings = json.loads(sys.argv[1])
model, _ = make(settings)
tensors = {name: torch.from_numpy(array) for name, array in inputs(settings).items()}
def predict(**changed):
    with torch.no_grad():
        return model(*({**tensors, **changed}[name] for name in INPUTS))
plain = predict()
changes = {name: float((predict(**{name: 0.5 * tensors[name]}) - plain).abs().max()) for name in
           ("reference_latents", "pose_pixels", "image_embedding")}
print(json.dumps({"attentions": model.attentions, "left": len(model.kept), "changes": changes}))
"""


@needs_peer
@pytest.mark.parametrize("stage", [1, 2])
def test_peers_prediction_depends_on_all_that_it_is_given(stage):
    latents = [2, 4, 1, 16, 16] if stage == 1 else [1, 4, 2, 16, 16]
    settings = {**SMALL, "stage": stage, "latents": latents, "motion_max_seq_length": MAX_FRAMES}
    command = [PEER_PYTHON, "-c", _WIRING, json.dumps(settings)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    # With one layer a block: three on the way down, one in the middle, six on the way up.
    assert result["attentions"] == [10, 10]
    assert result["left"] == 0
    assert all(change > 1e-3 for change in result["changes"].values()), result
