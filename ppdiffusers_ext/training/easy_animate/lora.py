"""Training of LoRA beside EasyAnimate's frozen networks, from its arguments to its last checkpoint.

From aigc-apps/EasyAnimate (`scripts/train_lora.py`). Since V2 its text encoders have no gradients, so that their LoRA
stays zero; here they have.
"""

from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.training.easy_animate.data import Clips
from ppdiffusers_ext.training.easy_animate.lora_options import EasyLoraArguments
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel
from ppdiffusers_ext.training.easy_animate.networks import Networks
from ppdiffusers_ext.training.easy_animate.options import EasyDataArguments
from ppdiffusers_ext.training.easy_animate.run import Start, write_pipeline
from ppdiffusers_ext.training.fit import fit
from ppdiffusers_ext.training.lora import LORA_FILE, LoraNetwork, check_targets, lora_parts
from ppdiffusers_ext.training.parts import train_only
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.weights.lora_names import TEXT_ENCODER, TRANSFORMER, kohya_name

_OF_TEXT = kohya_name(TEXT_ENCODER, "")  # before the names of the text encoder's layers
_SLOWER = 0.5  # part of the learning rate that the text encoder's have


class LoraModel(EasyAnimateModel):
    """An `EasyAnimateModel` whose transformer is frozen, and the LoRA that is trained.

    Args:
        transformer: `HunyuanTransformer3D` or `PixArtTransformer3D`.
        lora: `LoraNetwork` of the transformer, and maybe of the text encoder.
    """

    def __init__(self, transformer: nn.Layer, lora: LoraNetwork) -> None:
        super().__init__(transformer)
        train_only(self, lambda name: False)
        self.lora = lora


def train_lora(
    model_arguments: EasyLoraArguments,
    data_arguments: EasyDataArguments,
    training_arguments: Any,
    clips: Clips | None = None,
) -> PartsTrainer:
    """Train, from the newest checkpoint in the output folder if there is one. Returns the trainer.

    Writes the LoRA file into the output folder, which inference and the original merge.

    Args:
        training_arguments: `TrainingArguments` with the fields of `EasyTrainerOptions`.
        clips: what `check_files` returned, if it was called.

    Raises:
        InputError, MissingFileError: weights, data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    options, arguments = model_arguments, training_arguments
    networks = Networks.of(options, arguments)
    _check_targets(options, networks)
    start = Start.of(options, data_arguments, arguments, clips, networks)
    dtype = "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32"
    transformer = start.components["transformer"]
    if not str(arguments.device).startswith("cpu"):
        transformer.to(dtype=dtype)  # it stays as it is
    text_encoder = start.components["text_encoder"] if options.train_text_encoder else None
    model = LoraModel(transformer, make_lora(transformer, text_encoder, options, arguments.seed))
    names = ("rank", "network_alpha", "lora_target_modules", "train_text_encoder")
    settings = {name: getattr(options, name) for name in names}

    def describe(folder: str, files: dict[str, str]) -> None:
        write_pipeline(folder, start.config, {"loras": [[files[LORA_FILE], 1.0]]})

    training = start.training(model, lora_parts(model.lora, dtype), settings, text_encoder, describe=describe)
    return fit(training, data_arguments, arguments)


def _check_targets(options: EasyLoraArguments, networks: Networks) -> None:
    """Raise InputError for a target that no layer has, before weights are loaded."""
    if options.lora_target_modules:
        chosen = {TRANSFORMER: "transformer", **({TEXT_ENCODER: "text_encoder"} if options.train_text_encoder else {})}
        check_targets(options.lora_target_modules, {name: networks.parts[part].model for name, part in chosen.items()})


def make_lora(
    transformer: nn.Layer, text_encoder: nn.Layer | None, options: EasyLoraArguments, seed: int
) -> LoraNetwork:
    """The `LoraNetwork` of the networks, attached to them.

    Raises:
        InputError: a target that no layer has.
    """
    models = {TRANSFORMER: transformer, **({TEXT_ENCODER: text_encoder} if text_encoder is not None else {})}
    with paddle.utils.unique_name.guard(
        "lora_"
    ):  # for the names of the optimiser's state, as with `reproducible_start`
        lora = LoraNetwork(models, options.rank, options.network_alpha, seed, options.lora_target_modules or ())
    for name, parameter in lora.named_parameters():
        if name.startswith(_OF_TEXT):
            parameter.optimize_attr["learning_rate"] = _SLOWER
    return lora
