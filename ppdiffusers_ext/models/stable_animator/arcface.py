"""ArcFace's recogniser as a network that gradients pass through: from a face to what tells people apart.

From ArcFace (Deng et al. 2019, arXiv:1801.07698) in the form of deepinsight/insightface
(`recognition/arcface_torch/backbones/iresnet.py`), whose weights StableAnimator publishes as `glintr100_torch.pth`.
Names are the original's.
"""

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.stable_animator.checkpoint import RECOGNIZER_NAMES
from ppdiffusers_ext.models.stable_animator.option_rules import RECOGNIZER_RULES
from ppdiffusers_ext.models.strict import StrictModelMixin

FACE_SIZE = 112  # pixels
_POSITIONS = 7 * 7  # that are left of them


class IResNet(StrictModelMixin, ConfigMixin):
    """A residual network of four levels, each half the size of the one before.

    Args:
        layers: how many blocks each level has; those of the published 100-layer network by default.
        planes: their widths.
        num_features: numbers of an embedding.
    """

    checkpoint_names = RECOGNIZER_NAMES
    option_rules = RECOGNIZER_RULES

    @register_to_config
    def __init__(
        self,
        layers: Sequence[int] = (3, 13, 30, 3),
        planes: Sequence[int] = (64, 128, 256, 512),
        num_features: int = 512,
    ) -> None:
        super().__init__()
        width = planes[0]
        self.conv1 = _convolution(3, width)
        self.bn1 = nn.BatchNorm2D(width)
        self.prelu = nn.PReLU(width)
        for number, (count, outputs) in enumerate(zip(layers, planes), 1):
            blocks = [_Block(outputs if i else width, outputs, stride=1 if i else 2) for i in range(count)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            width = outputs
        self.bn2 = nn.BatchNorm2D(width)
        self.fc = nn.Linear(width * _POSITIONS, num_features)
        self.features = nn.BatchNorm1D(num_features)

    def forward(self, faces: paddle.Tensor) -> paddle.Tensor:
        """Faces, RGB in [-1, 1] -> embeddings, whose directions tell people apart; their lengths are not 1.

        Args:
            faces: (batch, 3, 112, 112).

        Returns:
            (batch, num_features).
        """
        x = self.prelu(self.bn1(self.conv1(faces)))  # (batch, 64, 112, 112)
        for level in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = level(x)  # (batch, width, 112 / 2^k, 112 / 2^k)
        x = self.bn2(x).flatten(1)  # (batch, width * 7 * 7)
        return self.features(self.fc(x))


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2D:
    return nn.Conv2D(inputs, outputs, size, stride=stride, padding=size // 2, bias_attr=False)


class _Block(nn.Layer):
    """Two convolutions beside a shortcut, which is a convolution of its own where the size halves."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2D(inputs)
        self.conv1 = _convolution(inputs, outputs)
        self.bn2 = nn.BatchNorm2D(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = _convolution(outputs, outputs, stride=stride)
        self.bn3 = nn.BatchNorm2D(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2D(outputs))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, inputs, h, w) -> (batch, outputs, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))  # (batch, outputs, h, w)
        return self.bn3(self.conv2(x)) + shortcut


def crop_face(pictures: paddle.Tensor, box: Sequence[int]) -> paddle.Tensor:
    """Cut a face out of pictures, as the recogniser takes it: resized without regard to its shape.

    Args:
        pictures: (batch, 3, height, width).
        box: (top, bottom, left, right) in pixels, all of them inside.

    Returns:
        (batch, 3, 112, 112).
    """
    top, bottom, left, right = box
    face = pictures[:, :, top : bottom + 1, left : right + 1]
    return F.interpolate(face, [FACE_SIZE, FACE_SIZE], mode="bilinear", align_corners=False)
