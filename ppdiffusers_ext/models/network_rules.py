"""What the options of UNets and autoencoders may be; see `option_rules`."""

from ppdiffusers_ext.models.rules import (
    Anything,
    Choice,
    Either,
    Flag,
    ListOf,
    Nested,
    Number,
    Rules,
    Text,
    Whole,
    divides,
    even,
    same_length,
)

_LEVELS = 6  # of a UNet or a VAE
WIDTH = Whole(1, 8192)
WIDE = Whole(1, 16384)
CHANNELS = Whole(1, 256)
_LAYERS = Whole(1, 8)  # of one level
DEPTH = Whole(1, 128)
HEADS = Whole(1, 512)
_GROUPS = Whole(1, 1024)
SIDE = Whole(1, 8192)
PART = Number(0, 1)
EPSILON = Number(0, 1)
_SCALE = Number(1e-6, 1e6)
_WIDTHS = ListOf(WIDTH, 1, _LEVELS)
_NAMES = ListOf(Text(1, 100), 1, _LEVELS)
_MOST_TABLE = 50_000_000  # numbers of all position tables that are made with a network

MOTION = Nested(
    {
        "num_attention_heads": HEADS,
        "num_transformer_block": Whole(1, 4),
        "attention_block_types": ListOf(Text(1, 100), 1, 4),
        "temporal_position_encoding": Flag(),
        "temporal_position_encoding_max_len": Whole(1, 8192),  # EasyAnimate has 4096
        "temporal_attention_dim_div": Whole(1, 64),
        "block_size": Whole(1, 64),
        "remove_time_embedding_in_photo": Flag(),
        "zero_initialize": Flag(),
    }
)


def _each(value, count):
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


def _unet_size(options):
    widths = options["block_out_channels"]
    context, layers = options["cross_attention_dim"], options["layers_per_block"]
    deep = options.get("transformer_layers_per_block", 1)
    motion = options.get("motion_module_kwargs") or {}
    temporal = motion.get("num_transformer_block", 2) * (4 * len(motion.get("attention_block_types", "12")) + 12)
    factor = 2 if "num_frames" in options else 1  # a network of videos has each layer twice
    each = [
        27 * width**2 + depth * (16 * width + 2 * context) * width * factor + temporal * width**2
        for width, depth in zip(widths, _each(deep, len(widths)))
    ]
    return sum(2 * (layers + 1) * size * factor for size in each)


def _motion_tables(options):
    motion = options.get("motion_module_kwargs") or {}
    length = motion.get("temporal_position_encoding_max_len", 24)
    blocks = motion.get("num_transformer_block", 2) * len(motion.get("attention_block_types", "12"))
    tables = sum(options["block_out_channels"]) * 2 * (options["layers_per_block"] + 1) * blocks * length
    if tables > _MOST_TABLE:
        return f"motion_module_kwargs ask for tables of {tables} numbers; {_MOST_TABLE} at most are accepted"
    return None


def _heads_of_unet(options):
    widths, types = options["block_out_channels"], options["down_block_types"]
    heads = _each(options.get("attention_head_dim", options.get("num_attention_heads")), len(widths))
    if len(heads) != len(widths):
        return f"there are {len(heads)} numbers of heads for {len(widths)} levels; one of each is needed"
    for number, (width, parts) in enumerate(zip(widths, heads)):
        is_used = number == len(widths) - 1 or (number < len(types) and types[number].startswith("CrossAttn"))
        if is_used and width % parts:
            return f"block_out_channels {width} do not divide into {parts} heads; a multiple is needed"
    return None


def _step_of_sinusoids(options):
    half = options["block_out_channels"][0] // 2
    if half <= options.get("freq_shift", 0):
        return f"block_out_channels begin with {2 * half}, too few for freq_shift {options['freq_shift']}"
    return None


_UNET = {
    "sample_size": Either(None, SIDE, ListOf(SIDE, 2, 2)),
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "center_input_sample": Flag(),
    "flip_sin_to_cos": Flag(),
    "freq_shift": Whole(0, 1),
    "down_block_types": _NAMES,
    "mid_block_type": Text(1, 100),
    "up_block_types": _NAMES,
    "block_out_channels": _WIDTHS,
    "layers_per_block": _LAYERS,
    "downsample_padding": Whole(0, 1),
    "mid_block_scale_factor": _SCALE,
    "norm_num_groups": _GROUPS,
    "norm_eps": EPSILON,
    "cross_attention_dim": WIDE,
    "attention_head_dim": Either(HEADS, ListOf(HEADS, 1, _LEVELS)),
    "use_linear_projection": Flag(),
    "resnet_time_scale_shift": Text(1, 100),
    # Of which one value is accepted; see `UNetTrunk`.
    **dict.fromkeys(("act_fn", "only_cross_attention", "dual_cross_attention", "class_embed_type"), Anything()),
    **dict.fromkeys(("num_class_embeds", "upcast_attention"), Anything()),
}
_UNET_DEFAULTS = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "freq_shift": 0,
}
_LISTS = same_length("block_out_channels", "down_block_types", "up_block_types", "attention_head_dim")
_UNET_RELATIONS = (
    _LISTS,
    divides("norm_num_groups", "block_out_channels"),
    _heads_of_unet,
    even("block_out_channels"),
    _step_of_sinusoids,
)
_UNET_3D = {
    **_UNET,
    "use_inflated_groupnorm": Flag(),
    "use_motion_module": Flag(),
    "motion_module_resolutions": ListOf(Whole(1, 1024), 0, 16),
    "motion_module_mid_block": Flag(),
    "motion_module_decoder_only": Flag(),
    "motion_module_type": Either(None, Text(1, 100)),
    "motion_module_kwargs": Either(None, MOTION),
    **dict.fromkeys(("unet_use_cross_frame_attention", "unet_use_temporal_attention"), Anything()),
    **dict.fromkeys(("mode", "task_type"), Anything()),
}


def _time_ids(options):
    one, all_ = options["addition_time_embed_dim"], options["projection_class_embeddings_input_dim"]
    if 3 * one != all_:
        return (
            f"projection_class_embeddings_input_dim is {all_}; three times addition_time_embed_dim, {one}, is needed"
        )
    return None


REFERENCE_UNET = Rules(_UNET, _UNET_RELATIONS, _UNET_DEFAULTS, _unet_size, 2e10)
DENOISING_UNET = Rules(_UNET_3D, (*_UNET_RELATIONS, _motion_tables), _UNET_DEFAULTS, _unet_size, 2e10)
VIDEO_UNET = Rules(
    {
        **{name: _UNET[name] for name in ("sample_size", "in_channels", "out_channels", "down_block_types")},
        **{name: _UNET[name] for name in ("up_block_types", "block_out_channels", "cross_attention_dim")},
        "addition_time_embed_dim": Whole(2, 4096),
        "projection_class_embeddings_input_dim": WIDE,
        "layers_per_block": _LAYERS,
        "transformer_layers_per_block": Either(Whole(1, 4), ListOf(Whole(1, 4), 1, _LEVELS)),
        "num_attention_heads": Either(HEADS, ListOf(HEADS, 1, _LEVELS)),
        "num_frames": Whole(1, 4096),
        "num_face_tokens": Whole(1, 256),
        "norm_num_groups": _GROUPS,
    },
    (
        same_length("block_out_channels", "down_block_types", "up_block_types", "num_attention_heads"),
        same_length("block_out_channels", "transformer_layers_per_block"),
        divides("norm_num_groups", "block_out_channels"),
        _heads_of_unet,
        even("block_out_channels", "addition_time_embed_dim"),
        _time_ids,
    ),
    {
        **{name: _UNET_DEFAULTS[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
        "down_block_types": (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
        "num_attention_heads": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
        "num_frames": 25,
    },
    _unet_size,
    2e10,
)


def _vae_size(options):
    factor = 3 if "mini_batch_encoder" in options else 1  # kernels of three frames
    layers = 2 * options["layers_per_block"] + 3
    return sum(layers * 27 * width**2 * factor for width in options["block_out_channels"])


_VAE = {
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "down_block_types": _NAMES,
    "up_block_types": _NAMES,
    "block_out_channels": _WIDTHS,
    "layers_per_block": _LAYERS,
    "latent_channels": CHANNELS,
    "norm_num_groups": _GROUPS,
    "scaling_factor": _SCALE,
    "sample_size": Either(None, SIDE),
    "force_upcast": Flag(),
}
_VAE_RELATIONS = (
    same_length("block_out_channels", "down_block_types", "up_block_types"),
    divides("norm_num_groups", "block_out_channels"),
)
_VAE_DEFAULTS = {"layers_per_block": 1, "block_out_channels": (64,), "norm_num_groups": 32}
_MEANS = Either(None, ListOf(Number(-1e6, 1e6), 1, 256))
VIDEO_VAE = Rules(_VAE, _VAE_RELATIONS, _VAE_DEFAULTS, _vae_size, 2e9)
PICTURE_VAE = Rules(
    {
        **_VAE,
        "down_block_out_channels": Either(None, _WIDTHS),
        "up_block_out_channels": Either(None, _WIDTHS),
        "act_fn": Choice("silu", "swish", "mish", "gelu", "relu"),
        "shift_factor": Either(None, Number(-1e6, 1e6)),
        "latents_mean": _MEANS,
        "latents_std": _MEANS,
        "use_quant_conv": Flag(),
        "use_post_quant_conv": Flag(),
    },
    (
        same_length("block_out_channels", "down_block_types", "up_block_types", "down_block_out_channels"),
        same_length("block_out_channels", "up_block_out_channels"),
        divides("norm_num_groups", "block_out_channels", "down_block_out_channels", "up_block_out_channels"),
    ),
    _VAE_DEFAULTS,
    _vae_size,
    2e9,
)
MAGVIT = Rules(
    {
        **{name: rule for name, rule in _VAE.items() if name not in ("sample_size", "force_upcast")},
        "block_out_channels": Either(None, _WIDTHS),
        "down_block_types": Either(_NAMES, Text(1, 1000)),  # some files have the list as a text
        "up_block_types": Either(_NAMES, Text(1, 1000)),
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
    (*_VAE_RELATIONS, divides("mid_block_num_attention_heads", "block_out_channels")),
    {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "mini_batch_encoder": 9,
    },
    _vae_size,
    1e10,
)
