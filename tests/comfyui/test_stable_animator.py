"""StableAnimator's nodes with small networks of random weights, and the optimisation of faces."""

import dataclasses

import numpy as np
import pytest
import yaml

from ppdiffusers_ext import packaged
from ppdiffusers_ext.comfyui.orders import Model
from ppdiffusers_ext.comfyui.stable_animator import _load
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.stable_animator.options import CONFIG, DEMO, StableAnimationConfig
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from tests.comfyui.test_animate_anyone import call
from tests.scripts.test_stable_animator import folder, pipeline

__all__ = ["folder", "pipeline"]  # fixtures

SMALL = {"width": 128, "height": 64, "num_inference_steps": 1, "last_step": 0, "iterations": 1}


def image(path):
    return np.stack(list(open_frames(path))).astype(np.float32) / 255


@pytest.fixture
def model(host, nodes, folder):
    names = {name: f"{folder}/{name}.safetensors" for name in ("unet", "pose_net", "face_encoder")}
    place = host.folder / "models" / "StableAnimator"
    place.mkdir()
    refinement = {"recognizer": f"{folder}/recognizer.pth"}
    options = {"svd": f"{folder}/svd", "faces": str(folder), **names, "refinement": refinement}
    (place / "small.yaml").write_text(yaml.safe_dump({**options, "optimize_face": False}))
    return call(nodes, "PPDX_LoadStableAnimator", model="small.yaml")[0]


def test_picture_and_skeletons_become_frames_and_faces_are_optimised(host, nodes, model, folder):
    given = {"model": model, "reference_image": image(folder / "me.png"), "pose_images": image(folder / "poses")}
    frames, _, fps, report = call(nodes, "PPDX_StableAnimator", **given, **SMALL)
    assert frames.shape == (3, 64, 128, 3) and fps == 24.0 and report is None and frames.numpy().std() > 0.01
    masks = {"face_mask": image(folder / "mask.png")[..., 0], "frame_masks": image(folder / "masks")[..., 0]}
    refined = call(nodes, "PPDX_StableAnimator", **given, **SMALL, **masks, optimize_face="true")[0]
    assert refined.shape == frames.shape and np.abs(refined.numpy() - frames.numpy()).max() > 1 / 255


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"width": 100}, "multiples of 64"),
        ({"face_mask": np.ones((1, 128, 128), np.float32)}, "optimize_face true is accepted with it"),
        ({"optimize_face": "true", "face_mask": np.ones((2, 8, 8), np.float32)}, "face_mask has 2 masks; one"),
        ({"optimize_face": "true", "face_mask": np.full((1, 8, 8), np.nan, np.float32)}, "face_mask has numbers"),
        ({"optimize_face": "true", "face_mask": np.ones((1, 8, 8), np.float32)}, "picture_mask.png"),
        ({"optimize_face": "true", "frame_masks": np.ones((1, 64, 128), np.float32)}, "masks"),
        ({"optimize_face": "true", "last_step": 9}, "steps 0 to 9 cannot be refined, of 1"),
        ({"context_overlap": 16}, "context_overlap is 16"),
        ({"vae_device": "tpu"}, "vae_device 'tpu' is not known"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused_in_words(host, nodes, model, folder, given, told):
    rest = {"model": model, "reference_image": image(folder / "me.png"), "pose_images": image(folder / "poses")}
    with pytest.raises(InputError) as error:
        call(nodes, "PPDX_StableAnimator", **{**rest, **SMALL, **given})
    assert told in str(error.value) and "/tmp/ppdiffusers_ext-" not in str(error.value)


def test_weights_beside_the_project_are_found_the_recogniser_as_well(tmp_path, monkeypatch, host):
    (tmp_path / "weights").mkdir()
    for name in ("unet.pth", "recognizer.pth"):
        (tmp_path / "weights" / name).touch()
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    (place := host.folder / "models" / "StableAnimator").mkdir()
    of = {"svd": "weights/svd", "unet": "weights/unet.pth", "pose_net": "p.pth", "face_encoder": "f.pth"}
    of["refinement"] = {"recognizer": "weights/recognizer.pth"}
    (place / "mine.yaml").write_text(yaml.safe_dump(of))
    config = _load(Model("stable_animator", "mine.yaml"), {}, {})
    assert (config.unet, config.pose_net) == (str(tmp_path / "weights" / "unet.pth"), "p.pth")
    assert config.refinement.recognizer == str(tmp_path / "weights" / "recognizer.pth")


def test_small_model_is_taken_where_one_ships_and_there_are_no_released_weights(host, monkeypatch):
    monkeypatch.chdir(host.folder)
    with pytest.raises(InputError, match="model 'demo' is not known; released is accepted"):
        _load(Model("stable_animator", "demo"), {}, {})
    ships = dataclasses.replace(SYSTEMS["stable_animator"], demo_file=DEMO)
    monkeypatch.setitem(SYSTEMS, "stable_animator", ships)
    for name in ("auto", "demo"):
        config = _load(Model("stable_animator", name), {"optimize_face": True}, {"iterations": 1})
        assert (config.unet, config.width) == (StableAnimationConfig.load(DEMO).unet, 128)
        assert config.refinement.recognizer == config.face_recognizer and config.refinement.iterations == 1
    assert _load(Model("stable_animator", "released"), {}, {}).unet == StableAnimationConfig.load(CONFIG).unet
    with pytest.raises(InputError, match="StableAnimator takes no LoRA"):
        _load(Model("stable_animator", "demo", loras=(("a", 1.0),)), {}, {})
    with pytest.raises(InputError, match="model 'x' is not known; auto, released or demo is accepted"):
        _load(Model("stable_animator", "x"), {}, {})
