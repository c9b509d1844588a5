"""Checks of the files of the video autoencoder's training, without Paddle."""

from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip, find_captioned_clips
from ppdiffusers_ext.errors import InputError, MissingFileError, shown
from ppdiffusers_ext.files import check_file, check_folder
from ppdiffusers_ext.training.check import check_held_out, check_inputs, check_resume, check_together, named_paths
from ppdiffusers_ext.training.easy_animate.autoencoder_options import VideoVaeArguments, VideoVaeDataArguments
from ppdiffusers_ext.weights.folders import find_weights, read_config

VGG, LINEAR = "vgg16-397923af.pth", "vgg.pth"  # torchvision's VGG16, and the weights of its features in LPIPS
_CLASS = "AutoencoderKLMagvit"
_FETCH = (
    "`python scripts/download_weights.py --only LPIPS --only LPIPS-vgg16` fetches it into ./pretrained_weights/LPIPS, "
    "and --perceptual none trains without it, to more blurred pictures"
)


def check_files_of_video_vae(
    model: VideoVaeArguments, data: VideoVaeDataArguments, arguments: Any
) -> tuple[list[CaptionedClip], list[CaptionedClip]]:
    """Returns the clips to train on, and those that are held out.

    Args:
        arguments: `TrainerOptions` or `TrainingArguments`.

    Raises:
        MissingFileError: weights, configurations or data that are not there, all in one message.
        InputError: those that cannot be used, or options that exclude each other.
    """
    model.check()
    check_resume(arguments)
    readers: list = [(_check_config, model.vae_config_path)]
    if model.ckpt_path:
        readers.append((find_weights, model.ckpt_path))
    paths = named_paths(model, without=["--perceptual"])
    checks = check_inputs("easy_animate", paths, readers)
    if model.uses_perceptual:
        checks.append(lambda: perceptual_files(model.perceptual))
    *_, clips = check_together([*checks, lambda: _split(data, arguments)])
    return clips


def perceptual_files(folder: str) -> tuple[Path, Path]:
    """The files of LPIPS in a folder: those of VGG16, and of its features' weights.

    Raises:
        MissingFileError: one of them is not there; the message says what fetches it.
    """
    try:
        check_folder(folder, "--perceptual", _FETCH)
        paths = tuple(check_file(Path(folder) / name, "weights of LPIPS", _FETCH) for name in (VGG, LINEAR))
    except MissingFileError as error:
        raise MissingFileError(str(error)) from None
    return paths[0], paths[1]


def _check_config(path: str) -> None:
    """Raise InputError for the configuration of another kind of network."""
    name = read_config(path).get("_class_name", _CLASS)
    if name != _CLASS:
        raise InputError(f"--vae_config_path {path} is of the class {shown(name)}; {_CLASS} is accepted")


def _split(data: VideoVaeDataArguments, arguments: Any) -> tuple[list[CaptionedClip], list[CaptionedClip]]:
    clips = find_captioned_clips(data.data_json_path, data.data_root, needs_text=False)
    held_out = data.validation_clips if arguments.validation_steps else 0
    check_held_out(held_out, len(clips), f" in {data.data_json_path}")
    return clips[: len(clips) - held_out], clips[len(clips) - held_out :]
