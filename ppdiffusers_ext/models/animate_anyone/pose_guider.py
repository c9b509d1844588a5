"""Pose guider: a small convolutional encoder from pose pictures to the width and size of the UNet's first layer.

From Animate Anyone (Hu et al. 2023, arXiv:2311.17117) in the form of MooreThreads/Moore-AnimateAnyone
(`src/models/pose_guider.py`), which is ControlNet's conditioning embedding. Names are the original's.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.animate_anyone.checkpoint import POSE_GUIDER_NAMES
from ppdiffusers_ext.models.animate_anyone.option_rules import POSE_GUIDER_RULES
from ppdiffusers_ext.models.layers import Conv2D, compute_dtype
from ppdiffusers_ext.models.strict import StrictModelMixin


class PoseGuider(StrictModelMixin, ConfigMixin):
    """Pairs of convolutions, the second of each pair halving the size: 8 times smaller for four widths.

    Args:
        conditioning_embedding_channels: width of the output, that of the UNet's first layer.
        conditioning_channels: channels of the pose picture.
        block_out_channels: widths. The default is that of the released weights (and of ControlNet); the original's
            class default (16, 32, 64, 128) is used by none.
    """

    checkpoint_names = POSE_GUIDER_NAMES
    option_rules = POSE_GUIDER_RULES

    @register_to_config
    def __init__(
        self,
        conditioning_embedding_channels: int = 320,
        conditioning_channels: int = 3,
        block_out_channels: tuple = (16, 32, 96, 256),
    ) -> None:
        super().__init__()
        widths = block_out_channels
        self.conv_in = Conv2D(conditioning_channels, widths[0], 3, padding=1)
        self.blocks = nn.LayerList()
        for width, next_width in zip(widths, widths[1:]):
            self.blocks.append(Conv2D(width, width, 3, padding=1))
            self.blocks.append(Conv2D(width, next_width, 3, padding=1, stride=2))
        self.conv_out = Conv2D(widths[-1], conditioning_embedding_channels, 3, padding=1)
        for parameter in self.conv_out.parameters():  # starts without influence on the image model
            nn.initializer.Constant(0.0)(parameter)

    def forward(self, conditioning: paddle.Tensor) -> paddle.Tensor:
        """Pose pictures in [0, 1] (not [-1, 1]) -> features 8 times smaller.

        Args:
            conditioning: (batch, 3, frames, height, width).

        Returns:
            (batch, conditioning_embedding_channels, frames, height / 8, width / 8).
        """
        batch, _, num_frames, _, _ = conditioning.shape
        x = conditioning.astype(compute_dtype(self.conv_in.weight)).transpose([0, 2, 1, 3, 4]).flatten(0, 1)
        x = F.silu(self.conv_in(x))  # (batch*frames, widths[0], height, width)
        for block in self.blocks:
            x = F.silu(block(x))  # (batch*frames, width, height / 2^k, width / 2^k)
        x = self.conv_out(x)  # (batch*frames, embedding, height / 8, width / 8)
        x = x.reshape([batch, num_frames, *x.shape[1:]]).transpose([0, 2, 1, 3, 4])
        return x.astype(conditioning.dtype)
