"""The original's four workflows of EasyAnimate V4 load and run, on small networks of random weights."""

import numpy as np
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate import options as easy_options
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.weights.writing import write_safetensors
from scripts import predict_t2v
from tests.comfyui.conftest import Sink, Source
from tests.support import comfy_host, easy_workflows
from tests.support.easy_folders import write_easy

# Values of the samplers' widgets that make them fast, by their places.
SMALL = {
    "EasyAnimateT2VSampler": {0: 8, 1: 64, 2: 64, 6: 2},
    "EasyAnimateI2VSampler": {0: 8, 1: 512, 4: 1},
    "EasyAnimateV2VSampler": {0: 8, 1: 512, 4: 2},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "v4"
    write_easy(folder, "v4")
    return folder


@pytest.fixture
def installed(host, weights):
    """The `Host` with a model of V4 and the workflow's LoRA file in its folders."""
    models = host.folder / "models"
    (models / "EasyAnimate").mkdir(parents=True)
    (models / "EasyAnimate" / "EasyAnimateV4-XL-2-InP").symlink_to(weights)
    draw, name = np.random.default_rng(1), "lora_unet__blocks_0_attn1_to_q"
    lora = {f"{name}.lora_down.weight": draw.normal(size=(2, 32)), f"{name}.lora_up.weight": draw.normal(size=(32, 2))}
    path = models / "loras" / "easyanimate" / "easyanimatev4_minimalism_lora.safetensors"
    path.parent.mkdir()
    write_safetensors(path, {key: value.astype(np.float32) for key, value in lora.items()}, {"format": "pt"})
    return host


def pictures(count, height=48, width=64):
    return np.random.default_rng(0).random((count, height, width, 3), dtype=np.float32)


def with_others(nodes, frames=1):
    """The nodes, and those of other packages that the workflows have."""
    source = type("Given", (Source,), {"frames": pictures(frames)})
    return {**nodes, "LoadImage": source, "VHS_LoadVideo": source, "VHS_VideoCombine": Sink}


def run(nodes, name, frames=1, changed=SMALL):
    """The frames of one of the original's workflows."""
    known = with_others(nodes, frames)
    done = comfy_host.execute(comfy_host.to_api(easy_workflows.workflow(name, **changed), known), known)
    return done["17"][0].numpy()


@pytest.fixture
def small_buckets(monkeypatch):
    """The samplers' smallest base resolution, 512, with an eighth of its sides: small networks are slow there."""
    find = easy_options.find_bucket
    monkeypatch.setattr(easy_options, "find_bucket", lambda height, width, base: find(height, width, base // 8))


def test_text_to_video_has_the_pixels_of_the_command_also_after_an_interruption_and_a_lora_changes_them(
    installed, nodes, tmp_path
):
    for after in (0, 3):
        installed.checks, installed.interrupts_after = 0, after
        with pytest.raises(comfy_host.Interrupted):
            run(nodes, "t2v")
        assert installed.checks == after + 1  # the next check within the step is the last one
    installed.interrupts_after = None
    frames = run(nodes, "t2v")
    assert frames.shape == (8, 64, 64, 3) and installed.progress[-1] == (1000, 1000)
    assert np.abs(frames - run(nodes, "lora", changed={**SMALL, "LoadEasyAnimateLora": {1: 50.0}})).max() > 0.01
    picture = run(
        nodes, "t2v", changed={**SMALL, "EasyAnimateT2VSampler": {**SMALL["EasyAnimateT2VSampler"], 3: True}}
    )
    folder = installed.folder / "models" / "EasyAnimate" / "EasyAnimateV4-XL-2-InP"
    words = ["--config", "configs/inference/easy_animate/v4.yaml", "--model", folder, "--dtype", "bf16", "-W", 64]
    words += ["-H", 64, "-L", 1, "--num-inference-steps", 2, "--prompt", easy_workflows.GOOD]
    words += ["--negative-prompt", easy_workflows.BAD, "--output", tmp_path / "command.png"]
    assert predict_t2v.main([*map(str, words)]) == 0
    (of_command,) = open_frames(tmp_path / "command.png")
    assert picture.shape == (1, 64, 64, 3) and np.array_equal(of_command, (picture[0] * 255).round())


def test_image_to_video_and_video_to_video_run(installed, nodes, small_buckets):
    frames = run(nodes, "i2v")
    assert frames.shape == (8, 48, 64, 3) and frames.std() > 0.01
    assert not np.array_equal(frames, run(nodes, "i2v", frames=2))  # of two pictures each is a frame of its own
    frames = run(nodes, "v2v", frames=12)
    assert frames.shape == (8, 48, 64, 3) and frames.std() > 0.01


def sampler(nodes, name, **given):
    """Call a sampler's method with its defaults and what is given."""
    (model,) = nodes["LoadEasyAnimateModel"]().loadmodel(
        model="EasyAnimateV4-XL-2-InP", low_gpu_memory_mode=False, config="", precision="bf16"
    )
    inputs = comfy_host.inputs_of(nodes[name]).items()
    values = {key: options["default"] for key, (_, options, _) in inputs if "default" in options}
    values |= {"easyanimate_model": model, "prompt": "a cat", "negative_prompt": "", **given}
    return nodes[name]().process(**values)


NAN = pictures(1)
NAN[0, 0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("EasyAnimateI2VSampler", {}, "start_img is not connected; a start picture"),
        ("EasyAnimateI2VSampler", {"end_img": pictures(1)}, "start_img is not connected"),
        ("EasyAnimateI2VSampler", {"start_img": pictures(0)}, "start_img has the shape (0, 48, 64, 3)"),
        ("EasyAnimateI2VSampler", {"start_img": pictures(1)[0]}, "start_img has the shape (48, 64, 3)"),
        ("EasyAnimateI2VSampler", {"start_img": NAN}, "start_img has numbers that are not finite"),
        ("EasyAnimateI2VSampler", {"start_img": pictures(1), "end_img": NAN}, "end_img has numbers that are not"),
        ("EasyAnimateI2VSampler", {"start_img": pictures(9), "video_length": 8}, "9 pictures at the start and 0 at"),
        ("EasyAnimateI2VSampler", {"start_img": pictures(1), "prompt": 5}, "prompt is 5; a text"),
        (
            "EasyAnimateI2VSampler",
            {"start_img": pictures(1), "base_resolution": 64},
            "base is 64; a whole number from",
        ),
        ("EasyAnimateV2VSampler", {"validation_video": pictures(0)}, "validation_video has the shape (0, 48, 64, 3)"),
        ("EasyAnimateV2VSampler", {"validation_video": pictures(3)}, "video has 3 frames at 24 frames a second; 8"),
        ("EasyAnimateV2VSampler", {"validation_video": pictures(8), "mask": pictures(3)[..., 0]}, "mask has 3 masks"),
        ("EasyAnimateV2VSampler", {"validation_video": pictures(8), "mask": pictures(1)}, "mask has the shape"),
        (
            "EasyAnimateV2VSampler",
            {"validation_video": pictures(8), "mask": pictures(1, 40, 64)[..., 0]},
            "several sizes (validation_video 64x48, mask 64x40)",
        ),
        ("EasyAnimateV2VSampler", {"validation_video": pictures(8), "denoise_strength": 1.5}, "strength is 1.5"),
        ("EasyAnimateT2VSampler", {"easyanimate_model": None}, "model is None; a model of the type EASYANIMATESMODEL"),
        ("EasyAnimateT2VSampler", {"prompt": None}, "prompt is None; a text"),
        ("EasyAnimateT2VSampler", {"prompt": " "}, "the prompt is empty"),
        ("EasyAnimateT2VSampler", {"scheduler": "Eulr"}, "Eulr"),
        ("EasyAnimateT2VSampler", {"seed": -1}, "seed is -1"),
        ("EasyAnimateT2VSampler", {"seed": 2**64}, "seed is 18446744073709551616"),
        ("EasyAnimateT2VSampler", {"width": 0}, "width is 0"),
        ("EasyAnimateT2VSampler", {"video_length": 0}, "num_frames is 0"),
        ("EasyAnimateT2VSampler", {"options": {"segment": 4, "overlap": 8}}, "segments of 4 frames cannot share 8"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused_in_words_before_networks_are_loaded(
    installed, nodes, small_buckets, monkeypatch, name, given, told
):
    monkeypatch.setattr(EasyAnimateInpaintPipeline, "open_run", None)
    tensors = {key: comfy_host.from_numpy(value) for key, value in given.items() if isinstance(value, np.ndarray)}
    with pytest.raises(InputError) as error:
        sampler(nodes, name, **{**given, **tensors})
    assert told in str(error.value) and "/tmp" not in str(error.value)


def test_model_and_lora_that_are_not_there_are_told_when_they_are_chosen(installed, nodes):
    load = nodes["LoadEasyAnimateModel"]()
    how = {"low_gpu_memory_mode": False, "config": "", "precision": "bf16"}
    with pytest.raises(InputError, match=r"EasyAnimateV3-XL-2-InP-512x512 is in none of .*download_weights"):
        load.loadmodel(model="EasyAnimateV3-XL-2-InP-512x512", **how)
    for name in ("../../../etc", "/etc", "", None):
        with pytest.raises(InputError, match="is not known; EasyAnimateV3"):
            load.loadmodel(model=name, **how)
    (model,) = load.loadmodel(model="EasyAnimateV4-XL-2-InP", **how)
    with pytest.raises(InputError, match=r"LoRA file 'x.safetensors' is not in ComfyUI's folders"):
        nodes["LoadEasyAnimateLora"]().load_lora(model, "x.safetensors", 1.0)
    assert nodes["LoadEasyAnimateLora"]().load_lora(model, None, 1.0) == (model,)


def test_workflow_of_a_wrong_value_would_not_be_queued(installed, nodes):
    """The executor of these tests refuses what ComfyUI does, or they would prove little."""
    for kind, changed, told in (
        ("EasyAnimateT2VSampler", {0: 7}, "video_length: 7 smaller than 8"),
        ("EasyAnimateT2VSampler", {8: "LCM"}, "scheduler: 'LCM' not in"),
        ("LoadEasyAnimateModel", {0: "EasyAnimateV9"}, "model: 'EasyAnimateV9' not in"),
    ):
        with pytest.raises(comfy_host.Refused, match=told):
            run(nodes, "t2v", changed={kind: changed})


def test_options_of_the_declaration_reach_the_run_and_those_of_other_tasks_do_not(installed, nodes):
    node = nodes["PPDX_EasyAnimateOptions"]
    defaults = {name: options["default"] for name, (_, options, _) in comfy_host.inputs_of(node).items()}
    (options,) = node().collect(**{**defaults, "segment": 8, "overlap": 2, "resize": "pad", "preset": "fast"})
    (images,) = sampler(nodes, "EasyAnimateT2VSampler", video_length=16, width=64, height=64, steps=1, options=options)
    assert images.shape == (16, 64, 64, 3)
    values = [value for value, _ in installed.progress]
    assert values == sorted(values) and len(values) > 10
