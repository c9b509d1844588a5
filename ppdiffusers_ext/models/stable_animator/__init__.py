"""Networks of StableAnimator: pose net, face encoder, denoising UNet, face recogniser."""

from ppdiffusers_ext.models.stable_animator.arcface import IResNet
from ppdiffusers_ext.models.stable_animator.face_encoder import FusionFaceId
from ppdiffusers_ext.models.stable_animator.pose_net import PoseNet
from ppdiffusers_ext.models.stable_animator.unet import AnimationUNet

__all__ = ["AnimationUNet", "FusionFaceId", "IResNet", "PoseNet"]
