"""What the options of EasyAnimate's networks may be."""

import math
from typing import Any

from ppdiffusers_ext.models.network_rules import (
    CHANNELS,
    DEPTH,
    EPSILON,
    HEADS,
    MOTION,
    NAMES,
    SIDE,
    VAE,
    VAE_RELATIONS,
    WIDE,
    WIDTHS,
    vae_size,
)
from ppdiffusers_ext.models.rules import Choice, Either, Flag, Number, Rules, Text, Whole, divides

_POOL_HEADS = 8  # of Hunyuan-DiT's attention that pools the second text


def _hunyuan_size(options: dict[str, Any]) -> float:
    width, layers = options["hidden_size"], options["num_layers"]
    text = options["cross_attention_dim_t5"] * 4 * (options["cross_attention_dim_t5"] + options["cross_attention_dim"])
    return layers * width * (10 * width + 2 * options["mlp_ratio"] * width + 2 * options["cross_attention_dim"]) + text


def _is_hunyuan(options: dict[str, Any]) -> str | None:
    heads, channels, width, layers = (
        options[name] for name in ("num_attention_heads", "attention_head_dim", "hidden_size", "num_layers")
    )
    if layers % 2 or width != heads * channels or channels % 4:
        return (
            f"{layers} blocks of {heads} heads of {channels} channels do not make a network of width {width}; an even "
            "number, a multiple of 4, and their product are needed"
        )
    if int(width * options["mlp_ratio"]) < 1:
        return f"mlp_ratio {options['mlp_ratio']} of {width} is nothing; a larger one is needed"
    if options["cross_attention_dim_t5"] % _POOL_HEADS:
        return f"cross_attention_dim_t5 is {options['cross_attention_dim_t5']}; a multiple of {_POOL_HEADS} is needed"
    sees = 2 * options["in_channels"] != options["out_channels"] and options["enable_clip_in_inpaint"]
    context, queries = options["cross_attention_dim"], options["n_query"]
    if sees and (context % heads or context % 4 or math.isqrt(queries) ** 2 != queries):
        return (
            f"{queries} queries (n_query) of {context} channels (cross_attention_dim) do not do for {heads} heads; a "
            "square number, and a multiple of 4 and of the heads, are needed"
        )
    return None


HUNYUAN_RULES = Rules(
    {
        "num_attention_heads": HEADS,
        "attention_head_dim": Whole(1, 1024),
        "in_channels": CHANNELS,
        "out_channels": Either(None, Whole(1, 512)),
        "patch_size": Whole(1, 16),
        "n_query": Whole(1, 1024),
        "projection_dim": WIDE,
        "sample_size": SIDE,
        "hidden_size": WIDE,
        "num_layers": DEPTH,
        "mlp_ratio": Number(1e-3, 32),
        "cross_attention_dim": WIDE,
        "cross_attention_dim_t5": WIDE,
        "pooled_projection_dim": WIDE,
        "text_len": Whole(1, 8192),
        "text_len_t5": Whole(1, 8192),
        **dict.fromkeys(("time_position_encoding", "after_norm", "enable_clip_in_inpaint"), Flag()),
        "rotates_first_block": Flag(),
    },
    (_is_hunyuan,),
    {
        **{"num_attention_heads": 16, "attention_head_dim": 88, "hidden_size": 1408, "num_layers": 40},
        **{"mlp_ratio": 4.3637, "cross_attention_dim": 1024, "cross_attention_dim_t5": 2048, "n_query": 16},
        **{"in_channels": 12, "out_channels": 8, "enable_clip_in_inpaint": True},
    },
    _hunyuan_size,
    5e10,
)


def _pixart_size(options: dict[str, Any]) -> float:
    width = options["num_attention_heads"] * options["attention_head_dim"]
    return options["num_layers"] * width**2 * 60


def _is_pixart(options: dict[str, Any]) -> str | None:
    width = options["num_attention_heads"] * options["attention_head_dim"]
    if width != options["cross_attention_dim"] or width % 8:
        return (
            f"{options['num_attention_heads']} heads of {options['attention_head_dim']} channels do not make "
            f"cross_attention_dim {options['cross_attention_dim']}; their product, a multiple of 8, is needed"
        )
    return None


PIXART_RULES = Rules(
    {
        "num_attention_heads": HEADS,
        "attention_head_dim": Whole(1, 1024),
        "in_channels": CHANNELS,
        "out_channels": Whole(1, 512),
        "num_layers": DEPTH,
        "cross_attention_dim": WIDE,
        "sample_size": SIDE,
        "patch_size": Whole(1, 16),
        "norm_eps": EPSILON,
        "caption_channels": WIDE,
        "basic_block_type": Choice("motionmodule", "global_motionmodule"),
        "enable_uvit": Flag(),
        "motion_module_type": Choice("Vanilla", "VanillaGrid"),
        "motion_module_kwargs": Either(None, MOTION),
        "motion_module_kwargs_even": Either(None, MOTION),
        "motion_module_kwargs_odd": Either(None, MOTION),
    },
    (_is_pixart,),
    {"num_attention_heads": 16, "attention_head_dim": 72, "num_layers": 28, "cross_attention_dim": 1152},
    _pixart_size,
    5e10,
)
VAE_RULES = Rules(
    {
        **{name: rule for name, rule in VAE.items() if name not in ("sample_size", "force_upcast")},
        "block_out_channels": Either(None, WIDTHS),
        "down_block_types": Either(NAMES, Text(1, 1000)),  # some files have the list as a text
        "up_block_types": Either(NAMES, Text(1, 1000)),
        "mid_block_use_attention": Flag(),
        "mid_block_attention_type": Choice("3d", "spatial"),
        "mid_block_num_attention_heads": HEADS,
        **dict.fromkeys(("slice_mag_vae", "slice_compression_vae", "cache_compression_vae"), Flag()),
        "spatial_group_norm": Flag(),
        "mini_batch_encoder": Whole(1, 1024),
        "mini_batch_decoder": Whole(1, 1024),
        "tile_sample_min_size": Whole(16, 16384),
        "tile_overlap_factor": Number(0, 0.9),
    },
    (*VAE_RELATIONS, divides("mid_block_num_attention_heads", "block_out_channels")),
    {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "mini_batch_encoder": 9,
    },
    vae_size,
    1e10,
)
