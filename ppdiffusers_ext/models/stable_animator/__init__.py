"""Networks of StableAnimator: pose net, face encoder."""

from ppdiffusers_ext.models.stable_animator.face_encoder import FusionFaceId
from ppdiffusers_ext.models.stable_animator.pose_net import PoseNet

__all__ = ["FusionFaceId", "PoseNet"]
