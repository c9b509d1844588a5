"""Options of the trainer of EasyAnimate's video autoencoder, which `training.parser` reads.

Names and defaults are those of the original's configuration files (`easyanimate/vae/configs/autoencoder`).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import inherited, option, path_option
from ppdiffusers_ext.training.bounds import FRAMES, LONG, MANY, NOT_NEGATIVE, PART
from ppdiffusers_ext.training.options import CheckpointedModelOptions, DataOptions, TrainerOptions

NO_PERCEPTUAL = "none"
SIDE_MULTIPLE = 8
_SIDES = (32, 8192)  # the discriminators and LPIPS look at nothing smaller
_SLICES = ("slice_mag_vae", "slice_compression_vae", "cache_compression_vae")


@dataclass
class VideoVaeArguments(CheckpointedModelOptions):
    """Which autoencoder is trained, from which weights, and towards what."""

    SHORT_HELP = {
        "vae_config_path": "config.json of the autoencoder, or its folder",
        "ckpt_path": "weights that it starts from; random if left out",
        "perceptual": "folder of LPIPS's weights, or none",
        "train_decoder_only": "train the decoder alone",
    }

    vae_config_path: str = path_option(
        "./pretrained_weights/Diffusion_Transformer/EasyAnimateV3-XL-2-InP-512x512/vae",
        help="config.json of an AutoencoderKLMagvit, or its folder",
    )
    ckpt_path: str | None = path_option(
        None, help="weights that it starts from, or their folder; random if left out", aliases=("vae_path",)
    )
    inflate: bool = option(
        False, help="those weights have seen pictures alone: at first each frame is coded as a picture"
    )
    slice_mag_vae: bool | None = option(None, help="slices as in V2, whatever the config says")
    slice_compression_vae: bool | None = option(None, help="slices as in V3, whatever the config says")
    cache_compression_vae: bool | None = option(None, help="slices as in V4, whatever the config says")
    mini_batch_encoder: int | None = option(None, *FRAMES, help="frames of a slice; the config's if left out")
    mini_batch_decoder: int | None = option(
        None, *FRAMES, help="frames of latents of a slice; the config's if left out"
    )
    train_decoder_only: bool = option(False, help="train the decoder and post_quant_conv alone")
    train_encoder_only: bool = option(False, help="train the encoder and quant_conv alone")
    l1_loss_weight: float = option(1.0, *NOT_NEGATIVE, help="weight of the absolute error")
    l2_loss_weight: float = option(0.0, *NOT_NEGATIVE, help="weight of the squared error")
    perceptual: str = path_option(
        "./pretrained_weights/LPIPS",
        help="folder with LPIPS's weights, vgg16-397923af.pth and vgg.pth; none trains without LPIPS",
    )
    perceptual_weight: float = option(1.0, *NOT_NEGATIVE, help="weight of LPIPS; 0 trains without it")
    kl_weight: float = option(1e-6, *NOT_NEGATIVE, help="weight of the latents' divergence from normal noise")
    disc_start: int = option(
        25001,
        0,
        LONG,
        help="steps before the discriminators have a part. The original's 50001 counts the steps of both optimisers, "
        "and begins after 25001 batches",
    )
    disc_weight: float = option(
        0.5, *NOT_NEGATIVE, help="weight of the discriminators beside the adaptive one; 0 trains without them"
    )
    disc_factor: float = option(1.0, *NOT_NEGATIVE, help="weight of the discriminators, of their own loss as well")
    disc_loss: str = option("hinge", choices=("hinge", "vanilla"), help="loss of the discriminators")
    outlier_penalty_loss_weight: float = option(
        0.0, *NOT_NEGATIVE, help="weight of latents far from the mean of their frame; V5 has 100000"
    )
    outlier_penalty_loss_r: float = option(
        3.0, *NOT_NEGATIVE, help="standard deviations from the mean where that begins"
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be used together."""
        if self.train_decoder_only and self.train_encoder_only:
            raise InputError("--train_decoder_only and --train_encoder_only are both given; one of them is accepted")
        if self.inflate and not self.ckpt_path:
            raise InputError("--inflate needs weights to begin with; --ckpt_path is accepted beside it")
        if not (self.l1_loss_weight or self.l2_loss_weight or self.uses_perceptual):
            raise InputError(
                "--l1_loss_weight, --l2_loss_weight and LPIPS have no weight, so that nothing would bring back the "
                "pictures; one above 0 is accepted"
            )

    @property
    def uses_perceptual(self) -> bool:
        """Whether LPIPS has a part in the loss."""
        return self.perceptual != NO_PERCEPTUAL and self.perceptual_weight > 0

    @property
    def uses_discriminators(self) -> bool:
        """Whether the discriminators have a part in the loss, from some step on."""
        return self.disc_weight > 0 and self.disc_factor > 0

    def of_config(self) -> dict[str, Any]:
        """Options that go over those of the autoencoder's config: a way of slicing takes the place of the config's."""
        names = (*_SLICES, "mini_batch_encoder", "mini_batch_decoder")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if any(given.get(name) for name in _SLICES):
            return {**dict.fromkeys(_SLICES, False), **given}
        return given


@dataclass
class VideoVaeDataArguments(DataOptions):
    """Which clips and pictures are trained on, and how they are cut."""

    SHORT_HELP = {
        "data_json_path": "meta file (JSON or CSV) of clips and pictures",
        "data_root": "folder that its paths are relative to",
        "video_size": "pixels, side of a sample of a video",
        "video_len": "frames of a sample of a video",
    }

    data_json_path: str = path_option(
        "./datasets/internal_datasets/json_of_internal_datasets.json",
        help="meta file (JSON or CSV) of file_path and type, video or image",
        aliases=("train_data_meta",),
    )
    data_root: str | None = path_option(
        None, help="folder that relative paths in it are relative to", aliases=("train_data_dir",)
    )
    video_size: int = option(256, *_SIDES, help="pixels, side of a sample of a video, a multiple of 8")
    size: int = option(256, *_SIDES, help="pixels, side of a sample of a picture, a multiple of 8")
    video_len: int = option(25, *FRAMES, help="frames of a sample of a video")
    slice_interval: int = option(1, 1, MANY, help="frames of the file from one to the next")
    min_crop_f: float = option(0.25, *PART, help="smallest side of a random square, as a part of the short side")
    max_crop_f: float = option(1.0, *PART, help="largest side of a random square, as a part of the short side")

    def check(self) -> None:
        for name in ("video_size", "size"):
            if getattr(self, name) % SIDE_MULTIPLE:
                raise InputError(
                    f"--{name} {getattr(self, name)} cannot be trained on; a multiple of {SIDE_MULTIPLE} from "
                    f"{_SIDES[0]} is accepted"
                )
        if not 0 < self.min_crop_f <= self.max_crop_f:
            raise InputError(
                f"--min_crop_f {self.min_crop_f} and --max_crop_f {self.max_crop_f} are no bounds of a square; "
                "positive ones in this order, up to 1, are accepted"
            )


@dataclass
class VideoVaeTrainerOptions(TrainerOptions):
    """paddlenlp's options, with the original's optimiser as the default."""

    learning_rate: float = inherited(TrainerOptions, "learning_rate", 1e-4, aliases=("base_learning_rate",))
    scale_lr: bool = option(
        False, help="multiply the learning rate by the samples of a step, as the original does unless told otherwise"
    )
    adam_beta1: float = inherited(TrainerOptions, "adam_beta1", 0.5)
    adam_beta2: float = inherited(TrainerOptions, "adam_beta2", 0.9)
    max_grad_norm: float = inherited(
        TrainerOptions, "max_grad_norm", 0.0, help="norm that gradients are clipped to; 0 for none"
    )
    lr_scheduler_type: str = inherited(TrainerOptions, "lr_scheduler_type", "constant")
    seed: int = inherited(TrainerOptions, "seed", 23)
    max_steps: int = inherited(TrainerOptions, "max_steps", 100000)


def shared_settings(model: VideoVaeArguments, data: VideoVaeDataArguments) -> dict[str, Any]:
    """Options that a resumed run must share with the run that it goes on with: name -> value."""
    values = {item.name: getattr(part, item.name) for part in (model, data) for item in dataclasses.fields(part)}
    free = ("gradient_checkpointing", "max_bad_share", "perceptual", *_PATHS)
    settings = {name: value for name, value in values.items() if name not in free}
    return {"stage": "video autoencoder", **settings, "perceptual": model.uses_perceptual}


_PATHS = ("vae_config_path", "ckpt_path", "data_json_path", "data_root")
