"""What a set of clips is made for: which steps a system needs by default, and what is written for its training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data.chain.steps import Place, Row, Step

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain.options import ChainOptions


def _no_steps(options: "ChainOptions") -> Sequence[Step]:
    return ()


def _nothing_to_check(options: "ChainOptions", names: Sequence[str]) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one system needs; each has one as `PROFILE` in its `data/SYSTEM/chain.py`.

    Attributes:
        steps: names of the steps that run where none are asked for; those of `own_steps` included.
        finish: function of the rows of the kept clips (an iterable, in natural order), the `Place` and the
            `ChainOptions`: writes what training reads, and returns the paths of the files and folders.
        thresholds: step -> column -> {"min", "max", "reduce"}: what is asked beside the thresholds of the file, which
            go first.
        own_steps: function of the `ChainOptions`: the steps that only this system has, in order. They come last.
        check: function of the `ChainOptions` and the names of the steps: raises InputError for what cannot come to a
            training set, before anything is computed.
    """

    steps: tuple[str, ...]
    finish: Callable[[Iterable[Row], Place, "ChainOptions"], Sequence[Path]]
    thresholds: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    own_steps: Callable[["ChainOptions"], Sequence[Step]] = _no_steps
    check: Callable[["ChainOptions", Sequence[str]], None] = _nothing_to_check
