"""The published checkpoints of Animate Anyone and of what it is built on.

configs/inference/animation.yaml names these files.
"""

from ppdiffusers_ext.weights.entries import File, Weights

# PaddleMIX downloads from the first of these.
_ANIMATE_ANYONE_PD = (
    "https://bj.bcebos.com/paddlenlp/models/community/tsaiyue/AnimateAnyone_PD",
    "hf://tsaiyue/AnimateAnyone_PD",
)

PUBLISHED = (
    Weights(
        name="AnimateAnyone_PD",
        systems=("animate_anyone",),
        folder="tsaiyue/AnimateAnyone_PD",
        sources=_ANIMATE_ANYONE_PD,
        files=(
            File("config.json", about=746),
            File(
                "denoising_unet.pdparams",
                sha256="bb704ff554e32f6a56daa4b50ddf14a1d9c7d4491765a082bf09904ac82fcad0",
                about=3_440_000_000,
            ),
            File("reference_unet.pdparams", about=3_440_000_000),
            File(
                "pose_guider.pdparams",
                size=4_347_383,
                sha256="1b9c43e8eef1e3222bc73d05331d1feceba2e9118f9a8d7be276fd89b5f19300",
            ),
            File(
                "motion_module_stage2.pdparams",
                size=908_930_918,
                sha256="c35304aafef84ac50704039de340f0d8b45e4da51c6fcf641cbb209c9557f21b",
            ),
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
            File(
                "denoising_unet_initial4stage1.pdparams",
                sha256="9ef5cb1d350a8838c1881bc82a5cec51803ddf9c3df88cf4f3724f7db4a985af",
                about=3_440_000_000,
            ),
            File("control_v11p_sd15_openpose.pdparams", about=1_450_000_000),
            File("animatediff_mm_sd_v15_v2.pdparams", about=1_820_000_000),
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
            # Both hashes are the names of the files in huggingface_hub's cache of this repository.
            File(
                "denoising_unet.pth",
                about=3_440_000_000,
            ),
            File(
                "reference_unet.pth",
                sha256="beddccb08d49a8b29b0f4d6d456c6521d4382a8d8d48884fa60ba8802509c214",
                about=3_440_000_000,
            ),
            File(
                "pose_guider.pth",
                sha256="1a8b7c1b4db92980fd977b4fd003c1396bbae9a9cdea00c35d452136d5e4f488",
                about=4_350_000,
            ),
            File(
                "motion_module.pth",
                size=1_817_900_227,
                sha256="0d11e01a281b39880da2efeea892215c1313e5713fca3d100a7fbb72ee312ef9",
            ),
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
        files=(
            File("unet/config.json", size=871),
            File(
                "unet/diffusion_pytorch_model.bin",
                size=3_438_354_725,
                sha256="ee23e3368e4e7c0e4ef636ed61923609c97fcaa583f8bb416e3e0986d4a0cfc6",
            ),
        ),
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
)
