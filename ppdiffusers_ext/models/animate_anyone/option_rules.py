"""What the options of Animate Anyone's networks may be."""

from typing import Any

from ppdiffusers_ext.models.network_rules import (
    CHANNELS,
    MOTION,
    UNET,
    UNET_DEFAULTS,
    UNET_RELATIONS,
    WIDE,
    unet_size,
)
from ppdiffusers_ext.models.rules import Anything, Either, Flag, ListOf, Rule, Rules, Text, Whole

_MOST_TABLE = 50_000_000  # numbers of all position tables that are made with a network
_MOST_IN_PATCH = 4096  # channels of the first and of the last convolution, outside


def _motion_tables(options: dict[str, Any]) -> str | None:
    motion = options.get("motion_module_kwargs") or {}
    length = motion.get("temporal_position_encoding_max_len", 24)
    blocks = motion.get("num_transformer_block", 2) * len(motion.get("attention_block_types", "12"))
    tables = sum(options["block_out_channels"]) * 2 * (options["layers_per_block"] + 1) * blocks * length
    if tables > _MOST_TABLE:
        return f"motion_module_kwargs ask for tables of {tables} numbers; {_MOST_TABLE} at most are accepted"
    return None


def _size(options: dict[str, Any]) -> float:
    return unet_size(options, options.get("motion_module_kwargs"))


def _patches(options: dict[str, Any]) -> str | None:
    channels = max(options["in_channels"], options["out_channels"]) * options["patch_size"] ** 2
    if channels > _MOST_IN_PATCH:
        return f"patch_size {options['patch_size']} makes {channels} channels; {_MOST_IN_PATCH} at most are accepted"
    return None


_UNET_2D: dict[str, Rule] = {**UNET, "patch_size": Whole(1, 16)}
_UNET_3D: dict[str, Rule] = {
    **_UNET_2D,
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
_RELATIONS = (*UNET_RELATIONS, _patches)
_DEFAULTS = {**UNET_DEFAULTS, "in_channels": 4, "out_channels": 4, "patch_size": 1}
REFERENCE_UNET_RULES = Rules(_UNET_2D, _RELATIONS, _DEFAULTS, unet_size, 2e10)
DENOISING_UNET_RULES = Rules(_UNET_3D, (*_RELATIONS, _motion_tables), _DEFAULTS, _size, 2e10)
POSE_GUIDER_RULES = Rules(
    {
        "conditioning_embedding_channels": WIDE,
        "conditioning_channels": CHANNELS,
        "block_out_channels": ListOf(Whole(1, 4096), 1, 8),
    }
)
