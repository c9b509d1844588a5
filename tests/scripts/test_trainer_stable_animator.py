"""StableAnimator's training command, run for real on tiny data: it starts, goes on, and bad input is told."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
import yaml
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.stable_animator.samples import AnimationSamples
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.models.stable_animator import AnimationUNet
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.stable_animator.options import StableModelArguments
from ppdiffusers_ext.training.stable_animator.run import make_model
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.loading import read_checkpoint
from scripts.training import main
from tests.pipelines.stable_animator.test_pipeline import CONFIG
from tests.scripts.test_stable_animator import call, frames_of, pipeline
from tests.scripts.test_stable_animator import folder as stable_folder
from tests.scripts.test_trainers import ROOT, ends_of_logs, losses, wait_for

__all__ = ["pipeline", "stable_folder"]  # fixtures

COMMON = {
    "unet_model_path": "none",
    "sample_n_frames": 2,
    "sample_stride": 2,
    "dataset_width": 128,
    "dataset_height": 128,
    "do_train": True,
    "max_steps": 2,
    "save_steps": 1,
    "save_strategy": "steps",
    "per_device_train_batch_size": 1,
    "learning_rate": 1.0e-4,
    "logging_steps": 1,
    "lr_scheduler_type": "constant",
    "seed": 42,
    "device": "cpu",
    "disable_tqdm": True,
}
GOLDEN = ROOT / "tests" / "goldens" / "stable_animator" / "pipeline_basic"
NETWORKS = ("unet", "pose_net", "face_encoder")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of drawn people as videos, and their path list."""
    folder = tmp_path_factory.mktemp("animation_data")
    for index in range(2):
        clip = synthetic_clip(index, 8, 96, 96)
        for name, frames in (("images", clip.target), ("poses", clip.pose)):
            with VideoWriter(folder / "rec" / f"{index}" / f"{name}.mp4", clip.fps, 96, 96) as writer:
                writer.write(frames)
    (folder / "clips.txt").write_text("rec/0\nrec/1\n")
    return folder / "clips.txt"


def write_settings(folder, stable_folder, clips, **options):
    """The YAML file of a run whose output is in `folder / "out"`."""
    values = {
        **COMMON,
        "pretrained_model_name_or_path": str(stable_folder / "svd"),
        "faces_path": str(stable_folder),
        "face_cache": str(folder / "faces"),
        "data_path": str(clips),
        "output_dir": str(folder / "out"),
        **options,
    }
    folder.mkdir(parents=True, exist_ok=True)
    values = {name: value for name, value in values.items() if value is not None}
    (folder / "training.yaml").write_text(yaml.safe_dump(values))
    return folder / "training.yaml"


def train(folder, stable_folder, clips, **options):
    """Run it in this process, which is quicker; returns the exit code."""
    return main("stable_animator", [str(write_settings(folder, stable_folder, clips, **options))])


def weights(folder, name):
    return {key: to_array(tensor) for key, tensor in load_tensors(folder / f"{name}.safetensors").items()}


def test_run_that_goes_on_comes_to_the_same_bits(stable_folder, clips, tmp_path):
    assert train(tmp_path / "whole", stable_folder, clips) == 0
    assert train(tmp_path / "parts", stable_folder, clips, max_steps=1) == 0
    assert train(tmp_path / "parts", stable_folder, clips) == 0
    for name in NETWORKS:
        whole, parts = (weights(tmp_path / path / "out", name) for path in ("whole", "parts"))
        first = weights(tmp_path / "whole/out/checkpoint-1", f"{name}-1")
        assert whole.keys() == parts.keys()
        assert all(np.array_equal(whole[key], parts[key]) for key in whole), name
        assert any(not np.array_equal(whole[key], first[key]) for key in whole), name
    assert len(list((tmp_path / "whole" / "faces").iterdir())) == 2
    for folder, ending in (("", ""), ("checkpoint-1", "-1"), ("checkpoint-2", "-2")):
        opened = DiffusionPipeline.from_pretrained(tmp_path / "whole/out" / folder, device="cpu")
        assert type(opened) is StableAnimatorPipeline
        for name in NETWORKS:
            state, file = getattr(opened, name).state_dict(), weights(tmp_path / "whole/out" / folder, name + ending)
            assert all(np.array_equal(state[key].numpy(), file[key]) for key in file)
    names = AnimationUNet(**CONFIG["args"]["unet"]).state_dict().keys()
    assert weights(tmp_path / "whole/out", "unet").keys() == names
    manifest = json.loads((tmp_path / "whole/out/checkpoint-2/manifest.json").read_text())
    assert manifest["run"]["sizes"] == [[128, 128, 1.0]] and manifest["step"] == 2


@pytest.mark.long
def test_batches_processes_and_micro_steps_compute_the_same_and_a_killed_launch_goes_on(
    stable_folder, clips, tmp_path, monkeypatch
):
    """A batch of two, two micro-steps, and two processes that share the optimiser's state."""
    seen, logged, log = {}, [], PartsTrainer.log

    def note(trainer, logs, **others):
        logged.append(dict(logs))
        log(trainer, logs, **others)

    monkeypatch.setattr(PartsTrainer, "log", note)
    options = {"max_steps": 3, "max_grad_norm": 1.0}
    for name, more in (("one", {"per_gpu_batch_size": 2}), ("parts", {"gradient_accumulation_steps": 2})):
        assert train(tmp_path / name, stable_folder, clips, **options, **more) == 0
        seen[name] = [entry["loss"] for entry in logged if "interval_runtime" in entry and "loss" in entry]
        logged.clear()
    file = write_settings(tmp_path / "two", stable_folder, clips, **options, sharding="stage1")
    seen["two"] = losses(launch(file, tmp_path / "two"))
    assert len(seen["one"]) == 3
    np.testing.assert_allclose(seen["parts"], seen["one"], rtol=1e-4)
    np.testing.assert_allclose(seen["two"], seen["one"], rtol=1e-4)

    file = write_settings(tmp_path / "again", stable_folder, clips, **options, sharding="stage1")
    with open(tmp_path / "printed", "w") as printed:
        process = start(file, tmp_path / "again", stdout=printed, stderr=printed)
    assert wait_for(lambda: checkpoints.steps_of(tmp_path / "again/out") or process.poll() is not None, 120)
    kill_all(process)
    assert "the run goes on from" in launch(file, tmp_path / "again")
    for name in NETWORKS:
        whole, again = (weights(tmp_path / path / "out", name) for path in ("two", "again"))
        assert whole.keys() == again.keys()
        assert all(np.array_equal(whole[key], again[key]) for key in whole), name


def start(file, folder, **streams):
    """Two processes of the trainer, which end together with the one that started them."""
    words = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
    words += ["--log_dir", str(folder / "logs"), "scripts/trainer_stable_animator.py", str(file)]
    return subprocess.Popen([sys.executable, "-u", *words], cwd=ROOT, text=True, start_new_session=True, **streams)


def launch(file, folder):
    """What they print."""
    process = start(file, folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-3000:] + ends_of_logs(folder)
    return printed


def kill_all(process):
    """As a machine that fails: nobody has time for anything."""
    for group in {os.getpgid(pid) for pid in (process.pid, *psutil_children(process.pid))}:
        os.killpg(group, signal.SIGKILL)
    process.wait()


def psutil_children(pid):
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.mark.long
def test_average_of_the_weights_is_kept_and_goes_on_to_the_same_bits(stable_folder, clips, tmp_path):
    options = {"ema_decay": 0.9, "save_steps": 1}
    assert train(tmp_path / "whole", stable_folder, clips, **options) == 0
    assert train(tmp_path / "parts", stable_folder, clips, **options, max_steps=1) == 0
    assert train(tmp_path / "parts", stable_folder, clips, **options) == 0
    whole, parts = (weights(tmp_path / path / "out", "pose_net") for path in ("whole", "parts"))
    last = weights(tmp_path / "whole/out/checkpoint-2", "pose_net-2")
    assert all(np.array_equal(whole[key], parts[key]) for key in whole)
    assert any(not np.array_equal(whole[key], last[key]) for key in whole)


def test_checkpoints_in_the_originals_layout_animate_and_can_be_gone_on_from(stable_folder, clips, tmp_path, capsys):
    options = {"checkpoint_format": "pth", "mixed_precision": "fp16"}
    assert train(tmp_path, stable_folder, clips, **options, max_train_steps=1) == 0
    assert "bf16 is used instead" in capsys.readouterr().err
    folder = tmp_path / "out" / "checkpoint-1"
    files = {name: folder / f"{name}-1.pth" for name in NETWORKS}
    for name, file in files.items():
        original = json.loads((GOLDEN / f"{name}.weights.json").read_text())["tensors"]
        shapes = {key: list(tensor.shape) for key, tensor in read_checkpoint(file).tensors.items()}
        assert shapes == {key: entry["shape"] for key, entry in original.items()}
    torch, own = read_checkpoint(files["unet"]), AnimationUNet(**CONFIG["args"]["unet"])
    name = next(key for key in torch.tensors if key.endswith("attn2.to_k.weight"))
    assert (
        torch.layout == "torch" and list(torch.tensors[name].shape) == dict(own.named_parameters())[name].shape[::-1]
    )
    names = {"unet": "unet", "posenet": "pose_net", "face_encoder": "face_encoder"}
    words = [(f"--{option}_model_name_or_path", files[name]) for option, name in names.items()]
    assert call(stable_folder, tmp_path / "animated", *(word for pair in words for word in pair)) == 0
    words = [(f"--{option}_model_name_or_path", folder) for option in names]  # the folder has a file of each
    assert call(stable_folder, tmp_path / "again", *(word for pair in words for word in pair)) == 0
    assert (frames_of(tmp_path / "again") == frames_of(tmp_path / "animated")).all()
    assert type(DiffusionPipeline.from_pretrained(folder, device="cpu")) is StableAnimatorPipeline
    finetuned = {"posenet_model_finetune_path": "pose_net", "face_encoder_finetune_path": "face_encoder"}
    finetuned = {key: str(files[name]) for key, name in {**finetuned, "unet_model_finetune_path": "unet"}.items()}
    assert train(tmp_path / "more", stable_folder, clips, **finetuned, finetune_mode=True, max_steps=1) == 0
    assert train(tmp_path, stable_folder, clips, **options) == 0
    assert (tmp_path / "out" / "checkpoint-2" / "unet-2.pth").is_file() and (tmp_path / "out" / "unet.pth").is_file()


def test_validation_animates_what_is_given_and_what_is_held_out(stable_folder, clips, tmp_path, capsys):
    case = tmp_path / "case"
    clip = synthetic_clip(7, 2, 64, 64)
    write_image(case / "reference.png", clip.reference)
    for index in range(2):
        write_image(case / "poses" / f"frame_{index}.png", clip.pose[index])
        write_image(case / "truth" / f"frame_{index}.png", clip.target[index])
    options = {"validation_steps": 1, "validation_clips": 1, "validation_inference_steps": 1, "max_steps": 1}
    given = {"validation_image": "reference.png", "validation_control_folder": "poses"}
    given |= {"validation_image_folder": "truth"}
    given = {key: str(case / name) for key, name in given.items()}
    options["validation_metrics"] = "disco_ssim,sharpness"
    assert train(tmp_path, stable_folder, clips, **options, **given) == 0
    picture = read_image(tmp_path / "out" / "samples" / "step-0000001.png")
    assert picture.size[0] > 128 * (1 + 2 * 3) and picture.size[1] > 128 * 2  # and labels
    told = capsys.readouterr().err
    assert "disco_ssim " in told and "sharpness " in told and "psnr " not in told
    assert (tmp_path / "out" / "validation.png").is_file()
    (case / "truth" / "frame_1.png").unlink()
    assert train(tmp_path / "bad", stable_folder, clips, **options, **given) == 2
    assert "truth has 1 frames" in capsys.readouterr().err


def test_two_sizes_and_checkpointing(stable_folder, clips, tmp_path):
    sets = f"{clips}:128x128:1,{clips}:192x128:1"
    options = {"data_path": None, "data_sets": sets, "gradient_checkpointing": True}
    assert train(tmp_path, stable_folder, clips, **options) == 0
    assert (tmp_path / "out" / "unet.safetensors").is_file()


def test_adapters_begin_as_the_attention_to_the_picture(stable_folder, pipeline, tmp_path):
    arguments = StableModelArguments(
        pretrained_model_name_or_path=str(stable_folder / "svd"),
        unet_model_path=str(stable_folder / "unet.safetensors"),
    )
    parameters = dict(make_model(arguments, 64).unet.named_parameters())
    names = [name for name in parameters if "processor.id_to_" in name]
    assert names
    for name in names:
        layer, _, which = name.partition("processor.id_to_")
        assert np.array_equal(parameters[name].numpy(), parameters[f"{layer}to_{which}"].numpy())


def test_clips_of_which_none_can_be_read_are_told(stable_folder, clips, tmp_path, capsys):
    assert train(tmp_path, stable_folder, clips, sample_n_frames=20) == 2
    assert "none of 20 clips can be read, the last: " in capsys.readouterr().err


def test_what_goes_wrong_with_a_sample_is_told(stable_folder, clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(AnimationSamples, "__getitem__", lambda *_: 1 / 0)
    assert train(tmp_path, stable_folder, clips) == 2
    assert "sample 0 cannot be read: ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data_path": None}, "one of these ways is accepted"),
        ({"rec_data_path": "a.txt"}, "one of these ways is accepted"),
        ({"data_path": "nowhere.txt"}, "nowhere.txt do not exist"),
        ({"dataset_width": 100}, "100x128 cannot be trained on; multiples of 64 are accepted"),
        ({"data_path": None, "data_sets": "a.txt:512"}, "--data_sets has 'a.txt:512'; such as"),
        ({"vec_share": 1.0}, "--vec_share 1.0 is no part of the steps"),
        ({"sample_n_frames": 0}, "--sample_n_frames 0 is too small"),
        ({"validation_steps": 5}, "--validation_clips 4 of 2 in"),
        ({"validation_image": "a.png"}, "--validation_image and --validation_control_folder belong together"),
        ({"finetune_mode": True, "unet_model_finetune_path": "a.pth"}, "--finetune_mode lacks --posenet_model"),
        ({"sharding": "stage2"}, "--sharding stage2 has nothing to share among one process"),
        ({"noise_d_low": 65}, "--noise_d_low 65 and --noise_d_high 64 are no bounds"),
        ({"checkpoint_format": "ckpt"}, "--checkpoint_format: 'ckpt' is not known; safetensors or pth is accepted"),
        ({"mixed_precision": "fp8"}, "--mixed_precision: 'fp8' is not known; no, fp16 or bf16 is accepted"),
        ({"unet_model_finetune_path": "nowhere.pth"}, "nowhere.pth"),
        ({"faces_path": "nowhere"}, "--only antelopev2"),
    ],
)
def test_bad_input_is_told(stable_folder, clips, tmp_path, capsys, options, message):
    assert train(tmp_path, stable_folder, clips, **options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["stage2", "stage3", "stage2 offload"])
def test_sharding_that_takes_a_gpu_is_refused_on_a_cpu(stable_folder, clips, tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    assert train(tmp_path, stable_folder, clips, sharding=kind) == 2
    assert (
        f"--sharding {kind} needs a GPU: on a CPU, Paddle shares the optimiser's state alone"
        in capsys.readouterr().err
    )
