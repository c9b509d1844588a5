"""Networks of Animate Anyone: pose guider, reference UNet, motion module, denoising UNet."""

from ppdiffusers_ext.models.animate_anyone.denoising_unet import DenoisingUNet3D
from ppdiffusers_ext.models.animate_anyone.motion_module import MotionModule
from ppdiffusers_ext.models.animate_anyone.pose_guider import PoseGuider
from ppdiffusers_ext.models.animate_anyone.reference_unet import ReferenceFeatures, ReferenceUNet

__all__ = ["DenoisingUNet3D", "MotionModule", "PoseGuider", "ReferenceFeatures", "ReferenceUNet"]
