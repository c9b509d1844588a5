"""LoRA files, and what several of them together make of a network's weights.

`lora_names` knows what keys say, `lora_formulas` what is added to a layer, `lora_strengths` how much of it. Every key
of a file is used, or the file is refused by the keys that are not.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from paddle import nn

from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.weights.arrays import to_array, to_tensor
from ppdiffusers_ext.weights.assignment import is_finite
from ppdiffusers_ext.weights.conversion import original_layer_name
from ppdiffusers_ext.weights.declaration import names_of
from ppdiffusers_ext.weights.loading import read_checkpoint
from ppdiffusers_ext.weights.lora_formulas import Whole, make_addition
from ppdiffusers_ext.weights.lora_names import NAMED, TRANSFORMER, known_prefixes, parse_keys, shorten
from ppdiffusers_ext.weights.lora_strengths import PEFT_CONFIG, Strengths

if TYPE_CHECKING:
    import paddle

    from ppdiffusers_ext.weights.lora_formulas import Addition


logger = logging.getLogger(__name__)

_PRODUCTS_FOR = (nn.Linear, nn.Conv1D, nn.Conv2D, nn.Conv3D)  # other layers take whole differences alone


class Lora:
    """A LoRA file.

    Args:
        path: of a .safetensors or any other checkpoint.

    Attributes:
        networks: those that it has layers of: TRANSFORMER, TEXT_ENCODER, TEXT_ENCODER_2, T5_ENCODER of `lora_names`.

    Raises:
        InputError, MissingFileError: no such file, or one that has anything else than a LoRA's layers.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        checkpoint = read_checkpoint(path)
        self._layers: dict = {}  # (network, layer, is_flat) -> element -> (key, tensor)
        self._stems: dict = {}
        self._bare: set = set()
        self._is_peft = False
        adapters: dict = {}
        for key in parse_keys(path, list(checkpoint.tensors)):
            layer = (key.network, key.layer, key.is_flat)
            elements = self._layers.setdefault(layer, {})
            if key.element in elements:
                raise InputError(
                    f"{path} has a layer twice: {shorten([elements[key.element][0], key.text])}; one is accepted"
                )
            if (stem := self._stems.setdefault(layer, key.stem)) != key.stem:  # whose alpha, and whose matrices?
                raise InputError(
                    f"{path} has a layer under two names: {shorten([stem, key.stem])}; one name for it is accepted"
                )
            elements[key.element] = key.text, checkpoint.tensors[key.text]
            self._is_peft |= key.is_peft
            if key.adapter:
                adapters.setdefault(key.adapter, key.text)
            if not key.has_prefix and not key.is_peft:
                self._bare.add(layer)
        if len(adapters) > 1:
            raise InputError(f"{path} has several adapters, {shorten(list(adapters.values()))}; one is accepted")
        self.networks = {network for network, _, _ in self._layers}
        self._strengths = Strengths(path, checkpoint.metadata, self._is_peft)

    def note(self) -> None:
        """Log what is taken for granted: PEFT's scale is in a file of its own, which may be missing."""
        has_alpha = any("alpha" in elements for elements in self._layers.values())
        if self._is_peft and not has_alpha and not self._strengths.are_known:
            logger.warning(
                "%s has PEFT's names and no %s beside it, which says lora_alpha: its layers are scaled by 1",
                self.path,
                PEFT_CONFIG,
            )

    def of(self, model: nn.Layer, network: str = TRANSFORMER) -> dict[str, Addition]:
        """Name of a model's layer -> `Addition`.

        Args:
            model: `nn.Layer`.
            network: which of the file's layers are of this model, beside those that its class declares
                (`CheckpointNames.lora_networks`); others are left alone.

        Raises:
            InputError: layers that the model has not, or that do not fit, or that are incomplete; names some of them.
        """
        known = _Names(model)
        networks = (network, *names_of(model).lora_networks)
        own = {layer: elements for layer, elements in self._layers.items() if layer[0] in networks}
        names = {layer: known.find(*layer[1:]) for layer in own}
        unknown = [layer for layer, name in names.items() if name is None]
        if unknown or not own:
            self._refuse(unknown, known, network)
        found: dict = {}
        misfits: list = []
        for layer, elements in own.items():
            name = str(names[layer])
            if name in found:
                stems = shorten([found[name].stem, self._stems[layer]])
                raise InputError(f"{self.path} has the layer {name} twice: {stems}; one is accepted")
            found[name] = self._read(known.layers[name], layer, elements)
            shape, bias_shape = _shapes_of(known.layers[name])
            if misfit := found[name].misfit(shape):
                misfits.append(f"{name} {misfit}")
            else:
                found[name].check(shape, bias_shape)
        if misfits:
            more = f"; {len(misfits) - NAMED} more do not fit" if len(misfits) > NAMED else ""
            raise InputError(f"{self.path} is of another model: {'; '.join(misfits[:NAMED])}{more}")
        return found

    def _read(
        self, model_layer: nn.Layer, layer: tuple[str, str, bool], elements: dict[str, tuple[str, paddle.Tensor]]
    ) -> Addition:
        addition = make_addition(self.path, self._stems[layer], elements)
        if addition.product is None or isinstance(addition.product, Whole):
            return addition
        if not isinstance(model_layer, _PRODUCTS_FOR):
            kind = type(model_layer).__name__
            raise InputError(f"{addition.where} is of a {kind}; linear layers and convolutions are accepted")
        return replace(addition, scale=self._strengths.scale(layer[0], layer[1], addition))

    def _refuse(self, unknown: Sequence[tuple[str, str, bool]], known: _Names, network: str) -> None:
        if not unknown:
            raise InputError(f"{self.path} has no layer of the {network}; known prefixes are {known_prefixes()}")
        bare = [self._stems[layer] for layer in unknown if layer in self._bare]
        if bare:
            raise InputError(
                f"{self.path} has no layer that begins with lora_unet_, or with another known prefix, but "
                f"{shorten(bare)}; known prefixes are {known_prefixes()}"
                if len(bare) == len(self._layers)
                else f"{self.path} has {shorten(bare)} without a known prefix; these are {known_prefixes()}"
            )
        near = difflib.get_close_matches(printable(unknown[0][1], 200), known.of_kind(unknown[0][2]), n=1, cutoff=0.0)
        raise InputError(
            f"{self.path} is of another model, which has {shorten([self._stems[layer] for layer in unknown])}; the "
            f"nearest here is {near[0] if near else 'none'}"
        )


def _shapes_of(layer: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Shapes of a layer's weight and bias in torch's layout; the second None for a layer without a bias."""
    weight, bias = layer.weight.shape, getattr(layer, "bias", None)
    shape = weight[::-1] if isinstance(layer, nn.Linear) else weight
    return tuple(shape), None if bias is None else tuple(bias.shape)


class _Names:
    """What the layers of a model with a weight are called in the original.

    Attributes:
        layers: own name -> layer.
    """

    def __init__(self, model: nn.Layer) -> None:
        self.layers = {name: x for name, x in model.named_sublayers() if getattr(x, "weight", None) is not None}
        self._dotted = {original_layer_name(model, name): name for name in self.layers}
        self._flat: dict[str, list[str]] = {}
        for original, name in self._dotted.items():
            self._flat.setdefault(original.replace(".", "_"), []).append(name)

    def of_kind(self, is_flat: bool) -> list[str]:
        return list(self._flat if is_flat else self._dotted)

    def find(self, layer: str, is_flat: bool) -> str | None:
        """Our name of a layer in a file, or None where there is none, or where the name fits two."""
        if not is_flat:
            return self._dotted.get(layer)
        found = self._flat.get(layer) or self._flat.get(layer.removeprefix("_")) or []  # some have two
        return found[0] if len(found) == 1 else None


class Additions:
    """What LoRA files together add to a model's weights and biases. Each is added to the weight as it was.

    Args:
        model: `nn.Layer`, whose weights need not be in memory.
        loras: list of (`Lora`, weight).
        network: see `Lora.of`, which says what is refused.

    Attributes:
        names: of the parameters that change.

    Raises:
        InputError: a weight that is no finite number, or as `Lora.of`.
    """

    def __init__(self, model: nn.Layer, loras: Iterable[tuple[Lora, float]], network: str = TRANSFORMER) -> None:
        self._added: dict = {}
        self._is_linear: set = set()
        layers = dict(model.named_sublayers())
        for lora, strength in loras:
            if not math.isfinite(strength):
                raise InputError(f"{lora.path} has the weight {strength}; a finite number is accepted")
            for name, addition in lora.of(model, network).items():
                if addition.product is not None:
                    self._added.setdefault(f"{name}.weight", []).append((addition, strength))
                if addition.bias is not None:
                    self._added.setdefault(f"{name}.bias", []).append((addition, strength))
                if isinstance(layers[name], nn.Linear):
                    self._is_linear.add(f"{name}.weight")
        self.names = list(self._added)

    def merged(self, name: str, value: paddle.Tensor) -> paddle.Tensor:
        """A parameter with what is added to it, in its dtype and in Paddle's layout.

        Raises:
            InputError: the sum is too large for the dtype.
        """
        with np.errstate(all="ignore"):  # the result is looked at
            total = self._total(name, value)
            addition = to_tensor(np.ascontiguousarray(total.T if name in self._is_linear else total)).to(value.place)
            merged = (value.astype("float32") + addition).astype(value.dtype)
        if not is_finite(to_array(merged)):
            files = ", ".join(dict.fromkeys(addition.where for addition, _ in self._added[name]))
            kind = str(value.dtype).removeprefix("paddle.")
            raise InputError(f"{name} is too large for {kind} with {files}; a smaller weight is accepted")
        return merged

    def _total(self, name: str, value: paddle.Tensor) -> np.ndarray:
        """What is added to a parameter, in torch's layout."""
        added = self._added[name]
        if name.endswith(".bias"):
            return sum(addition.of_bias(strength) for addition, strength in added)
        weight = None
        if any(addition.magnitude is not None for addition, _ in added):
            weight = to_array(value.astype("float32"))
            weight = weight.T if name in self._is_linear else weight
        shape = value.shape[::-1] if name in self._is_linear else value.shape
        return sum(addition.of_weight(shape, strength, weight) for addition, strength in added)


class MergedLoras:
    """LoRA files that are part of a model's weights until `undo`.

    Args:
        model: `nn.Layer`, which is changed.
        loras: list of (`Lora`, weight).
        network: see `Lora.of`.
    """

    def __init__(self, model: nn.Layer, loras: Iterable[tuple[Lora, float]], network: str = TRANSFORMER) -> None:
        additions = Additions(model, loras, network)
        self._parameters, self._before = model.state_dict(), {}
        try:
            for name in additions.names:
                parameter = self._parameters[name]
                merged = additions.merged(name, parameter)
                self._before[name] = to_array(parameter).copy()
                parameter.set_value(merged)
        except InputError:
            self.undo()
            raise

    def undo(self) -> None:
        """Give the model the bits that it had."""
        for name, array in self._before.items():
            self._parameters[name].set_value(array)
        self._before = {}
