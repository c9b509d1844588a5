"""Folders of all weights with small networks of random weights, laid out and named as published ones are."""

import collections
import json
import shutil

import numpy as np
import paddle

from ppdiffusers_ext.data.chain.network_files import AESTHETIC, CLIP, FILES, SIGLIP
from tests.support.golden import read_manifest
from tests.support.tensors import save_torch
from tests.support.weight_files import Storage, torch_tensor, write_torch


def write_networks(folder, goldens):
    """Write CLIP, SigLIP and the head of ratings below `folder`.

    goldens: tests/goldens/image_text.
    """
    for name, golden in ((CLIP, goldens / "clip"), (SIGLIP, goldens / "siglip")):
        target = folder / FILES[name][0]
        target.mkdir(parents=True)
        tensors = {key: paddle.to_tensor(value) for key, value in read_manifest(golden / "model.weights.json").items()}
        save_torch(target / "model.safetensors", tensors)
    for file in FILES[CLIP][1]:
        shutil.copy(goldens / "clip" / file, folder / FILES[CLIP][0])
    options = json.loads((goldens / "siglip/config.json").read_text())["model"]["kwargs"]
    config = {"model_type": "siglip", "text_config": {"model_type": "siglip_text_model"}, "vision_config": options}
    (folder / FILES[SIGLIP][0] / "config.json").write_text(json.dumps(config))
    write_head(folder / FILES[AESTHETIC][0] / FILES[AESTHETIC][1][0], options["hidden_size"])
    return folder


def write_head(path, width):
    """Random weights of the head of ratings, as `torch.save` writes them, with the published names: name -> array."""
    random, widths, tensors = np.random.RandomState(0), (width, 1024, 128, 64, 16, 1), {}
    for number, (inner, outer) in enumerate(zip(widths, widths[1:])):
        tensors[f"scoring_head.{2 * number}.weight"] = random.randn(outer, inner).astype("float32") / inner**0.5
        tensors[f"scoring_head.{2 * number}.bias"] = random.randn(outer).astype("float32")
    storages = [Storage("FloatStorage", str(number), array.ravel()) for number, array in enumerate(tensors.values())]
    state = collections.OrderedDict()
    for storage, (name, array) in zip(storages, tensors.items()):
        state[name] = torch_tensor(storage, array.shape, (array.shape[1], 1) if array.ndim == 2 else (1,))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_torch(path, state, storages)
    return tensors
