"""Bounds of the trainers' options."""

import os

from paddlenlp.trainer.trainer_utils import SchedulerType

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_name
from ppdiffusers_ext.options import any_of

_MANY, _LONG = 10**6, 10**9
_PART, _BELOW_ONE, _NOT_NEGATIVE = (0, 1), (0, 1 - 1e-12), (0, 3.0e38)  # the largest number of fp32
SEEDS = (-1, 2**32 - 1)  # numpy's old generator, which paddlenlp sets, has no larger ones
BOUNDS = {  # name: (smallest, largest)
    "seed": SEEDS,
    "max_steps": (1, _LONG),
    "per_device_train_batch_size": (1, _MANY),
    "gradient_accumulation_steps": (1, _MANY),
    "learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "adam_beta1": _BELOW_ONE,
    "adam_beta2": _BELOW_ONE,
    "adam_epsilon": (1e-30, 1),
    "max_grad_norm": _NOT_NEGATIVE,
    "warmup_steps": (0, _LONG),
    "warmup_ratio": _PART,
    "num_cycles": _NOT_NEGATIVE,
    "lr_end": _NOT_NEGATIVE,
    "power": _NOT_NEGATIVE,
    "scale_loss": (1e-30, 3.0e38),
    "logging_steps": (1, _LONG),
    "save_steps": (1, _LONG),
    "save_total_limit": (1, _MANY),
    "dataloader_num_workers": (0, 256),
    "max_skipped_steps": (0, _LONG),
    "ema_decay": _BELOW_ONE,
    "validation_steps": (0, _LONG),
    "validation_inference_steps": (1, 1000),
    "validation_guidance_scale": (0, 1000),
    "validation_clips": (0, _MANY),
    "max_bad_share": _PART,
    "num_train_timesteps": (1, 10**5),
    "beta_start": (1e-12, 0.999),
    "beta_end": (1e-12, 0.999),
    "noise_offset": _NOT_NEGATIVE,
    "snr_gamma": _NOT_NEGATIVE,
    "uncond_ratio": _PART,
    "conditioning_dropout_prob": _PART,
    "kl_weight": _NOT_NEGATIVE,
    "colour_weight": _NOT_NEGATIVE,
    "train_width": (64, 8192),
    "train_height": (64, 8192),
    "dataset_width": (64, 8192),
    "dataset_height": (64, 8192),
    "crop_ratio_min": (0.01, 100),
    "crop_ratio_max": (0.01, 100),
    "sample_margin": (0, _MANY),
    "n_sample_frames": (1, 10**4),
    "sample_rate": (1, _MANY),
    "sample_n_frames": (1, 10**4),
    "sample_stride": (1, _MANY),
    "noise_d_low": (1, _MANY),
    "noise_d_high": (1, _MANY),
}
CHOICES = {
    "lr_scheduler_type": tuple(each.value for each in SchedulerType),
    "beta_schedule": ("scaled_linear", "linear", "squaredcos_cap_v2"),
    "fp16_opt_level": ("O1", "O2"),
    "optim": ("adamw", "adamw_mini", "adamw_custom", "adamw_16bit_moment"),
    "save_strategy": ("no", "steps", "epoch"),
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


def check_bounds(given):
    """Raise InputError for the first value out of its bounds.

    Args:
        given: dict of the values of all options.
    """
    for name, (least, most) in BOUNDS.items():
        value = given.get(name)
        if value is not None and not least <= value <= most:
            size = "too small" if value < least else "too large"
            raise InputError(f"--{name} {shown(value)} is {size}; {accepted_of(name)}")
    for name, values in CHOICES.items():
        if given.get(name) is not None and str(getattr(given[name], "value", given[name])) not in values:
            raise InputError(f"--{name} {shown(given[name])} is not known; {any_of(values)} is accepted")
    words = str(given.get("sharding") or "").split()
    if not set(words) <= set(SHARDING):
        raise InputError(f"--sharding {shown(given['sharding'])} is not known; {any_of(SHARDING)} is accepted")


def accepted_of(name):
    """The end of a message about an option in `BOUNDS`: its range."""
    least, most = map(_told, BOUNDS[name])
    return f"{least} to {most} is accepted"


def _told(bound):
    if bound == _BELOW_ONE[1]:
        return "less than 1"
    return f"{bound:.12g}" if isinstance(bound, float) else str(bound)


def check_use(given, defaults):
    """Raise InputError for an option without effect in these trainings that differs from its default."""
    for name in sorted(_OF_NO_USE & given.keys()):
        if given[name] != defaults[name]:
            raise InputError(f"--{name} has no use in this training, which would not do it; leave it out")


def check_output_folder(name, path):
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
