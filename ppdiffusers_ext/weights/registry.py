"""Every checkpoint that the three systems need: where it is published, where it lies here, and what it must be.

A source is a base address to which the names of the files are joined: "hf://OWNER/NAME" is a repository at Hugging
Face ("hf://OWNER/NAME/FOLDER" a folder of it), anything else a plain address. They are tried in their order. A hash or
size of None is not known in advance: the first verified download records it, and it is checked ever after (see
`ppdiffusers_ext.weights.download`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file of a checkpoint.

    path: where it lies below the checkpoint's folder; of an archive, the folder that takes its content.
    remote: its name at the source, where that differs from `path`.
    size, sha256: in bytes, and as 64 hexadecimal digits; of an archive, those of the archive itself.
    members: of an archive, names of files that must be in it; a single folder around everything is left out.
    """

    path: str
    remote: str = ""
    size: int | None = None
    sha256: str | None = None
    members: tuple[str, ...] = ()

    @property
    def is_archive(self):
        return bool(self.members)


@dataclass(frozen=True)
class Weights:
    """A checkpoint: one or more files of one publication that are fetched together.

    folder: where its files lie below the folder of all weights.
    needed_by: the commands that read it.
    by_default: False for alternatives and extras, which are fetched when named only.
    """

    name: str
    systems: tuple[str, ...]
    folder: str
    sources: tuple[str, ...]
    files: tuple[File, ...]
    licence: str
    needed_by: str
    by_default: bool = True


_EASY_ANIMATE = "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/easyanimate"
_STABLE_ANIMATOR = "hf://FrancisRing/StableAnimator"
# PaddleMIX downloads from the first of these; StableAnimator's repository holds a copy of SVD-XT.
_ANIMATE_ANYONE_PD = (
    "https://bj.bcebos.com/paddlenlp/models/community/tsaiyue/AnimateAnyone_PD",
    "hf://tsaiyue/AnimateAnyone_PD",
)
_SVD_XT = (
    "hf://stabilityai/stable-video-diffusion-img2vid-xt",
    f"{_STABLE_ANIMATOR}/stable-video-diffusion-img2vid-xt",
)


def _easy_animate(name, ending=".tar", licence="Apache-2.0", by_default=False):
    """An archive in EasyAnimate's bucket. Its README named these until 2024-11, then unpacked repositories."""
    return Weights(
        name=name,
        systems=("easy_animate",),
        folder="Diffusion_Transformer",
        sources=(f"{_EASY_ANIMATE}/Diffusion_Transformer",),
        # What the original opens in every version, of its pipeline and of two parts.
        files=(File(name, name + ending, members=("model_index.json", "transformer/config.json", "vae/config.json")),),
        licence=licence,
        needed_by="scripts.predict_t2v" + (", scripts.predict_i2v, scripts.predict_v2v" if "InP" in name else ""),
        by_default=by_default,
    )


REGISTRY = (
    # ---- Animate Anyone -------------------------------------------------------------------------------------------
    # configs/inference/animation.yaml names these files.
    Weights(
        name="AnimateAnyone_PD",
        systems=("animate_anyone",),
        folder="tsaiyue/AnimateAnyone_PD",
        sources=_ANIMATE_ANYONE_PD,
        files=(
            File("config.json"),
            File("denoising_unet.pdparams"),
            File("reference_unet.pdparams"),
            File("pose_guider.pdparams"),
            File("motion_module_stage2.pdparams"),
        ),
        licence="not stated; published with PaddleMIX (Apache-2.0), built on Stable Diffusion (CreativeML OpenRAIL-M)",
        needed_by="scripts.pose2vid, scripts.animate, scripts/trainer_stage2.py",
    ),
    # What training starts from: both stages' initial weights, of which inference reads none.
    Weights(
        name="AnimateAnyone_PD-training",
        systems=("animate_anyone",),
        folder="tsaiyue/AnimateAnyone_PD",
        sources=_ANIMATE_ANYONE_PD,
        files=(
            File("denoising_unet_initial4stage1.pdparams"),
            File("control_v11p_sd15_openpose.pdparams"),
            File("animatediff_mm_sd_v15_v2.pdparams"),
        ),
        licence="not stated; published with PaddleMIX (Apache-2.0), built on Stable Diffusion (CreativeML OpenRAIL-M)",
        needed_by="scripts/trainer_stage1.py, scripts/trainer_stage2.py",
        by_default=False,
    ),
    # The original's weights, an alternative to AnimateAnyone_PD: pose2vid reads either.
    Weights(
        name="AnimateAnyone-original",
        systems=("animate_anyone",),
        folder="patrolli/AnimateAnyone",
        sources=("hf://patrolli/AnimateAnyone",),
        files=(
            File("denoising_unet.pth"),
            File("reference_unet.pth"),
            File("pose_guider.pth", sha256="1a8b7c1b4db92980fd977b4fd003c1396bbae9a9cdea00c35d452136d5e4f488"),
            File("motion_module.pth", sha256="0d11e01a281b39880da2efeea892215c1313e5713fca3d100a7fbb72ee312ef9"),
        ),
        licence="Apache-2.0",
        needed_by="scripts.pose2vid, scripts.animate",
        by_default=False,
    ),
    # runwayml/stable-diffusion-v1-5 was removed; this is its community mirror, with the same files.
    Weights(
        name="stable-diffusion-v1-5",
        systems=("animate_anyone",),
        folder="stable-diffusion-v1-5",
        sources=("hf://stable-diffusion-v1-5/stable-diffusion-v1-5",),
        files=(
            File(
                "unet/config.json",
                size=743,
                sha256="78f474de6bab3d893868f37be97b636ae65c0df3073ed3256ca458ff599b5f96",
            ),
        ),
        licence="CreativeML OpenRAIL-M",
        needed_by="scripts.pose2vid, scripts.animate",
    ),
    Weights(
        name="stable-diffusion-v1-5-unet",
        systems=("animate_anyone",),
        folder="stable-diffusion-v1-5",
        sources=("hf://stable-diffusion-v1-5/stable-diffusion-v1-5",),
        files=(
            File(
                "unet/diffusion_pytorch_model.safetensors",
                size=3_438_167_540,
                sha256="19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
            ),
        ),
        licence="CreativeML OpenRAIL-M",
        needed_by="scripts/trainer_stage2.py",
        by_default=False,
    ),
    Weights(
        name="sd-vae-ft-mse",
        systems=("animate_anyone",),
        folder="sd-vae-ft-mse",
        sources=("hf://stabilityai/sd-vae-ft-mse",),
        files=(
            File(
                "config.json",
                size=547,
                sha256="92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
            ),
            File(
                "diffusion_pytorch_model.safetensors",
                size=334_643_276,
                sha256="a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
            ),
        ),
        licence="MIT",
        needed_by="scripts.pose2vid, scripts.animate, scripts/trainer_stage1.py, scripts/trainer_stage2.py",
    ),
    # The repository moved from lambdalabs to lambda; the old name still leads there.
    Weights(
        name="sd-image-variations-image_encoder",
        systems=("animate_anyone",),
        folder="image_encoder",
        sources=("hf://lambdalabs/sd-image-variations-diffusers", "hf://lambda/sd-image-variations-diffusers"),
        files=(
            File("config.json", remote="image_encoder/config.json", size=703),
            File(
                "pytorch_model.bin",
                remote="image_encoder/pytorch_model.bin",
                size=1_215_993_967,
                sha256="89d2aa29b5fdf64f3ad4f45fb4227ea98bc45156bbae673b85be1af7783dbabb",
            ),
        ),
        licence="other (fine-tuned from Stable Diffusion, CreativeML OpenRAIL-M)",
        needed_by="scripts.pose2vid, scripts.animate, scripts/trainer_stage1.py, scripts/trainer_stage2.py",
    ),
    # Stage 1 of PaddleMIX's training starts the reference UNet from this one, not from Stable Diffusion 1.5.
    Weights(
        name="sd-image-variations-unet",
        systems=("animate_anyone",),
        folder="sd-image-variations-diffusers",
        sources=("hf://lambdalabs/sd-image-variations-diffusers", "hf://lambda/sd-image-variations-diffusers"),
        files=(File("unet/config.json"), File("unet/diffusion_pytorch_model.bin")),
        licence="other (fine-tuned from Stable Diffusion, CreativeML OpenRAIL-M)",
        needed_by="scripts/trainer_stage1.py",
        by_default=False,
    ),
    # The original of animatediff_mm_sd_v15_v2.pdparams, for those who have not AnimateAnyone_PD-training.
    Weights(
        name="animatediff",
        systems=("animate_anyone",),
        folder="animatediff",
        sources=("hf://guoyww/animatediff",),
        files=(
            File(
                "mm_sd_v15_v2.ckpt",
                size=1_817_888_431,
                sha256="69ed0f5fef82b110aca51bcab73b21104242bc65d6ab4b8b2a2a94d31cad1bf0",
            ),
        ),
        licence="Apache-2.0",
        needed_by="scripts/trainer_stage2.py",
        by_default=False,
    ),
    # ---- Poses ----------------------------------------------------------------------------------------------------
    # StableAnimator's repository holds a copy of both files.
    Weights(
        name="DWPose",
        systems=("animate_anyone", "stable_animator"),
        folder="DWPose",
        sources=("hf://yzd-v/DWPose", f"{_STABLE_ANIMATOR}/DWPose"),
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
    # ---- StableAnimator -------------------------------------------------------------------------------------------
    # The folders below stable_animator are those of the original's repository, so that a clone of it can stand there.
    Weights(
        name="StableAnimator",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(_STABLE_ANIMATOR,),
        files=(
            File("Animation/pose_net.pth"),
            File("Animation/face_encoder.pth"),
            File("Animation/unet.pth"),
        ),
        licence="Apache-2.0",
        needed_by="scripts.stable_animator",
    ),
    # ArcFace as a network with gradients, which only the optimisation of the face during sampling asks for.
    Weights(
        name="StableAnimator-face_optimisation",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(_STABLE_ANIMATOR,),
        files=(File("Animation/glintr100_torch.pth"),),
        licence="Apache-2.0 (of the repository); insightface: non-commercial research only",
        needed_by="scripts.stable_animator with optimisation of the face",
        by_default=False,
    ),
    # Example references, poses and faces. Its content is known from the paths in the original's commands only.
    Weights(
        name="StableAnimator-examples",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(_STABLE_ANIMATOR,),
        files=(File("inference", remote="inference.zip", members=("case-1/reference.png",)),),
        licence="Apache-2.0",
        needed_by="examples for scripts.stable_animator",
        by_default=False,
    ),
    # The archive holds a folder antelopev2; insightface's FaceAnalysis(root=FOLDER, name="antelopev2") looks for
    # FOLDER/models/antelopev2/*.onnx, and unpacks its own download one folder too deep.
    Weights(
        name="antelopev2",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(
            "https://github.com/deepinsight/insightface/releases/download/v0.7",
            "https://github.com/deepinsight/insightface/releases/download/model-zoo",
            "hf://MonsterMMORPG/tools",
        ),
        files=(
            File(
                "models/antelopev2",
                remote="antelopev2.zip",
                size=360_662_982,
                sha256="8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
                members=("1k3d68.onnx", "2d106det.onnx", "genderage.onnx", "glintr100.onnx", "scrfd_10g_bnkps.onnx"),
            ),
        ),
        licence="insightface: non-commercial research only",
        needed_by="scripts.stable_animator",
    ),
    # Which StableAnimator's face masks fall back on, where insightface sees no face.
    Weights(
        name="retinaface",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=("https://github.com/xinntao/facexlib/releases/download/v0.1.0",),
        files=(File("facexlib/detection_Resnet50_Final.pth", remote="detection_Resnet50_Final.pth"),),
        licence="MIT",
        needed_by="scripts.face_mask_extraction, where insightface sees no face",
        by_default=False,
    ),
    # The fp16 files: the original casts all parts to fp16 to sample, and trains from these. They are saved under the
    # names without "fp16", under which a loader finds them without being told of a variant. The original's sampling
    # reads SVD's UNet too, but StableAnimator's unet.pth then replaces all of its tensors: config.json is enough.
    Weights(
        name="stable-video-diffusion-img2vid-xt",
        systems=("stable_animator",),
        folder="stable_animator/stable-video-diffusion-img2vid-xt",
        sources=_SVD_XT,
        files=(
            File("model_index.json", size=496),
            File(
                "feature_extractor/preprocessor_config.json",
                size=518,
                sha256="4db495644e3e5bd8fcac52f70e7fc0b413c911086021acf73ac30e5911166e95",
            ),
            File("scheduler/scheduler_config.json", size=533),
            File(
                "image_encoder/config.json",
                size=685,
                sha256="65da4496f116d2b297fe864e0f31242fbc57e26a5d95b93310f2034e1e90d0ec",
            ),
            File(
                "image_encoder/model.safetensors",
                remote="image_encoder/model.fp16.safetensors",
                size=1_264_217_240,
                sha256="ae616c24393dd1854372b0639e5541666f7521cbe219669255e865cb7f89466a",
            ),
            File("unet/config.json", size=984),
            File(
                "vae/config.json",
                size=607,
                sha256="8f34272db69f7e2c615da6142ca3f9fdcd7b682bcfd903ceb15035fea79a8303",
            ),
            File(
                "vae/diffusion_pytorch_model.safetensors",
                remote="vae/diffusion_pytorch_model.fp16.safetensors",
                size=195_531_910,
                sha256="af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
            ),
        ),
        licence="Stability AI Community License",
        needed_by="scripts.stable_animator",
    ),
    Weights(
        name="stable-video-diffusion-img2vid-xt-unet",
        systems=("stable_animator",),
        folder="stable_animator/stable-video-diffusion-img2vid-xt",
        sources=_SVD_XT,
        files=(
            File(
                "unet/diffusion_pytorch_model.safetensors",
                remote="unet/diffusion_pytorch_model.fp16.safetensors",
                size=3_049_435_868,
                sha256="9fbc02e90f37d422f5e3a4aeaee95f6629dc8c45ca211b951626e930daf2bddf",
            ),
        ),
        licence="Stability AI Community License",
        needed_by="training of StableAnimator from Stable Video Diffusion",
        by_default=False,
    ),
    # ---- EasyAnimate ----------------------------------------------------------------------------------------------
    _easy_animate("EasyAnimateV4-XL-2-InP", ending=".tar.gz", by_default=True),
    _easy_animate("EasyAnimateV3-XL-2-InP-512x512"),
    _easy_animate("EasyAnimateV3-XL-2-InP-768x768"),
    _easy_animate("EasyAnimateV3-XL-2-InP-960x960"),
    _easy_animate("EasyAnimateV2-XL-2-512x512"),
    _easy_animate("EasyAnimateV2-XL-2-768x768"),
    # V1 is a motion module on top of PixArt-alpha.
    _easy_animate("PixArt-XL-2-512x512", licence="CreativeML OpenRAIL++-M"),
    Weights(
        name="easyanimate_v1_mm",
        systems=("easy_animate",),
        folder="Motion_Module",
        sources=(f"{_EASY_ANIMATE}/Motion_Module",),
        files=(File("easyanimate_v1_mm.safetensors"),),
        licence="Apache-2.0",
        needed_by="scripts.predict_t2v with PixArt-XL-2-512x512",
        by_default=False,
    ),
)
