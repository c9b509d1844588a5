"""Trainings of EasyAnimate that are killed at any moment, or whose disk is full, go on to the same bits."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.training import checkpoints
from tests.support.easy_folders import write_easy
from tests.training.easy_animate.small import settings, write_clips

ROOT = Path(__file__).parents[3]
JOBS = ("easy_animate", "easy_animate_lora", "easy_animate_vae", "cache_latents")
OPTIONS = {
    "easy_animate": {"trainable_modules": ["blocks.0."], "ema_decay": 0.5},
    "easy_animate_lora": {"rank": 4, "network_alpha": 2},
    "cache_latents": {"latent_cache": "{folder}/out/latents", "save_strategy": "no"},
}
OF_VAE = {
    "vae_config_path": "{data}/vae.json",
    "data_json_path": "{data}/clips/clips.json",
    "perceptual": "none",
    "size": 32,
    "video_size": 32,
    "video_len": 8,
    "disc_start": 1,
}
TOO_LARGE = "File too large \\(.*; the same command goes on|more than the file system or .* allows for a file while"
NOT_OF_VAE = ("video_sample", "image_sample", "token_sample", "vae_mini_batch", "train_", "motion_", "pretrained_")


@pytest.fixture(scope="module")
def stopped():
    """Function of the arguments of `tests.support.stopped`'s lines."""
    words, environment = [sys.executable, "-m", "tests.support.stopped"], {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, cwd=ROOT, env=environment, text=True, **pipes) as process:

        def run(*line):
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_easy(folder / "model", "v4")
    (folder / "clips").mkdir()
    write_clips(folder / "clips")
    vae = {"_class_name": "AutoencoderKLMagvit", "block_out_channels": [8] * 4, "norm_num_groups": 4}
    for way in ("down", "up"):
        kind = f"{way.title()}Block3D"
        vae[f"{way}_block_types"] = [f"Spatial{kind}", *[f"SpatialTemporal{kind}"] * 3]
    vae |= {"layers_per_block": 1, "slice_mag_vae": False, "slice_compression_vae": True}
    vae |= {"mini_batch_encoder": 8, "mini_batch_decoder": 2}
    (folder / "vae.json").write_text(json.dumps(vae))
    return folder


def words_of(job, folder, data):
    """The words of a job's command, whose output is in `folder / "out"`."""
    options = OF_VAE if job == "easy_animate_vae" else OPTIONS[job]
    options = {
        name: value.format(data=data, folder=folder) if isinstance(value, str) else value
        for name, value in options.items()
    }
    words = settings(folder, data / "model", data / "clips" / "clips.json", do_train=True, **options)
    if job == "easy_animate_vae":  # which has not all of the others' options
        path = Path(words[0])
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if not line.startswith(NOT_OF_VAE)))
    return words


def state_of(folder):
    """Name -> bytes of the files that a run is to have made; not of those that say when."""
    names = ("*.safetensors", "*.pdopt", "*.yaml", "config.json")
    return {str(path.relative_to(folder)): path.read_bytes() for name in names for path in folder.rglob(name)}


@pytest.mark.parametrize("job", JOBS)
def test_run_that_is_stopped_again_and_again_ends_with_the_same_bits(stopped, data, tmp_path, job):
    """Killed before a change of its folder, killed in the middle of a file, and without space for a file."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    code, told, changes = stopped(job, words_of(job, whole, data), str(whole / "out"), {})
    assert code == 0, told
    expected, rng = state_of(whole / "out"), np.random.default_rng(JOBS.index(job))
    sizes = sorted({len(content) for content in expected.values()} - {0})
    words = words_of(job, again, data)
    stops = [
        {"limit": int(rng.integers(1, sizes[-1])), "dies": True},
        {"limit": sizes[-1] - 1},
        {"change": int(rng.integers(changes))},
    ]
    for stop in stops:
        code, told, _ = stopped(job, words, str(again / "out"), stop)
        if "change" in stop or "dies" in stop:
            assert code in (-signal.SIGKILL, -signal.SIGXFSZ), (stop, told)
        else:
            assert code in (1, 2), (stop, told)
            assert [line for line in told.splitlines() if line.startswith("error: ")] == told.splitlines()[-1:], stop
            assert "Traceback" not in told and re.search(TOO_LARGE, told.splitlines()[-1]), (stop, told)
        folders = [checkpoints.folder_of(again / "out", step) for step in checkpoints.steps_of(again / "out")]
        assert {checkpoints.problem_of(folder) for folder in folders} <= {None}
    code, told, _ = stopped(job, words, str(again / "out"), {})
    assert code == 0, told
    assert state_of(again / "out") == expected
