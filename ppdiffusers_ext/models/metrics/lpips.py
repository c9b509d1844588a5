"""LPIPS 0.1: distance of two pictures in the features of a network for classification, weighted by trained heads.

Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018
(arXiv:1801.03924); numbers of richzhang/PerceptualSimilarity (lpips 0.1.4). The trunks are torchvision's AlexNet and
VGG-16 up to their last ReLU. Layers have the indices of torchvision's `features`, so that its own files load, and the
package's state dict, too, which sorts them into slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.models.layers import Conv2D
from ppdiffusers_ext.weights.declaration import CheckpointNames

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # mean and deviation of R, G, B from -1 to 1
_EPSILON = 1e-10  # added to the length of a feature vector, outside the root
_SMALLEST = 1e-20  # squared length of features whose direction has a gradient


@dataclass(frozen=True)
class _Trunk:
    """
    Attributes:
        slices: convolutions, each with a ReLU after it, as (index, in, out, kernel, stride, padding); the output of
            the last of each slice is compared.
        pools: kernel of the max pool before each slice, with a stride of 2; 0 for none.
        least_side: pixels; below, nothing is left for a pool.
    """

    slices: tuple[tuple[tuple[int, int, int, int, int, int], ...], ...]
    pools: tuple[int, ...]
    least_side: int


TRUNKS = {
    "alex": _Trunk(
        (
            ((0, 3, 64, 11, 4, 2),),
            ((3, 64, 192, 5, 1, 2),),
            ((6, 192, 384, 3, 1, 1),),
            ((8, 384, 256, 3, 1, 1),),
            ((10, 256, 256, 3, 1, 1),),
        ),
        (0, 3, 3, 0, 0),
        31,
    ),
    "vgg": _Trunk(
        (
            ((0, 3, 64, 3, 1, 1), (2, 64, 64, 3, 1, 1)),
            ((5, 64, 128, 3, 1, 1), (7, 128, 128, 3, 1, 1)),
            ((10, 128, 256, 3, 1, 1), (12, 256, 256, 3, 1, 1), (14, 256, 256, 3, 1, 1)),
            ((17, 256, 512, 3, 1, 1), (19, 512, 512, 3, 1, 1), (21, 512, 512, 3, 1, 1)),
            ((24, 512, 512, 3, 1, 1), (26, 512, 512, 3, 1, 1), (28, 512, 512, 3, 1, 1)),
        ),
        (0, 2, 2, 2, 2),
        16,
    ),
}


class LPIPS(nn.Layer):
    """Distance of pictures.

    Args:
        net: trunk, "alex" or "vgg".

    Raises:
        InputError: no such trunk.
    """

    checkpoint_names = CheckpointNames(
        renamed=((r"^net\.slice\d+\.", "net."), (r"^features\.", "net."), (r"^lins\.(\d+)\.", r"lin\1.")),
        unused=r"^classifier\.|^scaling_layer\.",  # of the trunk's own file, and the constants above
    )

    def __init__(self, net: str = "vgg") -> None:
        super().__init__()
        if net not in TRUNKS:
            raise InputError(f"LPIPS has no trunk {shown(net)}; {' or '.join(TRUNKS)} is accepted")
        self.config, self._trunk = {"net": net}, TRUNKS[net]
        self.net = nn.LayerDict()
        for i, convolutions in enumerate(self._trunk.slices):
            for index, inner, outer, kernel, stride, padding in convolutions:
                self.net[str(index)] = Conv2D(inner, outer, kernel, stride=stride, padding=padding)
            self.add_sublayer(f"lin{i}", _Head(convolutions[-1][2]))

    def forward(self, a: paddle.Tensor, b: paddle.Tensor) -> paddle.Tensor:
        """Distances of pairs of pictures, 0 for the same one; symmetric.

        Args:
            a, b: (N, 3, H, W), RGB from -1 to 1; LPIPS' `normalize` is 2 x - 1 of pictures from 0 to 1.

        Returns:
            (N,)

        Raises:
            InputError: shapes differ, or a side is below 31 (alex) or 16 (vgg) pixels.
        """
        parts = [x.mean([1, 2, 3]) for x in self.maps(a, b)]  # 5 x (N,)
        return paddle.stack(parts).sum(0)  # (N,)

    def spatial(self, a: paddle.Tensor, b: paddle.Tensor) -> paddle.Tensor:
        """As `forward`, for every pixel: (N, H, W)."""
        size = a.shape[2:]
        parts = [F.interpolate(x, size, mode="bilinear", align_corners=False)[:, 0] for x in self.maps(a, b)]
        return paddle.stack(parts).sum(0)  # (N, H, W), of 5 x (N, H, W)

    def maps(self, a: paddle.Tensor, b: paddle.Tensor) -> list[paddle.Tensor]:
        """Distances by layer, five of (N, 1, H_k, W_k). Takes and raises what `forward` does."""
        if list(a.shape) != list(b.shape):
            raise InputError(f"LPIPS of pictures of {list(a.shape)} and {list(b.shape)}; the same shape is needed")
        if min(a.shape[2:]) < self._trunk.least_side:
            raise InputError(
                f"LPIPS by {self.config['net']} of pictures of {a.shape[3]}x{a.shape[2]} pixels; sides of "
                f"{self._trunk.least_side} or more are accepted"
            )
        pairs = zip(self.features(a), self.features(b), strict=True)
        return [getattr(self, f"lin{i}")((_unit(x) - _unit(y)).square()) for i, (x, y) in enumerate(pairs)]

    def features(self, x: paddle.Tensor) -> Iterator[paddle.Tensor]:
        """Outputs of the trunk: (N, 3, H, W) from -1 to 1 -> five of (N, C_k, H_k, W_k).

        Each is computed when it is asked for, so that those of large pictures need not be held together.
        """
        shift, scale = (paddle.to_tensor(values, x.dtype).reshape([1, 3, 1, 1]) for values in (_SHIFT, _SCALE))
        x = (x - shift) / scale  # (N, 3, H, W)
        for convolutions, kernel in zip(self._trunk.slices, self._trunk.pools, strict=True):
            x = F.max_pool2d(x, kernel, 2) if kernel else x
            for index, *_ in convolutions:
                x = F.relu(self.net[str(index)](x))
            yield x  # (N, C_k, H_k, W_k)


def _unit(x: paddle.Tensor) -> paddle.Tensor:
    """Feature vectors, (N, C, H, W), of length 1.

    The root of nothing has no gradient, which the original makes NaN of: features of zeros get one of zeros here.
    """
    squares = x.square().sum(1, keepdim=True)  # (N, 1, H, W)
    squares = squares if x.stop_gradient else squares.clip(min=_SMALLEST)
    return x / (squares.sqrt() + _EPSILON)


class _Head(nn.Layer):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), Conv2D(channels, 1, 1, bias_attr=False))  # 0 is dropout

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.model(x)  # (N, C, H, W) -> (N, 1, H, W)
