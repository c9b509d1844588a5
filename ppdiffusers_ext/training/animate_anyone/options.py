"""Options of Animate Anyone's trainers, which `training.parser` reads.

Names and defaults are those of the PaddleMIX example where it has them, and of the original's configuration files.
"""

from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.training.bounds import FRAMES, MANY, NOT_NEGATIVE, PART, SIDES
from ppdiffusers_ext.training.options import DataOptions, LedModelOptions, ModelOptions

SIDE_MULTIPLE = 8
_BETAS, _RATIOS = (1e-12, 0.999), (0.01, 100)


@dataclass
class ModelArguments(LedModelOptions):
    """Which networks are trained, from which weights, and on which noise."""

    SHORT_HELP = {
        "base_model_path": "folder with unet/config.json of Stable Diffusion 1.5",
        "vae_model_path": "the VAE's weights or folder",
        "image_encoder_path": "folder of the CLIP image encoder",
        "denoising_unet_base_model_path": "weights that the denoising UNet starts from",
        "reference_unet_path": "weights that the reference UNet starts from",
        "pose_guider_path": "weights that the pose guider starts from",
        "motion_module_path": "weights that the motion modules start from (stage 2)",
    }

    base_model_path: str = path_option(
        "./pretrained_weights/stable-diffusion-v1-5", help="folder with unet/config.json of Stable Diffusion 1.5"
    )
    vae_model_path: str = path_option(
        "./pretrained_weights/sd-vae-ft-mse", help="folder of the VAE, which stays frozen"
    )
    image_encoder_path: str = path_option(
        "./pretrained_weights/image_encoder", help="folder of the CLIP image encoder, which stays frozen"
    )
    inference_config_path: str = path_option(
        "./configs/inference/inference_v2.yaml",
        help="YAML file with unet_additional_kwargs (norms, motion modules) and pose_guider_kwargs",
    )
    denoising_unet_config_path: str | None = path_option(
        None, help="config.json of the denoising UNet; the base model's if left out"
    )
    denoising_unet_base_model_path: str | None = path_option(
        None, help="weights that the denoising UNet starts from; random if left out"
    )
    reference_unet_path: str | None = path_option(
        None, help="weights that the reference UNet starts from; random if left out"
    )
    pose_guider_path: str | None = path_option(
        None, help="weights that the pose guider starts from; random if left out"
    )
    motion_module_path: str | None = path_option(
        None, help="weights that the motion modules start from (stage 2); random if left out"
    )
    latent_cache: str | None = option(
        None,
        help="folder to keep latents of whole clips in, which are made before training where they are missing; each "
        "clip then has one random crop",
    )
    num_train_timesteps: int = option(1000, 1, 10**5, help="timesteps of the noise schedule")
    beta_start: float = option(0.00085, *_BETAS, help="first beta of the noise schedule")
    beta_end: float = option(0.012, *_BETAS, help="last beta of the noise schedule")
    beta_schedule: str = option(
        "scaled_linear",
        choices=("scaled_linear", "linear", "squaredcos_cap_v2"),
        help="kind of the noise schedule. The original trains on scaled_linear and samples on linear, which is a "
        "mismatch; linear is consistent with configs/inference/inference_v2.yaml",
    )
    prediction_type: str = option(
        "v_prediction",
        choices=("v_prediction", "sample"),
        help="what the denoising UNet learns to predict: the velocity, as the original, or the clean latents",
    )
    noise_offset: float = option(0.05, *NOT_NEGATIVE, help="strength of the offset that the noise of a clip shares")
    snr_gamma: float = option(5.0, *NOT_NEGATIVE, help="bound of the Min-SNR weights; 0 for none")
    uncond_ratio: float = option(0.1, *PART, help="part of the steps without reference, which guidance needs")
    train_whole_reference: bool = option(
        False,
        help="train the last up block of the reference UNet in stage 1, too: the original freezes it, with pretrained "
        "weights",
    )


@dataclass
class DataArguments(DataOptions):
    """Which clips are trained on, and how they are cut."""

    SHORT_HELP = {
        "meta_paths": "meta files (JSON) or folders of clips, with commas",
        "train_width": "pixels, a multiple of 8",
        "train_height": "pixels, a multiple of 8",
        "n_sample_frames": "frames of a sample, for stage 2",
    }

    meta_paths: str = option(
        "./ubcNbili_data/meta_data/ubcNbili_meta.json",
        help="meta files (JSON lists of video_path and kps_path), or folders with meta_data/*.json, or with video/ "
        "and video_dwpose/; several with commas between them",
    )
    train_width: int = option(512, *SIDES, help="pixels, a multiple of 8")
    train_height: int = option(512, *SIDES, help="pixels, a multiple of 8")
    sample_margin: int = option(30, 0, MANY, help="frames between reference and target at least (stage 1)")
    reference_frames: int = option(
        0,
        0,
        MANY,
        help="frames at the beginning of a clip that the reference is one of, for clips that begin with a person who "
        "stands as people do in pictures; 0: any frame, as in the original",
    )
    n_sample_frames: int = option(16, *FRAMES, help="frames of a sample (stage 2)")
    sample_rate: int = option(4, 1, MANY, help="frames from one to the next (stage 2)")
    crop_scale_min: float = option(1.0, help="smallest part of the picture's area that a random crop takes")
    crop_scale_max: float = option(1.0, help="largest part of the picture's area that a random crop takes")
    crop_ratio_min: float = option(0.9, *_RATIOS, help="smallest ratio of width to height of a random crop")
    crop_ratio_max: float = option(1.0, *_RATIOS, help="largest ratio of width to height of a random crop")

    def check(self) -> None:
        for name in ("train_width", "train_height"):
            value = getattr(self, name)
            if value % SIDE_MULTIPLE:
                raise InputError(f"--{name} {value} cannot be trained on; a multiple of 8 from 64 is accepted")
        for name in ("scale", "ratio"):
            low, high = getattr(self, f"crop_{name}_min"), getattr(self, f"crop_{name}_max")
            if not 0 < low <= high or (name == "scale" and high > 1):
                raise InputError(
                    f"--crop_{name}_min {low} and --crop_{name}_max {high} are no bounds of a random crop; positive "
                    "ones in this order, of the area up to 1, are accepted"
                )


@dataclass
class AutoencoderArguments(ModelOptions):
    """Which autoencoder is trained, and towards what."""

    SHORT_HELP = {
        "vae_model_path": "the VAE's weights or folder",
        "vae_config_path": "config.json of the autoencoder",
    }

    vae_config_path: str = path_option("./configs/training/demo/vae.json", help="config.json of the autoencoder")
    vae_model_path: str | None = path_option(None, help="weights that it starts from; random if left out")
    kl_weight: float = option(
        1.0e-4, *NOT_NEGATIVE, help="weight of the latents' divergence from normal noise, per number"
    )
    colour_weight: float = option(1.0, *NOT_NEGATIVE, help="weight of the error of colours, beside that of brightness")
    square_weight: float = option(
        1.0, *NOT_NEGATIVE, help="weight of the squared error, beside the absolute one: more makes PSNR higher"
    )
