"""The trainers' --help: the options that matter in most trainings, one line each. --help-all has all of them."""

_RESULT = ("output_dir", "save_strategy", "save_steps", "save_total_limit", "resume_from_checkpoint")
_COMMON = {
    "Steps": (
        *("do_train", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
        *("lr_scheduler_type", "warmup_steps", "ema_decay", "seed"),
    ),
    "Speed and memory": ("device", "fp16", "bf16", "gradient_checkpointing", "sharding", "dataloader_num_workers"),
    "Results": (*_RESULT, "overwrite_output_dir", "logging_steps"),
    "Validation": ("validation_steps", "validation_clips"),
}
_STARTS = {
    "Weights and data": (
        *("base_model_path", "vae_model_path", "image_encoder_path", "denoising_unet_base_model_path"),
        *("reference_unet_path", "pose_guider_path", "motion_module_path", "meta_paths", "train_width"),
        *("train_height", "n_sample_frames", "vae_config_path"),
        *("pretrained_model_name_or_path", "unet_model_finetune_path", "posenet_model_finetune_path"),
        *("face_encoder_finetune_path", "faces_path", "data_root_path", "data_path", "dataset_width"),
        *("dataset_height", "rec_data_path", "vec_data_path", "sample_n_frames"),
    )
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
    "base_model_path": "folder with unet/config.json of Stable Diffusion 1.5",
    "vae_model_path": "the VAE's weights or folder",
    "image_encoder_path": "folder of the CLIP image encoder",
    "denoising_unet_base_model_path": "weights that the denoising UNet starts from",
    "reference_unet_path": "weights that the reference UNet starts from",
    "pose_guider_path": "weights that the pose guider starts from",
    "motion_module_path": "weights that the motion modules start from (stage 2)",
    "meta_paths": "meta files (JSON) or folders of clips, with commas",
    "n_sample_frames": "frames of a sample, for stage 2",
    "train_width": "pixels, a multiple of 8",
    "train_height": "pixels, a multiple of 8",
    "pretrained_model_name_or_path": "folder of Stable Video Diffusion",
    "unet_model_finetune_path": "StableAnimator's UNet to go on from",
    "posenet_model_finetune_path": "pose net to go on from",
    "face_encoder_finetune_path": "face encoder to go on from",
    "faces_path": "folder in which models/antelopev2 is",
    "data_root_path": "folder that relative paths of path lists are in",
    "data_path": "path list (or folder) of the clips of a single size",
    "dataset_width": "pixels of --data_path, a multiple of 64",
    "dataset_height": "pixels of --data_path, a multiple of 64",
    "rec_data_path": "path list of clips for 512x512",
    "vec_data_path": "path list of clips for 576x1024",
}
_LONGEST_DEFAULT = 16


def short_help(usage, fields):
    """Text of --help.

    Args:
        usage: the trainer's docstring.
        fields: name -> `declared.Declared` of its options.
    """
    lines = [usage.strip()]
    for title, names in {**_STARTS, **_COMMON}.items():
        lines += ["", f"{title}:"]
        lines += [_line(fields[name]) for name in names if name in fields]
    return "\n".join([*lines, "", *_END])


def _line(item):
    text, default = _SHORT.get(item.name) or item.text, item.default
    told = "" if default in (None, "", False) or len(str(default)) > _LONGEST_DEFAULT else f" ({default})"
    return f"  --{item.name:<33}{text}{told}"


_END = (
    "  --debug                            all log lines, and the traceback of an error",
    "  --help-all                         all options, those of paddlenlp's TrainingArguments included",
    "Each is a key of a YAML or JSON file, too, which comes first: FILE.yaml --max_steps 10",
)
