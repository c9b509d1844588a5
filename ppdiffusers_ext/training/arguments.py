"""What the trainers of Animate Anyone can be told: three dataclasses for `PdArgumentParser`, on one command line or in
one YAML file.

Names and defaults are those of the PaddleMIX example where it has them, and of the original's configuration files.
"""

import dataclasses
import logging
import os
import re
from dataclasses import dataclass, field
from typing import Optional

import paddle
from paddlenlp.trainer import PdArgumentParser
from paddlenlp.trainer import TrainingArguments as PaddleTrainingArguments

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.yaml_files import read_yaml
from ppdiffusers_ext.training.groups import share_connections

logger = logging.getLogger(__name__)

SIDE_MULTIPLE = 8


def _option(default, text):
    return field(default=default, metadata={"help": text})


@dataclass
class ModelArguments:
    """Which networks are trained, from which weights, and on which noise."""

    base_model_path: str = _option(
        "./pretrained_weights/stable-diffusion-v1-5", "folder with unet/config.json of Stable Diffusion 1.5"
    )
    vae_model_path: str = _option("./pretrained_weights/sd-vae-ft-mse", "folder of the VAE, which stays frozen")
    image_encoder_path: str = _option(
        "./pretrained_weights/image_encoder", "folder of the CLIP image encoder, which stays frozen"
    )
    inference_config_path: str = _option(
        "./configs/inference/inference_v2.yaml",
        "YAML file with unet_additional_kwargs (norms, motion modules) and pose_guider_kwargs",
    )
    denoising_unet_config_path: Optional[str] = _option(
        None, "config.json of the denoising UNet; the base model's if left out"
    )
    denoising_unet_base_model_path: Optional[str] = _option(
        None, "weights that the denoising UNet starts from; random if left out"
    )
    reference_unet_path: Optional[str] = _option(
        None, "weights that the reference UNet starts from; random if left out"
    )
    pose_guider_path: Optional[str] = _option(None, "weights that the pose guider starts from; random if left out")
    motion_module_path: Optional[str] = _option(
        None, "weights that the motion modules start from (stage 2); random if left out"
    )
    num_train_timesteps: int = _option(1000, "timesteps of the noise schedule")
    beta_start: float = _option(0.00085, "first beta of the noise schedule")
    beta_end: float = _option(0.012, "last beta of the noise schedule")
    beta_schedule: str = _option(
        "scaled_linear",
        "kind of the noise schedule. The original trains on scaled_linear and samples on linear, which is a mismatch; "
        "linear is consistent with configs/inference/inference_v2.yaml",
    )
    noise_offset: float = _option(0.05, "strength of the offset that the noise of a clip shares")
    snr_gamma: float = _option(5.0, "bound of the Min-SNR weights; 0 for none")
    uncond_ratio: float = _option(0.1, "part of the steps without reference, which guidance needs")
    gradient_checkpointing: bool = _option(False, "compute activations again in the backward pass: less memory")


@dataclass
class AutoencoderArguments:
    """Which autoencoder is trained, and towards what."""

    vae_config_path: str = _option("./configs/training/demo/vae.json", "config.json of the autoencoder")
    vae_model_path: Optional[str] = _option(None, "weights that it starts from; random if left out")
    kl_weight: float = _option(1.0e-4, "weight of the latents' divergence from normal noise, per number")
    colour_weight: float = _option(1.0, "weight of the error of colours, beside that of brightness")


@dataclass
class DataArguments:
    """Which clips are trained on, and how they are cut."""

    meta_paths: str = _option(
        "./ubcNbili_data/meta_data/ubcNbili_meta.json",
        "meta files (JSON lists of video_path and kps_path), or folders with meta_data/*.json, or with video/ and "
        "video_dwpose/; several with commas between them",
    )
    train_width: int = _option(512, "pixels, a multiple of 8")
    train_height: int = _option(512, "pixels, a multiple of 8")
    sample_margin: int = _option(30, "frames between reference and target at least (stage 1)")
    n_sample_frames: int = _option(16, "frames of a sample (stage 2)")
    sample_rate: int = _option(4, "frames from one to the next (stage 2)")
    crop_scale_min: float = _option(1.0, "smallest part of the picture's area that a random crop takes")
    crop_scale_max: float = _option(1.0, "largest part of the picture's area that a random crop takes")
    crop_ratio_min: float = _option(0.9, "smallest ratio of width to height of a random crop")
    crop_ratio_max: float = _option(1.0, "largest ratio of width to height of a random crop")
    validation_clips: int = _option(4, "clips, the last ones, that are held out of training when there is validation")
    max_bad_share: float = _option(0.1, "part of the samples whose clip cannot be read, above which the run stops")

    def check(self):
        """Raise an InputError for values that no training can have."""
        for name in ("train_width", "train_height"):
            value = getattr(self, name)
            if value < 64 or value % SIDE_MULTIPLE:
                raise InputError(f"--{name} {value} cannot be trained on; a multiple of 8 from 64 is accepted")
        for name in ("n_sample_frames", "sample_rate"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)} is too small; 1 or more is accepted")
        for name in ("scale", "ratio"):
            low, high = getattr(self, f"crop_{name}_min"), getattr(self, f"crop_{name}_max")
            if not 0 < low <= high or (name == "scale" and high > 1):
                raise InputError(
                    f"--crop_{name}_min {low} and --crop_{name}_max {high} are no bounds of a random crop; positive "
                    "ones in this order, of the area up to 1, are accepted"
                )


@dataclass
class StableModelArguments:
    """Which weights StableAnimator's training starts from."""

    pretrained_model_name_or_path: str = _option(
        "./pretrained_weights/stable_animator/stable-video-diffusion-img2vid-xt",
        "folder of Stable Video Diffusion: VAE, image encoder and the UNet's configuration",
    )
    unet_model_path: Optional[str] = _option(
        None, "weights of Stable Video Diffusion's UNet, that of the folder above if left out; `none` starts at random"
    )
    posenet_model_finetune_path: Optional[str] = _option(None, "pose net to go on from; new if left out")
    face_encoder_finetune_path: Optional[str] = _option(None, "face encoder to go on from; new if left out")
    unet_model_finetune_path: Optional[str] = _option(
        None, "StableAnimator's UNet to go on from, instead of Stable Video Diffusion's"
    )
    conditioning_dropout_prob: float = _option(
        0.1, "a fifth of the samples are without CLIP's token and a fifth without the picture at 0.1"
    )
    gradient_checkpointing: bool = _option(False, "compute activations again in the backward pass: less memory")


@dataclass
class StableDataArguments:
    """Which clips StableAnimator is trained on, and at which sizes."""

    data_root_path: Optional[str] = _option(None, "folder that relative paths of path lists are in; each list's own")
    data_path: Optional[str] = _option(None, "path list (or folder) of the clips of a single size")
    dataset_width: int = _option(512, "pixels of --data_path, a multiple of 64")
    dataset_height: int = _option(512, "pixels of --data_path, a multiple of 64")
    rec_data_path: Optional[str] = _option(None, "path list of clips for 512x512; with --vec_data_path, two sizes")
    vec_data_path: Optional[str] = _option(None, "path list of clips for 576x1024")
    vec_share: float = _option(0.5, "part of the steps that are of --vec_data_path")
    data_sets: Optional[str] = _option(
        None, "any sizes, as list.txt:512x512:2,other.txt:768x512:1 (path list, size, share of the steps)"
    )
    sample_n_frames: int = _option(16, "frames of a sample")
    sample_stride: int = _option(4, "frames from one to the next")
    faces_path: str = _option("./pretrained_weights/stable_animator", "folder in which models/antelopev2 is")
    face_cache: str = _option("./face_embeddings", "folder in which embeddings of faces are kept")
    max_bad_share: float = _option(0.1, "part of the samples whose clip cannot be read, above which the run stops")

    def check(self):
        """Raise an InputError for values that no training can have."""
        for name in ("sample_n_frames", "sample_stride"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)} is too small; 1 or more is accepted")
        if not 0 < self.vec_share < 1:
            raise InputError(
                f"--vec_share {self.vec_share} is no part of the steps; a number between 0 and 1 is accepted"
            )
        for _, width, height, _ in self.named_sets():
            if min(width, height) < 64 or width % 64 or height % 64:
                raise InputError(f"{width}x{height} cannot be trained on; multiples of 64 are accepted")

    def named_sets(self):
        """The sets of clips as (path list, width, height, share).

        Raises:
            InputError: none is named, more than one way is used, or what cannot be understood.
        """
        mixed = [(path, *size) for path, size in (
            (self.rec_data_path, (512, 512, 1 - self.vec_share)), (self.vec_data_path, (576, 1024, self.vec_share)))
            if path]  # fmt: skip
        single = [(self.data_path, self.dataset_width, self.dataset_height, 1.0)] if self.data_path else []
        any_sizes = [_read_set(text) for text in self.data_sets.split(",")] if self.data_sets else []
        given = [sets for sets in (mixed, single, any_sizes) if sets]
        if len(given) != 1:
            raise InputError(
                "training data are named by --data_path, by --rec_data_path and --vec_data_path, or by --data_sets; "
                "one of these ways is accepted"
            )
        return given[0]


def _read_set(text):
    found = re.fullmatch(r"\s*(.+):(\d+)x(\d+):([\d.]+)\s*", text)
    if not found or not float(found[4]) > 0:
        raise InputError(f"--data_sets has {text!r}; such as list.txt:512x512:1 is accepted")
    return found[1], int(found[2]), int(found[3]), float(found[4])


@dataclass
class TrainingArguments(PaddleTrainingArguments):
    """paddlenlp's, of which batch size, steps, optimiser, precision, sharding and saving are of use here."""

    output_dir: str = _option(
        "./exp_output", "folder of checkpoints and logs; a run goes on from its newest checkpoint"
    )
    max_steps: int = _option(30000, "optimisation steps")
    validation_steps: int = _option(
        0, "steps from one animation of the held-out clips to the next, for numbers and a picture; 0 for never"
    )
    validation_inference_steps: int = _option(10, "denoising steps of these animations")
    validation_guidance_scale: float = _option(1.0, "guidance of these animations; 1 for none")
    max_skipped_steps: int = _option(
        0, "steps with a loss or gradients that are not finite, that are left out; the next one stops the run"
    )
    ema_decay: float = _option(
        0.0, "decay of the average of the weights that is saved at the end, as 0.999; 0 saves the last weights"
    )

    def __post_init__(self):
        if self.fp16 and not paddle.is_compiled_with_cuda():
            logger.warning("Paddle has no fp16 training on a CPU: bf16 is used instead")
            self.fp16, self.bf16 = False, True
        if self.sharding and int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
            raise InputError(
                f"--sharding {self.sharding} has nothing to share among one process; a launch with several, or no "
                "--sharding, is accepted"
            )
        share_connections()
        super().__post_init__()


def parse_arguments(arguments=None, model_kind=ModelArguments, data_kind=DataArguments):
    """The three dataclasses from a command line, or from the YAML file that is its only argument.

    Args:
        arguments: list of texts; those of the process if left out.
        model_kind: dataclass of what is trained.
        data_kind: dataclass of what it is trained on.

    Raises:
        InputError: unknown keys of a YAML file, or values that cannot be used.
    """
    kinds = (model_kind, data_kind, TrainingArguments)
    parser = PdArgumentParser(kinds)
    if arguments is not None and len(arguments) == 1 and arguments[0].endswith((".yaml", ".yml")):
        values = read_yaml(arguments[0])
        known = {item.name for kind in kinds for item in dataclasses.fields(kind)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"unknown keys in {arguments[0]}: {', '.join(unknown)}; --help lists what is accepted")
        model, data, training = parser.parse_dict(values)
    else:
        model, data, training, unknown = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
        if unknown:
            raise InputError(f"unknown arguments: {' '.join(unknown)}; --help lists what is accepted")
    data.check()
    if training.max_steps < 1:
        raise InputError(f"--max_steps {training.max_steps} is too small; 1 or more is accepted")
    if training.validation_steps < 0 or (training.validation_steps and getattr(data, "validation_clips", 1) < 1):
        raise InputError("validation needs --validation_steps of 1 or more and --validation_clips of 1 or more")
    if not 0 <= training.ema_decay < 1:
        raise InputError(f"--ema_decay {training.ema_decay} is no decay; 0 or more, and less than 1, is accepted")
    return model, data, training
