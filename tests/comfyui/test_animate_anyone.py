"""From a picture and a video to an animation, by the nodes and the demo model, as a workflow has them."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.comfyui.orders import Report
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.animate_anyone import run as pose2vid
from tests.support import comfy_host

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2, "guidance_scale": 1.0, "fps": 8.0}


def image(path, count=None):
    return np.stack(list(open_frames(path))[:count]).astype(np.float32) / 255


REFERENCE, POSES = image("assets/reference.png"), image("assets/pose.mp4", 3)


def call(nodes, name, **given):
    """Run a node with its defaults and what is given."""
    values = {key: of["default"] for key, (_, of, _) in comfy_host.inputs_of(nodes[name]).items() if "default" in of}
    given = {key: comfy_host.from_numpy(x) if isinstance(x, np.ndarray) else x for key, x in given.items()}
    return getattr(nodes[name](), nodes[name].FUNCTION)(**{**values, **given})


@pytest.fixture
def model(nodes):
    return call(nodes, "PPDX_LoadAnimateAnyone", model="demo")[0]


def test_picture_video_and_sound_become_frames_sound_and_a_report(host, nodes, model):
    skeletons, joints = call(
        nodes, "PPDX_EstimatePoses", images=REFERENCE.repeat(2, axis=0), reference_image=REFERENCE
    )
    assert skeletons.shape == (2, *REFERENCE.shape[1:]) and 0 < skeletons.numpy().mean() < 0.2
    assert len(joints) == 2 and len(joints[0]["people"][0]["pose_keypoints_2d"]) == 54
    json.dumps(joints)
    sound = {"waveform": comfy_host.from_numpy(np.ones((1, 2, 9000), np.float32)), "sample_rate": 8000}
    given = {"model": model, "reference_image": REFERENCE, "audio": sound, "report": True, **SMALL}
    given["keypoints"] = joints
    frames, audio, fps, report = call(nodes, "PPDX_AnimateAnyone", pose_images=skeletons.numpy(), **given)
    assert frames.shape == (2, 64, 64, 3) and frames.dtype == "float32" and frames.numpy().std() > 0.05
    assert audio["waveform"].shape == (1, 2, 2000) and fps == 8.0
    assert "is a drawing" not in report.values["reasons"].get("poses", "")  # joints are known
    assert report.values["num_frames"] == 2 and report.page.startswith("<!doctype html>")
    assert str(host.folder.parent) not in report.page
    told = call(nodes, "PPDX_SaveReport", report=report, filename_prefix="of me/clip")
    assert told["ui"]["text"] == [told["result"][0]] and json.loads(told["result"][1]) == report.values
    written = sorted(path.name for path in (host.folder / "output" / "of me").iterdir())
    assert written == ["clip_00001.html", "clip_00001.json"]
    values = [value for value, _ in host.progress]
    assert values[-1] == 1000 and len(set(values)) > 4


def test_model_stays_and_an_interruption_ends_a_run_within_a_step(host, nodes, model, monkeypatch):
    opened = []
    open_run = pose2vid.Pose2VideoPipeline._assemble
    monkeypatch.setattr(
        pose2vid.Pose2VideoPipeline, "_assemble", lambda *given, **more: opened.append(1) or open_run(*given, **more)
    )
    given = {"model": model, "reference_image": REFERENCE, "pose_images": POSES, **SMALL, "width": 72}
    host.interrupts_after = 4
    with pytest.raises(comfy_host.Interrupted):
        call(nodes, "PPDX_AnimateAnyone", **given)
    assert host.checks == 5
    host.interrupts_after = None
    frames, audio, *_ = call(nodes, "PPDX_AnimateAnyone", **given)
    assert len(opened) <= 1 and frames.shape == (3, 64, 72, 3)
    assert audio["waveform"].shape == (1, 1, 1)  # of silence


def test_faces_are_masked_and_pictures_without_one_are_white(host, nodes):
    masks, without = call(nodes, "PPDX_FaceMask", images=REFERENCE)
    assert masks.shape == REFERENCE.shape[:3] and without == 0 and 0.001 < masks.numpy().mean() < 0.1
    masks, without = call(nodes, "PPDX_FaceMask", images=np.zeros((2, 64, 48, 3), np.float32))
    assert without == 2 and masks.numpy().min() == 1.0


CANVAS = {"canvas_width": POSES.shape[2], "canvas_height": POSES.shape[1]}
NAN = POSES.copy()
NAN[2, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"reference_image": REFERENCE.repeat(2, axis=0)}, "reference_image has 2 pictures; one is accepted"),
        ({"reference_image": POSES[:0]}, "reference_image has the shape (0, "),
        ({"pose_images": POSES[:0]}, "pose_images has the shape (0, "),
        ({"pose_images": POSES[0]}, "pose_images has the shape ("),
        ({"pose_images": NAN}, "pose_images has numbers that are not finite"),
        ({"pose_images": POSES[..., :2]}, "pose_images has the shape ("),
        ({"model": None}, "model is None; a model of the type PPDX_ANIMATE_ANYONE"),
        ({"keypoints": []}, "keypoints are 0 frames, pose_images has 3"),
        ({"keypoints": "poses.json"}, "keypoints are 'poses.json', pose_images has 3"),
        ({"keypoints": [5, 5, 5]}, "keypoints have 5; keypoints of the node Estimate Poses"),
        ({"keypoints": [{"people": [5]}] * 3}, "keypoints have {'people': [5]}"),
        ({"keypoints": [{"people": [], "canvas_width": 9, "canvas_height": 9}] * 3}, "on a canvas of (9, 9) pixels"),
        ({"keypoints": [{"people": [{"pose_keypoints_2d": [1.0]}], **CANVAS}] * 3}, "keypoints of a body are [1.0]"),
        (
            {"keypoints": [{"people": [{"pose_keypoints_2d": [float("nan")] * 54}], **CANVAS}] * 3},
            "keypoints of a body are [nan,",
        ),
        ({"audio": "song.mp3"}, "audio is 'str'"),
        ({"width": 0}, "width is 0; a whole number from 64 to 8192"),
        ({"width": 1e9}, "width is 1000000000.0"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"context_overlap": 24}, "context_overlap is 24; a number below context_frames, 24"),
        ({"scheduler": "Eulr"}, "Eulr"),
        ({"guidance_interval": "0.8 0.2"}, "guidance interval of [0.8, 0.2]"),
        ({"guidance_interval": "much"}, "guidance interval of ['much']"),
        ({"seed": -2}, "seed is -2"),
        ({"vae_tile_size": 5}, "vae_tile_size is 5"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused_in_words(host, nodes, model, given, told):
    with pytest.raises(InputError) as error:
        call(
            nodes,
            "PPDX_AnimateAnyone",
            **{"model": model, "reference_image": REFERENCE, "pose_images": POSES, **given},
        )
    assert told in str(error.value) and "/tmp" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("PPDX_LoadAnimateAnyone", {"model": "../demo"}, "model '../demo' is not known; auto, released or demo"),
        ("PPDX_LoadAnimateAnyone", {"model": None}, "model None is not known"),
        ("PPDX_LoadAnimateAnyone", {"device": "tpu"}, "device 'tpu' is not known"),
        ("PPDX_LoadAnimateAnyone", {"memory": "all"}, "memory 'all' is not known"),
        ("PPDX_LoadStableAnimator", {"model": "demo"}, "model 'demo' is not known; released is accepted"),
        ("PPDX_EstimatePoses", {"images": POSES[:0]}, "images has the shape (0, "),
        ("PPDX_EstimatePoses", {"images": POSES, "style": "manga"}, "style 'manga' is not known"),
        ("PPDX_EstimatePoses", {"images": POSES, "person": "tallest"}, "tallest"),
        ("PPDX_EstimatePoses", {"images": POSES, "fps": 0}, "fps is 0"),
        ("PPDX_EstimatePoses", {"images": POSES, "poses": "best"}, "'best' is not known"),
        ("PPDX_EstimatePoses", {"images": POSES, "reference_image": POSES}, "reference_image has 3 pictures"),
        ("PPDX_FaceMask", {"images": NAN}, "images has numbers that are not finite"),
        ("PPDX_FaceMask", {"images": POSES, "detector": "eyes"}, "detector 'eyes' is not known"),
        ("PPDX_SaveReport", {"report": None}, "there is no report"),
        *(
            ("PPDX_SaveReport", {"report": Report({}), "filename_prefix": prefix}, "is no beginning of a name")
            for prefix in ("", "../up", "/etc/x", "a//b", "a/./b", "a\0b", "x" * 99, None, "a/..", ".")
        ),
    ],
)
def test_other_nodes_refuse_in_words_too(host, nodes, name, given, told):
    with pytest.raises(InputError) as error:
        call(nodes, name, **given)
    assert told in str(error.value) and "/tmp" not in str(error.value)


def test_seed_that_is_drawn_makes_another_result_each_time(nodes):
    node = nodes["PPDX_AnimateAnyone"]
    assert node.IS_CHANGED(seed=-1) != node.IS_CHANGED(seed=-1)
    assert node.IS_CHANGED(seed=3, width=64) == node.IS_CHANGED(seed=3, width=64)
