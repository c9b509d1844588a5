"""Memory prediction for trainings of EasyAnimate's transformer, and of LoRA beside it; see `training.memory_plan`.

The activations that blocks keep for the gradient are proportional to the tokens of a video times the width. They are
the same whether all weights are trained or LoRA beside them, which has as many numbers more as its rank for each token
and adapted layer
(`python -m benchmarks training_memory` compares predictions with peaks).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.easy_animate.batch_sizes import count_repeats
from ppdiffusers_ext.data.easy_animate.buckets import frames_of_sizes, round_frames
from ppdiffusers_ext.models.eager_attention import kept_scores
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.models.easy_animate.frame_convolution import MAX_GATHERED
from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.easy_animate import loading, video_coding
from ppdiffusers_ext.pipelines.easy_animate.memory import ENCODING
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.memory_plan import FLOAT, resident_memory
from ppdiffusers_ext.training.easy_animate.lora_options import EasyLoraArguments
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel, freeze
from ppdiffusers_ext.training.easy_animate.options import (
    NEW,
    EasyDataArguments,
    EasyModelArguments,
    EasyTrainerOptions,
    EasyTransformerArguments,
    EasyTransformerTrainerOptions,
)
from ppdiffusers_ext.training.lora import adapted_layers, check_targets
from ppdiffusers_ext.training.memory_plan import (
    Size,
    TrainingMemory,
    TrainingOptions,
    count,
    number_bytes,
    peak_memory,
    read_training,
    standing_memory,
)

# Numbers that a block keeps for the gradient, for each number of its tokens: of V4, of its attention to CLIP's, of V1
# to V3, and with gradient checkpointing.
_BLOCK_V4, _CLIP, _BLOCK, _CHECKPOINTED = 50, 25, 88, 8.2
_TEXT_LAYER = 30  # of a text encoder's layer, for each number of its tokens
_PIXART_TEXT = 120  # tokens
_SPREAD = 1.45  # what activations take on a CPU, where freed memory stays in pieces between those that are kept
_HALF = 2  # bytes


def plan_file(path: str | os.PathLike, device: str, processes: int = 1) -> dict[Size, TrainingMemory]:
    """`TrainingMemory` by (width, height, frames) for a training's YAML file. See `read_training`."""
    kinds = (EasyTransformerArguments, EasyDataArguments, EasyTransformerTrainerOptions)
    return plan_training(*read_training(path, kinds, processes), device)


def plan_lora_file(path: str | os.PathLike, device: str, processes: int = 1) -> dict[Size, TrainingMemory]:
    """As `plan_file`, for a training of LoRA."""
    kinds = (EasyLoraArguments, EasyDataArguments, EasyTrainerOptions)
    return plan_training(*read_training(path, kinds, processes), device)


def plan_training(
    model_arguments: EasyTransformerArguments | EasyLoraArguments,
    data_arguments: EasyDataArguments,
    options: TrainingOptions,
    device: str = "cpu",
    program: int | None = None,
) -> dict[Size, TrainingMemory]:
    """`TrainingMemory` for the sizes of a training's samples: a dict by (width, height, frames), of squares.

    Args:
        model_arguments: `EasyTransformerArguments`, or `EasyLoraArguments`. The folder need not be there if it has a
            published name.
        data_arguments: `EasyDataArguments`.
        options: `TrainingOptions`.
        device: "cpu" or "gpu".
        program: bytes that the program takes before (default: those of this process).

    Raises:
        InputError: networks that cannot be described, or a target of LoRA that no layer has.
    """
    models = _describe(model_arguments)
    transformer, vae = models["transformer"], models["vae"]
    lora = _Lora(models, model_arguments) if isinstance(model_arguments, EasyLoraArguments) else None
    program = resident_memory() if program is None else program
    kept = _standing(models, model_arguments, lora, options, device, program)
    settings = data_arguments.settings(video_coding.frames_multiple(vae))
    plans: dict[Size, TrainingMemory] = {}
    for side, frames in _sizes(data_arguments, settings.frames_multiple):
        repeats = count_repeats(frames, (side, side), settings)
        shape = video_coding.latents_shape(vae, options.batch * repeats, frames, side, side)
        numbers = _activations(transformer, shape, lora, options.checkpointing, device)
        numbers += lora.numbers_of_texts(options.batch) if lora is not None else 0
        encoding = _encoding(vae, min(model_arguments.vae_mini_batch, options.batch), side, frames, device)
        if data_arguments.latent_cache is not None:
            encoding = 0.0
        size = (side, side, frames)
        activations = numbers * number_bytes(options, device) * (_SPREAD if device == "cpu" else 1)
        plans[size] = peak_memory(kept, activations, encoding, options, device)
    return plans


class _Lora:
    """What LoRA adds to networks.

    Args:
        models: name -> network without weights.
        options: `EasyLoraArguments`.

    Attributes:
        learning: numbers of its parameters.
        numbers_of_token: that its layers keep for the gradient, for each token of a video.
    """

    def __init__(self, models: dict[str, Any], options: EasyLoraArguments) -> None:
        names = ["transformer", *(["text_encoder"] if options.train_text_encoder else [])]
        chosen = {name: models[name] for name in names}
        targets = options.lora_target_modules or ()
        check_targets(targets, chosen)
        layers = {
            name: [layer for path, layer in adapted_layers(model).items() if _is_chosen(path, targets)]
            for name, model in chosen.items()
        }
        self.learning = options.rank * sum(sum(_widths(layer)) for each in layers.values() for layer in each)
        self.numbers_of_token = options.rank * len(layers["transformer"])
        self._text_encoder = chosen.get("text_encoder")
        self._tokens = getattr(models["transformer"].config, "text_len", _PIXART_TEXT)

    def numbers_of_texts(self, batch: int) -> float:
        """Numbers that a text encoder keeps for the gradient, if LoRA of it is trained."""
        if self._text_encoder is None:
            return 0.0
        options = self._text_encoder.config
        return batch * self._tokens * options.hidden_size * options.num_hidden_layers * _TEXT_LAYER


def _is_chosen(path: str, targets: Sequence[str]) -> bool:
    return not targets or any(target in path for target in targets)


def _widths(layer: Any) -> tuple[int, int]:
    """Inputs and outputs of a layer that LoRA adapts, in either order."""
    return tuple(layer.weight.shape[:2])


def _standing(
    models: dict[str, Any],
    arguments: EasyModelArguments,
    lora: _Lora | None,
    options: TrainingOptions,
    device: str,
    program: int,
) -> dict[str, float]:
    """See `standing_memory`."""
    transformer, is_guest = models["transformer"], device == "gpu" and arguments.low_vram
    # With --low_vram CLIP alone stays on the GPU, of what is frozen beside the transformer.
    frozen = [other for name, other in models.items() if name == "image_encoder" or not is_guest]
    frozen = [other for other in frozen if other is not transformer]
    if lora is not None:
        frozen.append(transformer)
        everything = learning = lora.learning
    else:
        assert isinstance(arguments, EasyTransformerArguments)
        model = EasyAnimateModel(transformer)
        freeze(model, arguments.trained, arguments.trainable_modules_low_learning_rate or ())
        everything = count(model.parameters())
        learning = count(parameter for parameter in model.parameters() if not parameter.stop_gradient)
    half = device == "gpu" and options.level != "fp32"  # which frozen networks are loaded in
    in_place = sum(count(other.parameters()) for other in frozen) * (_HALF if half else FLOAT)
    return standing_memory(everything, learning, in_place, options, device, program)


def _describe(options: EasyModelArguments) -> dict[str, Any]:
    """name -> network without weights."""
    names = ("motion_module_path", "vae_path")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(options, name))}
    if options.config_path or options.motion_module_path == NEW:
        given["transformer"] = loading.read_transformer_options(options.config_path or loading.RELEASED_V1)
    config = EasyAnimateConfig(model=str(Path(options.pretrained_model_name_or_path)), **given)
    return models_of(loading.describe_parts(config, read=planning_reader("easy_animate")))


def _sizes(data: EasyDataArguments, multiple: int) -> list[tuple[int, int]]:
    """(side, frames) of square samples: of videos, and of pictures where these are larger or alone."""
    most = max(1, round_frames(data.video_sample_n_frames, multiple))
    sizes = {data.video_sample_size: most}
    if data.training_with_video_token_length:
        given = (data.image_sample_size, data.video_sample_size, data.token_sample_size)
        sizes = {side: max(1, frames) for side, frames in frames_of_sizes(*given, most, multiple).items()}
    videos = list(sizes.items()) if data.video_repeat else []
    pictures = [] if videos and data.image_sample_size <= max(sizes) else [(data.image_sample_size, 1)]
    return [*videos, *pictures]


def _activations(transformer: Any, shape: list[int], lora: _Lora | None, checkpointing: bool, device: str) -> float:
    """Numbers that are kept for the gradient of latents (rows, channels, frames, h, w), at most.

    Without gradient checkpointing these are those of all blocks; with it what goes into each, and those of one.
    """
    options = transformer.config
    rows, _, frames, height, width = shape
    in_frame = height * width // options.patch_size**2
    tokens = frames * in_frame
    heads, channels = options.num_attention_heads, options.num_attention_heads * options.attention_head_dim
    if isinstance(transformer, HunyuanTransformer3D):
        factor = _BLOCK_V4 + (_CLIP if transformer.has_clip else 0)
        keys: float = tokens + options.text_len + options.text_len_t5
    else:
        factor = _BLOCK
        # Half of V3's blocks have an attention over all tokens.
        keys = in_frame + _PIXART_TEXT + (tokens / 2 if options.motion_module_kwargs_odd else 0)
    block = tokens * (factor * channels + (kept_scores(heads, tokens, keys) / tokens if device == "cpu" else 0))
    block += tokens * lora.numbers_of_token / options.num_layers if lora is not None else 0
    if checkpointing:
        return rows * (options.num_layers * _CHECKPOINTED * tokens * channels + block)
    return rows * options.num_layers * block


def _encoding(vae: Any, videos: int, side: int, frames: int, device: str) -> float:
    """Bytes that the autoencoder works with."""
    is_of_videos = isinstance(vae, AutoencoderKLMagvit)
    at_once = min(vae.config.mini_batch_encoder, frames) if is_of_videos else 1
    numbers = videos * at_once * side**2 * vae.config.block_out_channels[0] * ENCODING
    return (numbers + (MAX_GATHERED if is_of_videos and device == "cpu" else 0)) * FLOAT
