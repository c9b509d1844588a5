"""The options of every network that a `config.json` can describe, and what they may be: `rules_of` a class.

Bounds are some times the largest published sizes: of Stable Diffusion 1.5 to XL, Stable Video Diffusion, Hunyuan-DiT,
PixArt-alpha, EasyAnimate V1 to V5, CLIP to ViT-bigG, BERT, T5 and mT5 to XXL, ArcFace.
"""

import math

from ppdiffusers_ext.models.network_rules import (
    CHANNELS,
    DENOISING_UNET,
    DEPTH,
    EPSILON,
    HEADS,
    MAGVIT,
    MOTION,
    PART,
    PICTURE_VAE,
    REFERENCE_UNET,
    SIDE,
    VIDEO_UNET,
    VIDEO_VAE,
    WIDE,
)
from ppdiffusers_ext.models.rules import Choice, Either, Flag, ListOf, Number, Rules, Whole, divides

_POOL_HEADS = 8  # of Hunyuan-DiT's attention that pools the second text
_IDS = Either(None, Whole(-1, 1_000_000))
_SPREAD = Number(0, 100)  # of initial values, which files replace


def _hunyuan_size(options):
    width, layers = options["hidden_size"], options["num_layers"]
    text = options["cross_attention_dim_t5"] * 4 * (options["cross_attention_dim_t5"] + options["cross_attention_dim"])
    return layers * width * (10 * width + 2 * options["mlp_ratio"] * width + 2 * options["cross_attention_dim"]) + text


def _is_hunyuan(options):
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


HUNYUAN = Rules(
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


def _pixart_size(options):
    width = options["num_attention_heads"] * options["attention_head_dim"]
    return options["num_layers"] * width**2 * 60


def _is_pixart(options):
    width = options["num_attention_heads"] * options["attention_head_dim"]
    if width != options["cross_attention_dim"] or width % 8:
        return (
            f"{options['num_attention_heads']} heads of {options['attention_head_dim']} channels do not make "
            f"cross_attention_dim {options['cross_attention_dim']}; their product, a multiple of 8, is needed"
        )
    return None


PIXART = Rules(
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


def _clip_size(options):
    width, patches = options["hidden_size"], (options["image_size"] // options["patch_size"]) ** 2
    block = 4 * width**2 + 2 * width * options["intermediate_size"]
    return options["num_hidden_layers"] * block + width * (patches + options["projection_dim"])


def _is_clip(options):
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


def _bert_size(options):
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


def _t5_size(options):
    width, inner = options["d_model"], options["num_heads"] * options["d_kv"]
    block = 4 * width * inner + 3 * width * options["d_ff"]
    return options["vocab_size"] * width + options["num_layers"] * block


def _distances(options):
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
_RULES = {
    "ReferenceUNet": REFERENCE_UNET,
    "DenoisingUNet3D": DENOISING_UNET,
    "PoseGuider": Rules(
        {
            "conditioning_embedding_channels": WIDE,
            "conditioning_channels": CHANNELS,
            "block_out_channels": ListOf(Whole(1, 4096), 1, 8),
        }
    ),
    "AnimationUNet": VIDEO_UNET,
    "PoseNet": Rules({"noise_latent_channels": WIDE}),
    "FusionFaceId": Rules(
        {
            **dict.fromkeys(("cross_attention_dim", "id_embeddings_dim", "clip_embeddings_dim"), Whole(1, 8192)),
            "num_tokens": Whole(1, 256),
        }
    ),
    "IResNet": Rules(
        {
            "layers": ListOf(Whole(1, 200), 4, 4),
            "planes": ListOf(Whole(1, 4096), 4, 4),
            "num_features": WIDE,
        }
    ),
    "RetinaFace": Rules({}),
    "HunyuanTransformer3D": HUNYUAN,
    "PixArtTransformer3D": PIXART,
    "AutoencoderKLMagvit": MAGVIT,
    "AutoencoderKL": PICTURE_VAE,
    "AutoencoderKLTemporalDecoder": VIDEO_VAE,
    "CLIPVisionModelWithProjection": _CLIP,
    "CLIPVisionConfig": _CLIP,
    "BertModel": _BERT,
    "BertConfig": _BERT,
    "T5EncoderModel": _T5,
    "T5Config": _T5,
}


def rules_of(class_name):
    """The `Rules` of a network, or of the class of its configuration; without any fields for one that is not known."""
    return _RULES.get(class_name, Rules({}))
