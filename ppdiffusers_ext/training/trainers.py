"""The trainers by name: the one table of them. Nothing here imports Paddle before a training runs.

`scripts/trainer_NAME.py` starts the trainer NAME.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.training.animate_anyone import check as animate_anyone_check
from ppdiffusers_ext.training.animate_anyone import options as animate_anyone
from ppdiffusers_ext.training.easy_animate import autoencoder_check as video_vae_check
from ppdiffusers_ext.training.easy_animate import autoencoder_options as video_vae
from ppdiffusers_ext.training.easy_animate import check as easy_animate_check
from ppdiffusers_ext.training.easy_animate import lora_options as easy_animate_lora
from ppdiffusers_ext.training.easy_animate import options as easy_animate
from ppdiffusers_ext.training.options import SamplingTrainerOptions, TrainerOptions
from ppdiffusers_ext.training.stable_animator import check as stable_animator_check
from ppdiffusers_ext.training.stable_animator import options as stable_animator


@dataclass(frozen=True)
class Trainer:
    """A trainer.

    Attributes:
        kinds: dataclasses of its options: of the model (`ModelOptions`), the data (`DataOptions`) and the training
            (`TrainerOptions`).
        check: function of instances of these that raises InputError or MissingFileError for files that cannot be used,
            and returns the data found, for `run`.
        run: function of the model's and the data's options, `TrainingArguments` and what `check` returned, that
            trains.
        plan: function of a YAML file, "cpu" or "gpu", and a number of processes that predicts memory, by size of the
            clips; None where there is no prediction.
    """

    kinds: tuple[Any, Any, Any]
    check: Callable[[Any, Any, Any], Any]
    run: Callable[[Any, Any, Any, Any], Any]
    plan: Callable[[str, str, int], dict[tuple[int, ...], Any]] | None = None


def _train_stage(stage: int, *arguments: Any) -> Any:
    from ppdiffusers_ext.training.animate_anyone.run import train

    return train(stage, *arguments)


def _train_autoencoder(*arguments: Any) -> Any:
    from ppdiffusers_ext.training.animate_anyone.autoencoder import train_autoencoder

    return train_autoencoder(*arguments)


def _train_stable_animator(*arguments: Any) -> Any:
    from ppdiffusers_ext.training.stable_animator.run import train

    return train(*arguments)


def _train_easy_animate(*arguments: Any) -> Any:
    from ppdiffusers_ext.training.easy_animate.run import train

    return train(*arguments)


def _cache_easy_animate(*arguments: Any) -> Any:
    from ppdiffusers_ext.training.easy_animate.caching import make_cache

    return make_cache(*arguments)


def _train_easy_animate_lora(*arguments: Any) -> Any:
    from ppdiffusers_ext.training.easy_animate.lora import train_lora

    return train_lora(*arguments)


def _plan_stable_animator(path: str, device: str, processes: int) -> dict[tuple[int, ...], Any]:
    from ppdiffusers_ext.training.stable_animator.memory import plan_file

    return plan_file(path, device, processes)


def _plan_easy_animate(path: str, device: str, processes: int) -> dict[tuple[int, ...], Any]:
    from ppdiffusers_ext.training.easy_animate.memory import plan_file

    return plan_file(path, device, processes)


def _plan_easy_animate_lora(path: str, device: str, processes: int) -> dict[tuple[int, ...], Any]:
    from ppdiffusers_ext.training.easy_animate.memory import plan_lora_file

    return plan_lora_file(path, device, processes)


def _plan_video_vae(path: str, device: str, processes: int) -> dict[tuple[int, ...], Any]:
    from ppdiffusers_ext.training.easy_animate.autoencoder_memory import plan_vae_file

    return plan_vae_file(path, device, processes)


def _train_video_vae(*arguments: Any) -> Any:
    from ppdiffusers_ext.training.easy_animate.autoencoder import train_video_vae

    return train_video_vae(*arguments)


def _stage(stage: int) -> Trainer:
    return Trainer(
        (animate_anyone.ModelArguments, animate_anyone.DataArguments, SamplingTrainerOptions),
        functools.partial(animate_anyone_check.check_files, stage),
        functools.partial(_train_stage, stage),
    )


TRAINERS = {
    "stage1": _stage(1),
    "stage2": _stage(2),
    "vae": Trainer(
        (animate_anyone.AutoencoderArguments, animate_anyone.DataArguments, TrainerOptions),
        animate_anyone_check.check_files_of_autoencoder,
        _train_autoencoder,
    ),
    "stable_animator": Trainer(
        (
            stable_animator.StableModelArguments,
            stable_animator.StableDataArguments,
            stable_animator.StableTrainerOptions,
        ),
        stable_animator_check.check_files,
        _train_stable_animator,
        _plan_stable_animator,
    ),
    "easy_animate": Trainer(
        (
            easy_animate.EasyTransformerArguments,
            easy_animate.EasyDataArguments,
            easy_animate.EasyTransformerTrainerOptions,
        ),
        easy_animate_check.check_files,
        _train_easy_animate,
        _plan_easy_animate,
    ),
    "easy_animate_lora": Trainer(
        (easy_animate_lora.EasyLoraArguments, easy_animate.EasyDataArguments, easy_animate.EasyTrainerOptions),
        easy_animate_check.check_files_of_lora,
        _train_easy_animate_lora,
        _plan_easy_animate_lora,
    ),
    "easy_animate_vae": Trainer(
        (video_vae.VideoVaeArguments, video_vae.VideoVaeDataArguments, video_vae.VideoVaeTrainerOptions),
        video_vae_check.check_files_of_video_vae,
        _train_video_vae,
        _plan_video_vae,
    ),
}
# What is run in the same way, and trains nothing: makes what a training can read in the place of its clips.
CACHING = Trainer(
    (
        easy_animate_lora.EasyCachedArguments,
        easy_animate.EasyDataArguments,
        easy_animate.EasyTransformerTrainerOptions,
    ),
    easy_animate_check.check_files_of_cache,
    _cache_easy_animate,
)
JOBS = {**TRAINERS, "cache_latents": CACHING}
# System -> its trainers whose memory is predicted.
PLANNED = {
    "stable_animator": ("stable_animator",),
    "easy_animate": ("easy_animate", "easy_animate_lora", "easy_animate_vae"),
}
COMMANDS = tuple(f"trainer_{name}" for name in TRAINERS)  # of `scripts`
