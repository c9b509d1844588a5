"""Reading golden cases: numbers that the original PyTorch implementations made (see tests/goldens/README.md)."""

import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import paddle
from safetensors.numpy import load_file

from ppdiffusers_ext.weights.assignment import set_weights
from ppdiffusers_ext.weights.conversion import to_paddle_names


def draw(name, spec, seed):
    """One tensor of a manifest, float32, in torch's layout: drawn from its name."""
    state = np.random.RandomState((zlib.crc32(name.encode("utf-8")) + seed) % 2**32)
    noise = state.standard_normal(tuple(spec["shape"])).astype(np.float32)
    return (np.float32(spec["mean"]) + np.float32(spec["std"]) * noise).astype(np.float32).reshape(spec["shape"])


def read_manifest(path):
    """All tensors of a weight manifest: name -> float32 array, tied tensors and stored buffers included."""
    path = Path(path)
    manifest = json.loads(path.read_text())
    tensors, aliases = {}, {}
    for name, spec in manifest["tensors"].items():
        if "alias_of" in spec:
            aliases[name] = spec["alias_of"]
        else:
            tensors[name] = draw(name, spec, manifest["seed"])
    tensors.update({name: tensors[other] for name, other in aliases.items()})
    if "other_tensors" in manifest:
        tensors.update(load_file(path.parent / manifest["other_tensors"]))
    return tensors


@dataclass
class Case:
    """One golden case: a folder."""

    folder: Path

    @property
    def name(self):
        return self.folder.name

    def json(self, name):
        return json.loads((self.folder / name).read_text())

    def tensors(self, name):
        """Tensors of a safetensors file of the case, as Paddle tensors; empty if there is no such file."""
        path = self.folder / f"{name}.safetensors"
        return {key: paddle.to_tensor(value) for key, value in load_file(path).items()} if path.exists() else {}

    @cached_property
    def config(self):
        return self.json("config.json")

    def fill(self, component, model, **options):
        """Put the drawn weights of a component into a model, through the project's own conversion. Strict."""
        path = self.folder / self.json("weights.json")[component]
        tensors = {name: paddle.to_tensor(value) for name, value in read_manifest(path).items()}
        set_weights(model, to_paddle_names(model, tensors, "torch"), path, **options)
        model.eval()
        return model

    def build(self, component, cls, **options):
        """The component of the case, made from its configuration and filled with its weights; options of `fill`."""
        return self.fill(component, cls(**self.config[component]["kwargs"]), **options)
