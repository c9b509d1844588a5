"""StableAnimator's training command, run for real on tiny data: it starts, goes on, and bad input is told."""

import json

import numpy as np
import pytest
import yaml

from ppdiffusers_ext.data.animation_samples import AnimationSamples
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import VideoWriter
from ppdiffusers_ext.models.stable_animator import AnimationUNet
from ppdiffusers_ext.training.stable_arguments import StableModelArguments
from ppdiffusers_ext.training.stable_run import make_model
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import to_array
from scripts.training import main
from tests.pipelines.test_stable_animator import CONFIG
from tests.scripts.test_stable_animator import folder as stable_folder
from tests.scripts.test_stable_animator import pipeline

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


def train(folder, stable_folder, clips, **options):
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
    return main("stable_animator", [str(folder / "training.yaml")])


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
    names = AnimationUNet(**CONFIG["args"]["unet"]).state_dict().keys()
    assert weights(tmp_path / "whole/out", "unet").keys() == names
    manifest = json.loads((tmp_path / "whole/out/checkpoint-2/manifest.json").read_text())
    assert manifest["run"]["sizes"] == [[128, 128, 1.0]] and manifest["step"] == 2


def test_two_sizes_and_checkpointing(stable_folder, clips, tmp_path):
    sets = f"{clips}:128x128:1,{clips}:192x128:1"
    options = {"data_path": None, "data_sets": sets, "gradient_checkpointing": True}
    assert train(tmp_path, stable_folder, clips, **options) == 0
    assert (tmp_path / "out" / "unet.safetensors").is_file()


def test_adapters_begin_as_the_attention_to_the_picture(stable_folder, pipeline, tmp_path):
    arguments = StableModelArguments(str(stable_folder / "svd"), str(stable_folder / "unet.safetensors"))
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
        ({"validation_steps": 5}, "--validation_clips 4 of the 2 in"),
        ({"validation_image": "a.png"}, "--validation_image and --validation_control_folder belong together"),
        ({"finetune_mode": True, "unet_model_finetune_path": "a.pth"}, "--finetune_mode lacks --posenet_model"),
        ({"checkpoint_format": "ckpt"}, "--checkpoint_format ckpt is not known; safetensors or pth is accepted"),
        ({"mixed_precision": "fp8"}, "--mixed_precision fp8 is not known; no, fp16 or bf16 is accepted"),
        ({"unet_model_finetune_path": "nowhere.pth"}, "nowhere.pth"),
        ({"faces_path": "nowhere"}, "--only antelopev2"),
    ],
)
def test_bad_input_is_told(stable_folder, clips, tmp_path, capsys, options, message):
    assert train(tmp_path, stable_folder, clips, **options) == 2
    assert message in capsys.readouterr().err
