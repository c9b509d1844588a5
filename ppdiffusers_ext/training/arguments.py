"""Options of Animate Anyone's trainers: dataclasses that `parser` reads.

Names and defaults are those of the PaddleMIX example where it has them, and of the original's configuration files.
"""

import logging
import os
import sys
from dataclasses import dataclass, field
from typing import Optional

import paddle
from paddlenlp.trainer import TrainingArguments as PaddleTrainingArguments

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.runtime import check_device
from ppdiffusers_ext.training.groups import share_connections

logger = logging.getLogger(__name__)

SIDE_MULTIPLE = 8


def option(default, text):
    return field(default=default, metadata={"help": text})


@dataclass
class ModelArguments:
    """Networks, initial weights and noise schedule."""

    base_model_path: str = option(
        "./pretrained_weights/stable-diffusion-v1-5", "folder with unet/config.json of Stable Diffusion 1.5"
    )
    vae_model_path: str = option("./pretrained_weights/sd-vae-ft-mse", "folder of the VAE, which stays frozen")
    image_encoder_path: str = option(
        "./pretrained_weights/image_encoder", "folder of the CLIP image encoder, which stays frozen"
    )
    inference_config_path: str = option(
        "./configs/inference/inference_v2.yaml",
        "YAML file with unet_additional_kwargs (norms, motion modules) and pose_guider_kwargs",
    )
    denoising_unet_config_path: Optional[str] = option(
        None, "config.json of the denoising UNet; the base model's if left out"
    )
    denoising_unet_base_model_path: Optional[str] = option(
        None, "weights that the denoising UNet starts from; random if left out"
    )
    reference_unet_path: Optional[str] = option(
        None, "weights that the reference UNet starts from; random if left out"
    )
    pose_guider_path: Optional[str] = option(None, "weights that the pose guider starts from; random if left out")
    motion_module_path: Optional[str] = option(
        None, "weights that the motion modules start from (stage 2); random if left out"
    )
    num_train_timesteps: int = option(1000, "timesteps of the noise schedule")
    beta_start: float = option(0.00085, "first beta of the noise schedule")
    beta_end: float = option(0.012, "last beta of the noise schedule")
    beta_schedule: str = option(
        "scaled_linear",
        "kind of the noise schedule. The original trains on scaled_linear and samples on linear, which is a mismatch; "
        "linear is consistent with configs/inference/inference_v2.yaml",
    )
    noise_offset: float = option(0.05, "strength of the offset that the noise of a clip shares")
    snr_gamma: float = option(5.0, "bound of the Min-SNR weights; 0 for none")
    uncond_ratio: float = option(0.1, "part of the steps without reference, which guidance needs")
    gradient_checkpointing: bool = option(False, "compute activations again in the backward pass: less memory")


@dataclass
class AutoencoderArguments:
    """Autoencoder and its loss weights."""

    vae_config_path: str = option("./configs/training/demo/vae.json", "config.json of the autoencoder")
    vae_model_path: Optional[str] = option(None, "weights that it starts from; random if left out")
    kl_weight: float = option(1.0e-4, "weight of the latents' divergence from normal noise, per number")
    colour_weight: float = option(1.0, "weight of the error of colours, beside that of brightness")


@dataclass
class DataArguments:
    """Clips for training and their cropping."""

    meta_paths: str = option(
        "./ubcNbili_data/meta_data/ubcNbili_meta.json",
        "meta files (JSON lists of video_path and kps_path), or folders with meta_data/*.json, or with video/ and "
        "video_dwpose/; several with commas between them",
    )
    train_width: int = option(512, "pixels, a multiple of 8")
    train_height: int = option(512, "pixels, a multiple of 8")
    sample_margin: int = option(30, "frames between reference and target at least (stage 1)")
    n_sample_frames: int = option(16, "frames of a sample (stage 2)")
    sample_rate: int = option(4, "frames from one to the next (stage 2)")
    crop_scale_min: float = option(1.0, "smallest part of the picture's area that a random crop takes")
    crop_scale_max: float = option(1.0, "largest part of the picture's area that a random crop takes")
    crop_ratio_min: float = option(0.9, "smallest ratio of width to height of a random crop")
    crop_ratio_max: float = option(1.0, "largest ratio of width to height of a random crop")
    validation_clips: int = option(4, "clips, the last ones, that are held out of training when there is validation")
    max_bad_share: float = option(0.1, "part of the samples whose clip cannot be read, above which the run stops")

    def check(self):
        """Raise InputError for values that cannot be used."""
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
class TrainingArguments(PaddleTrainingArguments):
    """paddlenlp's arguments. Batch size, steps, optimiser, precision, sharding and saving are used here."""

    output_dir: str = option(
        "./exp_output", "folder of checkpoints and logs; a run goes on from its newest checkpoint"
    )
    max_steps: int = option(30000, "optimisation steps")
    seed: int = option(42, "seed of weights, samples and noise, 0 to 4294967295; -1 draws one and says which")
    validation_steps: int = option(
        0, "steps from one animation of the held-out clips to the next, for numbers and a picture; 0 for never"
    )
    validation_inference_steps: int = option(10, "denoising steps of these animations")
    validation_guidance_scale: float = option(1.0, "guidance of these animations; 1 for none")
    max_skipped_steps: int = option(
        0, "steps with a loss or gradients that are not finite, that are left out; the next one stops the run"
    )
    ema_decay: float = option(
        0.0, "decay of the average of the weights that is saved at the end, as 0.999; 0 saves the last weights"
    )
    checkpoint_key: Optional[str] = option(
        None, "of the tensors to read where a weight file has several dicts of them, such as ema"
    )

    device: str = option("auto", "cpu, gpu or gpu:N; auto takes a GPU where there is one")

    def __post_init__(self):
        check_device(self.device)
        if self.device == "auto":
            self.device = "gpu" if paddle.is_compiled_with_cuda() else "cpu"
        if self.fp16 and not paddle.is_compiled_with_cuda():  # type: ignore[has-type]  # paddlenlp's
            logger.warning("Paddle has no fp16 training on a CPU: bf16 is used instead")
            self.fp16, self.bf16 = False, True
        if self.sharding and int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
            raise InputError(
                f"--sharding {self.sharding} has nothing to share among one process; a launch with several, or no "
                "--sharding, is accepted"
            )
        beyond = {"stage2", "stage3", "offload"} & set(str(self.sharding).replace(",", " ").split())
        if beyond and not paddle.is_compiled_with_cuda():
            raise InputError(
                f"--sharding {self.sharding} needs a GPU: on a CPU, Paddle shares the optimiser's state alone; stage1 "
                "is accepted"
            )
        # "latest" is what happens without it.
        if self.resume_from_checkpoint == "latest":  # type: ignore[has-type]  # paddlenlp's
            self.resume_from_checkpoint = None
        # A bar is for somebody who looks at it.
        self.disable_tqdm = self.disable_tqdm or not sys.stderr.isatty()  # type: ignore[has-type]  # paddlenlp's
        share_connections()
        super().__post_init__()
