"""A training of a network of two layers, for tests of what several processes do: `python -m scripts.launch ... FILE`.

Each process writes the numbers of its samples, a line for each batch, into OUTPUT/samples.RANK.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, as Paddle's launcher does

from ppdiffusers_ext.training.fit import Training, fit, reproducible_start
from ppdiffusers_ext.training.options import DataOptions, ModelOptions, TrainerOptions, samples_of_a_step
from ppdiffusers_ext.training.parts import TrainedPart
from ppdiffusers_ext.training.trainers import JOBS, Trainer
from scripts.training import main

KINDS = (ModelOptions, DataOptions, TrainerOptions)
WIDTH = 8


class Samples:
    """Random vectors, and numbers that follow from them."""

    num_clips = 4

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        x = np.random.default_rng(index).standard_normal(WIDTH).astype(np.float32)
        return {"index": index, "x": x, "y": x[:1] - x[1:2]}


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    batch = {name: np.stack([sample[name] for sample in samples]) for name in ("x", "y")}
    indices = [sample["index"] for sample in samples]
    return {**batch, "index": np.array(indices), "clips": [str(index) for index in indices], "failures": []}


class Objective:
    def __init__(self, output_dir: str) -> None:
        rank = os.environ.get("PADDLE_TRAINER_ID", "0")
        self._path = Path(output_dir) / f"samples.{rank}"

    def __call__(self, model: nn.Layer, batch: dict[str, Any]) -> paddle.Tensor:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a") as file:
            print(*batch["clips"], file=file)
        return (model(batch["x"]).astype("float32") - batch["y"]).square().mean()

    def describe(self, batch: dict[str, Any]) -> str:
        return f"samples {batch['clips']}"


def train(model: Any, data: DataOptions, arguments: Any, found: Any) -> Any:
    """As `run` of a `Trainer`."""
    with reproducible_start(arguments.seed):
        network = nn.Sequential(nn.Linear(WIDTH, 16), nn.Tanh(), nn.Linear(16, 1))
    samples = Samples(arguments.max_steps * samples_of_a_step(arguments))
    objective = Objective(arguments.output_dir)
    return fit(Training(network, {"toy": TrainedPart(network)}, objective, samples, collate, {}), data, arguments)


def run(*words: str) -> int:
    """Train with the words of a command line. Returns the exit code."""
    JOBS["toy"] = Trainer(KINDS, lambda *options: None, train)
    try:
        return main("toy", words)
    finally:
        del JOBS["toy"]


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
