"""Human image animation for PaddlePaddle: Animate Anyone, StableAnimator and EasyAnimate.

Importing this package chooses Paddle's fast path on AMD processors (see `environment`), so import it before computing.
The classes are imported when they are first used: `from ppdiffusers_ext import Pose2VideoPipeline`.
"""

import importlib
from typing import Any

from ppdiffusers_ext.environment import choose_fast_mkl, choose_library_folder
from ppdiffusers_ext.library_imports import import_less
from ppdiffusers_ext.pipelines.dispatch import serve_folders
from ppdiffusers_ext.version import __version__
from ppdiffusers_ext.weights.declaration import register_libraries
from ppdiffusers_ext.weights.pretrained import secure

choose_fast_mkl()
choose_library_folder()
import_less()
# Here, since whatever part of the package is imported, this is run before it.
secure()
serve_folders()
register_libraries(lambda: importlib.import_module("ppdiffusers_ext.models.library").CHECKPOINT_NAMES)

# Public classes by module.
_MODULES = {
    "ppdiffusers_ext.models.animate_anyone": ("DenoisingUNet3D", "MotionModule", "PoseGuider", "ReferenceUNet"),
    "ppdiffusers_ext.models.easy_animate": ("AutoencoderKLMagvit", "HunyuanTransformer3D", "PixArtTransformer3D"),
    "ppdiffusers_ext.models.stable_animator": ("AnimationUNet", "FusionFaceId", "IResNet", "PoseNet"),
    "ppdiffusers_ext.pipelines.stable_animator.refinement": ("FaceRefinement",),
    "ppdiffusers_ext.pipelines.animate_anyone.pipeline": ("Pose2VideoPipeline",),
    "ppdiffusers_ext.pipelines.easy_animate.pipeline": ("EasyAnimatePipeline",),
    "ppdiffusers_ext.pipelines.easy_animate.inpaint": ("EasyAnimateInpaintPipeline",),
    "ppdiffusers_ext.pipelines.schedulers": ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler"),
    "ppdiffusers_ext.pipelines.stable_animator.pipeline": ("StableAnimatorPipeline",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
