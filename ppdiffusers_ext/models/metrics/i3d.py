"""I3D on RGB: Inception v1 with its filters inflated over time, whose Kinetics-400 logits are the features of FVD.

Carreira, Zisserman: Quo Vadis, Action Recognition?, 2017 (arXiv:1705.07750); Unterthiner et al.: Towards Accurate
Generative Models of Video, 2018 (arXiv:1812.01717). Names and numbers of piergiaj/pytorch-i3d and of its descendants
in Wangt-CN/DisCo and VideoGPT (JunyaoHu/common_metrics_on_video_quality), which differ in three options.
"""

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.weights.declaration import BATCH_NORM_RENAMED, BATCH_NORM_UNUSED, CheckpointNames

FEATURES, SIDE = 400, 224  # logits, and pixels of the side that it was trained at
_PLACES = 7  # of a side, before the last pool

# Widths of the blocks: 1x1x1, then the two with a reduction before 3x3x3, then that of the pool.
_MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
# Name -> kernel and stride over time, height and width.
_POOLS = {
    "MaxPool3d_2a_3x3": ([1, 3, 3], [1, 2, 2]),
    "MaxPool3d_3a_3x3": ([1, 3, 3], [1, 2, 2]),
    "MaxPool3d_4a_3x3": ([3, 3, 3], [2, 2, 2]),
    "MaxPool3d_5a_2x2": ([2, 2, 2], [2, 2, 2]),
}
_ORDER = (
    *("Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3"),
    *("Mixed_3b", "Mixed_3c", "MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"),
    *("MaxPool3d_5a_2x2", "Mixed_5b", "Mixed_5c"),
)
# The published variants, as options of `InceptionI3d`.
VARIANTS: dict[str, dict[str, Any]] = {
    "disco": {"bn_eps": 1e-3, "avg_pool": (1, 7, 7), "mean_over_time": True},
    "piergiaj": {"bn_eps": 1e-3, "avg_pool": (2, 7, 7), "mean_over_time": False},
    "videogpt": {"bn_eps": 1e-5, "avg_pool": (2, 7, 7), "mean_over_time": True},
}


class InceptionI3d(nn.Layer):
    """Logits of clips.

    Args:
        bn_eps: epsilon of all batch norms.
        avg_pool: kernel of the last pool over time, height and width; (1, 7, 7) or (2, 7, 7).
        mean_over_time: whether the logits are averaged over time.
        num_classes: number of logits.

    Raises:
        InputError: options that are not of these kinds.
    """

    checkpoint_names = CheckpointNames(renamed=BATCH_NORM_RENAMED, unused=BATCH_NORM_UNUSED)

    def __init__(
        self,
        bn_eps: float = 1e-3,
        avg_pool: tuple[int, int, int] = (1, 7, 7),
        mean_over_time: bool = True,
        num_classes: int = FEATURES,
    ) -> None:
        super().__init__()
        if len(avg_pool) != 3 or avg_pool[0] not in (1, 2) or list(avg_pool[1:]) != [_PLACES] * 2:
            raise InputError(f"avg_pool {shown(avg_pool)} of I3D; (1, 7, 7) or (2, 7, 7) is accepted")
        if not 0 < bn_eps < 1:
            raise InputError(f"bn_eps {shown(bn_eps)} of I3D; a number between 0 and 1 is accepted")
        self._avg_pool, self._averages = list(avg_pool), mean_over_time
        self.config = {"bn_eps": bn_eps, "avg_pool": self._avg_pool, "mean_over_time": mean_over_time}
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, bn_eps, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1, bn_eps)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3, bn_eps)
        for name, widths in _MIXED.items():
            self.add_sublayer(name, _Mixed(widths, bn_eps))
        self.logits = _Unit(1024, num_classes, 1, None)

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Logits of clips.

        Args:
            clips: (N, 3, T, H, W), RGB from -1 to 1; H and W from 193 to 224.

        Returns:
            (N, 400), or (N, 400, T') without `mean_over_time`.

        Raises:
            InputError: a side or a length that the last pool does not fit.
        """
        x = clips
        for name in _ORDER:
            x = self._step(name, x)  # (N, 1024, ceil(T / 8), 7, 7) in the end
        if list(x.shape[3:]) != [_PLACES] * 2 or x.shape[2] < self._avg_pool[0]:
            least = 8 * (self._avg_pool[0] - 1) + 1
            raise InputError(
                f"I3D of {clips.shape[2]} frames of {clips.shape[4]}x{clips.shape[3]} pixels; {least} frames or more "
                "with sides from 193 to 224 pixels are accepted"
            )
        x = F.avg_pool3d(x, self._avg_pool, stride=1)  # (N, 1024, T', 1, 1)
        x = self.logits(x).squeeze([3, 4])  # (N, 400, T')
        return x.mean(2) if self._averages else x  # (N, 400)

    def endpoints(self, clips: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Outputs of all layers before the last pool by the original's names, in their order."""
        x, outputs = clips, {}
        for name in _ORDER:
            x = outputs[name] = self._step(name, x)  # (N, C, T_k, H_k, W_k)
        return outputs

    def _step(self, name: str, x: paddle.Tensor) -> paddle.Tensor:
        return _max_pool(x, *_POOLS[name]) if name in _POOLS else getattr(self, name)(x)


def _same(sizes: Sequence[int], kernel: list[int], stride: list[int]) -> list[int]:
    """TensorFlow's padding SAME, for each of three axes before and after: the odd one comes after."""
    padding = []
    for size, width, step in zip(sizes, kernel, stride):
        total = max(width - (size % step or step), 0)
        padding += [total // 2, total - total // 2]
    return padding


def _max_pool(x: paddle.Tensor, kernel: list[int], stride: list[int]) -> paddle.Tensor:
    # The original pads with zeros, which are never more than what a ReLU gives, so that either way is the same.
    return F.max_pool3d(x, kernel, stride, padding=_same(x.shape[2:], kernel, stride))


class _Unit(nn.Layer):
    """Convolution, batch norm and ReLU; without `bn_eps` a convolution with bias."""

    def __init__(self, inner: int, outer: int, kernel: int, bn_eps: float | None, stride: int = 1) -> None:
        super().__init__()
        self._kernel, self._stride = [kernel] * 3, [stride] * 3
        bias = None if bn_eps is None else False
        self.conv3d = nn.Conv3D(inner, outer, kernel, stride=stride, bias_attr=bias)
        self.bn = None if bn_eps is None else nn.BatchNorm3D(outer, epsilon=bn_eps)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        padding: Any = _same(x.shape[2:], self._kernel, self._stride)
        x = F.conv3d(x, self.conv3d.weight, self.conv3d.bias, stride=self._stride, padding=padding)
        return x if self.bn is None else F.relu(self.bn(x))  # (N, outer, T', H', W')


class _Mixed(nn.Layer):
    def __init__(self, widths: Sequence[int], bn_eps: float) -> None:
        super().__init__()
        inner, direct, reduced, first, narrow, second, pooled = widths
        self.b0 = _Unit(inner, direct, 1, bn_eps)
        self.b1a, self.b1b = _Unit(inner, reduced, 1, bn_eps), _Unit(reduced, first, 3, bn_eps)
        self.b2a, self.b2b = _Unit(inner, narrow, 1, bn_eps), _Unit(narrow, second, 3, bn_eps)
        self.b3b = _Unit(inner, pooled, 1, bn_eps)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        pooled = self.b3b(_max_pool(x, [3] * 3, [1] * 3))
        parts = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled]
        return paddle.concat(parts, 1)  # (N, direct + first + second + pooled, T, H, W)
