"""What a denoising step computes: with classifier-free guidance or without, the whole network or its last units."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import GUIDANCE, check_number, is_number

if TYPE_CHECKING:
    import paddle


@dataclass(frozen=True)
class Guidance:
    """How, and in which steps, a prediction is guided (Ho & Salimans 2022, arXiv:2207.12598).

    Attributes:
        scale: 1 and below is without guidance, which takes half the time.
        sequential: unconditional and conditional prediction in calls of their own, instead of a batch of both: half
            the memory, the same numbers.
        interval: the part of the steps with guidance, from and to: (0, 1) is all of them. Outside, only the
            conditional prediction is made (Kynkaanniemi et al. 2024, arXiv:2404.07724).

    Raises:
        InputError: a scale that is not from 0 to 100, an interval that is not one.
    """

    scale: float = 1.0
    sequential: bool = False
    interval: tuple = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_number("the guidance scale", self.scale, *GUIDANCE)
        if not _is_interval(self.interval):
            raise InputError(
                f"a guidance interval of {shown(self.interval)} is not accepted; two numbers from 0 to 1 are, the "
                "first not above the second"
            )

    def applies(self, progress: float) -> bool:
        """Whether a step is guided in whose middle `progress` of the steps are done."""
        return self.scale > 1 and self.interval[0] <= progress <= self.interval[1]


def _is_interval(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    return all(map(is_number, value)) and 0 <= value[0] <= value[1] <= 1


def guide(
    unconditional: "paddle.Tensor", conditional: "paddle.Tensor", scale: "float | paddle.Tensor"
) -> "paddle.Tensor":
    """unconditional + scale * (conditional - unconditional), of one shape."""
    return unconditional + scale * (conditional - unconditional)


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

    def __post_init__(self) -> None:
        for name in ("interval", "depth"):
            check_number(f"the {name} of step caching", getattr(self, name), 1, is_whole=True)

    def runs_whole(self, step: int, num_steps: int) -> bool:
        """Whether a step, from 0, of so many runs the whole network."""
        return step == 0 or (num_steps - 1 - step) % self.interval == 0

    def check(self, max_depth: int) -> None:
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

    def __post_init__(self) -> None:
        check_number("the threshold of block caching", self.threshold, 0)

    def is_close(self, change: "paddle.Tensor", before: "paddle.Tensor") -> bool:
        """Whether what the first block adds is close to what it added in the last whole step, tensors of one shape."""
        return float((change - before).abs().mean()) < self.threshold * float(before.abs().mean())
