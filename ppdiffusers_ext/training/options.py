"""Options that all trainers have: paddlenlp's, and the project's own. They are read and checked without Paddle.

`parser` makes them of a command line, and `arguments` makes of them what paddlenlp's trainer takes. Each system's
`options` has its own: dataclasses that inherit these, of the model, the data and the training. `SHORT_HELP` of such a
class has the options that --help names, with a line for each; `REFUSED` those of the original that are not accepted,
each with the reason.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

from ppdiffusers_ext.environment import of_launch
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import inherited, option
from ppdiffusers_ext.training.bounds import BELOW_ONE, LONG, MANY, NOT_NEGATIVE, PART, SEEDS
from ppdiffusers_ext.training.paddle_options import read_paddle_options

PaddleOptions: Any = read_paddle_options()
# What paddlenlp reports to, and the package that each needs.
_TRACKERS = {"visualdl": "visualdl", "tensorboard": "tensorboardX", "wandb": "wandb", "autonlp": "ray"}


@dataclass
class ModelOptions:
    """Options of a trained model."""

    SHORT_HELP: ClassVar[dict[str, str]] = {}
    REFUSED: ClassVar[dict[str, str]] = {}

    def recompute(self) -> None:
        """Turn on gradient checkpointing. Raises InputError for a model that has none."""
        raise InputError("--recompute has no use in this training, which would not do it; leave it out")


@dataclass
class CheckpointedModelOptions(ModelOptions):
    """Options of a trained model that may compute its activations twice."""

    gradient_checkpointing: bool = option(False, help="compute activations again in the backward pass: less memory")

    def recompute(self) -> None:
        self.gradient_checkpointing = True


@dataclass
class LedModelOptions(CheckpointedModelOptions):
    """Options of a trained model whose attention may be led to where the reference shows what is drawn."""

    place_weight: float = option(
        0.0,
        *NOT_NEGATIVE,
        help="above 0, attention to the reference is led to what the UNet draws, and this is the weight in the first "
        "step of a loss under which it learns to look there: for a start from random weights; the original does not "
        "do this",
    )
    place_steps: int = option(1000, 1, MANY, help="steps in which that loss falls to 0, the lead in the first 3 of 10")

    def check_lead(self) -> None:
        """Raise InputError for a lead that cannot be."""
        if self.place_weight and self.gradient_checkpointing:
            raise InputError("--place_weight and --gradient_checkpointing do not go together; one of them is accepted")


@dataclass
class DataOptions:
    """Options of training data, some of which may be held out for validation."""

    SHORT_HELP: ClassVar[dict[str, str]] = {}
    REFUSED: ClassVar[dict[str, str]] = {}

    validation_clips: int = option(
        4, 0, MANY, help="clips, the last ones, that are held out of training when there is validation"
    )
    max_bad_share: float = option(
        0.1, *PART, help="part of the samples whose clip cannot be read, above which the run stops"
    )

    def check(self) -> None:
        """Raise InputError for values that no training can have."""

    def check_validation(self) -> None:
        """Raise InputError where there is to be validation and nothing to validate on."""
        if not self.has_validation():
            raise InputError("validation needs --validation_steps of 1 or more and --validation_clips of 1 or more")

    def has_validation(self) -> bool:
        """Whether there is anything to validate on."""
        return self.validation_clips > 0


@dataclass
class TrainerOptions(PaddleOptions):
    """paddlenlp's options. Batch size, steps, optimiser, precision, sharding and saving are used here."""

    REFUSED: ClassVar[dict[str, str]] = {}

    output_dir: str = option(
        "./exp_output", help="folder of checkpoints and logs; a run goes on from its newest checkpoint"
    )
    max_steps: int = option(30000, 1, LONG, help="optimisation steps")
    seed: int = option(
        42, *SEEDS, help="seed of weights, samples and noise, 0 to 4294967295; -1 draws one and says which"
    )
    validation_steps: int = option(
        0,
        0,
        LONG,
        help="steps from one validation to the next, which gives numbers and a picture; 0 for never",
    )
    max_skipped_steps: int = option(
        0,
        0,
        LONG,
        help="steps with a loss or gradients that are not finite, that are left out; the next one stops the run",
    )
    ema_decay: float = option(
        0.0,
        *BELOW_ONE,
        help="decay of the average of the weights that is saved at the end, as 0.999; 0 saves the last weights",
    )
    checkpoint_key: str | None = option(
        None, help="of the tensors to read where a weight file has several dicts of them, such as ema"
    )
    device: str = option(
        "auto",
        pattern="auto|cpu|gpu(:[0-9]{1,4})?",
        accepted="auto, cpu, gpu or gpu:N",
        help="cpu, gpu or gpu:N; auto takes a GPU where there is one",
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be used together, or on this machine."""
        if self.fp16 and self.bf16:
            raise InputError("--fp16 and --bf16 are both given; one of them is accepted")
        if self.sharding and of_launch("PADDLE_TRAINERS_NUM", 1) < 2:
            raise InputError(
                f"--sharding {self.sharding} has nothing to share among one process; a launch with several, or no "
                "--sharding, is accepted"
            )
        trackers = self.report_to or []
        if trackers not in (["all"], ["none"]):
            _check_trackers(trackers)


@dataclass
class SamplingTrainerOptions(TrainerOptions):
    """`TrainerOptions` of a training whose validation makes videos step by step."""

    validation_inference_steps: int = option(10, 1, 1000, help="denoising steps of a video of validation")
    validation_guidance_scale: float = option(1.0, 0, 1000, help="guidance of a video of validation; 1 for none")
    validation_metrics: str | None = option(
        None,
        help="numbers of videos of validation, with commas between them, as psnr,lpips_alex,csim_mobileface; "
        "docs/metrics.md has them",
        unset="psnr,ssim,l1,flicker, where there are true frames",
    )

    def check(self) -> None:
        super().check()
        if self.validation_metrics is not None:
            from ppdiffusers_ext.training.video_numbers import check_numbers

            check_numbers(self.validation_metrics)


@dataclass
class DiffusersTrainerOptions(SamplingTrainerOptions):
    """`SamplingTrainerOptions` with the names and defaults of diffusers' training scripts, which most are made after.

    --mixed_precision goes before --fp16 and --bf16.
    """

    do_train: bool = inherited(SamplingTrainerOptions, "do_train", True, help="whether to train")
    weight_decay: float = inherited(
        SamplingTrainerOptions, "weight_decay", 1e-2, help="of AdamW", aliases=("adam_weight_decay",)
    )
    lr_scheduler_type: str = inherited(
        SamplingTrainerOptions,
        "lr_scheduler_type",
        "constant",
        help="how the learning rate goes on; constant has no warmup",
        aliases=("lr_scheduler",),
    )
    warmup_steps: int = inherited(
        SamplingTrainerOptions,
        "warmup_steps",
        500,
        help="steps until the learning rate is reached, with --lr_scheduler_type constant_with_warmup and others",
        aliases=("lr_warmup_steps",),
    )
    save_strategy: str = inherited(
        SamplingTrainerOptions,
        "save_strategy",
        "steps",
        help="when checkpoints are saved",
        choices=("no", "steps", "epoch"),
    )
    save_steps: int = inherited(
        SamplingTrainerOptions,
        "save_steps",
        500,
        help="steps from one checkpoint to the next",
        aliases=("checkpointing_steps",),
    )
    save_total_limit: int | None = inherited(
        SamplingTrainerOptions, "save_total_limit", None, aliases=("checkpoints_total_limit",)
    )
    dataloader_num_workers: int = inherited(SamplingTrainerOptions, "dataloader_num_workers", 0)
    max_steps: int = inherited(SamplingTrainerOptions, "max_steps", 30000, aliases=("max_train_steps",))
    mixed_precision: str | None = option(
        None, choices=("no", "fp16", "bf16"), help="no, fp16 or bf16: the original's way to say --fp16 or --bf16"
    )

    def check(self) -> None:
        if self.mixed_precision:
            self.fp16, self.bf16 = self.mixed_precision == "fp16", self.mixed_precision == "bf16"
        super().check()


def _check_trackers(names: list[str]) -> None:
    """Raise InputError for a place to report to that is not known, or whose package is missing."""
    for name in names:
        if name not in _TRACKERS:
            raise InputError(f"--report_to {shown(name)} is not known; none, all, visualdl, tensorboard are accepted")
        if find_spec(_TRACKERS[name]) is None:
            raise InputError(f"--report_to {name} needs a package that is not installed; visualdl is")


def samples_of_a_step(arguments: Any) -> int:
    """Number of samples of one optimisation step, over all processes and accumulated batches."""
    return arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.dataset_world_size


def beyond_stage_1(sharding: Any) -> bool:
    """Whether `--sharding`, as an option or `TrainingArguments` have it, divides more than the optimiser's state."""
    words = sharding.replace(",", " ").split() if isinstance(sharding, str) else sharding or []
    return bool({"stage2", "stage3", "offload"} & {getattr(stage, "value", stage) for stage in words})


def has_slices(arguments: Any) -> bool:
    """Whether a file of the optimiser's state has parts of tensors, which only as many processes can put together."""
    return beyond_stage_1(arguments.sharding) or bool(arguments.sharding_parallel_config)
