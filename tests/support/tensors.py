"""The tensors of models as files have them, and what a model has of them afterwards."""

import numpy as np
import safetensors.paddle
from paddle import nn

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D
from ppdiffusers_ext.weights.assignment import create
from tests.conftest import COMMON, MOTION


def torch_layout(model):
    """The model's tensors as torch stores them, by an independent rule: weights of two axes are Linear weights."""
    linear = {name for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}
    return {
        name: tensor.t().contiguous() if name.rpartition(".")[0] in linear and name.endswith(".weight") else tensor
        for name, tensor in model.state_dict().items()
    }


def save_torch(path, tensors):
    safetensors.paddle.save_file({n: t.detach() for n, t in tensors.items()}, str(path), metadata={"format": "pt"})
    return path


def values(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def different(model, expected):
    """Names of tensors that are not those of `expected`, or not initialised."""
    state = model.state_dict()
    assert set(state) == set(expected)
    return [
        name
        for name, tensor in state.items()
        if not tensor._is_initialized() or not np.array_equal(tensor.numpy(), expected[name])
    ]


def make_empty_unet(dtype="float32", **options):
    """A `DenoisingUNet3D` without values."""
    return create(lambda: DenoisingUNet3D(**{**COMMON, **MOTION, **options}), dtype)


def spatial_of(unet):
    """The torch-layout tensors of a UNet's spatial layers: what Stable Diffusion's UNet has."""
    return {name: tensor for name, tensor in torch_layout(unet).items() if ".motion_modules." not in name}
