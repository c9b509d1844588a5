"""Inception v3 as FID has it: the network of TensorFlow's first release, whose pools differ from torchvision's.

Szegedy et al.: Rethinking the Inception Architecture for Computer Vision, 2015 (arXiv:1512.00567); Heusel et al.:
GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, 2017 (arXiv:1706.08500). Names and
numbers of mseitzer/pytorch-fid 0.3.0: the average pools of the branches leave padding out of their count, and the last
block has a max pool in the place of one. The names are torchvision's, without its auxiliary head.
"""

from functools import partial

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.weights.declaration import BATCH_NORM_RENAMED, BATCH_NORM_UNUSED, CheckpointNames

SIDE = 299  # pixels
FEATURES, LOGITS = 2048, 1008
_EPSILON = 1e-3  # of all batch norms

Size = int | tuple[int, int]
_average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, exclusive=True)
_maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
_halve = partial(F.max_pool2d, kernel_size=3, stride=2)


class InceptionV3(nn.Layer):
    """Features of pictures, the average of the last block over its 8x8 places. See `forward`."""

    checkpoint_names = CheckpointNames(renamed=BATCH_NORM_RENAMED, unused=BATCH_NORM_UNUSED)

    def __init__(self) -> None:
        super().__init__()
        self.config = {"variant": "fid"}
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3)
        self.Mixed_5b = _BlockA(192, 32)
        self.Mixed_5c = _BlockA(256, 64)
        self.Mixed_5d = _BlockA(288, 64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b = _BlockC(768, 128)
        self.Mixed_6c = _BlockC(768, 160)
        self.Mixed_6d = _BlockC(768, 160)
        self.Mixed_6e = _BlockC(768, 192)
        self.Mixed_7a = _BlockD(768)
        self.Mixed_7b = _BlockE(1280, _average)
        self.Mixed_7c = _BlockE(2048, _maximum)
        self.fc = nn.Linear(FEATURES, LOGITS)

    def forward(self, pictures: paddle.Tensor) -> paddle.Tensor:
        """Features of pictures.

        Args:
            pictures: (N, 3, H, W), RGB from 0 to 1, of any size.

        Returns:
            (N, 2048)
        """
        return self.features(self.resize(pictures))

    @staticmethod
    def resize(pictures: paddle.Tensor) -> paddle.Tensor:
        """(N, 3, H, W) from 0 to 1 -> (N, 3, 299, 299) from -1 to 1: bilinear, not smoothed where it shrinks."""
        size = [SIDE, SIDE]
        return 2 * F.interpolate(pictures, size=size, mode="bilinear", align_corners=False) - 1

    def features(self, x: paddle.Tensor) -> paddle.Tensor:
        """(N, 3, 299, 299) from -1 to 1 -> (N, 2048)."""
        return self.blocks(x)[-1].mean([2, 3])  # (N, 2048)

    def blocks(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Outputs of the four blocks that pytorch-fid counts, of (N, 3, 299, 299) from -1 to 1."""
        x = self.Conv2d_1a_3x3(x)  # (N, 32, 149, 149)
        x = self.Conv2d_2a_3x3(x)  # (N, 32, 147, 147)
        first = _halve(self.Conv2d_2b_3x3(x))  # (N, 64, 73, 73)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(first))  # (N, 192, 71, 71)
        second = _halve(x)  # (N, 192, 35, 35)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(second)))  # (N, 288, 35, 35)
        x = self.Mixed_6a(x)  # (N, 768, 17, 17)
        third = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))  # (N, 768, 17, 17)
        x = self.Mixed_7a(third)  # (N, 1280, 8, 8)
        fourth = self.Mixed_7c(self.Mixed_7b(x))  # (N, 2048, 8, 8)
        return [first, second, third, fourth]

    def logits(self, features: paddle.Tensor) -> paddle.Tensor:
        """(N, 2048) -> (N, 1008), of which FID has no use."""
        return self.fc(features)


class _Convolution(nn.Layer):
    def __init__(self, inner: int, outer: int, kernel: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2D(inner, outer, kernel, stride=stride, padding=padding, bias_attr=False)
        self.bn = nn.BatchNorm2D(outer, epsilon=_EPSILON)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu(self.bn(self.conv(x)))


class _BlockA(nn.Layer):
    def __init__(self, inner: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Convolution(inner, 64, 1)
        self.branch5x5_1 = _Convolution(inner, 48, 1)
        self.branch5x5_2 = _Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Convolution(inner, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3, padding=1)
        self.branch_pool = _Convolution(inner, pooled, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        wide = self.branch5x5_2(self.branch5x5_1(x))
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return paddle.concat(
            [self.branch1x1(x), wide, twice, self.branch_pool(_average(x))], 1
        )  # (N, 224 + pooled, ...)


class _BlockB(nn.Layer):
    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3 = _Convolution(inner, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Convolution(inner, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3, stride=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return paddle.concat([self.branch3x3(x), twice, _halve(x)], 1)  # (N, 480 + inner, H/2, W/2)


class _BlockC(nn.Layer):
    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        row: dict = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = _Convolution(inner, 192, 1)
        self.branch7x7_1 = _Convolution(inner, width, 1)
        self.branch7x7_2 = _Convolution(width, width, **row)
        self.branch7x7_3 = _Convolution(width, 192, **column)
        self.branch7x7dbl_1 = _Convolution(inner, width, 1)
        self.branch7x7dbl_2 = _Convolution(width, width, **column)
        self.branch7x7dbl_3 = _Convolution(width, width, **row)
        self.branch7x7dbl_4 = _Convolution(width, width, **column)
        self.branch7x7dbl_5 = _Convolution(width, 192, **row)
        self.branch_pool = _Convolution(inner, 192, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return paddle.concat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)  # (N, 768, H, W)


class _BlockD(nn.Layer):
    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Convolution(inner, 192, 1)
        self.branch3x3_2 = _Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Convolution(inner, 192, 1)
        self.branch7x7x3_2 = _Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = _Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = _Convolution(192, 192, 3, stride=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        wide = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return paddle.concat([self.branch3x3_2(self.branch3x3_1(x)), wide, _halve(x)], 1)  # (N, 512 + inner, H/2, W/2)


class _BlockE(nn.Layer):
    def __init__(self, inner: int, pool: partial) -> None:
        super().__init__()
        self._pool = pool
        self.branch1x1 = _Convolution(inner, 320, 1)
        self.branch3x3_1 = _Convolution(inner, 384, 1)
        self.branch3x3_2a = _Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = _Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = _Convolution(inner, 448, 1)
        self.branch3x3dbl_2 = _Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = _Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = _Convolution(inner, 192, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(self._pool(x))]
        return paddle.concat(parts, 1)  # (N, 2048, H, W)
