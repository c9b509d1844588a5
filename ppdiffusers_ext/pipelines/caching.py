"""Caching over steps: most of the network runs in some of the steps only."""

from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import check_number


@dataclass(frozen=True)
class StepCaching:
    """In which steps the whole denoising UNet runs (DeepCache, Ma et al. 2023, arXiv:2312.00858).

    Attributes:
        interval: of the steps with the whole network, counted from the last one, whose errors nothing corrects: 1 is
            all of them, 3 every third. The first step always runs it.
        depth: units at the network's end that run in the others.

    Raises:
        InputError: a number below 1.
    """

    interval: int = 1
    depth: int = 1

    def __post_init__(self):
        for name in ("interval", "depth"):
            check_number(f"the {name} of step caching", getattr(self, name), 1, is_whole=True)

    def runs_whole(self, step, num_steps):
        """Whether a step, from 0, of so many runs the whole network."""
        return step == 0 or (num_steps - 1 - step) % self.interval == 0

    def check(self, max_depth):
        """Raises InputError for a depth that the network has not."""
        if self.interval > 1 and self.depth > max_depth:
            raise InputError(f"the depth of step caching is {self.depth}; 1 to {max_depth} is accepted")


@dataclass(frozen=True)
class BlockCaching:
    """In which steps all blocks of a transformer run: where the first one says that something has changed.

    Every step runs the first block. If what this adds differs little from what it added in the last whole step, what
    the other blocks added then is added again. The first and the last step are always whole, for nothing corrects the
    errors of the last. (Liu et al. 2024, arXiv:2411.19108, "TeaCache", in the form of ParaAttention's "first block
    cache".)

    Attributes:
        threshold: how much may differ: the mean absolute change over the mean absolute value. 0 is none at all.

    Raises:
        InputError: a threshold below 0.
    """

    threshold: float = 0.0

    def __post_init__(self):
        check_number("the threshold of block caching", self.threshold, 0)

    def is_close(self, change, before):
        """Whether what the first block adds is close to what it added in the last whole step, tensors of one shape."""
        return float((change - before).abs().mean()) < self.threshold * float(before.abs().mean())
