"""The published checkpoints of StableAnimator, of Stable Video Diffusion, and of what finds and knows faces."""

from ppdiffusers_ext.weights.entries import File, Weights

REPOSITORY = "hf://FrancisRing/StableAnimator"
# StableAnimator's repository holds a copy of SVD-XT.
_SVD_XT = (
    "hf://stabilityai/stable-video-diffusion-img2vid-xt",
    f"{REPOSITORY}/stable-video-diffusion-img2vid-xt",
)

PUBLISHED = (
    # The folders below stable_animator are those of the original's repository, so that a clone of it can stand there.
    Weights(
        name="StableAnimator",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(REPOSITORY,),
        files=(
            File(
                "Animation/pose_net.pth",
                size=829_269,
                sha256="b56297b4a1cccf9fc2995a232ed06c4ad79a4e68ac00d716f6ba2bd8eb2401b2",
            ),
            File(
                "Animation/face_encoder.pth",
                size=228_754_558,
                sha256="d6c1a3ac2ca22bbb1e6e23d63d6f9f03080d95fbe63fe014fb03244fcb5b003c",
            ),
            File(
                "Animation/unet.pth",
                size=6_201_376_518,
                sha256="6c46bde145df2f9c52bd123aaf0e6f23ea88a786af4d37bdceac294bab5947fa",
            ),
        ),
        licence="Apache-2.0",
        needed_by="scripts.stable_animator",
    ),
    # ArcFace as a network with gradients, which only the optimisation of the face during sampling asks for.
    Weights(
        name="StableAnimator-face_optimisation",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(REPOSITORY,),
        files=(File("Animation/glintr100_torch.pth", about=261_000_000),),
        licence="Apache-2.0 (of the repository); insightface: non-commercial research only",
        needed_by="scripts.stable_animator with optimisation of the face",
        by_default=False,
    ),
    # Example references, poses and faces. Its content is known from the paths in the original's commands only.
    Weights(
        name="StableAnimator-examples",
        systems=("stable_animator",),
        folder="stable_animator",
        sources=(REPOSITORY,),
        files=(File("inference", remote="inference.zip", about=87_300_000, members=("case-1/reference.png",)),),
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
        files=(
            File(
                "facexlib/detection_Resnet50_Final.pth",
                remote="detection_Resnet50_Final.pth",
                size=109_497_761,
                sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
            ),
        ),
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
)
