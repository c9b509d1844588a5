"""The command that converts folders: what it prints, and what it answers to bad input."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppdiffusers_ext.weights import load_tensors
from scripts.command import run
from scripts.convert_weights import make_parser, work
from tests.pipelines.animate_anyone.test_conversion import (
    ORIGINAL_FILES,
    assert_same,
    original_tensors,
    write_original,
)
from tests.support.weight_files import Storage, torch_tensor, write_torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files():
    return original_tensors()


@pytest.fixture(scope="module")
def original(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("original")
    write_original(folder, files)
    return folder


def convert(*arguments):
    return run(make_parser(), work, [str(argument) for argument in (*arguments, "--system", "animate_anyone")])


def test_both_directions(tmp_path, capsys, original, files):
    there, back = tmp_path / "there", tmp_path / "back"
    assert convert(original, there, "--to", "paddle", "--config", original / "config.yaml") == 0
    printed = capsys.readouterr().out
    count = len(files["denoising_unet.pth"]) + len(files["motion_module.pth"])
    assert f"denoising_unet   {count:,} tensors read" in printed
    assert f"{count:,} in denoising_unet/diffusion_paddle_model.safetensors" in printed
    assert convert(there, back, "--to", "torch") == 0
    assert f"{len(files['motion_module.pth'])} in motion_module.pth" in capsys.readouterr().out
    for file in ORIGINAL_FILES:
        assert_same(back / file, files[file])


def test_dtype(tmp_path, original):
    arguments = ("--to", "paddle", "--config", original / "config.yaml", "--dtype", "bf16")
    assert convert(original, tmp_path / "half", *arguments) == 0
    path = tmp_path / "half" / "pose_guider" / "diffusion_paddle_model.safetensors"
    assert {str(tensor.dtype) for tensor in load_tensors(path).values()} == {"paddle.bfloat16"}


def test_folder_that_exists_is_refused_kept_or_replaced(tmp_path, capsys, original):
    out = tmp_path / "out"
    arguments = (original, out, "--to", "paddle", "--config", original / "config.yaml")
    assert convert(*arguments) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert convert(*arguments) == 2
    assert f"{out} exists; --overwrite replaces it, --skip-existing keeps it" in capsys.readouterr().err
    assert convert(*arguments, "--skip-existing") == 0 and f"kept {out}" in capsys.readouterr().out
    assert convert(*arguments, "--skip-existing", "--dtype", "bf16") == 2
    assert "made of something else: --dtype was None and is 'bf16'; --overwrite" in capsys.readouterr().err
    (out / "notes.txt").write_text("my own")
    assert convert(*arguments, "--overwrite", "--dtype", "bf16") == 2
    assert "cannot be replaced: notes.txt in it has no record" in capsys.readouterr().err
    (out / "notes.txt").unlink()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert convert(*arguments, "--overwrite", "--dtype", "bf16") == 0
    path = out / "pose_guider" / "diffusion_paddle_model.safetensors"
    assert {str(tensor.dtype) for tensor in load_tensors(path).values()} == {"paddle.bfloat16"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "OUT", "--to", "paddle"), "folder nowhere does not exist"),
        (("nowhere", "OUT", "--to", "torch"), "folder nowhere does not exist; a folder that save_pretrained"),
        (("ORIGINAL", "ORIGINAL", "--to", "paddle"), " exists; --overwrite replaces it, --skip-existing"),
        (("ORIGINAL", "ORIGINAL", "--to", "paddle", "--overwrite"), "it would replace IN"),
        (("ORIGINAL", "/proc/new", "--to", "paddle"), "cannot write /proc/new"),
        (("ORIGINAL", "OUT", "--to", "paddle", "--vae", "nowhere"), "folder nowhere does not exist; --vae names"),
        (("ORIGINAL", "OUT", "--to", "torch", "--vae", "x"), "--vae cannot be used with --to torch"),
        (
            ("ORIGINAL", "OUT", "--to", "torch"),
            "has no model_index.json, so that it is no pipeline",
        ),
        (("ORIGINAL", "OUT", "--to", "paddle", "--config", "nowhere.yaml"), "nowhere.yaml"),
        # The released models' configuration is taken unless another is given: these weights are not of that.
        (("ORIGINAL", "OUT", "--to", "paddle", "--dtype", "fp16", "--base-model", "OTHER"), "OTHER does not exist"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, original, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in original.rglob("*"))
    assert convert(*(str(original) if argument == "ORIGINAL" else argument for argument in arguments)) == 2
    assert os.listdir() == []
    assert sorted(path.name for path in original.rglob("*")) == before
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("error: ")] == error[-1:]
    assert message in error[-1]


def test_system_and_direction_are_asked_for():
    process = subprocess.run(
        [sys.executable, "-m", "scripts.convert_weights", "a", "b"], capture_output=True, text=True, cwd=ROOT
    )
    assert process.returncode == 2
    assert process.stderr.startswith("error: the following arguments are required: --system, --to")


def test_checkpoint_key_chooses_among_the_dicts_of_a_file(tmp_path, original, files):
    """Of a file that a trainer wrote, with the weights as trained and their mean."""
    source = tmp_path / "original"
    shutil.copytree(original, source)
    name, other = "pose_guider.pth", {key: array + 1 for key, array in files["pose_guider.pth"].items()}
    content, storages = {}, []
    for part, arrays in (("model", files[name]), ("ema", other)):
        content[part] = {}
        for key, array in arrays.items():
            storages.append(Storage("FloatStorage", str(len(storages)), array))
            strides = tuple(stride // array.itemsize for stride in storages[-1].array.strides)
            content[part][key] = torch_tensor(storages[-1], array.shape, strides)
    write_torch(source / name, content, storages)
    config = ("--to", "paddle", "--config", source / "config.yaml")
    for more, expected in ((("--checkpoint-key", "model"), files[name]), ((), other)):
        there, back = tmp_path / f"there{len(more)}", tmp_path / f"back{len(more)}"
        assert convert(source, there, *config, *more) == 0
        assert convert(there, back, "--to", "torch") == 0
        assert_same(back / name, expected)
    assert convert(source, tmp_path / "none", *config, "--checkpoint-key", "emma") == 2
    assert not (tmp_path / "none").exists()
