"""What the options of UNets, motion modules and autoencoders may be, whichever network has them."""

from typing import Any

from ppdiffusers_ext.models.rules import (
    Anything,
    Either,
    Flag,
    ListOf,
    Nested,
    Number,
    Rule,
    Text,
    Whole,
    divides,
    even,
    same_length,
)

LEVELS = 6  # of a UNet or a VAE
WIDTH = Whole(1, 8192)
WIDE = Whole(1, 16384)
CHANNELS = Whole(1, 256)
LAYERS = Whole(1, 8)  # of one level
DEPTH = Whole(1, 128)
HEADS = Whole(1, 512)
GROUPS = Whole(1, 1024)
SIDE = Whole(1, 8192)
PART = Number(0, 1)
EPSILON = Number(0, 1)
_SCALE = Number(1e-6, 1e6)
WIDTHS = ListOf(WIDTH, 1, LEVELS)
NAMES = ListOf(Text(1, 100), 1, LEVELS)

MOTION = Nested(
    {
        "num_attention_heads": HEADS,
        "num_transformer_block": Whole(1, 4),
        "attention_block_types": ListOf(Text(1, 100), 1, 4),
        "temporal_position_encoding": Flag(),
        "temporal_position_encoding_max_len": Whole(1, 8192),
        "temporal_attention_dim_div": Whole(1, 64),
        "block_size": Whole(1, 64),
        "remove_time_embedding_in_photo": Flag(),
        "zero_initialize": Flag(),
    }
)


def _each(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


def unet_size(options: dict[str, Any], motion: dict[str, Any] | None = None) -> float:
    """About how many numbers the weights of a UNet are.

    Args:
        options: of the network, a dict.
        motion: options of its motion modules.
    """
    widths = options["block_out_channels"]
    context, layers = options["cross_attention_dim"], options["layers_per_block"]
    deep = options.get("transformer_layers_per_block", 1)
    motion = motion or {}
    temporal = motion.get("num_transformer_block", 2) * (4 * len(motion.get("attention_block_types", "12")) + 12)
    factor = 2 if "num_frames" in options else 1  # a network of videos has each layer twice
    each = [
        27 * width**2 + depth * (16 * width + 2 * context) * width * factor + temporal * width**2
        for width, depth in zip(widths, _each(deep, len(widths)))
    ]
    return sum(2 * (layers + 1) * size * factor for size in each)


def heads_of_unet(options: dict[str, Any]) -> str | None:
    """A relation: heads divide the channels of each level that attends."""
    widths, types = options["block_out_channels"], options["down_block_types"]
    heads = _each(options.get("attention_head_dim", options.get("num_attention_heads")), len(widths))
    if len(heads) != len(widths):
        return f"there are {len(heads)} numbers of heads for {len(widths)} levels; one of each is needed"
    for number, (width, parts) in enumerate(zip(widths, heads)):
        is_used = number == len(widths) - 1 or (number < len(types) and types[number].startswith("CrossAttn"))
        if is_used and width % parts:
            return f"block_out_channels {width} do not divide into {parts} heads; a multiple is needed"
    return None


def _step_of_sinusoids(options: dict[str, Any]) -> str | None:
    half = options["block_out_channels"][0] // 2
    if half <= options.get("freq_shift", 0):
        return f"block_out_channels begin with {2 * half}, too few for freq_shift {options['freq_shift']}"
    return None


UNET: dict[str, Rule] = {
    "sample_size": Either(None, SIDE, ListOf(SIDE, 2, 2)),
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "center_input_sample": Flag(),
    "flip_sin_to_cos": Flag(),
    "freq_shift": Whole(0, 1),
    "down_block_types": NAMES,
    "mid_block_type": Text(1, 100),
    "up_block_types": NAMES,
    "block_out_channels": WIDTHS,
    "layers_per_block": LAYERS,
    "downsample_padding": Whole(0, 1),
    "mid_block_scale_factor": _SCALE,
    "norm_num_groups": GROUPS,
    "norm_eps": EPSILON,
    "cross_attention_dim": WIDE,
    "attention_head_dim": Either(HEADS, ListOf(HEADS, 1, LEVELS)),
    "use_linear_projection": Flag(),
    "resnet_time_scale_shift": Text(1, 100),
    # Of which one value is accepted, which the network says.
    **dict.fromkeys(("act_fn", "only_cross_attention", "dual_cross_attention", "class_embed_type"), Anything()),
    **dict.fromkeys(("num_class_embeds", "upcast_attention"), Anything()),
}
UNET_DEFAULTS: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "freq_shift": 0,
}
_LISTS = same_length("block_out_channels", "down_block_types", "up_block_types", "attention_head_dim")
UNET_RELATIONS = (
    _LISTS,
    divides("norm_num_groups", "block_out_channels"),
    heads_of_unet,
    even("block_out_channels"),
    _step_of_sinusoids,
)


def vae_size(options: dict[str, Any]) -> float:
    """As `unet_size`, of an autoencoder."""
    factor = 3 if "mini_batch_encoder" in options else 1  # kernels of three frames
    layers = 2 * options["layers_per_block"] + 3
    return sum(layers * 27 * width**2 * factor for width in options["block_out_channels"])


VAE: dict[str, Rule] = {
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "down_block_types": NAMES,
    "up_block_types": NAMES,
    "block_out_channels": WIDTHS,
    "layers_per_block": LAYERS,
    "latent_channels": CHANNELS,
    "norm_num_groups": GROUPS,
    "scaling_factor": _SCALE,
    "sample_size": Either(None, SIDE),
    "force_upcast": Flag(),
}
VAE_RELATIONS = (
    same_length("block_out_channels", "down_block_types", "up_block_types"),
    divides("norm_num_groups", "block_out_channels"),
)
VAE_DEFAULTS: dict[str, Any] = {"layers_per_block": 1, "block_out_channels": (64,), "norm_num_groups": 32}
