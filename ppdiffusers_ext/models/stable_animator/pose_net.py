"""Pose net: a small convolutional encoder from skeleton pictures to the width and size of the UNet's first layer.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/pose_net.py`). Names are the original's.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.layers import Conv2D, compute_dtype
from ppdiffusers_ext.models.stable_animator.option_rules import POSE_NET_RULES
from ppdiffusers_ext.models.strict import StrictModelMixin

# Width and stride of each convolution; those that halve the size are 4 pixels wide, the others 3.
_LAYERS = ((3, 1), (16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 1))


class PoseNet(StrictModelMixin, ConfigMixin):
    """Eight convolutions and a projection, times a learned number: 8 times smaller.

    Args:
        noise_latent_channels: width of the output, that of the UNet's first layer.
    """

    option_rules = POSE_NET_RULES

    @register_to_config
    def __init__(self, noise_latent_channels: int = 320) -> None:
        super().__init__()
        layers, channels = [], 3
        for width, stride in _LAYERS:
            layers += [Conv2D(channels, width, 4 if stride == 2 else 3, stride=stride, padding=1), nn.Silu()]
            channels = width
        self.conv_layers = nn.LayerList(layers)
        self.final_proj = Conv2D(channels, noise_latent_channels, 1)
        for parameter in self.final_proj.parameters():  # starts without influence on the image model
            nn.initializer.Constant(0.0)(parameter)
        self.scale = self.create_parameter([1], default_initializer=nn.initializer.Constant(2.0))

    def forward(self, pictures: paddle.Tensor) -> paddle.Tensor:
        """Skeleton pictures, RGB in [-1, 1] -> features 8 times smaller.

        Args:
            pictures: (batch, frames, 3, height, width), or (batch*frames, 3, height, width).

        Returns:
            (batch*frames, noise_latent_channels, height / 8, width / 8).
        """
        x = pictures.flatten(0, 1) if pictures.ndim == 5 else pictures  # (batch*frames, 3, height, width)
        x = x.astype(compute_dtype(self.final_proj.weight))
        for convolution in list(self.conv_layers)[::2]:
            x = F.silu(convolution(x))  # (batch*frames, width, height / 2^k, width / 2^k)
        x = self.final_proj(x) * self.scale.astype(x.dtype)  # (batch*frames, noise_latent_channels, h / 8, w / 8)
        return x.astype(pictures.dtype if paddle.is_floating_point(pictures) else x.dtype)
