"""Checks of the files of StableAnimator's training, without Paddle."""

from pathlib import Path
from typing import Any

from ppdiffusers_ext.preprocess.faces import network_files
from ppdiffusers_ext.training.check import check_inputs, check_resume, check_together, check_weight_file, named_paths
from ppdiffusers_ext.training.stable_animator.data import Clips, needs_faces, open_given, split_clips
from ppdiffusers_ext.training.stable_animator.options import StableDataArguments, StableModelArguments
from ppdiffusers_ext.weights.folders import find_weights, read_config


def check_files(model: StableModelArguments, data: StableDataArguments, arguments: Any) -> Clips:
    """Returns the clips to train on and those that are held out (see `split_clips`).

    Args:
        arguments: `TrainerOptions` or `TrainingArguments`.

    Raises:
        MissingFileError: weights, face networks, pictures or data that are not there, all in one message.
        InputError: those that cannot be read.
    """
    model.check_lead()
    check_resume(arguments)
    svd = Path(model.pretrained_model_name_or_path)
    readers: list = [(read_config, svd / name) for name in ("unet", "vae", "image_encoder")]
    readers += [(find_weights, svd / name) for name in ("vae", "image_encoder")]
    if model.unet_model_path is None and not model.unet_model_finetune_path:
        readers.append((find_weights, svd / "unet"))
    elif model.unet_model_path not in (None, "none") and not model.unet_model_finetune_path:
        readers.append((find_weights, str(model.unet_model_path)))
    names = ("unet_model_finetune_path", "posenet_model_finetune_path", "face_encoder_finetune_path")
    readers += [(check_weight_file, path) for path in (getattr(model, name) for name in names) if path]
    given = [data] if arguments.validation_steps else []
    paths = named_paths(model, *given)
    if model.unet_model_path == "none" or model.unet_model_finetune_path:
        paths.pop("--unet_model_path", None)
    *_, clips = check_together([*check_inputs("stable_animator", paths, readers), lambda: _split(data, arguments)])
    if given and data.validation_image:
        open_given(data)
    return clips


def _split(data: StableDataArguments, arguments: Any) -> Clips:
    """The clips. Raises MissingFileError, too, for face networks that are needed and not there."""
    clips = split_clips(data, arguments)
    if needs_faces(clips) or (arguments.validation_steps and data.validation_image):
        network_files(data.faces_path)
    return clips
