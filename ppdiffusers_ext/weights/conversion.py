"""Names and layouts of published checkpoints, and what they are called in the classes that load them, both ways.

The project's own classes have the original's names. What remains to be mapped: Linear weights of torch files are
transposed; some trainers put a prefix before every name; and what a class declares of its files (`declaration`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from paddle import nn

from ppdiffusers_ext.errors import InputError, counted
from ppdiffusers_ext.weights.arrays import are_equal
from ppdiffusers_ext.weights.declaration import names_of
from ppdiffusers_ext.weights.selection import KNOWN

if TYPE_CHECKING:
    from paddle import nn


logger = logging.getLogger(__name__)

# Prefixes that a wrapper (data parallel training, a trainer of several networks) puts before every name of a file.
_WRAPPERS = ("module.", *sorted(f"{name}." for name in KNOWN - {"module"}))
# What torch.compile, FSDP and activation checkpointing write into the names of the layers that they wrap.
_INSERTED = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def transposed_names(model: nn.Layer) -> set[str]:
    """Names of the tensors that torch stores as (out, in) and Paddle as (in, out)."""
    return {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}


def names_in_model(model: nn.Layer, tensors: Mapping[str, Any], source: Any = "the file") -> dict[str, str]:
    """What the tensors of a checkpoint are called in a model: a dict, without those that it has no use for.

    Args:
        model: the layer that the tensors are for.
        tensors: name -> `paddle.Tensor`.
        source: where they are from, for messages.

    Raises:
        InputError: two have one name in the model, and are not equal; or they have when what a wrapper added to it is
            left out.
    """
    declared = names_of(model)
    found: dict[str, list] = {}
    idle = []
    bare = _without_wrappers(model, tensors, source)
    for original in tensors:
        name = bare[original]
        for pattern, replacement in declared.renamed:
            name = re.sub(pattern, replacement, name)
        if declared.unused is None or not re.search(declared.unused, name):
            found.setdefault(name, []).append(original)
        else:
            idle.append(original)
    if idle:
        named = f"{idle[0]}{', ...' if len(idle) > 1 else ''}"
        logger.info("%s: %s has no use for %s (%s)", source, type(model).__name__, counted(len(idle), "tensor"), named)
    renamed = {}
    for name, originals in found.items():
        first = next((original for original in originals if bare[original] == name), originals[0])
        for original in originals:
            if original != first and not are_equal(tensors[first], tensors[original]):
                raise InputError(
                    f"{source} has two tensors for {name}, {first} and {original}, which differ; one is accepted, or "
                    "the same under both names"
                )
        renamed[first] = name
    return renamed


def _without_wrappers(model: nn.Layer, names: Iterable[str], source: Any) -> dict[str, str]:
    """The names, each with what is left of it without wrappers; a note says what was left out."""
    bare = {name: _INSERTED.sub("", name) for name in names}
    left_out = sorted({found for name in names for found in _INSERTED.findall(name)})
    wrappers = (*names_of(model).wrappers, *_WRAPPERS)
    while prefix := next((each for each in wrappers if _is_before_all(each, bare.values(), model)), None):
        bare = {name: rest[len(prefix) :] for name, rest in bare.items()}
        left_out.append(prefix)
    if left_out:
        logger.info(
            "%s of the weights' names is left out, to have those of %s", " ".join(left_out), type(model).__name__
        )
    if len(set(bare.values())) < len(bare):
        seen: dict = {}
        twice = next((seen[rest], name) for name, rest in bare.items() if seen.setdefault(rest, name) != name)
        raise InputError(f"{source} has {twice[0]} and {twice[1]}, which are one name here; one is accepted")
    return bare


def _is_before_all(prefix: str, names: Collection[str], model: nn.Layer) -> bool:
    return (
        bool(names)
        and all(name.startswith(prefix) for name in names)
        and not any(name.startswith(prefix) for name in model.state_dict())
    )


def original_layer_name(model: nn.Layer, name: str) -> str:
    """What a layer of a model is called in the original: most have its name."""
    for pattern, replacement in names_of(model).layers:
        name = re.sub(pattern, replacement, name)
    return name


def to_paddle_names(
    model: nn.Layer, tensors: Mapping[str, Any], layout: str, source: Any = "the file"
) -> dict[str, Any]:
    """Rename and transpose the tensors of a checkpoint for a model: a new dict, of views.

    Args:
        model: the layer that the tensors are for.
        tensors: name -> `paddle.Tensor`.
        layout: "torch" or "paddle".
        source: see `names_in_model`, also for errors.
    """
    renamed = {name: tensors[original] for original, name in names_in_model(model, tensors, source).items()}
    return transpose(renamed, transposed_names(model)) if layout == "torch" else renamed


def transpose(tensors: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The tensors, those of two axes among the names transposed: from torch's layout to Paddle's, and back."""
    return {name: tensor.t() if name in names and tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
