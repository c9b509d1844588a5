"""Options of StableAnimator's trainer, which `training.parser` reads.

The original's names (Francis-Rings/StableAnimator, `train.py`, `train_single.py`) are accepted beside paddlenlp's of
the same meaning.
"""

import re
from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import inherited, option, path_option
from ppdiffusers_ext.training.bounds import FRAMES, MANY, PART, SIDES
from ppdiffusers_ext.training.options import DataOptions, DiffusersTrainerOptions, LedModelOptions

NOISES = (32, 64)  # resolutions that noise is as strong as for; smaller ones have more of it


@dataclass
class StableModelArguments(LedModelOptions):
    """Initial weights and noise of StableAnimator's training."""

    SHORT_HELP = {
        "pretrained_model_name_or_path": "folder of Stable Video Diffusion",
        "unet_model_finetune_path": "StableAnimator's UNet to go on from",
        "posenet_model_finetune_path": "pose net to go on from",
        "face_encoder_finetune_path": "face encoder to go on from",
    }

    pretrained_model_name_or_path: str = path_option(
        "./pretrained_weights/stable_animator/stable-video-diffusion-img2vid-xt",
        help="folder of Stable Video Diffusion: VAE, image encoder and the UNet's configuration",
    )
    unet_model_path: str | None = path_option(
        None,
        help="weights of Stable Video Diffusion's UNet, that of the folder above if left out; `none` starts at random",
    )
    posenet_model_finetune_path: str | None = path_option(None, help="pose net to go on from; new if left out")
    face_encoder_finetune_path: str | None = path_option(None, help="face encoder to go on from; new if left out")
    unet_model_finetune_path: str | None = path_option(
        None, help="StableAnimator's UNet to go on from, instead of Stable Video Diffusion's"
    )
    train_whole_unet: bool = option(
        False, help="train all of the UNet, not only its transformers as the original does"
    )
    finetune_mode: bool = option(False, help="have all three of the files above be needed")
    conditioning_dropout_prob: float = option(
        0.1, *PART, help="a fifth of the samples are without CLIP's token and a fifth without the picture at 0.1"
    )
    noise_d_low: int = option(
        NOISES[0], 1, MANY, help="resolution that the strongest noise is made for; less is more noise"
    )
    noise_d_high: int = option(
        NOISES[1], 1, MANY, help="resolution that the weakest noise is made for; less is more noise"
    )

    def __post_init__(self) -> None:
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
class StableDataArguments(DataOptions):
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

    data_root_path: str | None = option(None, help="folder that relative paths of path lists are in; each list's own")
    data_path: str | None = option(None, help="path list (or folder) of the clips of a single size")
    dataset_width: int = option(512, *SIDES, help="pixels of --data_path, a multiple of 64")
    dataset_height: int = option(512, *SIDES, help="pixels of --data_path, a multiple of 64")
    rec_data_path: str | None = option(None, help="path list of clips for 512x512; with --vec_data_path, two sizes")
    vec_data_path: str | None = option(None, help="path list of clips for 576x1024")
    vec_share: float = option(0.5, help="part of the steps that are of --vec_data_path")
    data_sets: str | None = option(
        None, help="any sizes, as list.txt:512x512:2,other.txt:768x512:1 (path list, size, share of the steps)"
    )
    sample_n_frames: int = option(16, *FRAMES, help="frames of a sample")
    sample_stride: int = option(4, 1, MANY, help="frames from one to the next")
    reference_frames: int = option(
        0,
        0,
        MANY,
        help="frames at the beginning of a clip that the reference is one of, and after which the sample begins, for "
        "clips that begin with a person who stands as people do in pictures; 0: any other frame, as originally",
    )
    faces_path: str = option("./pretrained_weights/stable_animator", help="folder in which models/antelopev2 is")
    face_cache: str = option("./face_embeddings", help="folder in which embeddings of faces are kept")
    validation_clips: int = inherited(
        DataOptions,
        "validation_clips",
        4,
        help="clips, the last ones of each list, that are held out when there is validation",
    )
    validation_image: str | None = path_option(
        None, help="picture to animate when there is validation, by the skeletons of"
    )
    validation_control_folder: str | None = path_option(None, help="this folder, or video, of skeletons")
    validation_image_folder: str | None = path_option(None, help="the frames that should come out, to compare with")

    def has_validation(self) -> bool:
        return super().has_validation() or self.validation_image is not None

    def check(self) -> None:
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

    def named_sets(self) -> list[tuple[str, int, int, float]]:
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


def _read_set(text: str) -> tuple[str, int, int, float]:
    found = re.fullmatch(r"\s*(.+):(\d{1,6})x(\d{1,6}):(\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})\s*", text, re.ASCII)
    if not found or not float(found[4]) > 0:
        raise InputError(f"--data_sets has {shown(text)}; such as list.txt:512x512:1 is accepted")
    return found[1], int(found[2]), int(found[3]), float(found[4])


@dataclass
class StableTrainerOptions(DiffusersTrainerOptions):
    """`DiffusersTrainerOptions` with the original's defaults and names."""

    learning_rate: float = inherited(
        DiffusersTrainerOptions, "learning_rate", 1e-4, help="of AdamW; the original's scripts take 1e-5"
    )
    max_grad_norm: float = inherited(
        DiffusersTrainerOptions,
        "max_grad_norm",
        0.0,
        help="norm that gradients are clipped to; 0 leaves them as they are, as originally",
    )
    per_device_train_batch_size: int = inherited(
        DiffusersTrainerOptions, "per_device_train_batch_size", 8, aliases=("per_gpu_batch_size",)
    )
    dataloader_num_workers: int = inherited(
        DiffusersTrainerOptions, "dataloader_num_workers", 0, aliases=("num_workers",)
    )
    checkpoint_format: str = option(
        "safetensors",
        choices=("safetensors", "pth"),
        help="of the networks in checkpoints, and of those at the end; pth is the original's",
    )
