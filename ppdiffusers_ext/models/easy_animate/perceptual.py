"""LPIPS, the perceptual distance of pictures (Zhang et al. 2018, arXiv:1801.03924), by the features of VGG16.

In the form and under the names of CompVis/taming-transformers (`taming/modules/losses/lpips.py`), without dropout.
The weights are torchvision's of VGG16, and of `lin0` to `lin4` those of version 0.1 of richzhang/PerceptualSimilarity.
"""

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.easy_animate.checkpoint import PERCEPTUAL_NAMES
from ppdiffusers_ext.models.layers import Conv2D

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # from [-1, 1] to the colours VGG16 was trained on
_EPSILON = 1e-10
_SMALLEST = 1e-20  # squared length of features whose direction is looked at
# Of VGG16: number of the first convolution of a slice in torchvision's `features`, and channels of its convolutions.
_SLICES = ((0, (64, 64)), (5, (128, 128)), (10, (256, 256, 256)), (17, (512, 512, 512)), (24, (512, 512, 512)))


class PerceptualDistance(nn.Layer):
    """Distance of pictures, from the differences of five layers of VGG16."""

    checkpoint_names = PERCEPTUAL_NAMES

    def __init__(self) -> None:
        super().__init__()
        self.net = _Vgg16()
        for i, (_, channels) in enumerate(_SLICES):
            setattr(self, f"lin{i}", _Weighting(channels[-1]))

    def forward(self, pictures: paddle.Tensor, others: paddle.Tensor) -> paddle.Tensor:
        """Two batches of (n, 3, height, width) in [-1, 1], the sides at least 16 -> (n,)."""
        distance = paddle.zeros([pictures.shape[0]])
        for i, (one, other) in enumerate(zip(self.net(_scaled(pictures)), self.net(_scaled(others)))):
            weighting = getattr(self, f"lin{i}")
            distance = distance + weighting((_directions(one) - _directions(other)).square()).mean([1, 2, 3])
        return distance


class _Vgg16(nn.Layer):
    """The convolutions of VGG16, as far as the last that LPIPS looks at."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for number, (start, channels) in enumerate(_SLICES, start=1):
            layers = []
            for i, outputs in enumerate(channels):
                layers.append((str(start + 2 * i), Conv2D(inputs, outputs, 3, padding=1)))
                inputs = outputs
            setattr(self, f"slice{number}", nn.Sequential(*layers))

    def forward(self, x: paddle.Tensor) -> Sequence[paddle.Tensor]:
        """(n, 3, height, width) -> of each slice (n, channels, height', width'), half the size of the one before."""
        features: list[paddle.Tensor] = []
        for number in range(1, len(_SLICES) + 1):
            if features:
                x = F.max_pool2d(x, 2, 2)
            for layer in getattr(self, f"slice{number}"):
                x = F.relu(layer(x))
            features.append(x)
        return features


class _Weighting(nn.Layer):
    """One weight for each channel; `model.0` is the place of the original's dropout."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), Conv2D(channels, 1, 1, bias_attr=False))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(n, channels, height, width) -> (n, 1, height, width)."""
        return self.model(x)


def _scaled(pictures: paddle.Tensor) -> paddle.Tensor:
    shift, scale = (paddle.to_tensor(x, dtype=pictures.dtype).reshape([1, 3, 1, 1]) for x in (_SHIFT, _SCALE))
    return (pictures - shift) / scale


def _directions(features: paddle.Tensor) -> paddle.Tensor:
    """(n, channels, height, width), each pixel's of length 1.

    The root of nothing has no gradient, which the original makes NaN of: features of zeros get one of zeros here.
    """
    squares = features.square().sum(1, keepdim=True)  # (n, 1, height, width)
    return features / (squares.clip(min=_SMALLEST).sqrt() + _EPSILON)
