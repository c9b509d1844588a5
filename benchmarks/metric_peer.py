"""Networks of metrics in torch: those of lpips and pytorch-fid, and I3D and the 3-D ResNet as their originals compute.

Imported by a Python without this project's requirements. Each function takes weights (name -> array, by torchvision's
or the original's names) and a dtype, and returns a function of tensors.
"""

import functools
import re

_I3D_EPSILON, _RESNET_EPSILON = 1e-3, 1e-5
_I3D_POOLS = {"2a": ((1, 3, 3), (1, 2, 2)), "3a": ((1, 3, 3), (1, 2, 2)), "4a": ((3, 3, 3), (2, 2, 2))}
_I3D_POOLS |= {"5a": ((2, 2, 2), (2, 2, 2))}
_I3D_ORDER = ("Conv3d_1a_7x7 2a Conv3d_2b_1x1 Conv3d_2c_3x3 3a Mixed_3b Mixed_3c 4a Mixed_4b Mixed_4c Mixed_4d "
              "Mixed_4e Mixed_4f 5a Mixed_5b Mixed_5c").split()  # fmt: skip
_RESNET_BLOCKS = (3, 4, 6, 3)


def lpips(trunk, weights, dtype):
    import lpips as package

    network = package.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    _fill(
        network, weights, lambda name: re.sub(r"^lins\.(\d)", r"lin\1", re.sub(r"^net\.slice\d\.", "features.", name))
    )
    network = network.eval().to(dtype)
    return lambda a, b: network(a, b).flatten()


def inception(weights, dtype):
    import torch
    from pytorch_fid import inception as package

    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    tensors["fc.weight"] = tensors["fc.weight"].t()
    package.load_state_dict_from_url = lambda *_, **__: tensors  # instead of the download
    network = package.InceptionV3([3], resize_input=False, normalize_input=False).eval().to(dtype)
    return lambda x: network(x)[0].flatten(1)


def i3d(weights, dtype):
    import torch
    import torch.nn.functional as F

    layers = _Layers(weights, dtype, _I3D_EPSILON)

    def padded(x, kernel, stride):
        pads = []
        for size, width, step in zip(x.shape[:1:-1], kernel[::-1], stride[::-1]):
            total = max(width - (size % step or step), 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)

    def unit(name, x, stride=1):
        kernel = layers[f"{name}.conv3d.weight"].shape[2:]
        x = layers.conv(f"{name}.conv3d", padded(x, kernel, [stride] * 3), stride)
        return F.relu_(layers.norm(f"{name}.bn", x))

    def mixed(name, x):
        pooled = F.max_pool3d(padded(x, [3] * 3, [1] * 3), 3, 1)
        parts = [unit(f"{name}.b0", x), unit(f"{name}.b1b", unit(f"{name}.b1a", x))]
        parts += [unit(f"{name}.b2b", unit(f"{name}.b2a", x)), unit(f"{name}.b3b", pooled)]
        return torch.cat(parts, 1)

    def run(x):
        for name in _I3D_ORDER:
            if name in _I3D_POOLS:
                kernel, stride = _I3D_POOLS[name]
                x = F.max_pool3d(padded(x, kernel, stride), kernel, stride)
            else:
                x = mixed(name, x) if name.startswith("Mixed") else unit(name, x, 2 if "1a" in name else 1)
        # A mean in the place of a pool over all places, which torch has not in bf16.
        x = layers.conv("logits.conv3d", x.mean([3, 4], keepdim=True))
        return x.flatten(2).mean(2)

    return run


def resnet3d(weights, dtype):
    import torch.nn.functional as F

    layers = _Layers(weights, dtype, _RESNET_EPSILON)

    def block(name, x, stride):
        residual = x
        y = F.relu_(layers.norm(f"{name}.bn1", layers.conv(f"{name}.conv1", x)))
        y = F.relu_(layers.norm(f"{name}.bn2", layers.conv(f"{name}.conv2", y, stride, 1)))
        y = layers.norm(f"{name}.bn3", layers.conv(f"{name}.conv3", y))
        if f"{name}.downsample.0.weight" in layers:
            residual = layers.norm(f"{name}.downsample.1", layers.conv(f"{name}.downsample.0", x, stride))
        return F.relu_(y + residual)

    def run(x):
        x = F.relu_(layers.norm("bn1", layers.conv("conv1", x, (1, 2, 2), 3)))
        x = F.max_pool3d(x, 3, 2, 1)
        for i, blocks in enumerate(_RESNET_BLOCKS):
            for j in range(blocks):
                x = block(f"layer{i + 1}.{j}", x, 2 if i and not j else 1)
        return x.mean([2, 3, 4])

    return run


class _Layers(dict):
    """Tensors by name, and the two kinds of layers that have any."""

    def __init__(self, weights, dtype, epsilon):
        import torch

        super().__init__({name: torch.from_numpy(array).to(dtype) for name, array in weights.items()})
        self._epsilon = epsilon

    def conv(self, name, x, stride=1, padding=0):
        import torch.nn.functional as F

        return F.conv3d(x, self[f"{name}.weight"], self.get(f"{name}.bias"), stride, padding)

    def norm(self, name, x):
        import torch.nn.functional as F

        mean, variance, weight, bias = (
            self[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, eps=self._epsilon)


def _fill(network, weights, name_of):
    import torch

    tensors = {}
    for name, tensor in network.state_dict().items():
        found = weights.get(name_of(name))
        tensors[name] = tensor if found is None else torch.from_numpy(found)
    network.load_state_dict(tensors)


PEERS = {
    "lpips_alex": functools.partial(lpips, "alex"),
    "lpips_vgg": functools.partial(lpips, "vgg"),
    "inception_fid": inception,
    "i3d_fvd": i3d,
    "resnet3d_fidvid": resnet3d,
}
