"""The benchmarks' command: the contract of its JSON, and what it answers to bad input. No time is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import step
from benchmarks.__main__ import make_parser, work
from benchmarks.harness import ContestantError
from scripts.command import run

ROOT = Path(__file__).parents[2]
SMALL = ("denoising_step", "--small", "--size", "8", "--frames", "2", "--repeats", "1", "--engines", "onnx", "eager")


def benchmarks(*arguments, peer_python=None):
    """Run the command as a user does, with PEER_PYTHON as given or unset."""
    environment = {name: value for name, value in os.environ.items() if name != "PEER_PYTHON"}
    if peer_python is not None:
        environment["PEER_PYTHON"] = str(peer_python)
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the command printed, and its JSON."""
    path = tmp_path_factory.mktemp("benchmarks") / "new" / "result.json"
    process = benchmarks(*SMALL, "--json", path)
    assert process.returncode == 0, process.stderr
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]
    return process.stdout, json.loads(path.read_text())


@pytest.mark.long
def test_json_has_the_seconds_and_the_memory_of_ours_and_of_every_peer(measured):
    _, fields = measured
    assert fields["benchmark"] == "denoising_step"
    assert list(fields["peers"]) == ["ppdiffusers_UNetMotionModel"]
    assert fields["ours"]["engine"] == "onnx" and fields["ours"]["export"]["warmup_seconds"] > 0
    engines = fields["engines"]
    assert list(engines) == ["ours_eager"] and engines["ours_eager"]["export"] is None
    for row in (fields["ours"], fields["ours_with_reference"], *engines.values(), *fields["peers"].values()):
        assert 0 < row["seconds"] < 600
        assert 1e8 < row["peak_bytes"] < 1e11  # bytes, not kilobytes: Paddle alone has more than 100 MB
        assert row["versions"]["paddlepaddle"]


@pytest.mark.long
def test_ratios_are_the_peers_seconds_divided_by_ours(measured):
    _, fields = measured
    expected = {name: peer["seconds"] / fields["ours"]["seconds"] for name, peer in fields["peers"].items()}
    assert fields["ratios"] == expected


@pytest.mark.long
def test_json_has_the_settings_that_were_measured(measured):
    _, fields = measured
    assert fields["settings"]["latents"] == [1, 4, 2, 8, 8]
    assert fields["settings"]["repeats"] == len(fields["ours"]["times"]) == 1
    assert fields["settings"]["threads"] == 2


@pytest.mark.long
def test_table_has_a_line_for_each_contestant_and_says_that_torch_was_left_out(measured):
    output, fields = measured
    beginnings = [line.split()[0] for line in output.splitlines()]
    for name in ("ours", "ours_with_reference", "ours_eager", "ppdiffusers_UNetMotionModel"):
        assert beginnings.count(name) == 1
    assert "diffusers_UNetMotionModel is left out: PEER_PYTHON does not name a Python" in output
    assert "diffusers_UNetMotionModel" not in fields["peers"]


def assert_bad_input(process, *words):
    assert process.returncode == 2
    assert_told(process.stderr, *words)


def assert_told(stderr, *words):
    last = stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert all(word in last for word in words), last
    assert "Traceback" not in stderr


def test_unknown_benchmark_is_an_error_that_lists_the_known_ones():
    assert_bad_input(benchmarks("denoising"), "'denoising'", "denoising_step", "clip_memory")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("denoising_step", "--repeats", "0"), ("--repeats 0", "1 or more")),
        (("denoising_step", "--threads", "0"), ("--threads 0", "1 or more")),
        (("denoising_step", "--frames", "33"), ("--frames 33", "1 to 32")),
        (("denoising_step", "--size", "12"), ("--size 12", "multiple of 8")),
        (("clip_memory", "--frames", "24", "24"), ("--frames 24 24", "shorter")),
        (("clip_memory", "--steps", "0"), ("--steps 0", "1 or more")),
        (("denoising_step", "--engines", "tensorrt"), ("engine 'tensorrt' is not known", "openvino")),
        (("growth", "--frames", "24", "12"), ("--frames 24 12", "rising")),
        (("svd_step", "--frames", "0"), ("--frames 0", "1 to 128")),
        (("dit_step", "--layers", "3"), ("--layers 3", "an even number from 2 on")),
        (("block_cache", "--clips", "0"), ("--clips 0", "1 or more")),
        (("block_cache", "--presets", "quick"), ("preset 'quick'", "exact, balanced, fast")),
        (("hjb", "--chunk", "0"), ("--chunk 0", "1 or more")),
        (("clip", "--system", "easy_animate", "--model", "x"), ("--model", "pose2vid or stable_animator")),
        (("clip", "--side", "16"), ("--side 16", "64 or more")),
        (("clip", "--presets", "quick"), ("preset 'quick'", "exact, balanced, fast")),
        (("startup", "--engine", "tensorrt"), ("engine 'tensorrt' is not known", "openvino")),
        (("memory_plan", "--cases", "128x128"), ("--cases 128x128", "256x256x24")),
        (("memory_plan", "--rungs", "lowest"), ("memory 'lowest'", "minimal")),
        (("load_weights", "--repeats", "0"), ("--repeats 0", "1 or more")),
        (("load_weights", "--folder", "nowhere"), ("--folder nowhere", "an existing folder")),
    ],
)
def test_option_out_of_range_is_an_error_that_says_what_is_accepted(arguments, words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PEER_PYTHON", raising=False)
    assert run(make_parser(), work, list(arguments)) == 2
    assert_told(capsys.readouterr().err, *words)


@pytest.mark.long
def test_place_that_cannot_be_written_is_an_error_before_anything_is_measured(tmp_path):
    process = benchmarks(*SMALL, "--json", tmp_path)
    assert_bad_input(process, str(tmp_path), "it is a folder")
    assert "measuring" not in process.stderr


def test_peer_python_that_does_not_exist_is_an_error(tmp_path):
    process = benchmarks(*SMALL, peer_python=tmp_path / "python")
    assert_bad_input(process, f"PEER_PYTHON={tmp_path}/python does not run", "torch and diffusers is accepted")


@pytest.mark.long
def test_peer_python_without_torch_is_an_error_and_writes_nothing(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
    python.chmod(0o755)
    process = benchmarks(*SMALL, "--json", tmp_path / "result.json", peer_python=python)
    assert_bad_input(process, "No module named 'torch'", "torch and diffusers is accepted")
    assert [file.name for file in tmp_path.iterdir()] == ["python"]


@pytest.mark.long
def test_weights_load_in_every_format_and_the_files_are_removed(tmp_path):
    (tmp_path / "files").mkdir()
    arguments = ("load_weights", "--small", "--repeats", "1", "--folder", tmp_path / "files")
    process = benchmarks(*arguments, "--json", tmp_path / "result.json")
    assert process.returncode == 0, process.stderr
    assert "torch.load is left out: PEER_PYTHON does not name a Python" in process.stdout
    assert list((tmp_path / "files").iterdir()) == []
    fields = json.loads((tmp_path / "result.json").read_text())
    assert list(fields["formats"]) == ["ours, .safetensors", "ours, .pth", "ours, .pdparams"]
    assert list(fields["peers"]) == list(fields["ratios"]) == ["paddle.load"]
    rows = (*fields["formats"].values(), *fields["peers"].values())
    for key in ("seconds", "peak_bytes"):
        assert fields["ours"][key] == max(row[key] for row in fields["formats"].values())
        assert all(row[key] > 0 for row in rows)
    # Each file holds all numbers, in fp32, and little else.
    assert max(fields["settings"]["file_bytes"].values()) < 1.2 * min(fields["settings"]["file_bytes"].values())


def measure(tmp_path, *arguments):
    process = benchmarks(*arguments, "--json", tmp_path / "result.json")
    assert process.returncode == 0, process.stderr
    return process.stdout, json.loads((tmp_path / "result.json").read_text())


@pytest.mark.long
def test_clip_measures_every_preset_and_what_it_costs(tmp_path):
    small = ("clip", "--small", "--side", "80", "--frames", "2", "--steps", "3", "--engine", "onnx")
    output, fields = measure(tmp_path, *small, "--presets", "exact", "fast")
    exact, fast = fields["presets"].values()
    assert exact["psnr"] is None and 5 < fast["psnr"] < 100
    assert fields["ours"] == exact and fields["peers"] == {}
    assert "exact: the same frames" in output and "fast: PSNR" in output


@pytest.mark.long
def test_growth_measures_every_length_and_how_straight_they_lie(tmp_path):
    output, fields = measure(tmp_path, "growth", "--frames", "2", "3", "--steps", "1")
    assert list(fields["frames"]) == ["2", "3"]
    assert [row["frames_denoised"] for row in fields["frames"].values()] == [2, 3]
    assert 0 <= fields["deviation"] < 1e-6  # a line through two points
    rows = fields["frames"]
    assert fields["growth"] == rows["3"]["peak_bytes"] / rows["2"]["peak_bytes"] - 1
    assert "deviation from a straight line" in output


@pytest.mark.long
def test_startup_measures_cold_and_warm(tmp_path):
    output, fields = measure(tmp_path, "startup", "--small", "--engine", "onnx")
    assert list(fields["peers"]) == ["cold", "eager"]
    assert 0 < fields["ours"]["seconds"] < fields["peers"]["cold"]["seconds"]
    assert "more than reading the weights once" in output


@pytest.mark.long
def test_memory_plan_predicts_what_is_measured(tmp_path):
    _, fields = measure(tmp_path, "memory_plan", "--cases", "128x128x8", "--rungs", "high", "low")
    assert list(fields["cases"]) == list(fields["ratios"]) == ["128x128x8 high", "128x128x8 low"]
    assert all(0.85 < ratio < 1.15 for ratio in fields["ratios"].values()), fields["ratios"]


@pytest.mark.long
def test_preprocess_compares_ways_that_draw_the_same(tmp_path):
    output, fields = measure(tmp_path, "preprocess", "--small", "--frames", "4", "--copies", "2")
    assert list(fields["peers"]) == ["originals"] and fields["drawing_ratio"] > 0
    stages = ["decode", "letterbox", "crop", "simcc", "draw", "encode"]
    assert list(fields["frames_per_second"]) == stages and all(fields["frames_per_second"].values())
    assert fields["ours"]["digest"] == fields["peers"]["originals"]["digest"]
    assert abs(fields["growth"]) < 1 and "ten times the frames" in output
    assert fields["workers_ratio"] > 0 and "two workers are" in output
    assert fields["estimation"]["milliseconds"] > 0 and abs(fields["estimation"]["growth"]) < 0.1
    assert "ms a frame (onnxruntime" in output


@pytest.mark.long
def test_dit_step_measures_the_transformer_as_a_pipeline_calls_it(tmp_path):
    small = ("dit_step", "--small", "--layers", "4", "--repeats", "1", "--engines", "onnx", "eager")
    _, fields = measure(tmp_path, *small)
    assert fields["ours"]["engine"] == "onnx" and list(fields["engines"]) == ["ours_eager"]
    assert fields["settings"]["network"]["num_layers"] == 4


def test_networks_of_the_same_weights_have_to_agree_where_two_of_them_compute_in_fp32(tmp_path):
    for name, value in (("ours", 1.0), ("near", 1.0005), ("far", 1.002)):
        np.save(tmp_path / f"{name}.npy", np.array([0.5, value], np.float32))
    for names in ([], ["ours"], ["ours", "near"]):
        step._check_same(names, tmp_path)
    with pytest.raises(ContestantError, match="far differs from ours by 0.002"):
        step._check_same(["ours", "near", "far"], tmp_path)


@pytest.mark.long
def test_block_cache_trains_a_network_and_says_what_presets_cost(tmp_path):
    small = ("block_cache", "--training", "2", "--clips", "1", "--steps", "3", "--presets", "exact", "fast")
    _, fields = measure(tmp_path, *small)
    exact, fast = fields["presets"].values()
    assert fields["training"]["loss"] > 0 and exact["calls"] == 6
    assert exact["whole"] == 1 >= fast["whole"] >= 4 / 6 and fast["psnr"] > 10


@pytest.mark.long
def test_svd_step_measures_both_calls_of_a_window(tmp_path):
    small = ("svd_step", "--small", "--size", "8", "--frames", "2", "--repeats", "1", "--engines", "eager")
    output, fields = measure(tmp_path, *small)
    assert fields["settings"]["sample"] == [1, 2, 8, 8, 8] and fields["ours"]["engine"] == "eager"
    assert fields["ours"]["seconds"] > 0 < fields["ours_unconditional"]["seconds"]
    assert "diffusers_UNetSpatioTemporalConditionModel is left out" in output


@pytest.mark.long
def test_hjb_compares_an_iteration_with_decoding_and_going_back(tmp_path):
    small = ("hjb", "--small", "--side", "64", "--frames", "2", "--chunk", "2", "--repeats", "1")
    output, fields = measure(tmp_path, *small)
    assert list(fields["peers"]) == list(fields["memory_ratios"]) == ["decode_and_back", "decode_and_back_kept"]
    assert "of the time and" in output


@pytest.mark.long
def test_clip_measures_stable_animator_too(tmp_path):
    small = ("clip", "--system", "stable_animator", "--small", "--side", "64", "--frames", "2", "--steps", "2")
    _, fields = measure(tmp_path, *small, "--engine", "eager", "--presets", "exact", "fast")
    exact, fast = fields["presets"].values()
    assert exact["psnr"] is None and 5 < fast["psnr"] < 100 and fields["settings"]["system"] == "stable_animator"


@pytest.mark.long
def test_clip_measures_easy_animate_too(tmp_path):
    small = ("clip", "--system", "easy_animate", "--small", "--side", "64", "--frames", "16", "--steps", "10")
    _, fields = measure(tmp_path, *small, "--engine", "eager", "--presets", "exact", "fast")
    exact, fast = fields["presets"].values()
    assert exact["psnr"] is None and 5 < fast["psnr"] < 100 and fields["settings"]["system"] == "easy_animate"


def test_clip_refuses_frames_and_sides_that_easy_animate_does_not_take():
    assert_bad_input(benchmarks("clip", "--system", "easy_animate", "--frames", "9"), "multiples of 8", "--frames")


@pytest.mark.long
def test_memory_plan_of_stable_animator_predicts_what_is_measured(tmp_path):
    arguments = ("memory_plan", "--system", "stable_animator", "--cases", "128x128x8", "--rungs", "low")
    _, fields = measure(tmp_path, *arguments, "--optimize-face")
    (row,) = fields["cases"].values()
    assert row["stage"] == "optimisation of faces" and 0.85 < fields["ratios"]["128x128x8 low"] < 1.15


@pytest.mark.long
def test_training_clips_are_read_beside_decord(tmp_path):
    process = benchmarks("training_clips", "--small", "--rounds", "1", "--json", tmp_path / "a.json")
    assert process.returncode == 0, process.stderr
    fields = json.loads((tmp_path / "a.json").read_text())
    assert set(fields["peers"]) == {"decord, few keyframes", "ours, many keyframes", "decord, many keyframes"}
    assert fields["ours"]["seconds"] > 0 and fields["ratios"].keys() == fields["peers"].keys()
