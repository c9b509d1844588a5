"""Contestants of `metrics`: networks of random weights, ours, and the originals in torch."""

import functools

from benchmarks import metric_peer
from benchmarks.contestant import measure, peak_bytes, versions

# Shapes of a call: name -> inputs, full and small.
_INPUTS = {
    "lpips_alex": {"a": ((1, 3, 256, 256), (1, 3, 64, 64)), "b": ((1, 3, 256, 256), (1, 3, 64, 64))},
    "lpips_vgg": {"a": ((1, 3, 256, 256), (1, 3, 32, 32)), "b": ((1, 3, 256, 256), (1, 3, 32, 32))},
    "inception_fid": {"x": ((1, 3, 299, 299), (1, 3, 299, 299))},
    "i3d_fvd": {"clips": ((1, 3, 16, 224, 224), (1, 3, 2, 193, 193))},
    "resnet3d_fidvid": {"clips": ((1, 3, 16, 112, 112), (1, 3, 16, 112, 112))},
}
_CALLS = {"inception_fid": "features"}  # name of the function, unless "forward"


def write(settings):
    """Random weights by torch's names, and inputs by "input.NAME", in the file of conditions."""
    import numpy as np

    random, arrays = np.random.default_rng(0), {}
    for name, tensor in _model(settings["network"]).state_dict().items():
        arrays[_torch_name(name)] = _draw(random, name, tensor.shape)
    for name, (full, small) in _INPUTS[settings["network"]].items():
        shape = small if settings["small"] else full
        arrays[f"input.{name}"] = random.uniform(-1, 1, shape).astype(np.float32)
    np.savez(settings["conditions"], **arrays)
    return {"numbers": sum(array.size for array in arrays.values())}


def _draw(random, name, shape):
    """Values that keep activations of order 1 through all layers."""
    import numpy as np

    values = random.standard_normal(shape, np.float32)
    if len(shape) > 2:
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        return np.abs(values) / shape[1] if name.startswith("lin") else values * np.float32(deviation)
    if name.endswith("_variance"):
        return 1 + 0.2 * np.abs(values)
    is_scale = len(shape) == 1 and name.endswith(".weight")
    return 0.1 * values + np.float32(is_scale)


def _torch_name(name):
    name = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
    return f"features.{name.removeprefix('net.')}" if name.startswith("net.") else name


def _model(network):
    from ppdiffusers_ext.metrics.networks import NETWORKS
    from ppdiffusers_ext.weights.assignment import create

    return create(NETWORKS[network].make)


def _read(settings):
    """Weights, and inputs, by name."""
    import numpy as np

    with np.load(settings["conditions"]) as file:
        arrays = {name: file[name] for name in file.files}
    inputs = {name.removeprefix("input."): arrays.pop(name) for name in list(arrays) if name.startswith("input.")}
    return arrays, inputs


def _measured(call, settings, *packages):
    import numpy as np

    outputs = []
    row = measure(lambda: outputs.append(call()), settings["repeats"])
    with open(settings["output"], "wb") as file:
        np.save(file, outputs[-1])
    return {**row, "peak_bytes": peak_bytes(), "versions": versions(*packages)}


def ours(settings):
    import paddle
    from paddle.base import core

    from ppdiffusers_ext.metrics.networks import OpenedNetwork
    from ppdiffusers_ext.weights.assignment import set_weights
    from ppdiffusers_ext.weights.conversion import to_paddle_names

    core.set_num_threads(settings["threads"])
    name, (weights, inputs) = settings["network"], _read(settings)
    tensors = {key: paddle.to_tensor(array) for key, array in weights.items()}
    model = _model(name)
    # Drawn in Paddle's layout, which the one linear layer, that has no part in features, shows in.
    set_weights(model, to_paddle_names(model, tensors, "paddle"), settings["conditions"])
    network = OpenedNetwork(name, model, settings["engine"], settings["cache"], settings["threads"], settings["dtype"])
    call = functools.partial(network.run, _CALLS.get(name, "forward"), **inputs)
    return _measured(lambda: call()[0], settings, "paddlepaddle")


def torch(settings, dtype="float32"):
    import torch

    torch.set_num_threads(settings["threads"])
    weights, inputs = _read(settings)
    network = metric_peer.PEERS[settings["network"]](weights, getattr(torch, dtype))
    tensors = [torch.from_numpy(array).to(getattr(torch, dtype)) for array in inputs.values()]
    with torch.inference_mode():
        return _measured(lambda: network(*tensors).float().numpy(), settings, "torch", "lpips", "pytorch-fid")


CONTESTANTS = {
    "weights": write,
    "ours": ours,
    "torch": torch,
    "torch_bf16": functools.partial(torch, dtype="bfloat16"),
}
