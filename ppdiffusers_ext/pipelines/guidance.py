"""Classifier-free guidance: where the prediction goes when the condition is exaggerated."""

from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import GUIDANCE, check_number, is_number


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

    def __post_init__(self):
        check_number("the guidance scale", self.scale, *GUIDANCE)
        if not _is_interval(self.interval):
            raise InputError(
                f"a guidance interval of {shown(self.interval)} is not accepted; two numbers from 0 to 1 are, the "
                "first not above the second"
            )

    def applies(self, progress):
        """Whether a step is guided in whose middle `progress` of the steps are done."""
        return self.scale > 1 and self.interval[0] <= progress <= self.interval[1]


def _is_interval(value):
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    return all(map(is_number, value)) and 0 <= value[0] <= value[1] <= 1


def guide(unconditional, conditional, scale):
    """unconditional + scale * (conditional - unconditional), of one shape."""
    return unconditional + scale * (conditional - unconditional)
