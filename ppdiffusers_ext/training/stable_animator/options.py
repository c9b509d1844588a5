"""Options of StableAnimator's trainer, which `training.parser` reads.

The original's names (Francis-Rings/StableAnimator, `train.py`, `train_single.py`) are accepted beside paddlenlp's of
the same meaning.
"""

import re
from dataclasses import dataclass
from typing import Optional

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.training.arguments import TrainingArguments, option
from ppdiffusers_ext.training.stable_animator.model import NOISES


@dataclass
class StableModelArguments:
    """Initial weights and noise of StableAnimator's training."""

    SHORT_HELP = {
        "pretrained_model_name_or_path": "folder of Stable Video Diffusion",
        "unet_model_finetune_path": "StableAnimator's UNet to go on from",
        "posenet_model_finetune_path": "pose net to go on from",
        "face_encoder_finetune_path": "face encoder to go on from",
    }

    pretrained_model_name_or_path: str = option(
        "./pretrained_weights/stable_animator/stable-video-diffusion-img2vid-xt",
        "folder of Stable Video Diffusion: VAE, image encoder and the UNet's configuration",
    )
    unet_model_path: Optional[str] = option(
        None, "weights of Stable Video Diffusion's UNet, that of the folder above if left out; `none` starts at random"
    )
    posenet_model_finetune_path: Optional[str] = option(None, "pose net to go on from; new if left out")
    face_encoder_finetune_path: Optional[str] = option(None, "face encoder to go on from; new if left out")
    unet_model_finetune_path: Optional[str] = option(
        None, "StableAnimator's UNet to go on from, instead of Stable Video Diffusion's"
    )
    train_whole_unet: bool = option(False, "train all of the UNet, not only its transformers as the original does")
    finetune_mode: bool = option(False, "have all three of the files above be needed")
    conditioning_dropout_prob: float = option(
        0.1, "a fifth of the samples are without CLIP's token and a fifth without the picture at 0.1"
    )
    noise_d_low: int = option(NOISES[0], "resolution that the strongest noise is made for; less is more noise")
    noise_d_high: int = option(NOISES[1], "resolution that the weakest noise is made for; less is more noise")
    gradient_checkpointing: bool = option(False, "compute activations again in the backward pass: less memory")

    def __post_init__(self):
        if not 0 < self.noise_d_low <= self.noise_d_high:
            raise InputError(
                f"--noise_d_low {self.noise_d_low} and --noise_d_high {self.noise_d_high} are no bounds; positive "
                "ones in this order are accepted"
            )
        names = ("posenet_model_finetune_path", "face_encoder_finetune_path", "unet_model_finetune_path")
        missing = [f"--{name}" for name in names if not getattr(self, name)]
        if self.finetune_mode and missing:
            raise InputError(f"--finetune_mode lacks {', '.join(missing)}; files of all three networks are needed")


@dataclass
class StableDataArguments:
    """Clips for StableAnimator's training and their sizes."""

    SHORT_HELP = {
        "faces_path": "folder in which models/antelopev2 is",
        "data_root_path": "folder that relative paths of path lists are in",
        "data_path": "path list (or folder) of the clips of a single size",
        "dataset_width": "pixels of --data_path, a multiple of 64",
        "dataset_height": "pixels of --data_path, a multiple of 64",
        "rec_data_path": "path list of clips for 512x512",
        "vec_data_path": "path list of clips for 576x1024",
        "sample_n_frames": "frames of a sample",
    }

    data_root_path: Optional[str] = option(None, "folder that relative paths of path lists are in; each list's own")
    data_path: Optional[str] = option(None, "path list (or folder) of the clips of a single size")
    dataset_width: int = option(512, "pixels of --data_path, a multiple of 64")
    dataset_height: int = option(512, "pixels of --data_path, a multiple of 64")
    rec_data_path: Optional[str] = option(None, "path list of clips for 512x512; with --vec_data_path, two sizes")
    vec_data_path: Optional[str] = option(None, "path list of clips for 576x1024")
    vec_share: float = option(0.5, "part of the steps that are of --vec_data_path")
    data_sets: Optional[str] = option(
        None, "any sizes, as list.txt:512x512:2,other.txt:768x512:1 (path list, size, share of the steps)"
    )
    sample_n_frames: int = option(16, "frames of a sample")
    sample_stride: int = option(4, "frames from one to the next")
    faces_path: str = option("./pretrained_weights/stable_animator", "folder in which models/antelopev2 is")
    face_cache: str = option("./face_embeddings", "folder in which embeddings of faces are kept")
    validation_clips: int = option(4, "clips, the last ones of each list, that are held out when there is validation")
    validation_image: Optional[str] = option(None, "picture to animate when there is validation, by the skeletons of")
    validation_control_folder: Optional[str] = option(None, "this folder, or video, of skeletons")
    validation_image_folder: Optional[str] = option(None, "the frames that should come out, to compare with")
    max_bad_share: float = option(0.1, "part of the samples whose clip cannot be read, above which the run stops")

    def check(self):
        """Raise InputError for values that cannot be used."""
        if not 0 < self.vec_share < 1:
            raise InputError(
                f"--vec_share {self.vec_share} is no part of the steps; a number between 0 and 1 is accepted"
            )
        files = [self.validation_image, self.validation_control_folder]
        if None in files and any([*files, self.validation_image_folder]):
            raise InputError(
                "--validation_image and --validation_control_folder belong together, --validation_image_folder to both"
            )
        for _, width, height, _ in self.named_sets():
            if min(width, height) < 64 or width % 64 or height % 64:
                raise InputError(f"{width}x{height} cannot be trained on; multiples of 64 are accepted")

    def named_sets(self):
        """Returns the sets of clips as a list of (path list, width, height, share).

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
    found = re.fullmatch(r"\s*(.+):(\d{1,6})x(\d{1,6}):(\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})\s*", text, re.ASCII)
    if not found or not float(found[4]) > 0:
        raise InputError(f"--data_sets has {shown(text)}; such as list.txt:512x512:1 is accepted")
    return found[1], int(found[2]), int(found[3]), float(found[4])


_NAMES = {  # the original's -> paddlenlp's, of which the later one on a command line counts
    "checkpointing_steps": "save_steps",
    "checkpoints_total_limit": "save_total_limit",
    "per_gpu_batch_size": "per_device_train_batch_size",
    "lr_warmup_steps": "warmup_steps",
    "num_workers": "dataloader_num_workers",
    "max_train_steps": "max_steps",
}


@dataclass
class StableTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the original's defaults and names."""

    ALIASES = _NAMES

    do_train: bool = option(True, "whether to train")
    learning_rate: float = option(1e-4, "of AdamW; the original's scripts take 1e-5")
    weight_decay: float = option(1e-2, "of AdamW")
    max_grad_norm: float = option(0.0, "norm that gradients are clipped to; 0 leaves them as they are, as originally")
    lr_scheduler_type: str = option("constant", "how the learning rate goes on; constant has no warmup")
    warmup_steps: int = option(
        500, "steps until the learning rate is reached, with --lr_scheduler_type constant_with_warmup and others"
    )
    save_strategy: str = option("steps", "when checkpoints are saved")
    save_steps: int = option(500, "steps from one checkpoint to the next")
    checkpointing_steps: Optional[int] = option(None, "the original's name of --save_steps")
    checkpoints_total_limit: Optional[int] = option(None, "the original's name of --save_total_limit")
    per_gpu_batch_size: Optional[int] = option(None, "the original's name of --per_device_train_batch_size")
    lr_warmup_steps: Optional[int] = option(None, "the original's name of --warmup_steps")
    num_workers: Optional[int] = option(None, "the original's name of --dataloader_num_workers")
    max_train_steps: Optional[int] = option(None, "the original's name of --max_steps")
    mixed_precision: Optional[str] = option(None, "no, fp16 or bf16: the original's way to say --fp16 or --bf16")
    checkpoint_format: str = option(
        "safetensors", "of the networks in checkpoints, and of those at the end; pth is the original's"
    )

    def __post_init__(self):
        for original, own in _NAMES.items():
            if getattr(self, original) is not None:
                setattr(self, own, getattr(self, original))
        if self.mixed_precision not in (None, "no", "fp16", "bf16"):
            raise InputError(f"--mixed_precision {self.mixed_precision} is not known; no, fp16 or bf16 is accepted")
        if self.checkpoint_format not in ("safetensors", "pth"):
            raise InputError(
                f"--checkpoint_format {self.checkpoint_format} is not known; safetensors or pth is accepted"
            )
        if self.mixed_precision:
            self.fp16, self.bf16 = self.mixed_precision == "fp16", self.mixed_precision == "bf16"
        super().__post_init__()
