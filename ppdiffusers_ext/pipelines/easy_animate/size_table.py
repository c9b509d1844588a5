"""Which videos EasyAnimate V4 makes on GPUs of which memory, as predicted: the original's table, for our modes."""

from dataclasses import replace

from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.memory import plan_models
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
from ppdiffusers_ext.pipelines.memory_plan import GB
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.assignment import create

MEMORIES = (12, 16, 24, 40, 80)  # GB
SIZES = tuple(
    (*size, frames)
    for size, lengths in (
        ((384, 672), (72, 144)),
        ((576, 1008), (72, 144)),
        ((768, 1344), (72, 144)),
        ((960, 1680), (48, 96)),
    )
    for frames in lengths
)  # height, width, frames
# The fastest first: options of an `EasyAnimateConfig`.
MODES = {
    "high": {"memory": "high"},
    "medium": {"memory": "medium"},
    "low": {"memory": "low"},
    "tiles": {"memory": "low", "vae_tiling": True},
    "int8": {"memory": "low", "vae_tiling": True, "weights": "int8"},
    "minimal": {"memory": "minimal"},
}
_GPU = Runtime("gpu:0", "bfloat16")
# Of Hunyuan-DiT (Li et al. 2024, arXiv:2405.08748), and of CLIP's large model.
_BERT: dict = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_BERT |= {"vocab_size": 47020, "max_position_embeddings": 512}
_MT5: dict = {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32, "vocab_size": 250112}
_MT5 |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_CLIP |= {"patch_size": 14, "projection_dim": 768}


def released_models():
    """name -> network of EasyAnimate V4 at its released size, which takes no memory."""
    slices = {"slice_mag_vae": False, "cache_compression_vae": True, "mini_batch_encoder": 8, "mini_batch_decoder": 2}
    makers = {
        "vae": lambda: AutoencoderKLMagvit(**slices),
        "transformer": HunyuanTransformer3D,
        "text_encoder": lambda: make_bert(_BERT),
        "text_encoder_2": lambda: make_t5(_MT5),
        "image_encoder": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_CLIP)),
    }
    return {name: create(make) for name, make in makers.items()}


def size_table(models, memories=MEMORIES, sizes=SIZES, runtime=_GPU):
    """The first of `MODES` that fits, or None, for memories and sizes.

    Args:
        models: see `plan_models`.
        memories: GB of GPUs.
        sizes: (height, width, frames) of videos of a text.
        runtime: a `Runtime` on a GPU.

    Returns:
        memory -> size -> name.
    """
    needs = {size: {name: _need(models, size, options, runtime) for name, options in MODES.items()} for size in sizes}
    return {
        memory: {
            size: next((name for name, need in needs[size].items() if need <= memory * GB), None) for size in sizes
        }
        for memory in memories
    }


def _need(models, size, options, runtime):
    height, width, frames = size
    config = replace(EasyAnimateConfig(height=height, width=width, num_frames=frames), **options)
    (plan,) = plan_models(models, config, runtime, [config.memory])
    return plan.device


def lines(table):
    """The table as lines of Markdown."""
    sizes = ["x".join(map(str, size)) for size in next(iter(table.values()))]
    yield f"| GPU memory | {' | '.join(sizes)} |"
    yield "|---" * (len(sizes) + 1) + "|"
    for memory, modes in table.items():
        yield f"| {memory} GB | {' | '.join(mode or 'no' for mode in modes.values())} |"
