"""Options of EasyAnimate's trainers, which `training.parser` reads.

The original's names (aigc-apps/EasyAnimate, `scripts/train.py`) are accepted beside paddlenlp's of the same meaning.
`REFUSED` has those of its flags that mean nothing here, and why.
"""

from dataclasses import dataclass
from typing import ClassVar

from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.environment import of_launch
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import check_folder_to_be
from ppdiffusers_ext.options import inherited, option, path_option
from ppdiffusers_ext.training.bounds import BELOW_ONE, FRAMES, LONG, MANY, PART, SIDES
from ppdiffusers_ext.training.options import CheckpointedModelOptions, DataOptions, DiffusersTrainerOptions

NEW = "none"  # transformer_path of a transformer with random weights
VALIDATION = "Validation"  # heading of the short help
_NEVER_READ = "has no effect in the original and is not known here"
_OF_HUB = "is for the hub of Hugging Face; --train_data_meta names clips, and results stay in --output_dir"
_EMA = 0.9999  # of the original's --use_ema


@dataclass
class EasyModelArguments(CheckpointedModelOptions):
    """Which networks are trained and used, and on which noise."""

    SHORT_HELP = {
        "pretrained_model_name_or_path": "folder of a checkpoint of EasyAnimate",
        "transformer_path": "weights of the transformer, instead of the folder's",
        "vae_path": "weights of the autoencoder, instead of the folder's",
        "motion_sub_loss": "compare differences of frames as well",
    }
    REFUSED: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("noise_offset", "input_perturbation", "prediction_type", "cache_dir"), _NEVER_READ),
        "revision": "is for downloads, which training does not do",
        "variant": "is for downloads, which training does not do",
        "non_ema_revision": "is for downloads, which training does not do",
        "tokenizer_max_length": "is decided by the model: 77 and 256 tokens in V4, 120 before it",
        "multi_stream": "is for two encoders on one GPU, which one of them fills",
        "enable_xformers_memory_efficient_attention": "is what attention is without it",
        "uniform_sampling": "is --timestep_sampling uniform here",
        "weighting_scheme": "is of flow matching, which the versions up to V4 do not have",
        "snr_gamma": _NEVER_READ,
        **dict.fromkeys(
            ("num_ddim_timesteps", "timestep_scaling_factor", "huber_c", "w_min", "w_max"),
            "is of the training of LCM-LoRA, which is not here; a LoRA of another is accepted in inference",
        ),
    }

    pretrained_model_name_or_path: str = path_option(
        "./pretrained_weights/Diffusion_Transformer/EasyAnimateV4-XL-2-InP",
        help="folder of a checkpoint: transformer, VAE, text encoders, and CLIP for inpainting",
    )
    transformer_path: str | None = path_option(
        None, help="weights of the transformer, instead of the folder's; `none` starts at random"
    )
    motion_module_path: str | None = path_option(
        None, help="weights of V1's motion modules, if they are not in the folder; `none` starts with new ones"
    )
    config_path: str | None = path_option(
        None, help="YAML file whose `transformer` has options that go before the folder's: V1's of motion modules"
    )
    vae_path: str | None = path_option(None, help="weights of the autoencoder, instead of the folder's")
    not_sigma_loss: bool = option(
        False, help="the original's word for the loss of V4; the model decides, and one of another loss is refused"
    )
    loss_type: str | None = option(
        None, choices=("sigma", "ddpm"), help="the same in its newer form: ddpm of V4, sigma of V1 to V3"
    )
    snr_loss: bool = option(False, help="compare latents instead of noise where there is little noise (V1 to V3)")
    motion_sub_loss: bool = option(False, help="have a part of the loss be that of differences from frame to frame")
    motion_sub_loss_ratio: float = option(0.25, *PART, help="that part")
    noise_share_in_frames: bool = option(
        False, help="noise of which each frame has a part of the one before, of unit variance"
    )
    noise_share_in_frames_ratio: float = option(0.5, *BELOW_ONE, help="that part")
    train_sampling_steps: int = option(1000, 1, 1000, help="timesteps to draw from")
    timestep_sampling: str = option(
        "logit_normal",
        choices=("logit_normal", "uniform"),
        help="how timesteps are drawn: logit_normal favours those in the middle (V4, V3), uniform takes all alike",
    )
    vae_mini_batch: int = option(32, 1, MANY, help="videos, or pictures for V1, that are encoded at a time")
    low_vram: bool = option(
        False, help="keep VAE and text encoders in the machine's memory while the transformer computes on a GPU"
    )

    def check_loss(self, is_of_velocity: bool) -> None:
        """Raise InputError where the options ask for the loss of another version.

        Args:
            is_of_velocity: True for V4's.
        """
        if self.not_sigma_loss and not is_of_velocity:
            raise InputError("--not_sigma_loss is of V4, and the transformer of an earlier version; leave it out")
        if self.loss_type not in (None, "ddpm" if is_of_velocity else "sigma"):
            own = "ddpm, that of V4" if is_of_velocity else "sigma, that of V1 to V3"
            raise InputError(f"--loss_type {self.loss_type} is not that of the transformer; {own}, is accepted")
        if self.snr_loss and is_of_velocity:
            raise InputError("--snr_loss is of V1 to V3, and the transformer of V4; leave it out")


@dataclass
class EasyTransformerArguments(EasyModelArguments):
    """`EasyModelArguments` of a training of the transformer's own weights."""

    SHORT_HELP = {**EasyModelArguments.SHORT_HELP, "trainable_modules": "parts of names of what is trained; . for all"}

    REFUSED: ClassVar[dict[str, str]] = {
        **EasyModelArguments.REFUSED,
        **dict.fromkeys(
            (
                *("rank", "network_alpha", "train_text_encoder", "lora_target_modules"),
                *("lora_rank", "lora_alpha", "lora_dropout"),
            ),
            "is of a training of LoRA; scripts/trainer_easy_animate_lora.py has --rank, --network_alpha and others",
        ),
    }

    trainable_modules: list[str] | None = option(
        None, help="parts of the names of trained parameters, such as attn_temporal.; a single . is all, the default"
    )
    trainable_modules_low_learning_rate: list[str] | None = option(
        None, help="parts of the names of parameters that are trained with half of the learning rate"
    )

    @property
    def trained(self) -> list[str]:
        """`trainable_modules`; "." if left out."""
        return self.trainable_modules or ["."]

    def __post_init__(self) -> None:
        given = [("trainable_modules", self.trainable_modules)]
        given.append(("trainable_modules_low_learning_rate", self.trainable_modules_low_learning_rate))
        for name, texts in given:
            if any(not text.strip() for text in texts or ()):
                raise InputError(f"--{name} has an empty text; parts of names, or a single . for all, are accepted")


@dataclass
class EasyDataArguments(DataOptions):
    """Training clips, and what samples are made of them."""

    SHORT_HELP = {
        "train_data_meta": "JSON or CSV file of clips and captions",
        "train_data_dir": "folder that its paths are in",
        "video_sample_size": "pixels, side of a square as large as a video",
        "image_sample_size": "pixels, the same of a picture",
        "video_sample_n_frames": "frames of a sample at most",
        "enable_bucket": "samples have the shape that is nearest to theirs",
        "train_mode": "inpaint for a transformer that sees known parts",
        "validation_prompts": "texts of which validation makes videos",
    }
    REFUSED: ClassVar[dict[str, str]] = {
        "random_flip": _NEVER_READ,
        "max_train_samples": _NEVER_READ,
        "image_repeat_in_forward": _NEVER_READ,
        "enable_text_encoder_in_dataloader": "is for processes that have a GPU of their own",
        "validation_epochs": "is said by --validation_steps here",
        "validation_images": "is of V1's validation; --validation_prompts are accepted",
        "sample_size": "is --video_sample_size here, and --image_sample_size for pictures",
        "sample_n_frames": "is --video_sample_n_frames here",
        "sample_stride": "is --video_sample_stride here",
        "resolution": "is --image_sample_size here",
        "center_crop": "is what all samples have",
        "train_data_format": "is told by the file of --train_data_meta itself",
        **dict.fromkeys(("dataset_name", "dataset_config_name", "image_column", "caption_column"), _OF_HUB),
        **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_token"), _OF_HUB),
    }

    train_data_meta: str | None = option(
        None, help="JSON list, JSON lines or CSV of file_path, text and type, which is video or image"
    )
    train_data_dir: str | None = option(
        None, help="folder that relative paths are in; the working folder, or the file's own, if left out"
    )
    video_sample_size: int = option(512, *SIDES, help="pixels, side of a square of as many pixels as a video")
    image_sample_size: int = option(512, *SIDES, help="pixels, side of a square of as many pixels as a picture")
    token_sample_size: int = option(
        512, *SIDES, help="pixels, size at which a video of all frames has as many tokens as others should"
    )
    video_sample_stride: int = option(4, 1, MANY, help="frames of the file from one frame of a sample to the next")
    video_sample_n_frames: int = option(17, *FRAMES, help="frames of a sample at most")
    video_repeat: int = option(
        1, 0, 1000, help="how often an epoch has each video, where it has each picture once; 0 is for pictures alone"
    )
    enable_bucket: bool = option(
        False, help="samples of a batch have the shape of a table that is nearest to theirs, instead of squares"
    )
    random_hw_adapt: bool = option(False, help="draw smaller sizes as well")
    random_ratio_crop: bool = option(False, help="draw shapes, instead of the nearest")
    random_frame_crop: bool = option(False, help="one batch of ten has fewer frames")
    training_with_video_token_length: bool = option(
        False, help="larger videos have fewer frames, and small batches count several times, with other noise"
    )
    keep_all_node_same_token_length: bool = option(
        False, help="all batches of a step have at most the same tokens, which are drawn"
    )
    train_mode: str = option(
        "normal", choices=("normal", "inpaint"), help="inpaint for a transformer that sees known parts of the video"
    )
    mask_kinds: str = option(
        "v4", choices=("v4", "v3", "all"), help="kinds of masks for inpainting: V4's, V3's, or all ten of later ones"
    )
    text_drop_ratio: float = option(
        0.1, *PART, help="part of the samples without a text, which guidance needs; the original of V4 has none"
    )
    keeps_stride: bool = option(False, help="short videos give fewer frames, instead of frames closer together")
    latent_cache: str | None = path_option(
        None,
        help="folder of latents and texts that scripts.cache_latents makes of the clips, with the same options",
    )
    latent_variants: int = option(
        1, 1, 1000, help="samples of each clip in that folder: other frames, masks and sizes"
    )
    validation_prompts: list[str] | None = option(
        None, group=VALIDATION, help="texts of which validation makes videos, besides the loss of held-out clips"
    )

    def check(self) -> None:
        if self.latent_cache is not None:
            check_folder_to_be(self.latent_cache, "--latent_cache", "the folder of scripts.cache_latents is accepted")
        for name in ("video_sample_size", "image_sample_size", "token_sample_size"):
            if getattr(self, name) % 16:
                raise InputError(f"--{name} {getattr(self, name)} cannot be trained on; a multiple of 16 is accepted")
        if self.training_with_video_token_length and self.image_sample_size < self.video_sample_size:
            raise InputError(
                f"--training_with_video_token_length has sizes from --video_sample_size {self.video_sample_size} to "
                f"--image_sample_size {self.image_sample_size}; the second as large as the first or larger is accepted"
            )

    def has_validation(self) -> bool:
        return super().has_validation() or bool(self.validation_prompts)

    def settings(self, frames_multiple: int) -> SampleSettings:
        """The `SampleSettings` for an autoencoder that encodes so many frames at once."""
        names = (name for name in SampleSettings.__dataclass_fields__ if name != "frames_multiple")
        return SampleSettings(**{name: getattr(self, name) for name in names}, frames_multiple=frames_multiple)


@dataclass
class EasyTrainerOptions(DiffusersTrainerOptions):
    """`DiffusersTrainerOptions` with the original's defaults and names."""

    REFUSED: ClassVar[dict[str, str]] = {
        "use_8bit_adam": "needs a library that Paddle has not; --use_came takes less memory",
        "use_deepspeed": "is --sharding stage2 here",
        "allow_tf32": "is what Paddle does by itself",
        "tracker_project_name": "is of wandb; --output_dir tells runs apart",
        "report_model_info": "is what each line of the log has: the norm of the gradients",
        "save_state": "is what every checkpoint has",
    }

    max_steps: int = inherited(
        DiffusersTrainerOptions, "max_steps", 30000, help="optimisation steps, unless --num_train_epochs is given"
    )
    num_train_epochs: float = option(
        0.0, 0, LONG, help="epochs, which decide the number of steps; 0 for --max_steps of them"
    )
    per_device_train_batch_size: int = inherited(
        DiffusersTrainerOptions, "per_device_train_batch_size", 16, aliases=("train_batch_size",)
    )
    learning_rate: float = inherited(
        DiffusersTrainerOptions, "learning_rate", 1e-4, help="of AdamW; the recipes of V4 and V2 have 2e-5, V3's 1e-5"
    )
    scale_lr: bool = option(
        False, help="multiply the learning rate by the samples of a step, over all processes and accumulated batches"
    )
    max_grad_norm: float = inherited(
        DiffusersTrainerOptions, "max_grad_norm", 1.0, help="norm that gradients are clipped to; 0 for none"
    )
    use_came: bool = option(
        False,
        help="optimise by CAME, which keeps half of what AdamW does, and has no weight decay; --adam_beta1 and the "
        "like have no effect on it",
    )
    validation_inference_steps: int = inherited(DiffusersTrainerOptions, "validation_inference_steps", 25)
    validation_guidance_scale: float = inherited(DiffusersTrainerOptions, "validation_guidance_scale", 7.0)

    def check(self) -> None:
        super().check()
        if self.use_came:
            self._check_came()
        if self.scale_lr:
            processes = of_launch("PADDLE_TRAINERS_NUM", 1)
            self.learning_rate *= processes * self.per_device_train_batch_size * self.gradient_accumulation_steps
            self.scale_lr = False  # it is done

    def _check_came(self) -> None:
        """Raise InputError for what CAME does not do."""
        if self.optim != "adamw":
            raise InputError(f"--use_came and --optim {self.optim} are both given; one of them is accepted")
        if (self.fp16 or self.bf16) and self.fp16_opt_level == "O2":
            raise InputError("--use_came keeps no weights in fp32 beside halves; --fp16_opt_level O1 is accepted")
        if self.offload_optim:
            raise InputError("--offload_optim moves AdamW's state alone; --use_came without it is accepted")
        if "split_param" in str(self.sharding_parallel_config):
            raise InputError(
                "--use_came needs whole matrices, and --sharding_parallel_config split_param cuts them; one of the "
                "two is accepted"
            )


@dataclass
class EasyTransformerTrainerOptions(EasyTrainerOptions):
    """`EasyTrainerOptions` of a training of the transformer's own weights."""

    abnormal_norm_clip_start: int = option(
        1000,
        0,
        LONG,
        help="step after which a norm of five times --max_grad_norm and more is clipped further; 0 for never, and for "
        "the same norm from the first step on",
    )
    initial_grad_norm_ratio: float = option(
        5.0, 1, 1e6, help="of the norm at first, which falls to --max_grad_norm until that step"
    )
    use_ema: bool = option(False, help=f"the original's way to say --ema_decay {_EMA}")

    def check(self) -> None:
        super().check()
        if self.use_ema and not self.ema_decay:
            self.ema_decay = _EMA
