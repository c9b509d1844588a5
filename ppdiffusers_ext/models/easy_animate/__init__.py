"""EasyAnimate."""

from ppdiffusers_ext.models.easy_animate.hunyuan import HunyuanTransformer3D

__all__ = ["HunyuanTransformer3D"]
