"""Checks of the files of Animate Anyone's trainings, without Paddle."""

from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import check_folder_to_be, read_yaml
from ppdiffusers_ext.training.animate_anyone.data import split_clips
from ppdiffusers_ext.training.animate_anyone.options import AutoencoderArguments, DataArguments, ModelArguments
from ppdiffusers_ext.training.check import check_inputs, check_resume, check_together, check_weight_file, named_paths
from ppdiffusers_ext.weights.folders import find_weights, read_config


def check_files(
    stage: int, model: ModelArguments, data: DataArguments, arguments: Any
) -> tuple[list[ClipFiles], list[ClipFiles]]:
    """Returns the clips to train on and those that are held out (see `split_clips`).

    Args:
        stage: 1 or 2.
        arguments: `TrainerOptions` or `TrainingArguments`.

    Raises:
        MissingFileError: weights, configurations or data that are not there, all in one message.
        InputError: those that cannot be read.
    """
    if stage == 1 and model.motion_module_path:
        raise InputError("--motion_module_path is for stage 2; stage 1 has no motion modules")
    if model.place_weight and stage == 2:
        raise InputError("--place_weight is for stage 1; stage 2 trains no attention to the reference")
    model.check_lead()
    if model.latent_cache is not None:
        check_folder_to_be(model.latent_cache, "--latent_cache", "a folder to keep latents in is accepted")
    readers: list = [
        (read_config, Path(model.base_model_path) / "unet"),
        (find_weights, model.vae_model_path),
        (read_config, model.vae_model_path),
        (find_weights, model.image_encoder_path),
        (read_config, model.image_encoder_path),
        (read_yaml, model.inference_config_path),
    ]
    files = ("denoising_unet_base_model_path", "reference_unet_path", "pose_guider_path", "motion_module_path")
    readers += [(check_weight_file, path) for path in (getattr(model, name) for name in files) if path]
    if model.denoising_unet_config_path:
        readers.append((read_config, model.denoising_unet_config_path))
    return _check(named_paths(model), readers, data, arguments)


def check_files_of_autoencoder(
    model: AutoencoderArguments, data: DataArguments, arguments: Any
) -> tuple[list[ClipFiles], list[ClipFiles]]:
    """As `check_files`, of the training of an autoencoder."""
    readers: list = [(read_config, model.vae_config_path)]
    if model.vae_model_path:
        readers.append((check_weight_file, model.vae_model_path))
    return _check(named_paths(model), readers, data, arguments)


def _check(paths: dict[str, str], readers: list, data: DataArguments, arguments: Any) -> Any:
    check_resume(arguments)
    *_, clips = check_together([*check_inputs("animate_anyone", paths, readers), lambda: split_clips(data, arguments)])
    return clips
