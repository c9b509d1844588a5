"""What EasyAnimate is to make: YAML files, defaults, and what is refused."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate.options import TASKS, EasyAnimateConfig
from ppdiffusers_ext.pipelines.published import PUBLISHED
from scripts.easy_animate import TextOptions, make_parser

CONFIGURATIONS = sorted((Path(__file__).parents[3] / "configs" / "inference" / "easy_animate").glob("*.yaml"))
TEXT = EasyAnimateConfig(model="model", prompt="a cat", output="cat.mp4")
PICTURES = replace(TEXT, start_image="a.png")
VIDEO = replace(TEXT, video="a.mp4")


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configuration_is_accepted_and_names_what_the_downloader_lays_out(path):
    config = EasyAnimateConfig.load(path, prompt="a cat", output="cat.mp4").check("text")
    if path.stem == "demo":  # this project's own small model
        assert config.model == "assets/easy_animate_demo"
        return
    laid_out = {f"./pretrained_weights/{entry.folder}/{file.path}" for entry in PUBLISHED for file in entry.files}
    assert {config.model, config.motion_module_path or config.model} <= laid_out


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_is_a_flag_of_the_commands_that_it_fits(task):
    others = {name for other, own in TASKS.items() if other != task for name in own}
    others |= {"video": {"segment", "overlap"}, "text": {"resize"}}.get(task, set())
    flags = {action.dest for action in make_parser("prog", "", task)._actions}
    own = flags - {"help"} - {item.name for item in fields(TextOptions)}
    assert own == {item.name for item in fields(EasyAnimateConfig)} - others


def test_values_of_a_file_are_replaced_by_options_and_checked(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"model": "m", "width": 640, "steps": 3}))
    config = EasyAnimateConfig.load(path, steps=4, width=None)
    assert (config.model, config.width, config.num_inference_steps) == ("m", 640, 4)
    path.write_text("widht: 640")
    with pytest.raises(InputError, match="'widht'; did you mean 'width'"):
        EasyAnimateConfig.load(path)
    path.write_text("width: wide")
    with pytest.raises(InputError, match="width in .* is 'wide'; a whole number from 16 to 8192 is accepted"):
        EasyAnimateConfig.load(path)


def test_sides_are_rounded_down_with_a_notice(caplog):
    config = replace(TEXT, width=680, height=390).rounded(16)
    assert (config.width, config.height) == (672, 384)
    assert "width 680 is rounded down to 672, a multiple of 16" in caplog.text
    with pytest.raises(InputError, match="height is 20; 32 or more"):
        replace(TEXT, height=20).rounded(32)


@pytest.mark.parametrize(
    ("config", "strength"),
    [(VIDEO, 0.7), (replace(VIDEO, mask="m.png"), 1.0), (replace(VIDEO, strength=0.4), 0.4)],
)
def test_strength_is_the_originals_unless_given(config, strength):
    assert config.check("video").strength == strength
    assert TEXT.check("text").strength == 1.0


def test_base_chooses_the_nearest_bucket():
    config = replace(TEXT, base=768)
    assert [(c.width, c.height) for c in (config.of_shape(1920, 1080), TEXT.of_shape(5, 5))] == [
        (1008, 576),
        (672, 384),
    ]


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("text", {"model": ""}, "no model"),
        ("text", {"prompt": " "}, "the prompt is empty; a text"),
        ("text", {"start_image": "a.png"}, "of a text takes no start_image"),
        ("text", {"video": "a.mp4"}, "of a text takes no video"),
        ("pictures", {"end_image": "b.png"}, "end picture b.png without a start"),
        ("pictures", {}, "start picture is not given"),
        ("video", {}, "no video"),
        ("video", {"video": "a.mp4", "segment": 16}, "in one piece"),
        ("video", {"video": "a.mp4", "strength": 1.5}, "strength is 1.5; a number from 0 to 1"),
        ("video", {"video": "a.mp4", "strength": -0.1}, "strength is -0.1"),
        ("video", {"video": "a.mp4", "strength": 0.01}, "takes none of 25 steps"),
        ("text", {"num_frames": 0}, "num_frames is 0; a whole number from 1 to 100000"),
        ("text", {"width": 8}, "width is 8; a whole number from 16"),
        ("text", {"guidance_rescale": 2.0}, "guidance_rescale is 2.0"),
        ("text", {"fps": 0}, "fps is 0"),
        ("text", {"base": 256}, "base is 256; a whole number from 512 to 1280"),
        ("text", {"segment": 4}, "cannot share 4"),
        ("text", {"scheduler": "Heunn"}, "did you mean"),
        ("text", {"memory": "lots"}, "memory 'lots' is not known"),
        ("text", {"weights": "int4"}, "weights 'int4' is not known; int8 or fp8"),
        ("text", {"resize": "squash"}, "stretch, crop, pad or fit"),
        ("text", {"output": "cat.png"}, "one that ends in .mp4"),
        ("text", {"output": "cat.mp4", "num_frames": 1}, "one that ends in .png"),
        ("text", {"loras": [["a.safetensors"]]}, "a file and a weight"),
        ("text", {"preset": "slow"}, "preset 'slow' does not exist"),
        ("text", {"guidance_interval": [0.5, 0.2]}, "guidance interval"),
        ("text", {"block_cache_threshold": -1.0}, "block_cache_threshold is -1.0"),
        ("text", {"num_inference_steps": "many"}, "num_inference_steps is 'many'; a whole number"),
    ],
)
def test_what_no_video_can_be_made_of_is_refused(task, change, message):
    with pytest.raises(InputError, match=message):
        replace(TEXT, **change).check(task)


@pytest.mark.parametrize(("task", "config"), [("pictures", PICTURES), ("video", VIDEO)])
def test_an_empty_prompt_is_told_of_where_something_else_is_given(task, config, caplog):
    replace(config, prompt="").check(task)
    assert "the prompt is empty: only the" in caplog.text
