"""What training draws at random: it follows from the run's seed and the numbers of the samples alone.

So a run that is stopped and goes on, one with more processes, or one that splits its batches, draws what the undivided
run would have drawn.
"""

import numpy as np
import paddle


class Draws:
    """
    Args:
        seed: of all draws.
    """

    def __init__(self, seed):
        self._seed = seed

    def rng(self, number, purpose):
        """The `np.random.Generator` of a sample or a step for one purpose, a text."""
        return np.random.default_rng([self._seed, number, *purpose.encode()])

    def normals(self, numbers, purpose, shape):
        """Normal noise of a shape for each sample: a tensor (samples, *shape)."""
        draws = [self.rng(number, purpose).standard_normal(tuple(shape), np.float32) for number in numbers]
        return paddle.to_tensor(np.stack(draws))


def make_batch(samples, names):
    """What batches of all kinds have: the arrays of such names, the samples' numbers, places and failures."""
    batch = {name: np.stack([sample[name] for sample in samples]) for name in names}
    batch["index"] = np.array([sample["index"] for sample in samples], np.int64)
    batch["clips"] = [sample["clip"] for sample in samples]
    batch["failures"] = [failure for sample in samples for failure in sample["failures"]]
    return batch
