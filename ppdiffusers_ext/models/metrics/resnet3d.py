"""3-D ResNet-50 trained on Kinetics-400, whose features are those of FID-VID.

Hara, Kataoka, Satoh: Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, 2018 (arXiv:1711.09577).
Names and numbers of kenshohara/3D-ResNets-PyTorch as Wangt-CN/DisCo's evaluation has it, of bottlenecks with shortcuts
of type B.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.declaration import BATCH_NORM_RENAMED, BATCH_NORM_UNUSED, CheckpointNames

FEATURES, SIDE, FRAMES = 2048, 112, 16
_LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks and stride of the first
_EXPANSION = 4


class ResNet3D(nn.Layer):
    """Features of clips.

    Args:
        num_classes: number of logits.
    """

    checkpoint_names = CheckpointNames(renamed=BATCH_NORM_RENAMED, unused=BATCH_NORM_UNUSED)

    def __init__(self, num_classes: int = 400) -> None:
        super().__init__()
        self.config = {"num_classes": num_classes}
        self.conv1 = nn.Conv3D(3, 64, 7, stride=(1, 2, 2), padding=3, bias_attr=False)
        self.bn1 = nn.BatchNorm3D(64)
        inner = 64
        for i, (width, blocks, stride) in enumerate(_LAYERS):
            layer = [_Bottleneck(inner, width, stride)]
            inner = _EXPANSION * width
            layer += [_Bottleneck(inner, width) for _ in range(1, blocks)]
            self.add_sublayer(f"layer{i + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(FEATURES, num_classes)

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Features of clips, averages of the last layer over time and places.

        Args:
            clips: (N, 3, 16, 112, 112), RGB from 0 to 255 less the mean of R, G and B.

        Returns:
            (N, 2048)

        Raises:
            InputError: clips of another size.
        """
        if list(clips.shape[1:]) != [3, FRAMES, SIDE, SIDE]:
            raise InputError(f"3-D ResNet of clips of {list(clips.shape[1:])}; {[3, FRAMES, SIDE, SIDE]} is accepted")
        return self.layers(clips)[-1].mean([2, 3, 4])  # (N, 2048)

    def layers(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Outputs of the four layers of (N, 3, T, 112, 112): (N, C, T_k, H_k, W_k)."""
        x = F.relu(self.bn1(self.conv1(x)))  # (N, 64, 16, 56, 56)
        x = F.max_pool3d(x, 3, 2, padding=1)  # (N, 64, 8, 28, 28)
        outputs = []
        for i in range(len(_LAYERS)):
            x = getattr(self, f"layer{i + 1}")(x)
            outputs.append(x)  # (N, 256, 8, 28, 28), (N, 512, 4, 14, 14), (N, 1024, 2, 7, 7), (N, 2048, 1, 4, 4)
        return outputs

    def logits(self, features: paddle.Tensor) -> paddle.Tensor:
        """(N, 2048) -> (N, num_classes), of which FID-VID has no use."""
        return self.fc(features)


class _Bottleneck(nn.Layer):
    def __init__(self, inner: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outer = _EXPANSION * width
        self.conv1, self.bn1 = nn.Conv3D(inner, width, 1, bias_attr=False), nn.BatchNorm3D(width)
        self.conv2 = nn.Conv3D(width, width, 3, stride=stride, padding=1, bias_attr=False)
        self.bn2 = nn.BatchNorm3D(width)
        self.conv3, self.bn3 = nn.Conv3D(width, outer, 1, bias_attr=False), nn.BatchNorm3D(outer)
        self.downsample = None
        if stride != 1 or inner != outer:
            shortcut = nn.Conv3D(inner, outer, 1, stride=stride, bias_attr=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3D(outer))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))  # (N, width, T, H, W)
        x = F.relu(self.bn2(self.conv2(x)))  # (N, width, T', H', W')
        x = self.bn3(self.conv3(x))  # (N, 4 width, T', H', W')
        return F.relu(x + residual)
