"""From the configuration files of EasyAnimate's checkpoints to the options of our networks, and back.

A file has the options of the original's class (`easyanimate/models/transformer3d.py`, `autoencoder_magvit.py` of
aigc-apps/EasyAnimate, all of its versions), and some lack those that came later: these then have the original's
default, which is not always ours. Options that our classes have not are those with one value in all that was
published, and those that say nothing of what is computed.
"""

import ast
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import InputError, printable, shown, suggestion
from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.models.rules import ListOf, Rules, Whole, option_names
from ppdiffusers_ext.weights.declaration import BATCH_NORM_RENAMED, BATCH_NORM_UNUSED, CheckpointNames

if TYPE_CHECKING:
    from ppdiffusers.configuration_utils import ConfigMixin

logger = logging.getLogger(__name__)

OF_PICTURES = "Transformer2DModel"  # PixArt's own class

# Tensors of published files that our classes have no use for: tables that are computed here, and what the VAE was
# trained with.
VAE_NAMES = CheckpointNames(unused=r"^loss\.")
PIXART_NAMES = CheckpointNames(unused=r"\.pos_encoder\.pe$|^pos_embed\.pos_embed$")
HUNYUAN_NAMES = CheckpointNames(
    unused=r"\.t_embed\.pe$|^clip_projection\.pos_embed$",
    without_lora=r"^clip_projection\.attn\.",  # torch's MultiheadAttention, whose projection is no plain linear layer
)

# Of the networks of the VAE's loss. Filters of blur pooling are computed here.
FRAME_DISCRIMINATOR_NAMES = CheckpointNames(renamed=BATCH_NORM_RENAMED, unused=BATCH_NORM_UNUSED)
CLIP_DISCRIMINATOR_NAMES = CheckpointNames(unused=r"\.filt$")

_NEEDED = object()


@dataclass(frozen=True)
class _Rules:
    """
    Attributes:
        original: name of the original's class.
        defaults: the original's, of options that a file may lack, or `_NEEDED`.
        fixed: options that our class has not -> the value that is computed, after the original's default if that is
            another.
        idle: options without effect on what is computed.
    """

    original: str
    defaults: dict
    fixed: dict
    idle: tuple


# Options of the inpainting pipeline, which the original keeps with the transformer; those of V5.
_OF_PIPELINE = {
    "resize_inpaint_mask_directly": (False,),
    "add_noise_in_inpaint_model": (False,),
    "enable_text_attention_mask": (True,),
}
# Of the mean of weights over training that was saved: some published files have them.
_OF_TRAINING = (
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
)
# By the names of our classes, which import this module.
_RULES = {
    "HunyuanTransformer3D": _Rules(
        "HunyuanTransformer3DModel",
        {
            "in_channels": _NEEDED,
            "out_channels": None,
            "patch_size": _NEEDED,
            "hidden_size": 1152,
            "num_layers": 28,
            "mlp_ratio": 4.0,
            "time_position_encoding": False,
        },
        {
            **_OF_PIPELINE,
            "activation_fn": ("gelu-approximate",),
            "learn_sigma": (True,),
            "norm_type": ("layer_norm",),
            "basic_block_type": ("basic",),
            "time_position_encoding_type": ("2d_rope",),
            "position_of_clip_embedding": ("full",),
        },
        (
            *_OF_TRAINING,
            "transformer_type",  # names the class in a YAML
            "upcast_attention",  # no option of this class; the original gives it where there is fp16
            # Of blocks with motion modules, which V4 has not.
            "motion_module_type",
            "motion_module_kwargs",
            "motion_module_kwargs_odd",
            "motion_module_kwargs_even",
        ),
    ),
    "PixArtTransformer3D": _Rules(
        "Transformer3DModel",
        {
            "attention_head_dim": 88,
            "in_channels": _NEEDED,
            "out_channels": _NEEDED,
            "num_layers": 1,
            "cross_attention_dim": _NEEDED,
            "sample_size": _NEEDED,
            "patch_size": _NEEDED,
            "norm_eps": 1e-5,
            "caption_channels": _NEEDED,
            "motion_module_type": "VanillaGrid",
        },
        {
            **_OF_PIPELINE,
            "attention_bias": (False, True),
            "activation_fn": ("geglu", "gelu-approximate"),
            "norm_type": ("layer_norm", "ada_norm_single"),
            "norm_elementwise_affine": (True, False),
            "attention_type": ("default",),
            "only_cross_attention": (False,),
            "double_self_attention": (False,),
            "num_vector_embeds": (None,),
            "n_query": (8,),
            "patch_3d": (False,),
            "fake_3d": (False,),
            "casual_3d": (False,),
            "time_position_encoding_before_transformer": (False,),
            "qk_norm": (False,),
            "after_norm": (False,),
            "enable_clip_in_inpaint": (True,),
            "position_of_clip_embedding": ("head",),
        },
        (
            *_OF_TRAINING,
            "transformer_type",
            "upcast_attention",  # of fp16, whose softmax is in fp32 here as well
            "dropout",  # of training
            "norm_num_groups",  # of layers that PixArt has not, as are the next two
            "use_linear_projection",
            "num_embeds_ada_norm",
            "time_patch_size",  # of patch_3d and casual_3d
            "casual_3d_upsampler_index",
            "enable_zero_in_inpaint",  # of the newest tree's pipeline; before, nothing known was zeros always, as here
        ),
    ),
    "AutoencoderKLMagvit": _Rules(
        "AutoencoderKLMagvit",
        {"down_block_types": _NEEDED, "up_block_types": _NEEDED},
        {
            "use_gc_blocks": (None,),
            "mid_block_type": ("MidBlock3D",),
            "act_fn": ("silu",),
            "num_attention_heads": (1,),
            "cache_mag_vae": (False,),
        },
        (
            "ch",  # of block_out_channels where that is left out, as is the next
            "ch_mult",
            "force_upcast",  # of the dtype that is computed in, as is the next
            "upcast_vae",
            "sample_size",
            "use_tiling",  # of memory, which is decided for each video
            "use_tiling_encoder",
            "use_tiling_decoder",
        ),
    ),
}
_ONLY_3D = (  # options that PixArt's own class, of pictures, has not
    *_OF_PIPELINE,
    "n_query",
    "patch_3d",
    "fake_3d",
    "casual_3d",
    "time_position_encoding_before_transformer",
    "qk_norm",
    "after_norm",
    "enable_clip_in_inpaint",
    "position_of_clip_embedding",
    "basic_block_type",
    "enable_uvit",
    "motion_module_type",
    "motion_module_kwargs",
    "motion_module_kwargs_even",
    "motion_module_kwargs_odd",
)
_MOTION_FIXED = {"cross_frame_attention_mode": None, "global_attention": False, "qk_norm": False}
_MOTION_IDLE = (
    "temporal_position_encoding_max_len",  # how long a table is that is computed here
    "zero_initialize",  # of weights before training
    "global_num_attention_heads",  # of global_attention
)
_MOTION_KNOWN = (
    "num_attention_heads",
    "num_transformer_block",
    "attention_block_types",
    "temporal_position_encoding",
    "temporal_attention_dim_div",
    "block_size",
    "remove_time_embedding_in_photo",
)
_ATTENTION_TYPES = ("Temporal_Self", "Global_Self")
_BLOCK_TYPES = ("motionmodule", "global_motionmodule")
_MOTION_TYPES = ("Vanilla", "VanillaGrid")
_OLDER = Rules({"ch": Whole(1, 8192), "ch_mult": ListOf(Whole(1, 64), 1, 6)})  # of the VAE
_VAE_BLOCKS = {
    "down_block_types": ("SpatialDownBlock3D", "SpatialTemporalDownBlock3D"),
    "up_block_types": ("SpatialUpBlock3D", "SpatialTemporalUpBlock3D"),
}


def options_of(
    cls: type, config: dict[str, Any], source: str | Path, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Options of one of our classes.

    Args:
        cls: `HunyuanTransformer3D`, `PixArtTransformer3D` or `AutoencoderKLMagvit`.
        config: dict of a `config.json`, of the original or of ours.
        source: its path, for messages.
        more: options that the user gives, which go over those of the file.

    Raises:
        InputError: an option that is missing, or has a value that is not computed here; one of the user's that there
            is not. One of the file that is not known is named in the log.
    """
    rules, known = _RULES[cls.__name__], option_names(cls)
    is_ours = config.get("_class_name") == cls.__name__
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    names = {*known, *rules.fixed, *rules.idle}
    for name in more or {}:
        if name not in names:
            near = suggestion(str(name), sorted(names))
            raise InputError(f"option {shown(name)} of {cls.__name__} is not known; {near}")
    given = {**config, **(more or {})}
    if unknown := sorted(set(given) - names):
        shown_names = printable(", ".join(unknown), 500)
        logger.warning("%s has options that are not known and have no effect: %s", source, shown_names)
    for name, values in rules.fixed.items():
        value = given.get(name, values[-1] if is_ours else values[0])
        if value != values[-1]:
            raise InputError(f"{source}: {name} is {shown(value)}; {values[-1]!r} is accepted")
    options = {**rules.defaults, **{name: value for name, value in given.items() if name in known}}
    if missing := [name for name, value in options.items() if value is _NEEDED]:
        raise InputError(f"{source} has no {', '.join(missing)}, which {cls.__name__} needs")
    rules_of(cls).check_fields(options, source)
    return _CHECKS[cls.__name__](options, given, source)


def original_config(model: "ConfigMixin", of_pictures: bool = False) -> dict[str, Any]:
    """A `config.json` for the original's class of a model of ours: all options, with those that we have not.

    Args:
        of_pictures: whether it is that of PixArt's own class, to which V1 adds motion modules.
    """
    rules = _RULES[type(model).__name__]
    own = {name: value for name, value in model.config.items() if not name.startswith("_")}
    if own.get("rotates_first_block"):  # as the original does, which has no such option
        del own["rotates_first_block"]
    config = {"_class_name": rules.original, **{name: values[-1] for name, values in rules.fixed.items()}, **own}
    if of_pictures:
        config = {name: value for name, value in config.items() if name not in _ONLY_3D}
        config["_class_name"] = OF_PICTURES
    return config


def options_of_motion(model: "ConfigMixin") -> dict[str, Any]:
    """Those of V1's transformer that PixArt's own class, and so its `config.json`, has no place for."""
    names = set(option_names(type(model))) & set(_ONLY_3D)
    return {name: value for name, value in model.config.items() if name in names}


def _check_hunyuan(options: dict[str, Any], given: dict[str, Any], source: str | Path) -> dict[str, Any]:
    if options["out_channels"] is None:  # the original's way to say it
        options["out_channels"] = 2 * options["in_channels"]
    return options


def _check_pixart(options: dict[str, Any], given: dict[str, Any], source: str | Path) -> dict[str, Any]:
    _check_one_of(options, "basic_block_type", _BLOCK_TYPES, source, "motionmodule")
    _check_one_of(options, "motion_module_type", _MOTION_TYPES, source)
    is_hybrid = options.get("basic_block_type") == _BLOCK_TYPES[1]
    needed = ("motion_module_kwargs_even", "motion_module_kwargs_odd") if is_hybrid else ("motion_module_kwargs",)
    for name in needed:
        if not options.get(name):
            raise InputError(
                f"{source} has no {name}; options of the motion modules are needed, as YAML's transformer"
            )
        options[name] = _motion_options(options[name], f"{source}: {name}")
    return options


def _motion_options(given: dict[str, Any], source: str | Path) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InputError(f"{source} is {shown(given)}; a mapping of {', '.join(_MOTION_KNOWN)} is accepted")
    for name, value in given.items():
        if name in _MOTION_FIXED and value != _MOTION_FIXED[name]:
            raise InputError(f"{source} has {name} {shown(value)}; {_MOTION_FIXED[name]!r} is accepted")
        if name not in (*_MOTION_KNOWN, *_MOTION_FIXED, *_MOTION_IDLE):
            name = printable(name, 100)
            raise InputError(f"{source} has {name}, which is not known; {', '.join(_MOTION_KNOWN)} are accepted")
    for kind in given.get("attention_block_types", ()):
        if kind not in _ATTENTION_TYPES:
            raise InputError(f"{source} has attention {shown(kind)}; {', '.join(_ATTENTION_TYPES)} are accepted")
    return {name: value for name, value in given.items() if name in _MOTION_KNOWN}


def _check_vae(options: dict[str, Any], given: dict[str, Any], source: str | Path) -> dict[str, Any]:
    _OLDER.check(given, source)
    if options.get("block_out_channels", ()) is None:
        options["block_out_channels"] = [
            given.get("ch", 128) * factor for factor in given.get("ch_mult", (1, 2, 4, 4))
        ]
    for name, kinds in _VAE_BLOCKS.items():
        blocks = options[name]
        if isinstance(blocks, str):  # some files have the list as a text
            try:
                blocks = ast.literal_eval(blocks)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                blocks = None
        if not isinstance(blocks, (list, tuple)) or any(kind not in kinds for kind in blocks):
            raise InputError(
                f"{source}: {name} is {shown(options[name])}; a list of {' and '.join(kinds)} is accepted"
            )
        options[name] = list(blocks)
    return options


def _check_one_of(
    options: dict[str, Any], name: str, accepted: Sequence[Any], source: str | Path, default: Any = None
) -> None:
    if options.get(name, default) not in accepted:
        raise InputError(f"{source}: {name} is {shown(options[name])}; {', '.join(accepted)} is accepted")


_CHECKS = {
    "HunyuanTransformer3D": _check_hunyuan,
    "PixArtTransformer3D": _check_pixart,
    "AutoencoderKLMagvit": _check_vae,
}
