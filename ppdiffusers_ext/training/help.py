"""The trainers' --help: the options that matter in most trainings, one line each. --help-all has all of them."""

from dataclasses import Field

from ppdiffusers_ext.options import declaration

_RESULT = ("output_dir", "save_strategy", "save_steps", "save_total_limit", "resume_from_checkpoint")
_COMMON = {
    "Steps": (
        *("do_train", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
        *("lr_scheduler_type", "warmup_steps", "ema_decay", "seed"),
    ),
    "Speed and memory": ("device", "fp16", "bf16", "gradient_checkpointing", "sharding", "dataloader_num_workers"),
    "Results": (*_RESULT, "overwrite_output_dir", "logging_steps"),
    "Validation": ("validation_steps", "validation_clips", "validation_metrics"),
}
_SHORT = {  # of options whose own help is longer than a line
    "do_train": "train; a run does nothing without it",
    "per_device_train_batch_size": "samples of a process that are computed together",
    "gradient_accumulation_steps": "such batches of one optimisation step",
    "learning_rate": "learning rate of AdamW",
    "lr_scheduler_type": "linear, cosine, constant or constant_with_warmup",
    "warmup_steps": "steps until the learning rate is reached",
    "ema_decay": "average the weights with this decay, as 0.999; 0 for none",
    "seed": "seed of weights, samples and noise; -1 draws one",
    "device": "cpu, gpu or gpu:N; auto takes a GPU where there is one",
    "fp16": "compute in fp16 (in bf16 on a CPU)",
    "bf16": "compute in bf16",
    "gradient_checkpointing": "less memory and more time: recompute activations",
    "sharding": "stage1 shares the optimiser's state among processes",
    "dataloader_num_workers": "processes that read clips ahead",
    "output_dir": "folder of checkpoints, results and samples",
    "save_strategy": "steps, epoch or no: when checkpoints are saved",
    "save_steps": "steps from one checkpoint to the next",
    "save_total_limit": "checkpoints that are kept; older ones are removed",
    "resume_from_checkpoint": "checkpoint to go on from, instead of the newest",
    "overwrite_output_dir": "begin anew: remove the folder's checkpoints",
    "logging_steps": "steps from one line of the log to the next",
    "validation_steps": "steps from one validation to the next; 0 for never",
    "validation_clips": "last clips, which are held out for validation",
    "validation_metrics": "numbers of its videos, as psnr,lpips_alex,csim_mobileface",
}
_LONGEST_DEFAULT = 16


def short_help(usage: str, fields: dict[str, Field], own: dict[str, str]) -> str:
    """Text of --help.

    Args:
        usage: the trainer's docstring.
        fields: name -> field of its options.
        own: option -> a line for it: those that most of its trainings set, beside those that all trainers have. They
            are listed under the heading that their declarations name, or under "Weights and data".
    """
    lines = [usage.strip()]
    headings = {name: declaration(fields[name]).group for name in own}
    common = {title: [*names, *_of_heading(headings, title)] for title, names in _COMMON.items()}
    for title, names in {"Weights and data": _of_heading(headings, ""), **common}.items():
        lines += ["", f"{title}:"]
        lines += [_line(fields[name], {**_SHORT, **own}) for name in names if name in fields]
    return "\n".join([*lines, "", *_END])


def _of_heading(headings: dict[str, str], heading: str) -> list[str]:
    return [name for name, other in headings.items() if other == heading]


def _line(item: Field, short: dict[str, str]) -> str:
    text, default = short.get(item.name) or declaration(item).help, item.default
    told = "" if default in (None, "", False) or len(str(default)) > _LONGEST_DEFAULT else f" ({default})"
    return f"  --{item.name:<33}{text}{told}"


_END = (
    "  --debug                            all log lines, and the traceback of an error",
    "  --help-all                         all options, those of paddlenlp's TrainingArguments included",
    "Each is a key of a YAML or JSON file, too, which comes first: FILE.yaml --max_steps 10",
)
