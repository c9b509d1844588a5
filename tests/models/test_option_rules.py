"""Options of all networks: each has a rule, what was published fits, and what does not is refused before building."""

import inspect
import json
import math
from pathlib import Path

import pytest
from paddlenlp.transformers import BertConfig, T5Config
from ppdiffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import CLIPVisionConfig

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.models.rules import Anything
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.models.stable_animator.arcface import IResNet
from ppdiffusers_ext.pipelines import loading
from tests.support.fuzzing import bounded
from tests.support.special_files import KINDS, special

OWN = (
    *(DenoisingUNet3D, PoseGuider, ReferenceUNet, AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D),
    *(AnimationUNet, FusionFaceId, PoseNet, IResNet),
)
CLASSES = (*OWN, AutoencoderKL, AutoencoderKLTemporalDecoder, CLIPVisionConfig, BertConfig, T5Config)

# From the config.json of released models: runwayml/stable-diffusion-v1-5 (unet, vae).
SD = {
    **{"act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "freq_shift": 0},
    **{"center_input_sample": False, "cross_attention_dim": 768, "downsample_padding": 1, "flip_sin_to_cos": True},
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    **{"in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32},
    **{"out_channels": 4, "sample_size": 64, "upcast_attention": None, "class_embed_type": None},
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
MOTION = {
    **{"num_attention_heads": 8, "num_transformer_block": 1, "temporal_position_encoding": True},
    **{"attention_block_types": ["Temporal_Self", "Temporal_Self"], "temporal_position_encoding_max_len": 32},
    "temporal_attention_dim_div": 1,
}
VAE = {
    **{"down_block_types": ["DownEncoderBlock2D"] * 4, "block_out_channels": [128, 256, 512, 512]},
    **{"in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2, "scaling_factor": 0.18215},
}
# stabilityai/stable-video-diffusion-img2vid-xt (unet)
SVD = {
    **{"addition_time_embed_dim": 256, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024},
    "down_block_types": [*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"],
    **{"in_channels": 8, "layers_per_block": 2, "num_attention_heads": [5, 10, 20, 20], "num_frames": 25},
    **{"out_channels": 4, "projection_class_embeddings_input_dim": 768, "sample_size": 96},
    "up_block_types": ["UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3],
    "transformer_layers_per_block": 1,
}
# EasyAnimateV5.1-7b-zh-Control (vae), which has more latents than those before it.
V5_VAE = {
    **{"latent_channels": 16, "block_out_channels": [128, 256, 512, 512], "mid_block_attention_type": "spatial"},
    "down_block_types": ["SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 3],
    "up_block_types": ["SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 3],
    **{"mid_block_use_attention": False, "scaling_factor": 0.7125, "spatial_group_norm": True},
    **{"slice_mag_vae": False, "slice_compression_vae": False, "mini_batch_encoder": 4, "mini_batch_decoder": 1},
}
SIXTEEN = {"num_attention_heads": 16, "patch_size": 14}
PUBLISHED = [
    (ReferenceUNet, SD),
    # with the motion modules of PaddleMIX's configs/inference/inference_v2.yaml
    (DenoisingUNet3D, {**SD, "use_motion_module": True, "motion_module_kwargs": MOTION}),
    (
        AutoencoderKL,
        {
            **{**VAE, "up_block_types": ["UpDecoderBlock2D"] * 4, "act_fn": "silu"},
            **{"norm_num_groups": 32, "sample_size": 512},
        },
    ),
    (AutoencoderKLTemporalDecoder, {**VAE, "force_upcast": True, "sample_size": 768}),  # of SVD
    (AnimationUNet, SVD),
    (AutoencoderKLMagvit, V5_VAE),
    # openai/clip-vit-large-patch14 and laion/CLIP-ViT-bigG-14-laion2B-39B-b160k
    *(
        (CLIPVisionConfig, {**SIXTEEN, "hidden_size": a, "intermediate_size": b, "num_hidden_layers": c})
        for a, b, c in ((1024, 4096, 24), (1664, 8192, 48))
    ),
    # google's t5-v1_1-xxl, mt5-xl, mt5-xxl and t5-11b-ssm-nqo
    *(
        (T5Config, {"d_model": a, "d_ff": b, "num_layers": 24, "num_heads": c, "d_kv": d, "vocab_size": e})
        for a, b, c, d, e in (
            *((4096, 10240, 64, 64, 32128), (2048, 5120, 32, 64, 250112), (4096, 10240, 64, 64, 250112)),
            (1024, 65536, 128, 128, 32128),
        )
    ),
]
# Not looked up: what the classes have where nothing is said, and sizes at or above those of released models.
AS_LARGE = [
    (HunyuanTransformer3D, {}),
    (HunyuanTransformer3D, {"num_layers": 48, "hidden_size": 2048, "attention_head_dim": 128}),
    (PixArtTransformer3D, {"caption_channels": 4096, "sample_size": 128, "motion_module_kwargs": MOTION}),
    (CLIPVisionConfig, {**SIXTEEN, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}),  # ViT-H
    (BertConfig, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "vocab_size": 119547}),
    (IResNet, {"layers": [6, 26, 60, 6]}),
]


def defaults(cls):
    parameters = inspect.signature(cls.__init__).parameters.items()
    return {
        name: parameter.default
        for name, parameter in parameters
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD and parameter.default is not parameter.empty
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_every_option_has_a_rule_that_its_default_fits(cls):
    options = defaults(cls)
    rules = rules_of(cls)
    assert set(rules.fields) >= set(options)
    rules.check_fields({name: value for name, value in options.items() if value is not None}, "defaults")


@pytest.mark.parametrize("cls, options", [*PUBLISHED, *AS_LARGE])
def test_what_was_published_fits_and_is_a_fraction_of_the_bound(cls, options):
    rules = rules_of(cls)
    rules.check({**defaults(cls), **options}, "published")
    if rules.size:
        assert 2 * rules.size({**rules.defaults, **options}) < rules.most


HUGE = [10**7, 10**9, 10**30, [10**9] * 4, [1] * 10**6, "x" * 10**6, -1, 0, math.nan, math.inf, -math.inf, 1e300]
OTHER_KINDS = ["8", True, [], {}, [None], [[8]], {"a": 8}]


@pytest.mark.parametrize("cls", OWN)
def test_constructors_refuse_whatever_does_not_fit_before_they_build(cls):
    rules = rules_of(cls)
    tried = 0
    for name, rule in rules.fields.items():
        for value in () if isinstance(rule, Anything) else (*HUGE, *OTHER_KINDS):
            if not rule.fits(value):
                tried += 1
                with (
                    bounded(most=64 << 20),
                    pytest.raises(InputError, match=f"{cls.__name__}: {name} is .*accepted") as caught,
                ):
                    cls(**{name: value})
                assert len(str(caught.value)) < 1500
    assert tried >= 5 * sum(not isinstance(rule, Anything) for rule in rules.fields.values())


# What the options are together, each of them as it may be.
@pytest.mark.parametrize(
    "cls, options, words",
    [
        (ReferenceUNet, {"norm_num_groups": 48}, "320 .block_out_channels. is no multiple of 48 .norm_num_groups."),
        (ReferenceUNet, {"attention_head_dim": [8, 8]}, "attention_head_dim has 2 entries, block_out_channels 4"),
        (ReferenceUNet, {"attention_head_dim": 7}, "320 do not divide into 7 heads"),
        (ReferenceUNet, {"block_out_channels": [8192] * 4, "layers_per_block": 8}, "weights; 2e.10 at most"),
        (ReferenceUNet, {"block_out_channels": [33] * 4, "norm_num_groups": 1, "attention_head_dim": 1}, "odd"),
        (
            DenoisingUNet3D,
            {
                **{"block_out_channels": [2048] * 4, "layers_per_block": 8},
                "motion_module_kwargs": {"temporal_position_encoding_max_len": 1024},
            },
            "tables of",
        ),
        (AnimationUNet, {"addition_time_embed_dim": 64}, "projection_class_embeddings_input_dim is 768"),
        (AnimationUNet, {"num_attention_heads": [5, 10]}, "num_attention_heads has 2 entries"),
        (HunyuanTransformer3D, {"num_layers": 39}, "an even number"),
        (HunyuanTransformer3D, {"hidden_size": 1400}, "their product"),
        (HunyuanTransformer3D, {"n_query": 15}, "a square number"),
        (HunyuanTransformer3D, {"cross_attention_dim_t5": 2044}, "a multiple of 8"),
        (PixArtTransformer3D, {"cross_attention_dim": 1024}, "their product"),
        (AutoencoderKLMagvit, {"norm_num_groups": 100}, "no multiple of 100"),
        (AutoencoderKLMagvit, {"block_out_channels": [32, 64]}, "entries, block_out_channels 2"),
        (AutoencoderKLMagvit, {"mid_block_num_attention_heads": 5}, "no multiple of 5"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(cls, options, words):
    with bounded(most=64 << 20), pytest.raises(InputError, match=f"{cls.__name__}: .*{words}"):
        cls(**options)


# From a file, the message has its name.
def test_options_are_held_against_each_other_as_they_are_given_not_as_a_base_class_knows_them():
    """ppdiffusers' UNet for videos knows no number of groups, and 40 channels are no multiple of the usual 32."""
    unet = AnimationUNet(
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(40, 32),
        num_attention_heads=(2, 2),
        norm_num_groups=8,
        layers_per_block=1,
    )
    assert unet.config.norm_num_groups == 8 and unet.conv_in.weight.shape[0] == 40
    with pytest.raises(InputError, match="40 .block_out_channels. is no multiple of 16 .norm_num_groups."):
        AnimationUNet(block_out_channels=(40, 32, 32, 32), num_attention_heads=(2, 2, 2, 2), norm_num_groups=16)


@pytest.mark.parametrize(
    "describe, options",
    [
        (loading.describe_vae, {"norm_num_groups": 0}),
        (loading.describe_vae, {"layers_per_block": 10_000_000}),
        (loading.describe_vae, {"act_fn": "novelty"}),
        (loading.describe_vae, {"scaling_factor": 0}),
        (loading.describe_vae, {"block_out_channels": []}),
        (loading.describe_vae, {"latent_channels": "4"}),
        (loading.describe_video_vae, {"layers_per_block": 10_000_000}),
        (loading.describe_video_vae, {"norm_num_groups": 0}),
        (loading.describe_image_encoder, {"hidden_size": 10**9}),
        (loading.describe_image_encoder, {"patch_size": 0}),
        (loading.describe_image_encoder, {"hidden_act": ["gelu"]}),
        (loading.describe_image_encoder, {"num_attention_heads": 7}),
        (loading.describe_image_encoder, {"vision_config": 3}),
    ],
)
def test_file_key_and_value_are_named(tmp_path, describe, options):
    (tmp_path / "config.json").write_text(json.dumps(options))
    (name,) = options
    with bounded(most=64 << 20), pytest.raises(InputError, match=f"{tmp_path}.*{name}.*(is|are) (accepted|needed)"):
        describe(tmp_path)


@pytest.mark.parametrize(
    "text", ['{"scaling_factor": NaN}', '{"a":' * 3000, '{"a": ' + "9" * 5000 + "}", "[]", "\x00"]
)
@pytest.mark.parametrize("describe", [loading.describe_vae, loading.describe_image_encoder])
def test_file_that_is_no_json_of_finite_numbers_is_refused(tmp_path, describe, text):
    (tmp_path / "config.json").write_text(text)
    with bounded(most=64 << 20), pytest.raises(InputError, match=f"{tmp_path / 'config.json'}.*is needed"):
        describe(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused(tmp_path, kind):
    special(Path(tmp_path / "config.json"), kind)
    with bounded(most=64 << 20), pytest.raises(InputError, match="config.json.*is needed"):
        loading.describe_vae(tmp_path)


def test_name_that_is_nearly_an_option_is_told(tmp_path, caplog):
    loading.known_options(AutoencoderKL, {"norm_num_group": 16, "block_out_channels": [32], "novelty": 1}, "a.json")
    assert "a.json: norm_num_group is not known, and has no effect; was norm_num_groups meant?" in caplog.text
    assert "novelty" not in caplog.text
