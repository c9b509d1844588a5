"""The example commands and the training configurations: what they name is there, and is accepted."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
from ppdiffusers_ext.data.synthetic import write_clips
from ppdiffusers_ext.pipelines.published import PUBLISHED
from ppdiffusers_ext.pipelines.stable_animator.conversion import to_torch
from ppdiffusers_ext.training.arguments import parse_arguments
from ppdiffusers_ext.training.parser import parse_options, read_options
from ppdiffusers_ext.training.trainers import TRAINERS
from tests.scripts.test_stable_animator import folder as stable_folder
from tests.scripts.test_stable_animator import pipeline

__all__ = ["pipeline", "stable_folder"]  # fixtures

ROOT = Path(__file__).parents[1]
COMMANDS = sorted((ROOT / "examples").rglob("*.sh"))
# Of trainers; there are others beside them, of what they train.
CONFIGURATIONS = [p for p in sorted((ROOT / "configs/training").rglob("*.yaml")) if "do_train" in p.read_text()]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_command_names_what_is_there_and_its_readme_names_it(path):
    text = path.read_text()
    named = re.findall(r"(?:scripts|configs)/[\w./]+", text)
    named += [f"scripts/{module}.py" for module in re.findall(r"-m scripts\.(\w+)", text)]
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name
    assert path.name in (path.parent / "README.md").read_text()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_command_passes_on_further_options(path, tmp_path):
    words = ["driving.mp4", "me.png"] if path.stem == "command_skeletons" else []
    run = subprocess.run(
        ["sh", str(path), *words, "--further", "two words"],
        env={**os.environ, "PYTHON": "echo"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.endswith("--further two words") for line in run.stdout.splitlines())


@pytest.mark.parametrize("path", [path for path in COMMANDS if "scripts.launch" in path.read_text()])
def test_training_command_says_in_a_line_that_there_is_no_gpu_and_what_to_do(path):
    environment = {key: value for key, value in os.environ.items() if key not in ("LAUNCH", "GPUS")}
    run = subprocess.run(
        ["sh", str(path)],
        cwd=ROOT,
        env={**environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith(
        "error: --gpus 0,1,2,3 needs a Paddle with CUDA, and this one is for CPUs; --nproc_per_node 2"
    )


@pytest.mark.long
def test_stage_1_trains_on_two_processes_of_a_cpu(tmp_path):
    write_clips(tmp_path / "data", 0, range(6), 12, 40)
    small = {"base_model_path": "assets/demo_model", "vae_model_path": "assets/demo_model/vae"}
    small |= {"image_encoder_path": "assets/demo_model/image_encoder", "sample_margin": 4}
    small |= {"inference_config_path": "configs/inference/demo_model.yaml", "train_width": 64, "train_height": 64}
    small |= {"denoising_unet_base_model_path": "", "reference_unet_path": "", "validation_inference_steps": 1}
    small |= {"meta_paths": tmp_path / "data", "output_dir": tmp_path / "out", "max_steps": 1}
    run = subprocess.run(
        ["sh", "examples/animate_anyone/train_stage1.sh", *(f"--{name}={value}" for name, value in small.items())],
        cwd=ROOT,
        env={**os.environ, "LAUNCH": f"--nproc_per_node 2 --log_dir {tmp_path}/logs", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / "out" / "denoising_unet.safetensors").is_file()


def trainer_of(path):
    """The trainer of a configuration: the longest name whose words are in its path, first of those with the file's."""
    words, of_file = set(re.split("[/_.]", path.relative_to(ROOT).as_posix())), set(path.stem.split("_"))
    named = [name for name in TRAINERS if set(name.split("_")) <= words]
    return max(named, key=lambda name: (bool(of_file & set(name.split("_"))), len(name)))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_training_configuration_is_accepted(path, tmp_path):
    values = yaml.safe_load(path.read_text())
    # One process has nothing to shard, and this one may have no GPU.
    alone = {key: value for key, value in values.items() if key != "sharding"} | {"output_dir": str(tmp_path)}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(alone))
    kinds = TRAINERS[trainer_of(path)].kinds
    given = parse_arguments([str(tmp_path / "alone.yaml")], kinds)
    assert given[2].do_train
    of_field = {item.name: part for part in given for item in dataclasses.fields(part)}
    for name in ("base_model_path", "train_width", "dataset_width", "sample_n_frames", "max_steps"):
        if name in values:
            assert getattr(of_field[name], name) == values[name]


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_weights_that_training_starts_from_are_what_the_downloader_lays_out(name):
    values = yaml.safe_load((ROOT / "configs" / "training" / f"{name}.yaml").read_text())
    laid_out = {f"./pretrained_weights/{entry.folder}/{file.path}" for entry in PUBLISHED for file in entry.files}
    files = [value for value in values.values() if str(value).endswith((".safetensors", ".ckpt"))]
    files = [value for value in files if value.startswith("./pretrained_weights")]
    assert files
    assert set(files) <= laid_out


@pytest.mark.long
def test_commands_of_stable_animator_run_on_a_case_of_the_originals_layout(tmp_path, stable_folder, pipeline):
    """Small networks in the released files' places, and the options of the released cases but for size and steps."""
    weights, case = tmp_path / "weights", tmp_path / "inference" / "case-1"
    pipeline.save_pretrained(str(tmp_path / "saved"))
    to_torch(tmp_path / "saved", weights)
    (weights / "Animation" / "glintr100_torch.pth").symlink_to(stable_folder / "recognizer.pth")
    (weights / "models").symlink_to(stable_folder / "models")
    case.mkdir(parents=True)
    for source, target in (("poses", "poses"), ("masks", "faces"), ("me.png", "reference.png")):
        (case / target).symlink_to(stable_folder / source)
    small = ("--width=128", "--height=64", "--num_inference_steps=2", "--end_refine_step=1")
    for command, result in (
        ("command_basic_infer.sh", "animated_images.mp4"),
        ("command_op_infer.sh", "face_optimization.json"),
    ):
        places = {"CASE": case, "WEIGHTS": weights, "OUTPUT": tmp_path / command, "PYTHON": sys.executable}
        process = subprocess.run(
            ["sh", str(ROOT / "examples" / "stable_animator" / command), *small],
            cwd=ROOT,
            env={**os.environ, **{name: str(place) for name, place in places.items()}},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        assert (tmp_path / command / result).is_file()


def options_of(command, system="stable_animator", trainer=None, **places):
    """What an example command gives to the trainer."""
    process = subprocess.run(
        ["sh", str(ROOT / "examples" / system / command)],
        env={**os.environ, **places, "PYTHON": "echo"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = process.stdout.split()
    return words[words.index(f"scripts/trainer_{trainer or system}.py") + 1 :]


@pytest.mark.parametrize("stage", ["vae_v2", "vae_v3", "vae_v3_decoder", "vae_v4"])
def test_training_command_of_the_video_autoencoder_is_understood(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    places = {"OUTPUT": str(tmp_path), "DATA": "data", "CONFIG": f"configs/training/easy_animate/{stage}.yaml"}
    words = options_of("train_vae.sh", "easy_animate", "easy_animate_vae", **places)
    model, data, _ = parse_arguments([*words, "--device=cpu"], TRAINERS["easy_animate_vae"].kinds)
    assert data.data_json_path == "data/json_of_internal_datasets.json" and data.data_root == "data"
    assert model.cache_compression_vae == (True if stage == "vae_v4" else None)


@pytest.mark.parametrize("command", ["command_train.sh", "command_train_single.sh", "command_finetune.sh"])
def test_training_commands_are_understood(command, tmp_path):
    kinds = TRAINERS["stable_animator"].kinds
    words = options_of(command, OUTPUT=str(tmp_path), DATA="data")
    model, data, training = parse_arguments([*words, "--device=cpu"], kinds)
    assert training.do_train and training.learning_rate == 1e-5 and training.max_grad_norm == 0
    assert (training.save_steps, training.save_total_limit, training.dataloader_num_workers) == (2000, 2, 8)
    sizes = [[512, 512], [576, 1024]] if command != "command_train_single.sh" else [[512, 512]]
    assert [[width, height] for _, width, height, _ in data.named_sets()] == sizes
    assert model.gradient_checkpointing and model.finetune_mode == (command == "command_finetune.sh")
    assert data.validation_image == "validation/reference.png"


def test_command_of_lora_has_the_options_of_its_configuration(tmp_path):
    kinds = TRAINERS["easy_animate_lora"].kinds
    words = options_of("train_lora.sh", "easy_animate", "easy_animate_lora", OUTPUT=str(tmp_path))
    given, told = read_options(words, kinds), read_options(["configs/training/easy_animate_lora/v4.yaml"], kinds)
    # Paths, and what is said in another way: epochs for steps, and words that the model's version decides.
    others = {"output_dir", "pretrained_model_name_or_path", "train_data_dir", "train_data_meta", "not_sigma_loss"}
    others |= {"num_train_epochs", "max_steps"}
    assert {name for name in given if given[name] != told[name]} <= others
    assert (given["rank"], given["network_alpha"], given["learning_rate"]) == (128, 64, 1e-4)


def test_originals_command_for_v4_is_understood_and_agrees_with_its_configuration(tmp_path):
    kinds = TRAINERS["easy_animate"].kinds
    words = options_of("train.sh", "easy_animate", OUTPUT=str(tmp_path))
    command = parse_options(words, kinds)
    assert command[0].trained == ["."] and command[2].bf16 and command[2].num_train_epochs == 100
    configuration = ROOT / "configs" / "training" / "easy_animate" / "v4.yaml"
    configured = parse_options([str(configuration), f"--output_dir={tmp_path}", "--sharding="], kinds)
    of_run = {"num_train_epochs", "not_sigma_loss", "train_data_dir", "train_data_meta", "sharding"}
    of_run |= {"pretrained_model_name_or_path"}
    given = {word.partition("=")[0] for word in words}
    for ours, theirs in zip(command, configured):
        for item in dataclasses.fields(ours):
            if item.name not in of_run and f"--{item.name}" in given:
                assert getattr(ours, item.name) == getattr(theirs, item.name), item.name


@pytest.mark.long
def test_training_command_runs_on_the_originals_layout(tmp_path, stable_folder):
    weights, data, case = tmp_path / "weights", tmp_path / "animation_data", tmp_path / "validation"
    weights.mkdir()
    (weights / "stable-video-diffusion-img2vid-xt").symlink_to(stable_folder / "svd")
    (weights / "models").symlink_to(stable_folder / "models")
    write_animation_clips(data / "rec", 0, range(2), 4, 64)
    (data / "video_path.txt").write_text("rec/00000\nrec/00001\n")
    (data / "rec" / "00001" / "face.npy").unlink()  # one is known, one looked for
    case.mkdir()
    (case / "poses").symlink_to(data / "rec" / "00000" / "poses")
    (case / "ground_truth").symlink_to(data / "rec" / "00000" / "images")
    (case / "reference.png").symlink_to(data / "rec" / "00000" / "images" / "frame_0.png")
    places = {
        "WEIGHTS": weights,
        "DATA": data,
        "VALIDATION": case,
        "OUTPUT": tmp_path / "out",
        "PYTHON": sys.executable,
    }
    small = ("--device=cpu", "--unet_model_path=none", "--dataset_width=64", "--dataset_height=64", "--num_workers=0")
    small += ("--sample_n_frames=2", "--max_train_steps=1", "--validation_steps=1", "--validation_inference_steps=1")
    process = subprocess.run(
        ["sh", str(ROOT / "examples" / "stable_animator" / "command_train_single.sh"), *small],
        cwd=ROOT,
        env={
            **os.environ,
            **{name: str(place) for name, place in places.items()},
            "LAUNCH": f"--nproc_per_node 1 --backend gloo --log_dir {tmp_path}/logs",
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert (tmp_path / "out" / "unet.safetensors").is_file()
    assert (tmp_path / "out" / "samples" / "step-0000001.png").is_file()
    assert len(list((data / "face_embeddings").glob("*.npy"))) == 2  # of a clip, and of the reference
