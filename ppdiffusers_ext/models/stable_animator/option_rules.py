"""What the options of StableAnimator's networks may be."""

from typing import Any

from ppdiffusers_ext.models.network_rules import (
    GROUPS,
    HEADS,
    LAYERS,
    LEVELS,
    UNET,
    UNET_DEFAULTS,
    WIDE,
    heads_of_unet,
    unet_size,
)
from ppdiffusers_ext.models.rules import Either, ListOf, Rules, Whole, divides, even, same_length


def _time_ids(options: dict[str, Any]) -> str | None:
    one, all_ = options["addition_time_embed_dim"], options["projection_class_embeddings_input_dim"]
    if 3 * one != all_:
        return (
            f"projection_class_embeddings_input_dim is {all_}; three times addition_time_embed_dim, {one}, is needed"
        )
    return None


UNET_RULES = Rules(
    {
        **{name: UNET[name] for name in ("sample_size", "in_channels", "out_channels", "down_block_types")},
        **{name: UNET[name] for name in ("up_block_types", "block_out_channels", "cross_attention_dim")},
        "addition_time_embed_dim": Whole(2, 4096),
        "projection_class_embeddings_input_dim": WIDE,
        "layers_per_block": LAYERS,
        "transformer_layers_per_block": Either(Whole(1, 4), ListOf(Whole(1, 4), 1, LEVELS)),
        "num_attention_heads": Either(HEADS, ListOf(HEADS, 1, LEVELS)),
        "num_frames": Whole(1, 4096),
        "num_face_tokens": Whole(1, 256),
        "norm_num_groups": GROUPS,
    },
    (
        same_length("block_out_channels", "down_block_types", "up_block_types", "num_attention_heads"),
        same_length("block_out_channels", "transformer_layers_per_block"),
        divides("norm_num_groups", "block_out_channels"),
        heads_of_unet,
        even("block_out_channels", "addition_time_embed_dim"),
        _time_ids,
    ),
    {
        **{name: UNET_DEFAULTS[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
        "down_block_types": (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
        "num_attention_heads": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
        "num_frames": 25,
    },
    unet_size,
    2e10,
)
POSE_NET_RULES = Rules({"noise_latent_channels": WIDE})
FACE_ENCODER_RULES = Rules(
    {
        **dict.fromkeys(("cross_attention_dim", "id_embeddings_dim", "clip_embeddings_dim"), Whole(1, 8192)),
        "num_tokens": Whole(1, 256),
    }
)
RECOGNIZER_RULES = Rules(
    {
        "layers": ListOf(Whole(1, 200), 4, 4),
        "planes": ListOf(Whole(1, 4096), 4, 4),
        "num_features": WIDE,
    }
)
