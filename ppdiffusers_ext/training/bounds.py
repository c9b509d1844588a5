"""Bounds of the trainers' options."""

import dataclasses
import os
import re
from collections.abc import Iterable
from typing import Any

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_name
from ppdiffusers_ext.options import Option, any_of, declaration

MANY, LONG = 10**6, 10**9
PART, BELOW_ONE, NOT_NEGATIVE = (0, 1), (0, 1 - 1e-12), (0, 3.0e38)  # the largest number of fp32
SIDES, FRAMES = (64, 8192), (1, 10**4)
SEEDS = (-1, 2**32 - 1)  # numpy's old generator, which paddlenlp sets, has no larger ones
PADDLE_BOUNDS: dict[str, tuple[float, float]] = {  # of paddlenlp's options: (smallest, largest)
    "per_device_train_batch_size": (1, MANY),
    "gradient_accumulation_steps": (1, MANY),
    "learning_rate": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "adam_beta1": BELOW_ONE,
    "adam_beta2": BELOW_ONE,
    "adam_epsilon": (1e-30, 1),
    "max_grad_norm": NOT_NEGATIVE,
    "warmup_steps": (0, LONG),
    "warmup_ratio": PART,
    "num_cycles": NOT_NEGATIVE,
    "lr_end": NOT_NEGATIVE,
    "power": NOT_NEGATIVE,
    "scale_loss": (1e-30, 3.0e38),
    "logging_steps": (1, LONG),
    "save_steps": (1, LONG),
    "save_total_limit": (1, MANY),
    "dataloader_num_workers": (0, 256),
}
PADDLE_CHOICES = {
    "fp16_opt_level": ("O1", "O2"),
    "optim": ("adamw", "adamw_mini", "adamw_custom", "adamw_16bit_moment"),
}
SHARDING = ("stage1", "stage2", "stage3", "offload")  # or one of them with offload
# Options of paddlenlp's that its Trainer has for other work: language models, evaluation, other kinds of parallelism
# and of checkpoints. Here they would do nothing, or break what is promised of checkpoints.
_OF_NO_USE = {
    *("do_eval", "do_predict", "do_export", "evaluation_strategy", "prediction_loss_only", "load_best_model_at_end"),
    *("tensor_parallel_degree", "pipeline_parallel_degree", "sep_parallel_degree", "context_parallel_degree"),
    *("expert_parallel_degree", "expert_tensor_parallel_degree", "use_expert_parallel", "sequence_parallel"),
    *("data_parallel_config", "sequence_parallel_config", "tensor_parallel_config", "pipeline_parallel_config"),
    *("hybrid_parallel_topo_order", "refined_recompute", "enable_auto_parallel", "to_static"),
    *("auto_parallel_resume_form_hybrid_parallel", "force_reshard_pp", "fuse_sequence_parallel_allreduce"),
    *("unified_checkpoint", "unified_checkpoint_config", "ckpt_quant_stage", "use_async_save", "save_sharded_model"),
    *("load_sharded_model", "ignore_load_lr_and_optim", "ignore_save_lr_and_optim", "ordered_save_group_size"),
    *("save_sharding_stage1_model_include_freeze_params", "output_signal_dir", "save_on_each_node"),
    *("ignore_data_skip", "skip_data_intervals", "distributed_dataloader", "dataloader_drop_last", "past_index"),
    *("label_names", "metrics_output_path", "pdc_download_ckpt", "pdc_download_timeout", "count_trained_tokens"),
    *("flatten_param_grads", "release_grads", "skip_profile_timer", "local_rank", "minimum_eval_times"),
}


def fields_of(kinds: Iterable[Any]) -> dict[str, dataclasses.Field]:
    """The options of dataclasses: name -> field."""
    return {item.name: item for kind in kinds for item in dataclasses.fields(kind) if item.init}


def check_bounds(given: dict[str, Any], kinds: Iterable[Any]) -> None:
    """Raise InputError for the first value that is not within what its option declares.

    Args:
        given: dict of the values of all options.
        kinds: dataclasses of the options.
    """
    for name, item in fields_of(kinds).items():
        value, declared = given.get(name), declaration(item)
        if value is None:
            continue
        if declared.lower is not None and declared.upper is not None and not declared.lower <= value <= declared.upper:
            size = "too small" if value < declared.lower else "too large"
            raise InputError(f"--{name} {shown(value)} is {size}; {accepted_of(declared)}")
        if declared.is_path and value == "" and item.default is not None:
            raise InputError(f"--{name} is empty; the name of a file or a folder is accepted")
        if declared.pattern and not re.fullmatch(declared.pattern, value):
            raise InputError(f"--{name} {shown(value)} is not known; {declared.accepted} is accepted")
    words = str(given.get("sharding") or "").split()
    if not set(words) <= set(SHARDING):
        raise InputError(f"--sharding {shown(given['sharding'])} is not known; {any_of(SHARDING)} is accepted")


def accepted_of(declared: Option) -> str:
    """The end of a message about an option with bounds: its range."""
    return f"{_told(declared.lower)} to {_told(declared.upper)} is accepted"


def _told(bound: float | None) -> str:
    if bound == BELOW_ONE[1]:
        return "less than 1"
    return f"{bound:.12g}" if isinstance(bound, float) else str(bound)


def check_use(given: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Raise InputError for an option without effect in these trainings that differs from its default."""
    for name in sorted(_OF_NO_USE & given.keys()):
        if given[name] != defaults[name]:
            raise InputError(f"--{name} has no use in this training, which would not do it; leave it out")


def check_output_folder(name: str, path: str) -> None:
    """Raise InputError for a folder that cannot be created or written to. Creates nothing.

    Args:
        name: of the option.
        path: value of the option.
    """
    accepted = "a folder that can be written is accepted"
    folder = check_name(os.path.abspath(os.path.expanduser(path)), f"--{name}", accepted)
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InputError(f"--{name} {shown(path)} cannot be used ({error.strerror}); {accepted}") from error
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"--{name} {shown(path)}: {shown(str(existing))} is a file; {accepted}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--{name} {shown(path)} may not be written by this user; {accepted}")
