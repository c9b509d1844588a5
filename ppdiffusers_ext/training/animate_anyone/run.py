"""Training run of Animate Anyone, from its arguments to its last checkpoint."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from paddle import nn
from ppdiffusers.transformers import CLIPImageProcessor

from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_image, choose_video
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.animate_anyone.conversion import describe_inference
from ppdiffusers_ext.pipelines.animate_anyone.loading import INFERENCE_CONFIG, read_inference_config
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, describe_vae, known_options
from ppdiffusers_ext.pipelines.run_options import absolute, write_trained
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.animate_anyone.check import check_files
from ppdiffusers_ext.training.animate_anyone.data import make_samples
from ppdiffusers_ext.training.animate_anyone.first_weights import draw_first_weights
from ppdiffusers_ext.training.animate_anyone.latent_cache import (
    CachedClips,
    LatentCache,
    embedding_of,
    fill,
    latents_of,
)
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel, freeze, parts
from ppdiffusers_ext.training.animate_anyone.objective import Collate, Objective
from ppdiffusers_ext.training.animate_anyone.options import DataArguments, ModelArguments
from ppdiffusers_ext.training.animate_anyone.places import lead
from ppdiffusers_ext.training.animate_anyone.validation import AnimateAnyone, of_training_clips
from ppdiffusers_ext.training.arguments import TrainingArguments
from ppdiffusers_ext.training.fit import Training, fit, reproducible_start
from ppdiffusers_ext.training.groups import refuse_together
from ppdiffusers_ext.training.latents import hold
from ppdiffusers_ext.training.options import samples_of_a_step
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.training.validation import Validation
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.folders import read_config


def train(
    stage: int,
    model_arguments: ModelArguments,
    data_arguments: DataArguments,
    training_arguments: TrainingArguments,
    clips: Any = None,
) -> PartsTrainer:
    """Train a stage, from the newest checkpoint in the output folder if there is one. Returns the trainer.

    Writes the trained parts into the output folder, as safetensors that `pose2vid` and the next stage load.

    Args:
        clips: what `check_files` returned, if it was called.

    Raises:
        InputError, MissingFileError: weights, data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    arguments = training_arguments
    clips = clips or check_files(stage, model_arguments, data_arguments, arguments)
    samples, held_out = make_samples(clips, data_arguments, arguments, _chooser(stage, data_arguments))
    with reproducible_start(arguments.seed):
        model = make_model(stage, model_arguments)
    learning = set(freeze(model, stage, model_arguments.train_whole_reference))
    settings = {
        "stage": stage,
        "width": data_arguments.train_width,
        "height": data_arguments.train_height,
        "trained_tensors": len(learning),
    }
    vae = describe_vae(model_arguments.vae_model_path).load()
    image_encoder = describe_image_encoder(model_arguments.image_encoder_path).load()
    collate = Collate(CLIPImageProcessor())
    if model_arguments.latent_cache is not None:
        samples = _cached(samples, model_arguments, arguments, vae, image_encoder, collate)
    objective = _make_objective(model, vae, image_encoder, model_arguments, arguments)
    validate = None
    if held_out:
        scheduler = make_noise_scheduler(model_arguments)
        networks = (model.reference_unet, model.denoising_unet, model.pose_guider)
        pipeline = Pose2VideoPipeline(vae, image_encoder, *networks, scheduler)
        make = AnimateAnyone(pipeline, arguments)
        validate = Validation(make, lambda: of_training_clips(held_out), arguments.validation_metrics)

    def describe(folder: str, files: dict[str, str]) -> None:
        write_pipeline(folder, model, files, model_arguments)

    training = Training(
        model, parts(model, stage), objective, samples, collate, settings, held_out, validate, describe
    )
    return fit(training, data_arguments, arguments)


def _make_objective(
    model: AnimateAnyoneModel, vae: Any, image_encoder: Any, arguments: ModelArguments, training: TrainingArguments
) -> Objective:
    weight, steps = arguments.place_weight, arguments.place_steps
    return Objective(
        vae,
        image_encoder,
        make_noise_scheduler(arguments),
        training.seed,
        samples_of_a_step(training),
        arguments.noise_offset,
        arguments.snr_gamma,
        arguments.uncond_ratio,
        lead(model.denoising_unet, weight, steps) if weight else None,
    )


def _cached(
    samples: TrainingClips, model: ModelArguments, arguments: TrainingArguments, *networks: Any
) -> CachedClips:
    """The samples with latents of --latent_cache, which all processes first fill together.

    Args:
        networks: VAE, image encoder, and the `Collate` that knows what the latter takes.
    """
    vae, image_encoder, collate = networks
    hold(vae, image_encoder)
    paths = {"vae": model.vae_model_path, "image_encoder": model.image_encoder_path}
    cache = LatentCache(str(model.latent_cache), samples, {name: digest(path) for name, path in paths.items()})
    part, problem = (arguments.process_index, arguments.world_size), ""
    encode = functools.partial(latents_of, vae)
    try:
        fill(cache, samples, encode, lambda frames: embedding_of(image_encoder, collate.process(frames)), part)
    except InputError as error:
        problem = str(error)
    refuse_together("latent cache", problem)  # which waits for all of them
    return CachedClips(cache, samples)


def write_pipeline(folder: str, model: AnimateAnyoneModel, trained: dict[str, str], arguments: ModelArguments) -> None:
    """Write what `Pose2VideoPipeline.from_pretrained` needs to know of a folder beside the trained parts.

    Args:
        folder: of a checkpoint or of the output.
        model: `AnimateAnyoneModel`.
        trained: dict of the files in the folder by the names of the parts.
        arguments: `ModelArguments`, which say where the other networks are.
    """
    networks = {name: getattr(model, name) for name in ("reference_unet", "denoising_unet", "pose_guider")}
    inference = describe_inference(networks, make_noise_scheduler(arguments).config)
    with output_file(Path(folder) / INFERENCE_CONFIG) as temporary:
        Path(temporary).write_text(yaml.safe_dump(inference, sort_keys=False), encoding="utf-8")
    others = {
        "denoising_unet": arguments.denoising_unet_base_model_path,
        "motion_module": arguments.motion_module_path,
        "reference_unet": arguments.reference_unet_path,
        "pose_guider": arguments.pose_guider_path,
    }
    files = {f"{name}_path": trained.get(name) or absolute(path) for name, path in others.items()}
    folders = {
        "pretrained_base_model_path": absolute(arguments.base_model_path),
        "pretrained_vae_path": absolute(arguments.vae_model_path),
        "image_encoder_path": absolute(arguments.image_encoder_path),
    }
    write_trained(folder, {**folders, **files, "inference_config": INFERENCE_CONFIG})


def make_model(stage: int, arguments: ModelArguments) -> AnimateAnyoneModel:
    """`AnimateAnyoneModel` of a stage with the weights of `ModelArguments`; other weights are drawn."""
    base = read_config(Path(arguments.base_model_path) / "unet")
    config = read_config(arguments.denoising_unet_config_path) if arguments.denoising_unet_config_path else base
    inference = read_inference_config(arguments.inference_config_path)
    options = {**known_options(DenoisingUNet3D, config), **inference["unet_additional_kwargs"]}
    denoising_unet = DenoisingUNet3D(**{**options, "use_motion_module": stage == 2})
    reference_unet = ReferenceUNet(**known_options(ReferenceUNet, base))
    width = denoising_unet.config.block_out_channels[0]
    pose_guider = PoseGuider(**{"conditioning_embedding_channels": width, **inference["pose_guider_kwargs"]})
    if stage == 1 and not arguments.reference_unet_path:
        draw_first_weights(reference_unet, of_reference=True)
    if stage == 1 and not arguments.denoising_unet_base_model_path:
        draw_first_weights(denoising_unet, of_reference=False)
    _start_from(reference_unet, arguments.reference_unet_path)
    _start_from(pose_guider, arguments.pose_guider_path)
    _start_from(denoising_unet, arguments.denoising_unet_base_model_path, unused=stage == 1)
    if stage == 2:
        _start_from(denoising_unet, arguments.motion_module_path, only_motion=True)
    if arguments.gradient_checkpointing:
        for network in (denoising_unet, reference_unet):
            network.enable_gradient_checkpointing()
    return AnimateAnyoneModel(reference_unet, denoising_unet, pose_guider)


def _start_from(model: nn.Layer, path: str | None, unused: bool = False, only_motion: bool = False) -> None:
    if not path:
        return
    names = list(model.state_dict())
    motion = ("motion_modules.",)
    spatial = [name for name in names if motion[0] not in name]
    load_weights(model, path, may_miss=spatial if only_motion else motion, may_exceed=motion if unused else ())


def _chooser(stage: int, arguments: DataArguments) -> Callable:
    if stage == 1:
        return lambda rng, frames: choose_image(rng, frames, arguments.sample_margin, arguments.reference_frames)
    options = (arguments.n_sample_frames, arguments.sample_rate, arguments.reference_frames)
    return lambda rng, frames: choose_video(rng, frames, *options)


def make_noise_scheduler(arguments: ModelArguments) -> Any:
    """Noise scheduler of `ModelArguments`: zero terminal SNR."""
    schedule = {name: getattr(arguments, name) for name in ("num_train_timesteps", "beta_start", "beta_end")}
    return make_scheduler(
        "DDIM",
        {
            **schedule,
            "beta_schedule": arguments.beta_schedule,
            "steps_offset": 1,
            "clip_sample": False,
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
            "prediction_type": arguments.prediction_type,
        },
    )
