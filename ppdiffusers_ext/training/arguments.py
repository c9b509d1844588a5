"""The trainers' options as paddlenlp's trainer takes them: with its methods, on the device of this machine."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paddle
from paddlenlp.trainer import TrainingArguments as PaddleTrainingArguments

from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.runtime import check_device
from ppdiffusers_ext.training.groups import share_connections
from ppdiffusers_ext.training.options import TrainerOptions, beyond_stage_1
from ppdiffusers_ext.training.parser import ACCEPTED, MOST_MESSAGE, Kinds, parse_options

logger = logging.getLogger(__name__)


@dataclass
class TrainingArguments(TrainerOptions, PaddleTrainingArguments):
    """paddlenlp's arguments. Batch size, steps, optimiser, precision, sharding and saving are used here."""

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.device == "auto":
            self.device = "gpu" if paddle.is_compiled_with_cuda() else "cpu"
        if self.fp16 and not paddle.is_compiled_with_cuda():  # type: ignore[has-type]  # paddlenlp's
            logger.warning("Paddle has no fp16 training on a CPU: bf16 is used instead")
            self.fp16, self.bf16 = False, True
        if beyond_stage_1(self.sharding) and not paddle.is_compiled_with_cuda():
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


def parse_arguments(arguments: Sequence[str], kinds: Kinds) -> tuple[Any, Any, Any]:
    """As `parse_options`, with the `TrainingArguments` of the options of the training."""
    model, data, options = parse_options(arguments, kinds)
    return model, data, set_up(options)


def set_up(options: TrainerOptions) -> Any:
    """The `TrainingArguments`, with the fields of a system's own, of its options. Sets up devices and processes.

    Raises:
        InputError: this machine has no such device, or paddlenlp does not take the options together.
    """
    kind: Any = TrainingArguments
    if not issubclass(kind, type(options)):
        kind = dataclass(type("TrainingArguments", (type(options), TrainingArguments), {}))
    try:
        return kind(**vars(options))
    except InputError:
        raise
    except Exception as error:
        # paddlenlp checks its options by whatever is raised while it sets up devices and processes.
        reason = printable(" ".join(str(error).split()), MOST_MESSAGE) or type(error).__name__
        raise InputError(f"the options cannot be used together: {reason}; {ACCEPTED}") from error
