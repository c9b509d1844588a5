"""Training run of any model, from its samples to its last checkpoint."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.environment import use_all_cores
from ppdiffusers_ext.errors import InputError, counted
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.arguments import TrainingArguments
from ppdiffusers_ext.training.check import check_steps
from ppdiffusers_ext.training.groups import from_first
from ppdiffusers_ext.training.options import DataOptions, has_slices, samples_of_a_step
from ppdiffusers_ext.training.parts import TrainedPart
from ppdiffusers_ext.training.second import SecondObjective
from ppdiffusers_ext.training.trainer import PartsTrainer

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def reproducible_start(seed: int) -> Iterator[None]:
    """Context for building a model with the same random weights and parameter names in every process.

    The optimiser's state is stored by these names, and Paddle counts them up with each further model.
    """
    paddle.seed(seed)
    with paddle.utils.unique_name.guard():
        yield


@dataclass(frozen=True)
class Training:
    """What a run of training is made of.

    Attributes:
        model: `nn.Layer`; parameters without `stop_gradient` are trained.
        parts, objective: see `PartsTrainer`.
        samples, collate: dataset, and function that makes a batch of its samples.
        settings: those that a resumed run must share with this one, besides what every run shares.
        held_out, validate, describe, limit, second: see `PartsTrainer`.
    """

    model: nn.Layer
    parts: dict[str, TrainedPart]
    objective: Any
    samples: Any
    collate: Callable
    settings: dict[str, Any]
    held_out: Any = None
    validate: Callable | None = None
    describe: Callable[[str, dict[str, str]], None] | None = None
    limit: Callable[[int, float], float] | None = None
    second: SecondObjective | None = None


def fit(training: Training, data: DataOptions, arguments: TrainingArguments) -> PartsTrainer:
    """Train, from the newest checkpoint in the output folder if there is one. Returns the `PartsTrainer`.

    Raises:
        InputError: data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    model, samples, held_out = training.model, training.samples, training.held_out
    run = _settings_of(training.settings, samples, arguments)
    if not paddle.is_compiled_with_cuda():
        use_all_cores()
    trainer = PartsTrainer(
        objective=training.objective,
        parts=training.parts,
        run=run,
        max_bad_share=data.max_bad_share,
        ema_decay=arguments.ema_decay,
        validate=training.validate,
        held_out=held_out,
        describe=training.describe,
        second=training.second,
        limit=training.limit,
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=training.collate,
    )
    learning = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
    trainer.set_optimizer_grouped_parameters(learning)
    checkpoint = _find_checkpoint(arguments, run)
    _tell_start(learning, samples, held_out, arguments)
    start = time.monotonic()
    with paddle.utils.unique_name.guard():  # for the names of the optimiser's state, as with `reproducible_start`
        trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_trained()
    told = timedelta(seconds=round(time.monotonic() - start))
    logger.info("trained in %s; the results are in %s", told, arguments.output_dir)
    return trainer


def _settings_of(own: dict[str, Any], samples: Any, arguments: TrainingArguments) -> dict[str, Any]:
    """Settings that a resumed run must share with this one: a system's own, and those of every run."""
    slices = {"slices": arguments.world_size} if has_slices(arguments) else {}
    return {
        **own,
        "samples_per_step": samples_of_a_step(arguments),
        "seed": arguments.seed,
        "ema": bool(arguments.ema_decay),
        "clips": samples.num_clips,
        **slices,
    }


def _tell_start(learning: list[paddle.Tensor], samples: Any, held_out: Any, arguments: TrainingArguments) -> None:
    """What is trained, on how much, how, and where the results go: two lines."""
    logger.info(
        "training %s parameters on %s, %s held out: %s of %s, %s, %s, seed %d",
        f"{sum(parameter.size for parameter in learning):,}",
        counted(samples.num_clips, "clip"),
        counted(len(held_out or ()), "sample"),
        counted(arguments.max_steps, "step"),
        counted(samples_of_a_step(arguments), "sample"),
        counted(arguments.world_size, "process", "processes"),
        f"{'fp16' if arguments.fp16 else 'bf16' if arguments.bf16 else 'fp32'} on {arguments.device}",
        arguments.seed,
    )
    curves = f"visualdl --logdir {Path(arguments.logging_dir).parent}" if "visualdl" in arguments.report_to else "off"
    logger.info("checkpoints and samples: %s; curves: %s", arguments.output_dir, curves)


def _find_checkpoint(arguments: TrainingArguments, run: dict[str, Any]) -> str | None:
    """The newest valid checkpoint of the output folder, or the one that was asked for; None to start anew.

    The first process looks for it, and reads its files; all go on from the same.
    """
    folder = from_first("checkpoint", lambda: _choose_checkpoint(arguments, run))
    if not folder:
        return None
    if not (Path(folder) / checkpoints.MANIFEST).is_file():
        raise InputError(
            f"checkpoint {folder} is not there for process {arguments.process_index}; a folder that all machines "
            "share is accepted"
        )
    logger.info("the run goes on from %s", folder)
    return folder


def _choose_checkpoint(arguments: TrainingArguments, run: dict[str, Any]) -> str:
    """As `_find_checkpoint`, in the first process; "" to start anew."""
    checkpoints.clean(arguments.output_dir)  # of a killed run, which may have had other processes, and other files
    asked = arguments.resume_from_checkpoint
    if asked:
        problem = checkpoints.problem_of(asked)
        if problem:
            raise InputError(f"--resume_from_checkpoint {asked} cannot be used: {problem}")
        folder = asked
    elif arguments.overwrite_output_dir:
        checkpoints.remove_all(arguments.output_dir)  # a later start would go on from them
        return ""
    else:
        folder = checkpoints.newest_valid(
            arguments.output_dir, lambda path, problem: logger.warning("%s is passed over: %s", path, problem)
        )
    if folder is None:
        return ""
    checkpoints.check_run(folder, run, _accepted(checkpoints.run_of(folder), arguments))
    check_steps(folder, checkpoints.step_of(folder), arguments)
    return str(folder)


def _accepted(earlier: dict[str, Any], arguments: TrainingArguments) -> str:
    """What a checkpoint's run may go on as: where only its processes were others, with as many samples in a step."""
    before, now = earlier.get("samples_per_step"), samples_of_a_step(arguments)
    at_once = now // arguments.gradient_accumulation_steps
    if not isinstance(before, int) or before in (0, now) or before % at_once:
        return "a run that agrees"
    told = counted(arguments.dataset_world_size, "process", "processes")
    return f"--gradient_accumulation_steps {before // at_once} with {told}"
