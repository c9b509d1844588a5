"""What the options of networks of paddlenlp and ppdiffusers, and of their configurations, may be."""

from typing import Any

from paddlenlp.transformers import BertConfig, BertModel, T5Config, T5EncoderModel
from ppdiffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from ppdiffusers_ext.models.network_rules import (
    CHANNELS,
    DEPTH,
    EPSILON,
    HEADS,
    PART,
    VAE,
    VAE_DEFAULTS,
    VAE_RELATIONS,
    WIDE,
    WIDTHS,
    vae_size,
)
from ppdiffusers_ext.models.rules import Choice, Either, Flag, ListOf, Number, Rules, Whole, divides, same_length

_IDS = Either(None, Whole(-1, 1_000_000))
_SPREAD = Number(0, 100)  # of initial values, which files replace
_MEANS = Either(None, ListOf(Number(-1e6, 1e6), 1, 256))
_VIDEO_VAE = Rules(VAE, VAE_RELATIONS, VAE_DEFAULTS, vae_size, 2e9)
_PICTURE_VAE = Rules(
    {
        **VAE,
        "down_block_out_channels": Either(None, WIDTHS),
        "up_block_out_channels": Either(None, WIDTHS),
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
    VAE_DEFAULTS,
    vae_size,
    2e9,
)


def _clip_size(options: dict[str, Any]) -> float:
    width, patches = options["hidden_size"], (options["image_size"] // options["patch_size"]) ** 2
    block = 4 * width**2 + 2 * width * options["intermediate_size"]
    return options["num_hidden_layers"] * block + width * (patches + options["projection_dim"])


def _is_clip(options: dict[str, Any]) -> str | None:
    if options["image_size"] < options["patch_size"]:
        return f"image_size {options['image_size']} is less than a patch, {options['patch_size']} (patch_size)"
    return None


_CLIP = Rules(
    {
        "hidden_size": WIDE,
        "intermediate_size": Whole(1, 65536),
        "projection_dim": WIDE,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "num_channels": CHANNELS,
        "image_size": Whole(1, 4096),
        "patch_size": Whole(1, 1024),
        "hidden_act": Choice("quick_gelu", "gelu", "gelu_new", "relu", "silu", "swish"),
        "layer_norm_eps": EPSILON,
        "attention_dropout": PART,
        "initializer_range": _SPREAD,
        "initializer_factor": _SPREAD,
    },
    (divides("num_attention_heads", "hidden_size"), _is_clip),
    {
        **{"hidden_size": 768, "intermediate_size": 3072, "projection_dim": 512, "num_hidden_layers": 12},
        **{"num_attention_heads": 12, "image_size": 224, "patch_size": 32},
    },
    _clip_size,
    1e10,
)


def _clip_text_size(options: dict[str, Any]) -> float:
    width, tables = options["hidden_size"], options["vocab_size"] + options["max_position_embeddings"]
    block = 4 * width**2 + 2 * width * options["intermediate_size"]
    return options["num_hidden_layers"] * block + width * (tables + options["projection_dim"])


_CLIP_TEXT = Rules(
    {
        "vocab_size": Whole(1, 1_000_000),
        "hidden_size": WIDE,
        "intermediate_size": Whole(1, 65536),
        "projection_dim": WIDE,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "max_position_embeddings": Whole(2, 65536),
        "hidden_act": Choice("quick_gelu", "gelu", "gelu_new", "relu", "silu", "swish"),
        "layer_norm_eps": EPSILON,
        "attention_dropout": PART,
        "initializer_range": _SPREAD,
        "initializer_factor": _SPREAD,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), _IDS),
    },
    (divides("num_attention_heads", "hidden_size"),),
    {
        **{"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "projection_dim": 512},
        **{"num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77},
    },
    _clip_text_size,
    1e10,
)


def _bert_size(options: dict[str, Any]) -> float:
    width = options["hidden_size"]
    tables = options["vocab_size"] + options["max_position_embeddings"] + options["type_vocab_size"]
    block = 4 * width**2 + 2 * width * options["intermediate_size"]
    return tables * width + options["num_hidden_layers"] * block


_BERT = Rules(
    {
        "vocab_size": Whole(1, 1_000_000),
        "hidden_size": WIDE,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": Whole(1, 65536),
        "hidden_act": Choice("gelu"),
        "hidden_dropout_prob": PART,
        "attention_probs_dropout_prob": PART,
        "max_position_embeddings": Whole(1, 65536),
        "type_vocab_size": Whole(1, 1024),
        "initializer_range": _SPREAD,
        "pad_token_id": _IDS,
        "pool_act": Choice("tanh"),
        "fuse": Choice(False),
        "layer_norm_eps": EPSILON,
        "use_cache": Either(None, Flag()),
    },
    (divides("num_attention_heads", "hidden_size"),),
    {
        **{"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
        **{"intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2},
    },
    _bert_size,
    1e10,
)


def _t5_size(options: dict[str, Any]) -> float:
    width, inner = options["d_model"], options["num_heads"] * options["d_kv"]
    block = 4 * width * inner + 3 * width * options["d_ff"]
    return options["vocab_size"] * width + options["num_layers"] * block


def _distances(options: dict[str, Any]) -> str | None:
    buckets, most = options["relative_attention_num_buckets"], options["relative_attention_max_distance"]
    if buckets % 4 or most <= buckets // 4:
        return (
            f"{buckets} buckets (relative_attention_num_buckets) do not do for distances up to {most} "
            "(relative_attention_max_distance); a multiple of 4, and more than a quarter of it, are needed"
        )
    return None


_T5 = Rules(
    {
        "vocab_size": Whole(1, 1_000_000),
        "d_model": WIDE,
        "d_kv": Whole(1, 1024),
        "d_ff": Whole(1, 131072),
        "num_layers": DEPTH,
        "num_decoder_layers": Either(None, Whole(0, 128)),
        "num_heads": HEADS,
        "relative_attention_num_buckets": Whole(4, 4096),
        "relative_attention_max_distance": Whole(1, 65536),
        "dropout_rate": PART,
        "layer_norm_epsilon": EPSILON,
        "initializer_factor": _SPREAD,
        "feed_forward_proj": Choice("relu", "gated-gelu", "gated-silu"),
        "is_encoder_decoder": Either(None, Flag()),
        "use_cache": Either(None, Flag()),
        "pad_token_id": _IDS,
        "eos_token_id": _IDS,
    },
    (_distances,),
    {
        **{"vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
        **{"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
    },
    _t5_size,
    5e10,
)
OPTION_RULES: dict[type, Rules] = {
    AutoencoderKL: _PICTURE_VAE,
    AutoencoderKLTemporalDecoder: _VIDEO_VAE,
    CLIPVisionModelWithProjection: _CLIP,
    CLIPVisionConfig: _CLIP,
    CLIPTextModelWithProjection: _CLIP_TEXT,
    CLIPTextConfig: _CLIP_TEXT,
    BertModel: _BERT,
    BertConfig: _BERT,
    T5EncoderModel: _T5,
    T5Config: _T5,
}
