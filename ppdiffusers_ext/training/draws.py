"""Random numbers of training, which depend only on the run's seed and the numbers of the samples.

A resumed run, a run with more processes and a run with accumulated batches therefore draw the same numbers as an
undivided run.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle


class Draws:
    """Random number generators by seed, sample and purpose.

    Args:
        seed: of all draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def rng(self, number: int, purpose: str) -> np.random.Generator:
        """`np.random.Generator` of a sample or a step for a purpose, given as text."""
        return np.random.default_rng([self._seed, number, *purpose.encode()])

    def normals(self, numbers: Iterable[int], purpose: str, shape: Sequence[int]) -> paddle.Tensor:
        """Normal noise of a shape for each sample: a tensor (samples, *shape)."""
        draws = [self.rng(number, purpose).standard_normal(tuple(shape), np.float32) for number in numbers]
        return paddle.to_tensor(np.stack(draws))


def make_batch(samples: Sequence[dict[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Common part of all batches: the arrays with these names, and the samples' numbers, places and failures."""
    batch = {name: np.stack([sample[name] for sample in samples]) for name in names}
    batch["index"] = np.array([sample["index"] for sample in samples], np.int64)
    batch["clips"] = [sample["clip"] for sample in samples]
    batch["failures"] = [failure for sample in samples for failure in sample["failures"]]
    return batch
