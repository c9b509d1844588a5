"""The trainer of EasyAnimate's video autoencoder, run for real on tiny networks: results, going on, and bad input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_video_vae
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.easy_animate.autoencoder import collate
from scripts.training import main

ROOT = Path(__file__).parents[2]
SIDE = 32
CONFIG = {
    "_class_name": "AutoencoderKLMagvit",
    "block_out_channels": [8, 8, 8, 8],
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ["SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 3],
    "up_block_types": ["SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 3],
    "slice_mag_vae": False,
    "slice_compression_vae": True,
    "mini_batch_encoder": 8,
    "mini_batch_decoder": 2,
}
COMMON = {
    "do_train": True,
    "vae_config_path": "{data}/vae.json",
    "data_json_path": "{data}/meta.json",
    "perceptual": "none",
    "video_size": SIDE,
    "size": SIDE,
    "video_len": 8,
    "max_steps": 4,
    "disc_start": 1,
    "per_device_train_batch_size": 1,
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_steps": 1,
    "device": "cpu",
    "disable_tqdm": True,
}
SHOWN = {"ema_decay": 0.5, "validation_steps": 2, "validation_clips": 1}
WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
STATE = ("discriminators.safetensors", "discriminators_optimizer.safetensors", "ema.safetensors", WEIGHTS)


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Meta file of three videos and a picture without texts, and the autoencoder's configuration."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    entries = [{"file_path": "picture.png"}]
    write_image(folder / "picture.png", rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))
    for number in range(3):
        with VideoWriter(folder / f"{number}.mp4", 8, 48, 40) as writer:
            writer.write(np.full((9, 40, 48, 3), 80 * number, np.uint8))
        entries.append({"file_path": f"{number}.mp4", "type": "video"})
    (folder / "meta.json").write_text(json.dumps(entries))
    (folder / "vae.json").write_text(json.dumps(CONFIG))
    return folder


def settings(data, folder, **others):
    folder.mkdir(parents=True, exist_ok=True)
    options = {**COMMON, "output_dir": str(folder / "out"), **others}
    options = {name: value.format(data=data) if isinstance(value, str) else value for name, value in options.items()}
    (folder / "training.yaml").write_text(yaml.safe_dump(options))
    return str(folder / "training.yaml")


def train(data, folder, code=0, **others):
    assert main("easy_animate_vae", [settings(data, folder, **others)]) == code
    return folder / "out"


def refusal(data, folder, capsys, code=2, **others):
    train(data, folder, code, **others)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    return line


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """(output folder, logs) of a run with validation and an average of weights."""
    logs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("ppdiffusers_ext.training.trainer.Trainer.log", lambda self, values, **_: logs.append(values))
        return train(data, tmp_path_factory.mktemp("run"), **SHOWN), logs


def test_results_are_folders_that_the_pipelines_load(trained):
    for folder in (trained[0], checkpoints.folder_of(trained[0], 2)):
        vae = describe_video_vae(folder / "vae").load()
        latents = vae.encode(paddle.zeros([1, 3, 8, SIDE, SIDE])).latent_dist.mean
        assert vae.decode(latents).sample.shape == [1, 3, 8, SIDE, SIDE]
    assert vae.config.slice_compression_vae and vae.config.scaling_factor == 0.1825
    assert json.loads((trained[0] / "vae" / "config.json").read_text())["scaling_factor"] not in (0.1825, None)


def test_saved_weights_are_the_average(trained):
    average = load_file(checkpoints.folder_of(trained[0], 4) / "ema.safetensors")
    average = {name: array.T if array.ndim == 2 else array for name, array in average.items()}  # as torch has it
    saved, last = (load_file(folder / WEIGHTS) for folder in (trained[0], checkpoints.folder_of(trained[0], 4)))
    assert len(average) == len(saved) > 50
    assert all(np.array_equal(saved[name], average[f"vae.{name}"]) for name in saved)
    assert any(not np.array_equal(saved[name], last[name]) for name in saved)


def test_log_and_samples_tell_how_training_goes(trained):
    folder, logs = trained
    steps = [values for values in logs if "loss" in values]
    assert len(steps) == 4
    assert "d_weight" not in steps[0] and "disc_loss" not in steps[0]
    for values in steps[1:]:
        assert {"rec_loss", "kl_loss", "nll_loss", "g_loss", "d_weight", "logits_real", "logits_fake"} <= set(values)
        assert values["d_weight"] > 0 and 0 < values["disc_loss"] < 10
    validated = [values for values in logs if "eval_psnr" in values]
    assert [0 < values["eval_psnr"] < 100 and values["eval_loss"] > 0 for values in validated] == [True, True]
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["step-0000002.png", "step-0000004.png"]
    width, height = read_image(folder / "samples" / "step-0000004.png").size
    assert width > 6 * SIDE and height > SIDE  # truth and result of three frames


def test_stopped_run_goes_on_to_the_same_bits(data, trained, tmp_path):
    shutil.copytree(checkpoints.folder_of(trained[0], 2), checkpoints.folder_of(tmp_path / "out", 2))
    again = train(data, tmp_path, **SHOWN)
    for name in STATE:
        paths = (checkpoints.folder_of(folder, 4) / name for folder in (again, trained[0]))
        assert next(paths).read_bytes() == next(paths).read_bytes(), name
    assert (again / WEIGHTS).read_bytes() == (trained[0] / WEIGHTS).read_bytes()


@pytest.mark.long
def test_two_processes_do_what_accumulated_batches_do(data, tmp_path):
    options = {"max_steps": 1, "save_steps": 1, "disc_start": 0}
    once = train(data, tmp_path / "one", gradient_accumulation_steps=2, **options)
    words = [sys.executable, "-m", "scripts.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "logs")]
    words += ["scripts/trainer_easy_animate_vae.py", settings(data, tmp_path / "two", **options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
    kept = [checkpoints.folder_of(folder, 1) for folder in (once, tmp_path / "two" / "out")]
    for name in (WEIGHTS, "discriminators.safetensors"):
        ours, theirs = (load_file(folder / name) for folder in kept)
        keys = [key for key in ours if not key.endswith(("._mean", "._variance"))]  # those are of one process
        difference = np.concatenate([np.abs(ours[key] - theirs[key]).ravel() for key in keys])
        # A first step of Adam is as long as the learning rate, 1e-4, and where gradients are nothing but rounding its
        # direction is theirs.
        assert difference.max() < 2.1e-4 and (difference > 1e-6).mean() < 1e-3


@pytest.mark.parametrize("stage, frozen", [("train_decoder_only", "encoder"), ("train_encoder_only", "decoder")])
def test_stage_trains_its_half_alone(data, trained, tmp_path, stage, frozen):
    start = trained[0] / "vae"
    result = train(data, tmp_path, ckpt_path=str(start), max_steps=1, disc_start=0, **{stage: True})
    before, after = load_file(start / "diffusion_pytorch_model.safetensors"), load_file(result / WEIGHTS)
    quant = {"encoder": "quant_conv.", "decoder": "post_quant_conv."}[frozen]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    expected = {name for name in before if not name.startswith((f"{frozen}.", quant))}
    assert changed == expected
    config = [json.loads((folder / "config.json").read_text()) for folder in (start, result / "vae")]
    assert config[1]["scaling_factor"] == 0.1825  # of what it was given; new ones have their own


def test_names_of_the_loss_in_published_weights_are_left_out_in_words(data, trained, tmp_path, capsys):
    tensors = load_file(trained[0] / WEIGHTS)
    names = {"loss.logvar": np.zeros((), np.float32), "loss.discriminator.main.0.bias": np.zeros(64, np.float32)}
    save_file({**tensors, **names}, tmp_path / "given.safetensors", {"format": "pt"})
    options = {"max_steps": 1, "disc_weight": 0.0, "save_steps": 1, "scale_lr": True, "gradient_accumulation_steps": 3}
    result = train(data, tmp_path, ckpt_path=str(tmp_path / "given.safetensors"), **options)
    printed = capsys.readouterr().err
    assert "AutoencoderKLMagvit has no use for 2 tensors (loss." in printed
    assert "learning rate 0.0003" in printed  # of the samples of a step
    assert not (checkpoints.folder_of(result, 1) / "discriminators.safetensors").exists()


def test_loss_that_is_not_finite_stops_the_run(data, tmp_path, capsys):
    line = refusal(data, tmp_path, capsys, 1, learning_rate=1.0e30, disc_weight=0.0)
    assert line.startswith("error: the loss of step 2 is ") and "--max_skipped_steps" in line


REFUSED = [
    ({"perceptual": "{data}/nowhere"}, "--only LPIPS --only LPIPS-vgg16"),
    ({"perceptual": "{data}"}, "vgg16-397923af.pth"),
    ({"train_decoder_only": True, "train_encoder_only": True}, "one of them is accepted"),
    ({"inflate": True}, "--ckpt_path is accepted beside it"),
    ({"l1_loss_weight": 0.0}, "one above 0 is accepted"),
    ({"video_len": 10}, "--video_len 10 is encoded to 3 frames of latents, which are decoded to 9 frames; "),
    ({"video_size": 36}, "a multiple of 8 from 32"),
    ({"min_crop_f": 0.9, "max_crop_f": 0.5}, "are no bounds of a square"),
    ({"vae_config_path": "assets/demo_model/vae"}, "of the class 'AutoencoderKL'; AutoencoderKLMagvit is accepted"),
    ({"vae_config_path": "{data}/meta.json"}, "a JSON object is needed"),
    ({"vae_config_path": "{data}/groups.json"}, "norm_num_groups"),
    ({"ckpt_path": "assets/demo_model/vae"}, "does not hold the weights of this AutoencoderKLMagvit"),
    ({"ckpt_path": "{data}/nowhere"}, "{data}/nowhere does not exist"),
    ({"data_json_path": "{data}/nowhere.json"}, "nowhere.json"),
    ({"validation_steps": 1, "validation_clips": 4}, "leaves none to train on"),
    ({"mini_batch_encoder": 0}, "--mini_batch_encoder 0 is too small"),
]


@pytest.mark.parametrize("options, message", REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_bad_input_is_refused_and_nothing_is_written(data, tmp_path, capsys, options, message):
    (data / "groups.json").write_text(json.dumps({**CONFIG, "norm_num_groups": 3}))
    line = refusal(data, tmp_path, capsys, **options)
    assert message.format(data=data) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"train_decoder_only": True}, "train_decoder_only was False, is True"),
        ({"kl_weight": 1.0}, "kl_weight was 1e-06, is 1.0"),
        ({"disc_start": 3}, "disc_start was 1, is 3"),
        ({"cache_compression_vae": True}, "cache_compression_vae was None, is True"),
        ({"video_size": 64}, "video_size was 32, is 64"),
    ],
)
def test_checkpoint_of_another_stage_is_refused(data, trained, tmp_path, capsys, options, told):
    folder = checkpoints.folder_of(trained[0], 2)
    line = refusal(data, tmp_path, capsys, **SHOWN, **options, resume_from_checkpoint=str(folder))
    assert "is of another run" in line and told in line


def test_samples_of_several_shapes_are_no_batch():
    def sample(frames, side):
        pixels = np.zeros((3, frames, side, side), np.float32)
        return {"pixel_values": pixels, "index": 0, "clip": "a", "failures": []}

    assert collate([sample(5, 32)] * 2)["pixel_values"].shape == (2, 3, 5, 32, 32)
    for other in (sample(1, 32), sample(5, 64)):
        with pytest.raises(InputError, match="of one batch have different shapes .*5 x 32 x 32"):
            collate([sample(5, 32), other])
