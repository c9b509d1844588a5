"""Options that all trainers have, as a dataclass that `parser` reads; each system's `options` has its own."""

import logging
import os
import sys
from dataclasses import dataclass, field
from typing import Optional

import paddle
from paddlenlp.trainer import TrainingArguments as PaddleTrainingArguments

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.runtime import check_device
from ppdiffusers_ext.training.groups import share_connections

logger = logging.getLogger(__name__)


def option(default, text):
    return field(default=default, metadata={"help": text})


@dataclass
class TrainingArguments(PaddleTrainingArguments):
    """paddlenlp's arguments. Batch size, steps, optimiser, precision, sharding and saving are used here."""

    output_dir: str = option(
        "./exp_output", "folder of checkpoints and logs; a run goes on from its newest checkpoint"
    )
    max_steps: int = option(30000, "optimisation steps")
    seed: int = option(42, "seed of weights, samples and noise, 0 to 4294967295; -1 draws one and says which")
    validation_steps: int = option(
        0, "steps from one animation of the held-out clips to the next, for numbers and a picture; 0 for never"
    )
    validation_inference_steps: int = option(10, "denoising steps of these animations")
    validation_guidance_scale: float = option(1.0, "guidance of these animations; 1 for none")
    max_skipped_steps: int = option(
        0, "steps with a loss or gradients that are not finite, that are left out; the next one stops the run"
    )
    ema_decay: float = option(
        0.0, "decay of the average of the weights that is saved at the end, as 0.999; 0 saves the last weights"
    )
    checkpoint_key: Optional[str] = option(
        None, "of the tensors to read where a weight file has several dicts of them, such as ema"
    )

    device: str = option("auto", "cpu, gpu or gpu:N; auto takes a GPU where there is one")

    def __post_init__(self):
        check_device(self.device)
        if self.device == "auto":
            self.device = "gpu" if paddle.is_compiled_with_cuda() else "cpu"
        if self.fp16 and not paddle.is_compiled_with_cuda():  # type: ignore[has-type]  # paddlenlp's
            logger.warning("Paddle has no fp16 training on a CPU: bf16 is used instead")
            self.fp16, self.bf16 = False, True
        if self.sharding and int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
            raise InputError(
                f"--sharding {self.sharding} has nothing to share among one process; a launch with several, or no "
                "--sharding, is accepted"
            )
        beyond = {"stage2", "stage3", "offload"} & set(str(self.sharding).replace(",", " ").split())
        if beyond and not paddle.is_compiled_with_cuda():
            raise InputError(
                f"--sharding {self.sharding} needs a GPU: on a CPU, Paddle shares the optimiser's state alone; stage1 "
                "is accepted"
            )
        # "latest" is what happens without it.
        if self.resume_from_checkpoint == "latest":  # type: ignore[has-type]  # paddlenlp's
            self.resume_from_checkpoint = None
        # A bar is for somebody who looks at it.
        self.disable_tqdm = self.disable_tqdm or not sys.stderr.isatty()  # type: ignore[has-type]  # paddlenlp's
        share_connections()
        super().__post_init__()
