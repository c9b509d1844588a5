"""Every checkpoint that the systems need: where it is published, where it lies here, and what it must be.

Each system's own are in its `published`. Nothing here imports Paddle: `download_weights` needs none.

A source is a base address to which the names of the files are joined: "hf://OWNER/NAME" is a repository at Hugging
Face ("hf://OWNER/NAME/FOLDER" a folder of it), anything else a plain address. They are tried in their order. A hash or
size of None is not known in advance: the first verified download records it, and it is checked ever after (see
`ppdiffusers_ext.weights.download`).
"""

from ppdiffusers_ext.pipelines.animate_anyone import published as animate_anyone
from ppdiffusers_ext.pipelines.easy_animate import published as easy_animate
from ppdiffusers_ext.pipelines.stable_animator import published as stable_animator
from ppdiffusers_ext.weights.entries import File, Weights

# Of the estimation of poses.
_POSES = (
    # StableAnimator's repository holds a copy of both files.
    Weights(
        name="DWPose",
        systems=("animate_anyone", "stable_animator"),
        folder="DWPose",
        sources=("hf://yzd-v/DWPose", f"{stable_animator.REPOSITORY}/DWPose"),
        files=(
            File(
                "yolox_l.onnx",
                size=216_746_733,
                sha256="7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
            ),
            File(
                "dw-ll_ucoco_384.onnx",
                size=134_399_116,
                sha256="724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
            ),
        ),
        licence="Apache-2.0",
        needed_by="scripts.animate, scripts.stable_animator: all that estimates poses",
    ),
)

PUBLISHED = (*animate_anyone.PUBLISHED, *_POSES, *stable_animator.PUBLISHED, *easy_animate.PUBLISHED)
