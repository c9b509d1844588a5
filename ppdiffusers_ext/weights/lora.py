"""Low-rank additions to a network's weights (LoRA), from files with the names that kohya's scripts gave them.

From Hu et al. 2021, arXiv:2106.09685; kohya-ss/sd-scripts. A file has, for each layer, NAME.lora_down.weight
(rank, inputs), NAME.lora_up.weight (outputs, rank) and NAME.alpha, where NAME is a prefix and the layer's path with
underscores in the place of dots. The layer's weight becomes W + weight * alpha / rank * up @ down.
"""

import difflib
from dataclasses import dataclass

import numpy as np
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.arrays import to_array, to_tensor
from ppdiffusers_ext.weights.conversion import original_layer_name
from ppdiffusers_ext.weights.loading import read_checkpoint

TRANSFORMER, TEXT_ENCODER = "lora_unet", "lora_te"
_DOWN, _UP, _ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
_NAMED = 3  # keys of a message


@dataclass(frozen=True)
class LowRank:
    """What is added to one layer: up (outputs, rank), down (rank, inputs), and the scale alpha / rank, fp32."""

    up: np.ndarray
    down: np.ndarray
    scale: float

    def product(self, weight):
        """(outputs, inputs) fp32, `weight` times as strong."""
        return np.float32(weight * self.scale) * (self.up @ self.down)


class Lora:
    """A LoRA file.

    Args:
        path: of a .safetensors or any other checkpoint.

    Raises:
        InputError, MissingFileError: no such file, or one without complete layers.
    """

    def __init__(self, path):
        self.path, parts = path, {}
        for name, tensor in read_checkpoint(path).tensors.items():
            layer, _, element = name.partition(".")
            parts.setdefault(layer, {})[element] = tensor
        broken = [layer for layer, elements in parts.items() if not {_DOWN, _UP} <= elements.keys()]
        if broken or not parts:
            raise InputError(
                f"{path} is no LoRA: {broken[0] if broken else 'it'} lacks {_DOWN} and {_UP}; a file with both for "
                "each layer is accepted"
            )
        self._layers = {layer: _read(elements) for layer, elements in parts.items()}

    def has(self, prefix):
        """Whether there is a layer whose name begins with a prefix."""
        return any(layer.startswith(f"{prefix}_") for layer in self._layers)

    def of(self, model, prefix=TRANSFORMER):
        """Name of a model's layer -> `LowRank`.

        Args:
            model: `nn.Layer`.
            prefix: of the names that are of this model; others are left alone.

        Raises:
            InputError: layers that the model has not, or that do not fit; names some of them.
        """
        known = {
            f"{prefix}_{_underscored(original_layer_name(model, name))}": name
            for name, layer in model.named_sublayers()
            if isinstance(layer, nn.Linear)
        }
        own = {key: low_rank for key, low_rank in self._layers.items() if key.startswith(f"{prefix}_")}
        keys = {key: key if key in known else key.replace("__", "_", 1) for key in own}
        unknown = [key for key in own if keys[key] not in known]
        if unknown or not own:
            self._refuse(unknown, own, known, prefix)
        found = {known[keys[key]]: low_rank for key, low_rank in own.items()}
        layers = dict(model.named_sublayers())
        for name, low_rank in found.items():
            inputs, outputs = layers[name].weight.shape
            if (low_rank.up.shape[0], low_rank.down.shape[1]) != (outputs, inputs):
                raise InputError(
                    f"{self.path} is of another model: {name} takes {low_rank.down.shape[1]} numbers and gives "
                    f"{low_rank.up.shape[0]} there; {inputs} and {outputs} are needed"
                )
        return found

    def _refuse(self, unknown, own, known, prefix):
        if not own:
            raise InputError(
                f"{self.path} has no layer that begins with {prefix}_; a LoRA of this network is accepted"
            )
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)
        shown = ", ".join(unknown[:_NAMED]) + (f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else "")
        raise InputError(
            f"{self.path} is of another model, which has {shown}; the nearest here is {near[0] if near else 'none'}"
        )


class Additions:
    """What LoRA files together add to a model's layers.

    Args:
        model: `nn.Layer`, whose weights need not be in memory.
        loras: list of (`Lora`, weight).
        prefix: as of `Lora.of`, which says what is refused.

    Attributes:
        layers: names of the layers.
    """

    def __init__(self, model, loras, prefix=TRANSFORMER):
        self._added = {}
        for lora, weight in loras:
            for name, low_rank in lora.of(model, prefix).items():
                self._added.setdefault(name, []).append((low_rank, weight))
        self.layers = list(self._added)

    def merged(self, layer, weight):
        """A layer's weight, (inputs, outputs), with what is added to it, in the weight's dtype."""
        total = sum(low_rank.product(strength) for low_rank, strength in self._added[layer])  # (outputs, inputs)
        addition = to_tensor(np.ascontiguousarray(total.T)).to(weight.place)
        return (weight.astype("float32") + addition).astype(weight.dtype)


class MergedLoras:
    """LoRA files that are part of a model's weights until `undo`.

    Args:
        model: `nn.Layer`, which is changed.
        loras: list of (`Lora`, weight).
        prefix: as of `Lora.of`.
    """

    def __init__(self, model, loras, prefix=TRANSFORMER):
        additions = Additions(model, loras, prefix)
        self._layers, self._before = dict(model.named_sublayers()), {}
        for name in additions.layers:
            parameter = self._layers[name].weight
            self._before[name] = to_array(parameter).copy()
            parameter.set_value(additions.merged(name, parameter))

    def undo(self):
        """Give the model the bits that it had."""
        for name, array in self._before.items():
            self._layers[name].weight.set_value(array)
        self._before = {}


def _read(elements):
    down, up = (np.asarray(elements[name].astype("float32").numpy()) for name in (_DOWN, _UP))
    down, up = down.reshape(down.shape[0], -1), up.reshape(up.shape[0], -1)  # of 1x1 convolutions
    rank = down.shape[0]
    alpha = float(elements[_ALPHA]) if _ALPHA in elements else rank
    return LowRank(up, down, alpha / rank)


def _underscored(name):
    return name.replace(".", "_")
