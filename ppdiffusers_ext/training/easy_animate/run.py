"""Training run of EasyAnimate's transformer, from its arguments to its last checkpoint."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.files import check_folder
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
from ppdiffusers_ext.pipelines.easy_animate import loading, video_coding
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.run_options import absolute, write_trained
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.easy_animate.check import check_files
from ppdiffusers_ext.training.easy_animate.data import Clips, describe_samples, make_samples
from ppdiffusers_ext.training.easy_animate.diffusion import Diffusion, VarianceDiffusion, VelocityDiffusion
from ppdiffusers_ext.training.easy_animate.encoders import Encoders
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel, freeze, parts, start_new
from ppdiffusers_ext.training.easy_animate.networks import Networks
from ppdiffusers_ext.training.easy_animate.objective import EasyObjective
from ppdiffusers_ext.training.easy_animate.options import (
    NEW,
    EasyDataArguments,
    EasyModelArguments,
    EasyTransformerArguments,
)
from ppdiffusers_ext.training.easy_animate.validation import MOST_CAPTIONS, EasyAnimate, of_prompts
from ppdiffusers_ext.training.fit import Training, fit, reproducible_start
from ppdiffusers_ext.training.gradients import FallingLimit
from ppdiffusers_ext.training.parts import TrainedPart
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.training.validation import Validation
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.loading import Checkpoint, read_checkpoint

logger = logging.getLogger(__name__)

_FIRST_LAYER = "pos_embed.proj.weight"
_OF_MOTION = "attn_temporal."
_OF_V4 = ("text_encoder_2", "tokenizer_2")
_NOISING = "DDIM"  # a sampler that adds noise and tells the velocity, of the folder's noise schedule
# Options of the loss that a resumed run must share.
_OF_LOSS = (
    *("snr_loss", "motion_sub_loss", "motion_sub_loss_ratio", "noise_share_in_frames", "noise_share_in_frames_ratio"),
    *("train_sampling_steps", "timestep_sampling"),
)


def train(
    model_arguments: EasyTransformerArguments,
    data_arguments: EasyDataArguments,
    training_arguments: Any,
    clips: Clips | None = None,
) -> PartsTrainer:
    """Train, from the newest checkpoint in the output folder if there is one. Returns the trainer.

    Writes the transformer into the output folder, in a form that inference and the original load.

    Args:
        training_arguments: `TrainingArguments` with the fields of `EasyTransformerTrainerOptions`.
        clips: what `check_files` returned, if it was called.

    Raises:
        InputError, MissingFileError: weights, data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    options, arguments = model_arguments, training_arguments
    start = Start.of(options, data_arguments, arguments, clips)
    model = EasyAnimateModel(start.components["transformer"])
    trained = freeze(model, options.trained, options.trainable_modules_low_learning_rate or ())
    clip = (arguments.max_grad_norm, arguments.initial_grad_norm_ratio, arguments.abnormal_norm_clip_start)

    def describe(folder: str, files: dict[str, str]) -> None:
        path = files["transformer"]  # which has V1's motion modules
        motion = {"motion_module_path": path} if start.config.motion_module_path else {}
        write_pipeline(folder, start.config, {"transformer_path": path, **motion})

    limit = FallingLimit(*clip) if all(clip) else None
    settings = {"trained_tensors": len(trained)}
    training = start.training(model, parts(model), settings, describe=describe, limit=limit)
    return fit(training, data_arguments, arguments)


@dataclass(frozen=True)
class Start:
    """What a training starts from, whatever it trains.

    Attributes:
        options, data, arguments: of the model, the data and the training.
        clips: to train on, and held out.
        networks: `Networks`.
        components: what a pipeline is made of, by name, with the weights that training starts from.
    """

    options: EasyModelArguments
    data: EasyDataArguments
    arguments: Any
    clips: Clips
    networks: Networks
    components: dict[str, Any]

    @property
    def config(self) -> EasyAnimateConfig:
        """The options by which inference reads the same networks."""
        return self.networks.config

    @classmethod
    def of(
        cls,
        options: EasyModelArguments,
        data: EasyDataArguments,
        arguments: Any,
        clips: Clips | None,
        networks: Networks | None = None,
    ) -> "Start":
        """Loads the networks, described here if they are left out. Other arguments and errors are those of `train`."""
        clips = clips or check_files(options, data, arguments)
        if data.latent_cache is not None:
            check_folder(data.latent_cache, "--latent_cache", "one that scripts.cache_latents made is accepted")
        networks = networks or Networks.of(options, arguments)
        components = networks.load()
        with reproducible_start(arguments.seed):
            components["transformer"] = _load_transformer(options, networks.parts["transformer"])
        return cls(options, data, arguments, clips, networks, components)

    def training(
        self,
        model: EasyAnimateModel,
        trained: dict[str, TrainedPart],
        settings: dict[str, Any],
        learning: Any = None,
        **others: Any,
    ) -> Training:
        """The `Training` of a model.

        Args:
            trained: its parts.
            settings: those that a resumed run must share, besides what every training of EasyAnimate shares.
            learning: see `Encoders`.
            others: see `Training`.
        """
        options, data, components, seed = self.options, self.data, self.components, self.arguments.seed
        transformer = components["transformer"]
        of_samples = data.settings(video_coding.frames_multiple(components["vae"]))
        cache = self.networks.open_cache(data, of_samples, seed) if data.latent_cache is not None else None
        samples = make_samples(self.clips, of_samples, data, self.arguments, cache)
        encoders = Encoders.of_components(components, options.vae_mini_batch, options.low_vram, learning)
        diffusion = make_diffusion(options, self.config, transformer)
        return Training(
            model,
            trained,
            EasyObjective(encoders, diffusion, transformer, seed, options),
            samples.training,
            samples.collate,
            {
                "system": "easy_animate",
                "transformer": type(transformer).__name__,
                **settings,
                **{name: getattr(options, name) for name in _OF_LOSS},
                **({"use_came": True} if self.arguments.use_came else {}),
                **describe_samples(data, of_samples),
            },
            samples.held_out,
            make_validation(components, self.clips, data, self.arguments),
            **others,
        )


def _load_transformer(options: EasyModelArguments, part: Any) -> nn.Layer:
    model = type(part.model).from_config(part.model.config)
    start_new(model)
    if options.transformer_path != NEW:
        files = [_read_widened(path, model) for path in part.files if str(path) != NEW]
        load_weights(model, *files, may_miss=(_OF_MOTION,) if options.motion_module_path == NEW else ())
    if options.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def _read_widened(path: str | os.PathLike, model: Any) -> Checkpoint:
    """Weights, whose first layer sees nothing yet of a video's known parts where they are of one without inpainting.

    As the original does, so that training for inpainting goes on from a model of texts.
    """
    checkpoint, channels = read_checkpoint(path), model.config.in_channels
    weight = checkpoint.tensors.get(_FIRST_LAYER)
    if weight is not None and weight.ndim == 4 and weight.shape[1] == model.config.out_channels // 2 < channels:
        more = paddle.zeros([weight.shape[0], channels - weight.shape[1], *weight.shape[2:]], weight.dtype)
        checkpoint.tensors[_FIRST_LAYER] = paddle.concat([weight, more], axis=1)
        logger.info("%s is of %d channels: the other %d begin at zero", path, weight.shape[1], more.shape[1])
    return checkpoint


def make_diffusion(options: EasyModelArguments, config: EasyAnimateConfig, transformer: Any) -> Diffusion:
    """The loss of the transformer's version."""
    steps = options.train_sampling_steps
    if isinstance(transformer, HunyuanTransformer3D):
        scheduler = make_scheduler(_NOISING, loading.read_scheduler(config.model, _NOISING))
        return VelocityDiffusion(scheduler, steps)
    return VarianceDiffusion(steps, options.snr_loss)


def make_validation(
    components: dict[str, Any], clips: Clips, data: EasyDataArguments, arguments: Any
) -> Validation | None:
    """The `Validation` of a training, or None where there is none.

    Args:
        components: of `Start`.
        clips: of whose held-out ones the captions are taken, where there are no prompts.
        data, arguments: `EasyDataArguments` and `TrainingArguments`.
    """
    if not arguments.validation_steps:
        return None
    networks = {**dict.fromkeys(_OF_V4), **components}  # before V4 there is one text encoder
    is_inpainting = data.train_mode == "inpaint"
    pipeline = (EasyAnimateInpaintPipeline if is_inpainting else EasyAnimatePipeline)(**networks)
    prompts = data.validation_prompts or [clip.text for clip in clips.held_out[:MOST_CAPTIONS]]
    size = (data.video_sample_size, data.video_sample_n_frames)
    make = EasyAnimate(pipeline, arguments)
    return Validation(make, lambda: of_prompts(prompts, *size), arguments.validation_metrics)


def write_pipeline(folder: str, config: EasyAnimateConfig, trained: dict[str, Any]) -> None:
    """Write what `EasyAnimatePipeline.from_pretrained` needs to know of a folder beside what was trained.

    Args:
        folder: of a checkpoint or of the output.
        config: of `Networks`.
        trained: options that name the trained files in the folder.
    """
    names = ("model", "transformer_path", "motion_module_path", "vae_path")
    given = {name: absolute(getattr(config, name)) for name in names}
    write_trained(folder, {**given, "transformer": dict(config.transformer) or None, **trained})
