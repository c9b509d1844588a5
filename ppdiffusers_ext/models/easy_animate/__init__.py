"""EasyAnimate."""

from ppdiffusers_ext.models.easy_animate.hunyuan import HunyuanTransformer3D
from ppdiffusers_ext.models.easy_animate.pixart import PixArtTransformer3D
from ppdiffusers_ext.models.easy_animate.vae import AutoencoderKLMagvit

__all__ = ["AutoencoderKLMagvit", "HunyuanTransformer3D", "PixArtTransformer3D"]
