"""VisualDL curves of training and validation; values of the same name share a chart."""

from pathlib import Path
from typing import Any

import numpy as np
from paddlenlp.trainer import TrainerCallback
from visualdl import LogWriter

from ppdiffusers_ext.training.progress import VALIDATION

TRAINING_RUN, VALIDATION_RUN = "train", "validation"


class Curves(TrainerCallback):
    """Writes numbers into the folders `train` and `validation` of a run, and pictures into the latter.

    VisualDL treats each folder as a run and draws values of the same tag, such as `loss`, into one chart.
    """

    def __init__(self) -> None:
        self._writers: dict[str, LogWriter] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.is_world_process_zero:
            folders = {run: Path(args.logging_dir) / run for run in (TRAINING_RUN, VALIDATION_RUN)}
            self._writers = {run: LogWriter(logdir=str(folder)) for run, folder in folders.items()}
            self._writers[TRAINING_RUN].add_text("options", args.to_json_string())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        for name, value in logs.items() if self._writers else ():
            run = VALIDATION_RUN if name.startswith(VALIDATION) else TRAINING_RUN
            if isinstance(value, (int, float)):
                self._writers[run].add_scalar(name.removeprefix(VALIDATION), value, state.global_step)
        for writer in self._writers.values():
            writer.flush()

    def add_picture(self, picture: np.ndarray, step: int) -> None:
        """Add a picture of a validation, (H, W, 3) uint8."""
        if self._writers:
            self._writers[VALIDATION_RUN].add_image("samples", picture, step)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
