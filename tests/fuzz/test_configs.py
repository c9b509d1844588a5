"""config.json of every network, and the options of samplers, tokenizers and pictures: small valid ones, changed.

They build, or are refused; a network of what is accepted has no memory for weights, and takes a second at most.
"""

import copy
import json
import math
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId
from ppdiffusers_ext.models.stable_animator.arcface import IResNet
from ppdiffusers_ext.pipelines import loading
from ppdiffusers_ext.pipelines.easy_animate import loading as easy_loading
from ppdiffusers_ext.pipelines.easy_animate.pictures import read_picture_processor
from ppdiffusers_ext.pipelines.easy_animate.prompts import read_tokenizer
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.weights.folders import read_config
from tests.support.fuzzing import EXAMPLES, fuzz, refused_or_read
from tests.support.vocabularies import write_bert, write_t5

GOLDENS = Path(__file__).parents[1] / "goldens"


def golden(case, part=None):
    config = json.loads((GOLDENS / "easy_animate" / case / "config.json").read_text())
    return config[part] if part else config


def unet(dimensions):
    down = [f"CrossAttnDownBlock{dimensions}", f"DownBlock{dimensions}"]
    up = [f"UpBlock{dimensions}", f"CrossAttnUpBlock{dimensions}"]
    more = {"act_fn": "silu", "sample_size": 8, "in_channels": 4, "norm_eps": 1e-5, "down_block_types": down}
    widths = {"block_out_channels": [32, 32], "layers_per_block": 1, "norm_num_groups": 8}
    return {**more, **widths, "up_block_types": up, "cross_attention_dim": 8, "attention_head_dim": 4}


MOTION = {"num_attention_heads": 2, "num_transformer_block": 1, "temporal_position_encoding_max_len": 4}
BASES = {
    "reference": unet("2D"),
    "denoising": {
        **unet("3D"),
        **{"use_motion_module": True, "motion_module_type": "Vanilla", "motion_module_resolutions": [1, 2]},
        "motion_module_kwargs": {**MOTION, "attention_block_types": ["Temporal_Self"]},
    },
    "guider": {"conditioning_embedding_channels": 32, "conditioning_channels": 3, "block_out_channels": [4, 8]},
    "animation": {
        **{"block_out_channels": [32, 32], "num_attention_heads": [2, 2], "layers_per_block": 1, "sample_size": 8},
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
        **{"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 24, "cross_attention_dim": 64},
        **{"transformer_layers_per_block": 1, "num_frames": 4, "norm_num_groups": 8},
    },
    "face": {"cross_attention_dim": 64, "id_embeddings_dim": 8, "clip_embeddings_dim": 8, "num_tokens": 2},
    "recogniser": {"layers": [1, 1, 1, 1], "planes": [4, 4, 4, 4], "num_features": 4},
    "vae": {
        **{"down_block_types": ["DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D"], "act_fn": "silu"},
        **{"block_out_channels": [8], "layers_per_block": 1, "norm_num_groups": 4, "scaling_factor": 0.2},
        **{"latent_channels": 4, "sample_size": 8, "shift_factor": None, "force_upcast": True},
    },
    "video vae": {"block_out_channels": [32], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 8},
    "magvit": golden("v4_vae"),
    "clip": {
        **{"hidden_size": 8, "intermediate_size": 8, "projection_dim": 8, "num_hidden_layers": 1, "patch_size": 4},
        **{"num_attention_heads": 2, "image_size": 8, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        "vision_config": {"hidden_size": 16},
    },
    "hunyuan": golden("v4_transformer_t2v"),
    "pixart": {**golden("v2_transformer"), "num_layers": 2},
    "bert": golden("v4_pipeline_inpaint", "text_encoder"),
    "t5": golden("v4_pipeline_inpaint", "text_encoder_2"),
    "scheduler": {
        **{"num_train_timesteps": 10, "beta_start": 0.001, "beta_end": 0.01, "beta_schedule": "linear"},
        **{"steps_offset": 1, "clip_sample": False, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    },
    "pictures": {
        **{"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}, "resample": 3, "do_resize": True},
        **{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "rescale_factor": 0.1},
    },
    "bert tokens": {
        **{"do_lower_case": True, "unk_token": "[UNK]", "model_max_length": 77, "strip_accents": None},
        "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}},
    },
    "t5 tokens": {"extra_ids": 2, "eos_token": {"content": "</s>"}, "legacy": False, "additional_special_tokens": []},
}
SAMPLERS = ("DDIM", "Euler", "DPM-Solver++", "UniPC", "LCM", "PNDM", "Heun", "DEIS", "LMS", "DDPM")


def of(cls):
    return lambda folder: loading.build(cls, loading.known_options(cls, read_config(folder), folder), folder)


def of_encoder(make):
    return lambda folder: loading.built(lambda: make(read_config(folder), folder), folder)


BUILD = {
    "reference": of(ReferenceUNet),
    "denoising": of(DenoisingUNet3D),
    "guider": of(PoseGuider),
    "animation": of(AnimationUNet),
    "face": of(FusionFaceId),
    "recogniser": of(IResNet),
    "vae": loading.describe_vae,
    "video vae": loading.describe_video_vae,
    "magvit": easy_loading.describe_video_vae,
    "clip": loading.describe_image_encoder,
    "hunyuan": lambda folder: easy_loading.make_transformer(folder.parent),
    "pixart": lambda folder: easy_loading.make_transformer(folder.parent),
    "bert": of_encoder(make_bert),
    "t5": of_encoder(make_t5),
    "pictures": read_picture_processor,
    "bert tokens": lambda folder: read_tokenizer(folder, 20)(["a text"]),
    "t5 tokens": lambda folder: read_tokenizer(folder, 20)(["a text"]),
}
FILES = {"pictures": "preprocessor_config.json", "bert tokens": "tokenizer_config.json"}
SHARE = max(20, 2 * EXAMPLES // len(BUILD))  # of each network: twice the examples for all of them together
FILES["t5 tokens"] = FILES["bert tokens"]

ODD = (
    *(0, -1, 1, 2, 3, 7, 64, 10_000, 10**7, 10**9, 10**30, 0.0, -0.5, 0.3, 1e-300, 1e300, True, False, None),
    *("", "8", "silu", "x" * 1000, "\ud83d\ude00", [], [0], [8, 8], ["x"], [None], [[8]], [8] * 1000, {}, {"a": 1}),
)
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.lists(st.integers(-1, 4096), max_size=5),
)


def places(config, above=()):
    """All places of a configuration: keys and numbers of items that lead there."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*above, key))


@st.composite
def changed(draw, base):
    """A configuration with one to three changes: a value replaced, taken away, nested, or added."""
    config = json.loads(json.dumps(base))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        found = list(places(config))
        if not found:
            break
        *above, key = draw(st.sampled_from(found))
        target = config
        for step in above:
            target = target[step]
        kind = draw(st.sampled_from(["replace"] * 6 + ["scale", "remove", "nest", "add"]))
        if kind == "replace":
            target[key] = copy.deepcopy(draw(VALUES))  # which later changes may go into
        elif kind == "scale" and isinstance(target[key], (int, float)):
            target[key] *= draw(st.sampled_from([-1, 0, 2, 3, 1000, 0.5]))
        elif kind == "remove":
            del target[key]
        elif kind == "nest":
            target[key] = [target[key]] if draw(st.booleans()) else {str(key): target[key]}
        elif kind == "add" and isinstance(target, dict):
            target[draw(st.text(max_size=8))] = copy.deepcopy(draw(VALUES))
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "transformer"
    folder.mkdir()
    return folder


def write(folder, name, config):
    for file in folder.iterdir():
        file.unlink()
    if name == "bert tokens":
        write_bert(folder)
    if name == "t5 tokens":
        write_t5(folder)
    (folder / FILES.get(name, "config.json")).write_text(json.dumps(config))


@pytest.mark.parametrize("name", BUILD)
def test_base_builds(folder, name):
    write(folder, name, BASES[name])
    BUILD[name](folder)


@pytest.mark.parametrize("name", BUILD)
def test_networks(folder, name):
    @fuzz(config=changed(BASES[name]), examples=SHARE)
    def run(config):
        write(folder, name, config)
        with refused_or_read():
            BUILD[name](folder)

    run()


@fuzz(config=changed(BASES["scheduler"]), sampler=st.sampled_from(SAMPLERS), steps=st.sampled_from([1, 2, 10]))
def test_samplers(config, sampler, steps):
    with refused_or_read():
        scheduler = make_scheduler(sampler, config)
        assert math.isfinite(float(scheduler.config.get("beta_start", 0) or 0))
