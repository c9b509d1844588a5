"""Networks behind perceptual metrics: LPIPS, FID's Inception, I3D of FVD, and the 3-D ResNet of FID-VID.

Each has the names of its original's checkpoint, and keeps in `config` the options that decide what it computes.
"""

from ppdiffusers_ext.models.metrics.i3d import InceptionI3d
from ppdiffusers_ext.models.metrics.inception import InceptionV3
from ppdiffusers_ext.models.metrics.lpips import LPIPS
from ppdiffusers_ext.models.metrics.resnet3d import ResNet3D

__all__ = ["LPIPS", "InceptionI3d", "InceptionV3", "ResNet3D"]
