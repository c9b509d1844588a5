"""Checks of the files of EasyAnimate's trainings, without Paddle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers_ext.environment import of_launch
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.training.check import check_inputs, check_resume, check_together, named_paths
from ppdiffusers_ext.training.easy_animate.data import Clips, split_clips, steps_of_epochs, with_known_sizes
from ppdiffusers_ext.training.easy_animate.lora_options import EasyLoraArguments
from ppdiffusers_ext.training.easy_animate.options import NEW, EasyDataArguments, EasyModelArguments
from ppdiffusers_ext.weights.folders import find_weights, read_config

_OF_TEXT = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_WITH_CLIP = 12  # channels of a transformer before V4 that sees a picture by CLIP


def check_files(model: EasyModelArguments, data: EasyDataArguments, arguments: Any) -> Clips:
    """Returns the `Clips`, with their sizes. Sets the steps of the arguments where they follow from epochs.

    Args:
        arguments: `EasyTrainerOptions` or `TrainingArguments`.

    Raises:
        MissingFileError: weights, tokenizers or data that are not there, all in one message.
        InputError: those that cannot be read, or are of another version than the options, or too many clips that
            cannot be.
    """
    check_resume(arguments)
    folder = Path(model.pretrained_model_name_or_path)
    transformer, vae = (_config_of(folder / name) for name in ("transformer", "vae"))
    if transformer is not None:
        transformer |= _options_over(model)
        check_version(model, data.train_mode, transformer, vae or {})
    names = part_names(transformer or {}, data.train_mode == "inpaint")
    readers: list = [(read_config, folder / name) for name in names]
    own = {"transformer": model.transformer_path, "vae": model.vae_path}
    readers += [(find_weights, folder / name) for name in names if not own.get(name)]
    readers += [(_check_tokenizer, folder / _OF_TEXT[name]) for name in names if name in _OF_TEXT]
    readers += [(read_config, folder / "scheduler" / "scheduler_config.json")] if "text_encoder_2" in names else []
    given = [path for path in (*own.values(), model.motion_module_path) if path and path != NEW]
    readers += [(find_weights, path) for path in given]
    readers += [(read_yaml, model.config_path)] if model.config_path else []
    without = [f"--{name}" for name in ("transformer_path", "motion_module_path") if getattr(model, name) == NEW]
    paths = named_paths(model, without=without)
    *_, clips = check_together([*check_inputs("easy_animate", paths, readers), lambda: split_clips(data, arguments)])
    if arguments.num_train_epochs:
        samples = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        samples *= of_launch("PADDLE_TRAINERS_NUM", 1)
        arguments.max_steps = steps_of_epochs(clips, data, arguments.num_train_epochs, samples)
        arguments.num_train_epochs = 0.0  # they are counted
    return with_known_sizes(clips, data.settings(_frames_multiple(vae or {})), data, arguments)


def check_files_of_lora(model: EasyLoraArguments, data: EasyDataArguments, arguments: Any) -> Clips:
    """As `check_files`. Raises InputError, too, where a text encoder is to learn from texts that it has encoded."""
    if model.train_text_encoder and data.latent_cache is not None:
        raise InputError(
            "--train_text_encoder cannot learn from --latent_cache, which keeps what the text encoder gave before; "
            "one of the two is accepted"
        )
    return check_files(model, data, arguments)


def check_files_of_cache(model: EasyLoraArguments, data: EasyDataArguments, arguments: Any) -> Clips:
    """As `check_files`. Raises InputError, too, where there is no --latent_cache to fill."""
    if data.latent_cache is None:
        raise InputError("--latent_cache is missing; the folder to keep latents in is accepted")
    return check_files(model, data, arguments)


def is_of_velocity(config: Mapping[str, Any]) -> bool:
    """True for the configuration of V4's transformer."""
    return str(config.get("_class_name", "")).startswith("HunyuanTransformer3D")


def part_names(config: Mapping[str, Any], is_inpainting: bool) -> list[str]:
    """The parts that a training needs, by the configuration of the transformer."""
    names = ["vae", "transformer", "text_encoder"]
    if not is_of_velocity(config):
        return names + (["image_encoder"] if config.get("in_channels") == _WITH_CLIP else [])
    names.append("text_encoder_2")
    return names + (["image_encoder"] if is_inpainting and config.get("enable_clip_in_inpaint", True) else [])


def check_version(
    model: EasyModelArguments, train_mode: str, transformer: Mapping[str, Any], vae: Mapping[str, Any]
) -> None:
    """Raise InputError where options are not for the version that the folder is of.

    Args:
        train_mode: see `EasyDataArguments`.
        transformer, vae: their configurations.
    """
    model.check_loss(is_of_velocity(transformer))
    channels, of_vae = transformer.get("in_channels", 4), vae.get("latent_channels", 4)
    is_of_pictures = vae.get("_class_name") == "AutoencoderKL"  # of V1, which sees the mask itself, not its latents
    inpainting = 2 * of_vae + 1 if is_of_pictures else 3 * of_vae
    needed = inpainting if train_mode == "inpaint" else of_vae
    if channels != needed:
        others = {of_vae: "normal", inpainting: "inpaint"}
        accepted = f"{others[channels]} is accepted" if channels in others else "that of another is needed"
        if is_of_pictures and train_mode == "inpaint":
            accepted += f", or in_channels: {needed} among the transformer's options in the YAML file of --config_path"
        raise InputError(
            f"--train_mode {train_mode} is for a transformer of {needed} channels, and "
            f"{model.pretrained_model_name_or_path} has one of {channels}; {accepted}"
        )


def _config_of(path: Path) -> dict[str, Any] | None:
    """A network's configuration; None for one that cannot be read, which is told with what else is wrong."""
    try:
        return read_config(path)
    except InputError:
        return None


def _options_over(model: EasyModelArguments) -> dict[str, Any]:
    """Options in the YAML file of --config_path, which go over those of the folder's transformer.

    None of a file that cannot be used, which is told with what else is wrong.
    """
    try:
        options = read_yaml(model.config_path).get("transformer") if model.config_path else None
    except (InputError, AttributeError):
        return {}
    return dict(options) if isinstance(options, dict) else {}


def _frames_multiple(vae: Mapping[str, Any]) -> int:
    """What `video_coding.frames_multiple` gives, of an autoencoder's configuration; 1 for one that will be refused."""
    at_once = vae.get("mini_batch_encoder", 9)  # the class's default
    is_of_videos = vae.get("_class_name") == "AutoencoderKLMagvit"
    return at_once if is_of_videos and type(at_once) is int and at_once > 0 else 1


def _check_tokenizer(path: str | Path) -> None:
    """Raise MissingFileError unless there is a tokenizer's file. Its content is read later."""
    if not any((Path(path) / name).is_file() for name in ("vocab.txt", "spiece.model")):
        raise MissingFileError(f"there is no tokenizer in {path}; its vocab.txt or spiece.model is needed")
