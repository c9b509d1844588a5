"""Options of EasyAnimate's LoRA trainer, after aigc-apps/EasyAnimate's `scripts/train_lora.py`."""

from dataclasses import dataclass
from typing import ClassVar

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option
from ppdiffusers_ext.training.easy_animate.options import NEW, EasyModelArguments, EasyTransformerArguments


@dataclass
class EasyLoraArguments(EasyModelArguments):
    """`EasyModelArguments` of a training of LoRA beside weights that stay as they are."""

    SHORT_HELP = {
        **EasyModelArguments.SHORT_HELP,
        "rank": "rank of the LoRA",
        "network_alpha": "the LoRA is scaled by network_alpha / rank",
        "lora_target_modules": "parts of names of layers that get LoRA",
    }

    REFUSED: ClassVar[dict[str, str]] = {
        **EasyModelArguments.REFUSED,
        "trainable_modules": "is of a training of all weights; --lora_target_modules chooses layers",
        "trainable_modules_low_learning_rate": "is of a training of all weights",
        "abnormal_norm_clip_start": "is of a training of all weights; --max_grad_norm is one norm for all steps",
        "initial_grad_norm_ratio": "is of a training of all weights; --max_grad_norm is one norm for all steps",
        "use_ema": "is of a training of all weights; --ema_decay 0.9999 keeps an average of LoRA",
        "lora_rank": "is --rank here",
        "lora_alpha": "is --network_alpha here",
        "lora_dropout": "is of the training of LCM-LoRA, which is not here; LoRA has no dropout",
    }

    rank: int = option(128, 1, 4096, help="rank of the LoRA: the inner width of its two matrices for each layer")
    network_alpha: float = option(64.0, 1e-6, 1e6, help="the LoRA is scaled by network_alpha / rank")
    lora_target_modules: list[str] | None = option(
        None,
        help="parts of the names of layers that get LoRA, such as attn1.; all linear layers if left out",
    )
    train_text_encoder: bool = option(
        False,
        help="LoRA of the text encoder as well, at half of the learning rate: of BERT in V4, of T5 before it",
    )

    def __post_init__(self) -> None:
        if any(not text.strip() for text in self.lora_target_modules or ()):
            raise InputError("--lora_target_modules has an empty text; parts of names of layers are accepted")
        for name in ("transformer_path", "motion_module_path"):
            if getattr(self, name) == NEW:
                raise InputError(
                    f"--{name} {NEW} is for training all weights, and LoRA of random weights fits no other model; a "
                    "file of weights is accepted"
                )


@dataclass
class EasyCachedArguments(EasyTransformerArguments, EasyLoraArguments):
    """The options of either training, of whose networks `scripts.cache_latents` keeps what the frozen ones make."""

    SHORT_HELP = EasyModelArguments.SHORT_HELP
    REFUSED: ClassVar[dict[str, str]] = EasyModelArguments.REFUSED
