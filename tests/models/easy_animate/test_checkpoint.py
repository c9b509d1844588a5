"""Options of EasyAnimate's networks: the original's defaults, what is without effect, and what is not computed."""

import json
import logging
from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.easy_animate.checkpoint import OF_PICTURES, options_of, original_config
from tests.support.easy_folders import GOLDENS, OF_MOTION, config_of

ROOT = Path(__file__).parents[3]
CASES = {
    HunyuanTransformer3D: ("v4_transformer_inpaint", "v4_transformer_t2v"),
    PixArtTransformer3D: ("v1_transformer", "v2_transformer", "v3_transformer_inpaint"),
    AutoencoderKLMagvit: ("v2_vae", "v3_vae", "v4_vae", "v4_vae_spatialnorm"),
}
EACH = pytest.mark.parametrize("cls, case", [(cls, case) for cls, cases in CASES.items() for case in cases])


def golden(case):
    return config_of(GOLDENS / case, "")


def plain(model):
    return {name: value for name, value in model.config.items() if not name.startswith("_")}


@EACH
def test_options_of_the_original_survive_the_way_there_and_back(cls, case):
    config = golden(case)
    model = cls(**options_of(cls, config, "x.json"))
    back = json.loads(json.dumps(original_config(model)))
    for name, value in config.items():
        if name in back and "motion_module_kwargs" not in name:
            assert back[name] == value, name
    again = cls(**options_of(cls, back, "x.json"))
    assert plain(again) == plain(model)
    ours = cls(**options_of(cls, {**model.config, "_class_name": cls.__name__}, "x.json"))
    assert plain(ours) == plain(model)


@EACH
def test_nothing_is_unknown(cls, case, caplog):
    with caplog.at_level(logging.WARNING):
        options_of(cls, golden(case), "x.json")
        if cls is not AutoencoderKLMagvit:  # as published files of V3 have
            options_of(cls, {**golden(case), "decay": 0.9999, "optimization_step": 4400, "power": 2 / 3}, "x.json")
    assert caplog.text == ""


def test_what_is_left_out_is_the_originals_default():
    options = options_of(HunyuanTransformer3D, {"in_channels": 4, "patch_size": 2}, "x.json")
    assert (options["hidden_size"], options["num_layers"], options["mlp_ratio"]) == (1152, 28, 4.0)
    assert options["time_position_encoding"] is False and options["out_channels"] == 8
    options = options_of(AutoencoderKLMagvit, {**golden("v4_vae"), "block_out_channels": None}, "x.json")
    assert options["block_out_channels"] == [8, 16, 16, 16]


@pytest.mark.parametrize("text", ["('SpatialDownBlock3D', 'SpatialTemporalDownBlock3D')", "['SpatialDownBlock3D']"])
def test_blocks_may_be_a_text(text):
    options = options_of(AutoencoderKLMagvit, {**golden("v4_vae"), "down_block_types": text}, "x.json")
    assert options["down_block_types"] == list(eval(text))


@pytest.mark.parametrize(
    "cls, case, values, message",
    [
        (HunyuanTransformer3D, "v4_transformer_t2v", {"basic_block_type": "hybrid_attention"}, "'basic' is accepted"),
        (HunyuanTransformer3D, "v4_transformer_t2v", {"time_position_encoding_type": "3d_rope"}, "'2d_rope' is acc"),
        (HunyuanTransformer3D, "v4_transformer_t2v", {"learn_sigma": False}, "learn_sigma is False; True is accepted"),
        (PixArtTransformer3D, "v2_transformer", {"casual_3d": True}, "casual_3d is True; False is accepted"),
        (PixArtTransformer3D, "v2_transformer", {"norm_type": "layer_norm"}, "'ada_norm_single' is accepted"),
        (
            PixArtTransformer3D,
            "v2_transformer",
            {"basic_block_type": "selfattentiontemporal"},
            "motionmodule or global_",
        ),
        (PixArtTransformer3D, "v2_transformer", {"motion_module_type": "Other"}, "Vanilla or VanillaGrid is accepted"),
        (PixArtTransformer3D, "v2_transformer", {"motion_module_kwargs": {"qk_norm": True}}, "qk_norm True; False is"),
        (
            PixArtTransformer3D,
            "v2_transformer",
            {"motion_module_kwargs": {"heads": 2}},
            "has heads, which is not known",
        ),
        (
            PixArtTransformer3D,
            "v2_transformer",
            {"motion_module_kwargs": {"attention_block_types": ["Spatial_Self"]}},
            "has attention 'Spatial_Self'; Temporal_Self, Global_Self are accepted",
        ),
        (AutoencoderKLMagvit, "v4_vae", {"cache_mag_vae": True}, "x.json: cache_mag_vae is True; False is accepted"),
        (AutoencoderKLMagvit, "v4_vae", {"up_block_types": ["UpBlock"]}, "a list of SpatialUpBlock3D and Spatial"),
        (AutoencoderKLMagvit, "v4_vae", {"up_block_types": "__import__('os')"}, "a list of SpatialUpBlock3D and"),
    ],
)
def test_what_is_not_computed_is_refused(cls, case, values, message):
    with pytest.raises(InputError, match=message):
        options_of(cls, {**golden(case), **values}, "x.json")


def test_options_that_are_needed_are_named():
    with pytest.raises(InputError, match="x.json has no in_channels, patch_size, which HunyuanTransformer3D needs"):
        options_of(HunyuanTransformer3D, {}, "x.json")


def test_options_of_a_file_that_are_not_known_are_told_in_the_log(caplog):
    with caplog.at_level(logging.WARNING):
        options_of(HunyuanTransformer3D, {**golden("v4_transformer_t2v"), "novelty": 1}, "x.json")
    assert "x.json has options that are not known and have no effect: novelty" in caplog.text


def test_transformer_of_pictures_has_no_options_of_motion():
    model = PixArtTransformer3D(**options_of(PixArtTransformer3D, golden("v1_transformer"), "x.json"))
    config = original_config(model, of_pictures=True)
    assert config["_class_name"] == OF_PICTURES and not set(config) & set(OF_MOTION)
    assert config["attention_bias"] is True and config["sample_size"] == 64


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs/inference/easy_animate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_options_of_every_shipped_configuration_are_accepted(path):
    """With the depth of a small network: what they say beside it is what the released ones need."""
    more = read_yaml(path).get("transformer") or {}
    is_v4 = path.stem.startswith(("v4", "demo"))
    cls, case = (
        (HunyuanTransformer3D, "v4_transformer_t2v")
        if is_v4
        else (PixArtTransformer3D, f"{path.stem[:2]}_transformer")
    )
    case = "v3_transformer_inpaint" if case == "v3_transformer" else case
    options_of(cls, golden(case), "x.json", more)
