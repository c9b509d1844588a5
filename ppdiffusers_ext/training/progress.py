"""Log lines and progress bar of a training."""

import logging
import sys
from datetime import timedelta
from typing import Any

from paddlenlp.trainer import TrainerCallback
from tqdm import tqdm

logger = logging.getLogger(__name__)

VALIDATION = "eval_"  # what the names of validation's numbers begin with, as paddlenlp and its integrations have it


class Progress(TrainerCallback):
    """Log line for each logging step and each validation, and a progress bar in a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.is_local_process_zero and not args.disable_tqdm:
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="steps", file=sys.stderr)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        line = _line_of_step(logs) if "loss" in logs else _line_of_validation(logs)
        if line and state.is_local_process_zero:
            logger.info("step %d/%d: %s", state.global_step, state.max_steps, line)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _line_of_step(logs: dict[str, Any]) -> str:
    left = timedelta(seconds=logs["seconds_left"])
    told = (
        f"loss {logs['loss']:.7g}",
        f"learning rate {logs['learning_rate']:.4g}",
        f"{logs['interval_samples_per_second']:.4g} samples/s",
        f"{left} left",
        f"gradient norm {logs['gradient_norm']:.4g}",
        f"memory {logs['peak_memory_gb']:.3f} GB",
        f"waiting for data {logs['data_share']:.1%}",
    )
    return ", ".join(told)


def _line_of_validation(logs: dict[str, Any]) -> str:
    numbers = {name.removeprefix(VALIDATION): value for name, value in logs.items() if name.startswith(VALIDATION)}
    return "" if not numbers else "validation " + ", ".join(f"{name} {value:.5g}" for name, value in numbers.items())
