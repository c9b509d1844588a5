"""One training run of Animate Anyone, from its arguments to its last checkpoint."""

import logging
from pathlib import Path

import paddle
from ppdiffusers.transformers import CLIPImageProcessor

from ppdiffusers_ext.data.clips import find_clips
from ppdiffusers_ext.data.training_clips import TrainingClips, choose_image, choose_video
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.configuration import check_keys, read_yaml
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, describe_vae, known_options, option_names
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.animate_anyone import AnimateAnyoneModel, freeze
from ppdiffusers_ext.training.objective import Collate, Objective
from ppdiffusers_ext.training.trainer import AnimateAnyoneTrainer
from ppdiffusers_ext.weights.assignment import load_weights, read_config

logger = logging.getLogger(__name__)


def train(stage, model_arguments, data_arguments, training_arguments):
    """Train a stage, from the newest checkpoint in the output folder if there is one. Returns the trainer.

    The trained parts lie in the output folder afterwards, as safetensors that `pose2vid` and the next stage load.

    Raises:
        InputError, MissingFileError: weights, data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    arguments = training_arguments
    clips = find_clips(data_arguments.meta_paths)
    paddle.seed(arguments.seed)  # so that what starts at random is the same in all processes
    model = make_model(stage, model_arguments)
    trained = set(freeze(model, stage))
    samples_per_step = (
        arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.dataset_world_size
    )
    dataset = TrainingClips(
        clips,
        arguments.max_steps * samples_per_step,
        arguments.seed,
        data_arguments.train_width,
        data_arguments.train_height,
        _chooser(stage, data_arguments),
        scale=(data_arguments.crop_scale_min, 1.0),
        ratio=(data_arguments.crop_ratio_min, data_arguments.crop_ratio_max),
    )
    run = {
        "stage": stage,
        "seed": arguments.seed,
        "world_size": arguments.world_size,
        "sharding": [option.value for option in arguments.sharding],
        "samples_per_step": samples_per_step,
        "width": data_arguments.train_width,
        "height": data_arguments.train_height,
        "trained_tensors": len(trained),
    }
    trainer = AnimateAnyoneTrainer(
        stage=stage,
        objective=_make_objective(model_arguments, arguments.seed, samples_per_step),
        run=run,
        max_bad_share=data_arguments.max_bad_share,
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=Collate(CLIPImageProcessor()),
    )
    learning = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
    trainer.set_optimizer_grouped_parameters(learning)
    trainer.train(resume_from_checkpoint=_find_checkpoint(arguments, run))
    trainer.save_model()
    return trainer


def make_model(stage, arguments):
    """The `AnimateAnyoneModel` of a stage, with the weights that `ModelArguments` name; the rest is random."""
    base = read_config(Path(arguments.base_model_path) / "unet")
    config = read_config(arguments.denoising_unet_config_path) if arguments.denoising_unet_config_path else base
    additional = {}
    if stage == 2:
        additional = read_yaml(arguments.inference_config_path).get("unet_additional_kwargs") or {}
        check_keys(additional, option_names(DenoisingUNet3D), f"UNet option in {arguments.inference_config_path}")
    options = known_options(DenoisingUNet3D, config)
    denoising_unet = DenoisingUNet3D(**{**options, "use_motion_module": False, **additional})
    reference_unet = ReferenceUNet(**known_options(ReferenceUNet, base))
    pose_guider = PoseGuider(conditioning_embedding_channels=denoising_unet.config.block_out_channels[0])
    _start_from(reference_unet, arguments.reference_unet_path)
    _start_from(pose_guider, arguments.pose_guider_path)
    _start_from(denoising_unet, arguments.denoising_unet_base_model_path, unused=stage == 1)
    if stage == 2:
        _start_from(denoising_unet, arguments.motion_module_path, only_motion=True)
    elif arguments.motion_module_path:
        raise InputError("--motion_module_path is for stage 2; stage 1 has no motion modules")
    if arguments.gradient_checkpointing:
        for network in (denoising_unet, reference_unet):
            network.enable_gradient_checkpointing()
    return AnimateAnyoneModel(reference_unet, denoising_unet, pose_guider)


def _start_from(model, path, unused=False, only_motion=False):
    if not path:
        return
    names = list(model.state_dict())
    motion = ("motion_modules.",)
    spatial = [name for name in names if motion[0] not in name]
    load_weights(model, path, may_miss=spatial if only_motion else motion, may_exceed=motion if unused else ())


def _chooser(stage, arguments):
    if stage == 1:
        return lambda rng, frames: choose_image(rng, frames, arguments.sample_margin)
    return lambda rng, frames: choose_video(rng, frames, arguments.n_sample_frames, arguments.sample_rate)


def _make_objective(arguments, seed, samples_per_step):
    schedule = {name: getattr(arguments, name) for name in ("num_train_timesteps", "beta_start", "beta_end")}
    scheduler = make_scheduler(
        "DDIM",
        {
            **schedule,
            "beta_schedule": arguments.beta_schedule,
            "steps_offset": 1,
            "clip_sample": False,
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
            "prediction_type": "v_prediction",
        },
    )
    return Objective(
        describe_vae(arguments.vae_model_path).load(),
        describe_image_encoder(arguments.image_encoder_path).load(),
        scheduler,
        seed,
        samples_per_step,
        arguments.noise_offset,
        arguments.snr_gamma,
        arguments.uncond_ratio,
    )


def _find_checkpoint(arguments, run):
    """The newest valid checkpoint of the output folder, or the one that was asked for; None to start anew."""
    asked = arguments.resume_from_checkpoint
    if asked:
        problem = checkpoints.problem_of(asked)
        if problem:
            raise InputError(f"--resume_from_checkpoint {asked} cannot be used: {problem}")
        folder = asked
    elif arguments.overwrite_output_dir:
        return None
    else:
        folder = checkpoints.newest_valid(
            arguments.output_dir, lambda path, problem: logger.warning("%s is passed over: %s", path, problem)
        )
    if folder is None:
        return None
    checkpoints.check_run(folder, run)
    logger.warning("the run goes on from %s", folder)
    return str(folder)
