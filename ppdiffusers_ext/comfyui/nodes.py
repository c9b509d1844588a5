"""The nodes by their ids in workflows, and by the names that ComfyUI shows."""

from typing import Any

from ppdiffusers_ext.comfyui import animate_anyone, easy_animate, preprocessing, reports, stable_animator
from ppdiffusers_ext.comfyui.host import registered_nodes

TEXT_BOX = "TextBox"  # the original's id, which nodes of others may have, too

NODE_CLASS_MAPPINGS: dict[str, Any] = {
    TEXT_BOX: easy_animate.TextBox,
    "EasyAnimate_TextBox": easy_animate.TextBox,
    "LoadEasyAnimateModel": easy_animate.LoadEasyAnimateModel,
    "LoadEasyAnimateLora": easy_animate.LoadEasyAnimateLora,
    "EasyAnimateI2VSampler": easy_animate.EasyAnimateI2VSampler,
    "EasyAnimateT2VSampler": easy_animate.EasyAnimateT2VSampler,
    "EasyAnimateV2VSampler": easy_animate.EasyAnimateV2VSampler,
    "PPDX_EasyAnimateOptions": easy_animate.EasyAnimateOptions,
    "PPDX_LoadAnimateAnyone": animate_anyone.LoadAnimateAnyone,
    "PPDX_AnimateAnyone": animate_anyone.AnimateAnyone,
    "PPDX_LoadStableAnimator": stable_animator.LoadStableAnimator,
    "PPDX_StableAnimator": stable_animator.StableAnimator,
    "PPDX_EstimatePoses": preprocessing.EstimatePoses,
    "PPDX_FaceMask": preprocessing.FaceMask,
    "PPDX_SaveReport": reports.SaveReport,
}

if TEXT_BOX in registered_nodes():  # another node's workflows need that one
    del NODE_CLASS_MAPPINGS[TEXT_BOX]

_NAMES = {
    TEXT_BOX: "TextBox",
    "EasyAnimate_TextBox": "EasyAnimate TextBox",
    "LoadEasyAnimateModel": "Load EasyAnimate Model",
    "LoadEasyAnimateLora": "Load EasyAnimate Lora",
    "EasyAnimateI2VSampler": "EasyAnimate Sampler for Image to Video",
    "EasyAnimateT2VSampler": "EasyAnimate Sampler for Text to Video",
    "EasyAnimateV2VSampler": "EasyAnimate Sampler for Video to Video",
    "PPDX_EasyAnimateOptions": "EasyAnimate Options",
    "PPDX_LoadAnimateAnyone": "Load Animate Anyone",
    "PPDX_AnimateAnyone": "Animate Anyone",
    "PPDX_LoadStableAnimator": "Load StableAnimator",
    "PPDX_StableAnimator": "StableAnimator",
    "PPDX_EstimatePoses": "Estimate Poses (Skeletons)",
    "PPDX_FaceMask": "Face Mask",
    "PPDX_SaveReport": "Save Report",
}
NODE_DISPLAY_NAME_MAPPINGS = {name: _NAMES[name] for name in NODE_CLASS_MAPPINGS}
