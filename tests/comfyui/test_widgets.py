"""Inputs of nodes follow from the declared options, of every system, and back."""

import dataclasses

import pytest

from ppdiffusers_ext.comfyui import widgets
from ppdiffusers_ext.comfyui.posed import sampler_names
from ppdiffusers_ext.comfyui.stable_animator import refinement_names
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration, field_of
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.pipelines.options import SAMPLING, SPEED, VIDEO
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig, StableAnimationConfig

CLASSES = {
    Pose2VidConfig: sampler_names(Pose2VidConfig),
    StableAnimationConfig: sampler_names(StableAnimationConfig),
    EasyAnimateConfig: widgets.names(EasyAnimateConfig, (VIDEO, SAMPLING, SPEED)),
    RefinementConfig: refinement_names(),
    Job: ["person", "align", "unseen_joints", "gap", "smoothing"],
}
CASES = [pytest.param(cls, name, id=f"{cls.__name__}-{name}") for cls, names in CLASSES.items() for name in names]


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_widget_has_bounds_default_and_help_of_its_declaration(cls, name):
    item, (kind, told) = field_of(cls, name), widgets.widget(cls, name)
    declared = declaration(item)
    assert declared.help in told["tooltip"]
    if item.default is not None:
        assert told["default"] == item.default
    if kind in ("INT", "FLOAT"):
        assert told["max"] == declared.upper or declared.upper is None
        below = item.default is None and told["min"] == told["default"]
        assert below or told["min"] == (declared.lower or 0)
    if declared.choices:
        assert [choice for choice in kind if choice != widgets.UNSET] == list(declared.choices)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_defaults_of_widgets_give_what_the_options_are_by_themselves(cls):
    values = {name: widgets.widget(cls, name)[1]["default"] for name in CLASSES[cls]}
    given = widgets.given(cls, values)
    without = [name for name in values if field_of(cls, name).default is None]
    assert given == {name: field_of(cls, name).default for name in values if name not in without}


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_every_value_that_a_widget_can_have_is_one_of_the_option(cls, name):
    """Bounds, all choices, both truths: ComfyUI lets a user choose nothing that is refused afterwards."""
    kind, told = widgets.widget(cls, name)
    values = {"BOOLEAN": [True, False], "STRING": [told["default"]]}.get(kind if isinstance(kind, str) else "", kind)
    values = [told["min"], told["max"]] if kind in ("INT", "FLOAT") else values
    for value in values:
        found = widgets.given(cls, {name: value})
        assert found == {name: value} or (value == told["default"] and found == {}) or value in ("true", "false")


@pytest.mark.parametrize(
    ("cls", "name", "value", "told"),
    [
        (Pose2VidConfig, "width", 63, "width is 63; a whole number from 64 to 8192 is accepted"),
        (Pose2VidConfig, "width", 512.5, "width is 512.5"),
        (Pose2VidConfig, "num_inference_steps", True, "num_inference_steps is True"),
        (Pose2VidConfig, "guidance_scale", float("nan"), "guidance_scale is nan"),
        (Pose2VidConfig, "resize", "tile", "resize 'tile' is not known"),
        (Pose2VidConfig, "context_schedule", "spiral", "context_schedule 'spiral' is not known"),
        (Pose2VidConfig, "sequential_guidance", "maybe", "unset, true or false is accepted"),
        (Pose2VidConfig, "step_cache_interval", -1, "step_cache_interval is -1"),
        (Pose2VidConfig, "seed", 2**63, "seed is 9223372036854775808"),
        (StableAnimationConfig, "context_frames", 1, "context_frames is 1"),
        (EasyAnimateConfig, "guidance_rescale", 1.5, "guidance_rescale is 1.5"),
        (RefinementConfig, "iterations", 0, "iterations is 0"),
        (Job, "align", "", "align '' is not known"),
    ],
)
def test_values_that_are_none_are_refused_in_the_words_of_the_options(cls, name, value, told):
    with pytest.raises(InputError) as error:
        widgets.given(cls, {name: value})
    assert told in str(error.value)


def test_what_is_not_given_stands_for_none_and_texts_become_numbers():
    given = {"num_frames": 0, "guidance_interval": "", "sequential_guidance": "unset", "context_overlap": -1}
    assert widgets.given(Pose2VidConfig, given) == {}
    given = {"num_frames": 3, "guidance_interval": "0.2 0.8", "sequential_guidance": "false", "context_overlap": 0}
    expected = {"num_frames": 3, "guidance_interval": [0.2, 0.8], "sequential_guidance": False, "context_overlap": 0}
    assert widgets.given(Pose2VidConfig, given) == expected


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_no_node_names_files(cls):
    paths = {item.name for item in dataclasses.fields(cls) if declaration(item).is_path}
    assert not paths & set(CLASSES[cls])
