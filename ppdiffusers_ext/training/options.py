"""Options that all trainers have: paddlenlp's, and the project's own. They are read and checked without Paddle.

`parser` makes them of a command line, and `arguments` makes of them what paddlenlp's trainer takes. Each system's
`options` has its own.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import option
from ppdiffusers_ext.training.bounds import BELOW_ONE, LONG, SEEDS
from ppdiffusers_ext.training.paddle_options import read_paddle_options

PaddleOptions: Any = read_paddle_options()
# What paddlenlp reports to, and the package that each needs.
_TRACKERS = {"visualdl": "visualdl", "tensorboard": "tensorboardX", "wandb": "wandb", "autonlp": "ray"}


@dataclass
class TrainerOptions(PaddleOptions):
    """paddlenlp's options. Batch size, steps, optimiser, precision, sharding and saving are used here."""

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
        help="steps from one animation of the held-out clips to the next, for numbers and a picture; 0 for never",
    )
    validation_inference_steps: int = option(10, 1, 1000, help="denoising steps of these animations")
    validation_guidance_scale: float = option(1.0, 0, 1000, help="guidance of these animations; 1 for none")
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
        if self.sharding and int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
            raise InputError(
                f"--sharding {self.sharding} has nothing to share among one process; a launch with several, or no "
                "--sharding, is accepted"
            )
        trackers = self.report_to or []
        if trackers not in (["all"], ["none"]):
            _check_trackers(trackers)


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
