"""RetinaFace: the fallback face detector where insightface's detector finds no face.

From RetinaFace (Deng et al. 2020, arXiv:1905.00641) as biubug6/Pytorch_Retinaface trained it and xinntao/facexlib
publishes it (`detection_Resnet50_Final.pth`); StableAnimator's face masks fall back on it.
"""

import os

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.vision.models import resnet50

from ppdiffusers_ext.preprocess.detection import suppress
from ppdiffusers_ext.weights.assignment import create, load_weights
from ppdiffusers_ext.weights.declaration import BATCH_NORM_RENAMED, BATCH_NORM_UNUSED, CheckpointNames

_CHANNELS = 256
_STRIDES = (8, 16, 32)
_ANCHORS = ((16, 32), (64, 128), (256, 512))  # sides in pixels, for each stride
_MEAN = np.array([104, 117, 123], np.float32)
_CENTER, _SIDE = 0.1, 0.2  # by which what the network says of anchors is scaled
_OVERLAP = 0.4
_ACCEPTED = 0.97


class RetinaFace(nn.Layer):
    """The network: a ResNet-50 with a feature pyramid over its last three levels and context modules of three widths.

    Names of weights are those of the published file.
    """

    checkpoint_names = CheckpointNames(renamed=BATCH_NORM_RENAMED, unused=BATCH_NORM_UNUSED)

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet50(num_classes=0, with_pool=False)
        self.fpn = _FeaturePyramid([512, 1024, 2048])
        self.ssh1, self.ssh2, self.ssh3 = (_Context() for _ in _STRIDES)
        heads = {"ClassHead": 2, "BboxHead": 4, "LandmarkHead": 10}
        for name, numbers in heads.items():
            setattr(self, name, nn.LayerList([_Head(2 * numbers) for _ in _STRIDES]))

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(n, 3, H, W) -> scores (n, anchors), and boxes (n, anchors, 4) relative to their anchors."""
        body = self.body
        x = body.layer1(body.maxpool(body.relu(body.bn1(body.conv1(x)))))  # (n, 256, H/4, W/4)
        levels = [x := layer(x) for layer in (body.layer2, body.layer3, body.layer4)]  # (n, 512.., H/8.., W/8..)
        contexts = (self.ssh1, self.ssh2, self.ssh3)
        levels = [look(level) for look, level in zip(contexts, self.fpn(levels))]  # (n, 256, H/8.., W/8..)
        boxes = paddle.concat([_rows(head(x), 4) for head, x in zip(self.BboxHead, levels)], axis=1)
        classes = paddle.concat([_rows(head(x), 2) for head, x in zip(self.ClassHead, levels)], axis=1)
        return F.softmax(classes)[..., 1], boxes


def _rows(x: paddle.Tensor, numbers: int) -> paddle.Tensor:
    """(n, k * numbers, h, w) -> (n, h * w * k, numbers)."""
    return x.transpose([0, 2, 3, 1]).reshape([x.shape[0], -1, numbers])


def _convolution(inputs: int, outputs: int, size: int = 3, is_rectified: bool = True) -> nn.Sequential:
    layers = [nn.Conv2D(inputs, outputs, size, padding=size // 2, bias_attr=False), nn.BatchNorm2D(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if is_rectified else []))


class _FeaturePyramid(nn.Layer):
    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_convolution(count, _CHANNELS, 1) for count in channels)
        self.merge1, self.merge2 = (_convolution(_CHANNELS, _CHANNELS) for _ in range(2))

    def forward(self, levels: list[paddle.Tensor]) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        first, second, third = (f(x) for f, x in zip((self.output1, self.output2, self.output3), levels))
        second = self.merge2(second + F.interpolate(third, second.shape[2:]))
        first = self.merge1(first + F.interpolate(second, first.shape[2:]))
        return first, second, third


class _Context(nn.Layer):
    """Looks 3, 5 and 7 positions wide."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = _CHANNELS // 2, _CHANNELS // 4
        self.conv3X3 = _convolution(_CHANNELS, half, is_rectified=False)
        self.conv5X5_1 = _convolution(_CHANNELS, quarter)
        self.conv5X5_2 = _convolution(quarter, quarter, is_rectified=False)
        self.conv7X7_2 = _convolution(quarter, quarter)
        self.conv7x7_3 = _convolution(quarter, quarter, is_rectified=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        middle = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(middle))
        return F.relu(paddle.concat([self.conv3X3(x), self.conv5X5_2(middle), wide], axis=1))


class _Head(nn.Layer):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2D(_CHANNELS, outputs, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv1x1(x)


class FaceFinder:
    """Finds the faces in frames, with published weights.

    Args:
        path: of the file.

    Raises:
        MissingFileError, InputError: no such file, or one with other weights.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._network = load_weights(create(RetinaFace), path)

    @paddle.no_grad()
    def find(self, frame: np.ndarray) -> np.ndarray:
        """Boxes of the faces, (n, 4) float32 of left, top, right, bottom in pixels, the most certain first.

        Args:
            frame: (H, W, 3) uint8 RGB, which the network, trained on BGR, sees as it is, as in StableAnimator.
        """
        picture = (frame.astype(np.float32) - _MEAN).transpose(2, 0, 1)
        scores, offsets = self._network(paddle.to_tensor(picture[None]))
        boxes, scores = to_boxes(offsets[0].numpy(), (frame.shape[0], frame.shape[1])), scores[0].numpy()
        kept = scores > _ACCEPTED
        return suppress(boxes[kept], scores[kept], _OVERLAP, 0)[0]


def to_boxes(offsets: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert the network's anchor offsets to boxes.

    Args:
        offsets: (anchors, 4) float32: centre and logarithm of the sides.
        size: (height, width) of the picture in pixels.

    Returns:
        (anchors, 4) float32 of left, top, right, bottom in pixels.
    """
    centers, sides = _anchors(size)
    centers = centers + offsets[:, :2] * _CENTER * sides
    sides = sides * np.exp(offsets[:, 2:] * _SIDE)
    corner = centers - sides / 2
    return np.concatenate([corner, corner + sides], axis=1)


def _anchors(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Centre and sides of each anchor in pixels, both (anchors, 2) float32."""
    centers, sides = [], []
    for stride, of_stride in zip(_STRIDES, _ANCHORS):
        rows, columns = (-(-side // stride) for side in size)  # rounded up
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 1, 2)
        centers.append(np.broadcast_to((grid + 0.5) * stride, (rows * columns, len(of_stride), 2)).reshape(-1, 2))
        sides.append(np.tile(np.repeat(np.array(of_stride)[:, None], 2, axis=1), (rows * columns, 1)))
    return np.concatenate(centers).astype(np.float32), np.concatenate(sides).astype(np.float32)
