"""What a run shows and when it stops: validation, averages of weights, skipped steps, checkpoints of other runs."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from visualdl import LogReader

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.synthetic import write_clips
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.animate_anyone.run import train
from ppdiffusers_ext.training.arguments import parse_arguments
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.checksums import sha256_of
from scripts.training import kinds_of, main

ROOT = Path(__file__).parents[2]
SIDE = 72
COMMON = {
    "do_train": True,
    "base_model_path": "assets/demo_model",
    "vae_model_path": "assets/demo_model/vae",
    "image_encoder_path": "assets/demo_model/image_encoder",
    "inference_config_path": "configs/inference/demo_model.yaml",
    "train_width": SIDE,
    "train_height": SIDE,
    "sample_margin": 2,
    "n_sample_frames": 3,
    "sample_rate": 1,
    "max_steps": 2,
    "save_strategy": "steps",
    "save_steps": 1,
    "per_device_train_batch_size": 1,
    "learning_rate": 1.0e-3,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "seed": 3,
    "device": "cpu",
    "disable_tqdm": True,
    "report_to": "visualdl",
}


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_clips(folder, 0, range(3), num_frames=4, side=40)
    return folder


def settings(data, folder, **others):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "training.yaml"
    file.write_text(yaml.safe_dump({**COMMON, "meta_paths": str(data), "output_dir": str(folder / "out"), **others}))
    return [str(file)]


@pytest.fixture(scope="module")
def shown(data, tmp_path_factory):
    """(output folder, logs of a run with validation and an average)."""
    folder, logs = tmp_path_factory.mktemp("shown"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(
            "ppdiffusers_ext.training.trainer.Trainer.log", lambda self, values, **others: logs.append(dict(values))
        )
        options = {"validation_steps": 1, "validation_clips": 1, "validation_inference_steps": 1, "ema_decay": 0.5}
        train(1, *parse_arguments(settings(data, folder, **options), kinds_of("stage1")))
    return folder / "out", logs


def test_log_has_what_tells_how_training_goes(shown):
    steps = [values for values in shown[1] if "loss" in values]
    assert len(steps) == 2
    for values in steps:
        assert values["loss"] > 0 and values["learning_rate"] == 1e-3
        assert values["gradient_norm"] > 0
        assert values["interval_samples_per_second"] > 0
        assert 0.1 < values["peak_memory_gb"] < 100
        assert 0 < values["data_share"] < 1
    assert steps[0]["seconds_left"] >= 0 and steps[1]["seconds_left"] == 0


def test_held_out_clip_is_animated_and_measured(shown):
    folder, logs = shown
    numbers = [values for values in logs if "eval_psnr" in values]
    assert len(numbers) == 2
    assert numbers[0]["eval_loss"] != numbers[1]["eval_loss"]  # of the same noise, and of weights that have learnt
    for values in numbers:
        assert 0 < values["eval_loss"] < 100
        assert 0 < values["eval_psnr"] < 100
        assert -1 <= values["eval_ssim"] <= 1 and 0 < values["eval_l1"] < 1
    names = sorted(path.name for path in (folder / "samples").iterdir())
    assert names == ["step-0000001.png", "step-0000002.png"]
    picture = np.asarray(read_image(folder / "samples" / names[1]))
    cells = picture[-SIDE:, -4 * SIDE :]  # reference, pose, truth, result, below and beside their labels
    assert cells[:, SIDE : 2 * SIDE].mean() < 40 < cells[:, :SIDE].mean()  # the pose is drawn on black
    labels = picture[:-SIDE]
    assert labels.min() == 0 and labels.mean() > 200  # black letters on white


def test_saved_weights_are_the_average_and_checkpoints_have_both(shown):
    folder, _ = shown
    last = checkpoints.folder_of(folder, 2)
    saved, raw = (load_tensors(path / "pose_guider.safetensors") for path in (folder, last))
    average = load_tensors(last / "ema.safetensors")
    for name, tensor in saved.items():
        np.testing.assert_array_equal(tensor.numpy(), average[f"pose_guider.{name}"].numpy())
    assert any(not np.array_equal(saved[name].numpy(), raw[name].numpy()) for name in saved)


def test_run_with_an_average_goes_on_to_the_same_bits_and_validation_changes_nothing(data, tmp_path, shown):
    shutil.copytree(checkpoints.folder_of(shown[0], 1), checkpoints.folder_of(tmp_path / "out", 1))
    options = {"ema_decay": 0.5, "validation_steps": 5, "validation_clips": 1, "validation_inference_steps": 1}
    assert main("stage1", settings(data, tmp_path, **options)) == 0
    for name in ("denoising_unet", "reference_unet", "pose_guider"):
        assert (tmp_path / "out" / f"{name}.safetensors").read_bytes() == (
            shown[0] / f"{name}.safetensors"
        ).read_bytes()


def test_stage_2_is_validated_on_several_frames(data, tmp_path):
    options = {"validation_steps": 1, "validation_clips": 1, "validation_inference_steps": 1, "max_steps": 1}
    assert main("stage2", settings(data, tmp_path, **options, validation_metrics="disco_psnr,delta_e")) == 0
    width, height = read_image(tmp_path / "out" / "samples" / "step-0000001.png").size
    assert width > 10 * SIDE and height > SIDE
    assert read_image(tmp_path / "out" / "validation.png").size == (840, 400)  # loss, and the two that are asked for
    (log,) = (tmp_path / "out").glob("runs/*/validation/vdlrecords.*.log")
    assert set(LogReader(file_path=str(log)).get_tags()["scalar"]) == {"loss", "disco_psnr", "delta_e"}


def test_loss_that_is_not_finite_stops_the_run_and_names_step_clip_and_timestep(data, tmp_path, capsys):
    assert main("stage1", settings(data, tmp_path, learning_rate=1.0e30, max_steps=4)) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert line.startswith("error: the loss of step 2 is ")
    assert ".mp4 at timestep" in line and "--max_skipped_steps" in line
    assert checkpoints.newest_valid(tmp_path / "out") == checkpoints.folder_of(tmp_path / "out", 1)


def test_steps_that_are_not_finite_are_skipped_up_to_a_number(data, tmp_path, capsys):
    assert main("stage1", settings(data, tmp_path, learning_rate=1.0e30, max_steps=9, max_skipped_steps=2)) == 1
    said = capsys.readouterr().err
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert line.startswith("error: the gradients of step 4 are not finite, of ")
    assert "_unet." in line and "--max_skipped_steps 2 is used up" in line
    assert said.count("step skipped") == 2
    kept, later = (
        load_tensors(checkpoints.folder_of(tmp_path / "out", step) / "pose_guider.safetensors") for step in (1, 3)
    )
    assert all(np.array_equal(kept[name].numpy(), later[name].numpy()) for name in kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_steps": 1, "validation_clips": 3}, "--validation_clips 3 of 3 leaves none to train on"),
        ({"validation_steps": -1}, "--validation_steps -1 is too small; 0 to 1000000000 is accepted"),
        ({"ema_decay": 1.0}, "--ema_decay 1.0 is too large; 0 to less than 1 is accepted"),
        ({"inference_config_path": "nowhere.yaml"}, "nowhere.yaml"),
        ({"crop_scale_max": 1.5}, "--crop_scale_max 1.5 are no bounds of a random crop"),
        ({"crop_scale_min": 0.5, "crop_scale_max": 0.2}, "--crop_scale_min 0.5 and --crop_scale_max 0.2 are no"),
        ({"crop_ratio_min": 0}, "--crop_ratio_min 0"),
    ],
)
def test_bad_options_are_refused(data, tmp_path, capsys, options, message):
    assert main("stage1", settings(data, tmp_path, **options)) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert message in line


class Executes:
    def __reduce__(self):
        return open, ("executed", "w")


@pytest.mark.parametrize("name", ["optimizer.pdopt", "scheduler.pdparams", "rng_state.pth"])
def test_nothing_of_a_checkpoint_is_executed(data, tmp_path, shown, capsys, monkeypatch, name):
    folder = tmp_path / "given" / "checkpoint-1"
    shutil.copytree(checkpoints.folder_of(shown[0], 1), folder)
    (folder / name).write_bytes(pickle.dumps(Executes()))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"size": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    options = {"ema_decay": 0.5, "validation_steps": 9, "validation_clips": 1, "resume_from_checkpoint": str(folder)}
    code = main("stage1", settings(data, tmp_path, **options, max_steps=1))
    assert not (ROOT / "executed").exists()
    if name != "rng_state.pth":  # which is not read at all
        assert code == 2
        assert f"{name} is a pickle that wants to import" in capsys.readouterr().err


def test_folder_with_a_longer_runs_checkpoints_is_refused_and_can_be_overwritten(data, tmp_path, shown, capsys):
    (tmp_path / "out").mkdir()
    shutil.copytree(checkpoints.folder_of(shown[0], 2), checkpoints.folder_of(tmp_path / "out", 2))
    options = {"ema_decay": 0.5, "validation_steps": 9, "validation_clips": 1, "max_steps": 1}
    assert main("stage1", settings(data, tmp_path, **options)) == 2
    assert "is of a run of more steps than --max_steps 1; 2 or more, another" in capsys.readouterr().err
    options |= {"overwrite_output_dir": True, "validation_inference_steps": 1}
    assert main("stage1", settings(data, tmp_path, **options)) == 0
    assert checkpoints.steps_of(tmp_path / "out") == [1]
    manifest = json.loads((checkpoints.folder_of(tmp_path / "out", 1) / "manifest.json").read_text())
    assert manifest["step"] == 1
