"""Trained parts of networks: the files that training saves and other commands load without conversion."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddle import nn

from ppdiffusers_ext.data.outputs import moved_by, output_file
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.conversion import transpose, transposed_names
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch

WEIGHTS = "diffusion_pytorch_model.safetensors"  # of a folder as diffusers has it


@dataclass(frozen=True)
class TrainedPart:
    """Tensors of a network whose names contain `only` (default: all).

    suffix: .safetensors for the project's layout, .pth for torch's.
    numbered: True if its files in checkpoints have the step in their names.
    is_state: True if it is of use to a resumed run alone, and so in checkpoints alone.
    config: function that makes a dict of the network; the part is then a folder as diffusers has it, which is of the
        part's name: the dict as config.json, and weights in torch's layout.
    """

    network: nn.Layer
    only: str = ""
    suffix: str = ".safetensors"
    numbered: bool = False
    is_state: bool = False
    config: Callable[[Any], dict[str, Any]] | None = None

    def path(self, folder: str | os.PathLike, name: str, step: int | None = None) -> Path:
        """Path of this part's file in a folder: of a checkpoint, or without a step of the end of training."""
        if self.config is not None:
            return Path(folder) / name / WEIGHTS
        number = f"-{step}" if self.numbered and step is not None else ""
        return Path(folder) / f"{name}{number}{self.suffix}"

    def save(self, path: str | os.PathLike) -> None:
        """Write the tensors in the format of the suffix."""
        tensors = {name: tensor for name, tensor in self.network.state_dict().items() if self.only in name}
        is_of_torch = self.suffix == ".pth" or self.config is not None
        if is_of_torch:
            tensors = transpose(tensors, transposed_names(self.network))
        arrays = {name: to_array(tensor) for name, tensor in tensors.items()}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with moved_by("--output_dir"), output_file(path) as temporary:
            if self.suffix == ".pth":
                write_torch(temporary, arrays)
            else:
                write_safetensors(temporary, arrays, {"format": "pt" if is_of_torch else "pd"})
        if self.config is not None:
            text = json.dumps(self.config(self.network), indent=2) + "\n"
            with moved_by("--output_dir"), output_file(Path(path).with_name("config.json")) as temporary:
                Path(temporary).write_text(text, encoding="utf-8")

    def load(self, path: str | os.PathLike) -> None:
        """Read a file of `save`. Raises InputError unless it fits the network."""
        others = [name for name in self.network.state_dict() if self.only not in name]
        load_weights(self.network, path, may_miss=others)


def train_only(model: nn.Layer, is_trained: Callable[[str], bool]) -> list[str]:
    """Freeze all parameters of a model but those whose names are trained. Returns the names of the trained ones."""
    trained = []
    for name, parameter in model.named_parameters():
        learns = is_trained(name)
        parameter.stop_gradient = not learns
        parameter.trainable = learns
        if learns:
            trained.append(name)
    return trained
