"""What a class says of the names in its published checkpoints, where they are not its own names.

A network of this project says it in its attribute `checkpoint_names`. Those of libraries have no such attribute: what
is known of them is read from `register_libraries`' function when the first of them is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Patterns and replacements of `re.sub`, which are applied in their order.
Renamed = tuple[tuple[str, Any], ...]

# What torch calls the state of a batch norm, and Paddle; and a count that Paddle has not.
BATCH_NORM_RENAMED: Renamed = ((r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance"))
BATCH_NORM_UNUSED = r"\.num_batches_tracked$"


@dataclass(frozen=True)
class CheckpointNames:
    """
    Attributes:
        renamed: from the names of a file's tensors to the class's.
        unused: pattern of names (the class's) of tensors that it has no use for: tables that it computes, a head that
            it does not have.
        wrappers: prefixes, each with its dot, that trainers of this class put before all names, beside those that
            trainers of any class do.
        layers: from the class's names of layers to the original's, which LoRA files have.
        without_lora: pattern of layers (the class's names) that the original trains no LoRA of.
        lora_networks: networks, as `lora_names` calls them, whose layers in a LoRA file are always of this class.
    """

    renamed: Renamed = ()
    unused: str | None = None
    wrappers: tuple[str, ...] = ()
    layers: Renamed = ()
    without_lora: str | None = None
    lora_networks: tuple[str, ...] = ()


_NONE = CheckpointNames()
_libraries: Callable[[], Mapping[type, CheckpointNames]] = dict


def register_libraries(read: Callable[[], Mapping[type, CheckpointNames]]) -> None:
    """Have a function say what there is to say of classes of libraries: class -> `CheckpointNames`."""
    global _libraries
    _libraries = read


def names_of(model: Any) -> CheckpointNames:
    """What is declared for a model's class, or for the nearest of its base classes for which anything is."""
    known = _libraries()
    for cls in type(model).__mro__:
        found = vars(cls).get("checkpoint_names", known.get(cls))
        if found is not None:
            return found
    return _NONE
