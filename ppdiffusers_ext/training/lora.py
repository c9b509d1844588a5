"""Training of LoRA: what is trained beside frozen networks, and its files."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from paddle import nn

from ppdiffusers_ext.data.outputs import moved_by, output_file
from ppdiffusers_ext.errors import InputError, shown, suggestion
from ppdiffusers_ext.models.lora import LoraLayer, can_be_adapted
from ppdiffusers_ext.training.draws import Draws
from ppdiffusers_ext.training.parts import TrainedPart
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.conversion import original_layer_name
from ppdiffusers_ext.weights.declaration import names_of
from ppdiffusers_ext.weights.lora_names import kohya_name
from ppdiffusers_ext.weights.lora_writing import write_lora

LORA_FILE = "lora_diffusion_pytorch_model"  # the original's name, without .safetensors
LORA_STATE = "lora_state"


class LoraNetwork(nn.Layer):
    """LoRA of all linear layers of networks, attached to them.

    Args:
        models: network of `lora_names` -> `nn.Layer`, whose weights stay as they are.
        rank: of the product of two matrices that is added to each weight.
        alpha: the product is multiplied by alpha / rank.
        seed: of the initial values, see `Draws`.
        targets: parts of the original's names of layers, those to adapt; all if left out.
        multiplier: what the product is multiplied by as well.

    Raises:
        InputError: a target that no layer has.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Layer],
        rank: int,
        alpha: float,
        seed: int = 0,
        targets: Sequence[str] = (),
        multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        named = {network: adapted_layers(model) for network, model in models.items()}
        check_targets(targets, models)
        self.alpha, draws = alpha, Draws(seed)
        for network, layers in named.items():
            for original, layer in layers.items():
                if not targets or any(target in original for target in targets):
                    name = kohya_name(network, original)
                    rng = draws.rng(0, f"LoRA {name}")  # its own, whichever other layers are adapted
                    self.add_sublayer(name, LoraLayer(layer, rank, multiplier * alpha / rank, rng))

    def arrays(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """name of a layer in a LoRA file -> its (down, up), fp32 in torch's layout."""
        return {name: (_of_torch(x.lora_down), _of_torch(x.lora_up)) for name, x in self.named_children()}


def adapted_layers(model: nn.Layer) -> dict[str, nn.Layer]:
    """The layers of a model that the original trains LoRA of: the original's name -> layer."""
    without = names_of(model).without_lora
    return {
        original_layer_name(model, name): layer
        for name, layer in model.named_sublayers()
        if can_be_adapted(layer) and not (without and re.search(without, name))
    }


def check_targets(targets: Sequence[str], models: Mapping[str, nn.Layer]) -> None:
    """Raise InputError for a target that no layer of the models of a `LoraNetwork` has in its name."""
    names = [name for model in models.values() for name in adapted_layers(model)] if targets else []
    for target in targets:
        if not any(target in name for name in names):
            raise InputError(
                f"--lora_target_modules {shown(target)} is in no layer's name; {suggestion(target, names)}"
            )


def _of_torch(layer: Any) -> np.ndarray:
    weight = to_array(layer.weight.astype("float32"))
    return weight.T if isinstance(layer, nn.Linear) else weight


def lora_parts(network: LoraNetwork, dtype: str) -> dict[str, TrainedPart]:
    """The parts of a training of LoRA: the file for others, and the state, with all digits, for a resumed run.

    dtype: of the numbers in the file, as Paddle calls it.
    """
    return {LORA_FILE: LoraPart(network, dtype=dtype), LORA_STATE: TrainedPart(network, is_state=True)}


@dataclass(frozen=True)
class LoraPart(TrainedPart):
    """A `LoraNetwork` as the file that inference and the original read; a resumed run has it from `lora_state`.

    dtype: of the file's numbers, as Paddle calls it.
    """

    dtype: str = "float32"

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, in kohya's layout."""
        network: LoraNetwork = self.network  # type: ignore[assignment]
        with moved_by("--output_dir"), output_file(path) as temporary:
            write_lora(temporary, network.arrays(), network.alpha, self.dtype)

    def load(self, path: str | os.PathLike) -> None:
        """Nothing: the file may have fewer digits than what is trained."""
