"""Training run of StableAnimator, from its arguments to its last checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.frames import resize
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, describe_video_vae, known_options
from ppdiffusers_ext.pipelines.run_options import absolute, write_trained
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator.loading import read_scheduler
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.training.fit import Training, fit, reproducible_start
from ppdiffusers_ext.training.options import samples_of_a_step
from ppdiffusers_ext.training.posed import PosedCase
from ppdiffusers_ext.training.stable_animator.check import check_files
from ppdiffusers_ext.training.stable_animator.data import Clips, describe_sets, make_samples, open_given
from ppdiffusers_ext.training.stable_animator.face_embeddings import FaceEmbeddings
from ppdiffusers_ext.training.stable_animator.first_weights import draw_first_weights
from ppdiffusers_ext.training.stable_animator.model import StableAnimatorModel, freeze, parts
from ppdiffusers_ext.training.stable_animator.objective import StableObjective, collate
from ppdiffusers_ext.training.stable_animator.options import StableDataArguments, StableModelArguments
from ppdiffusers_ext.training.stable_animator.places import lead
from ppdiffusers_ext.training.stable_animator.validation import StableAnimator, of_animation_samples
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.training.validation import Validation
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.folders import find_weights, read_config

_ADAPTER = "processor.id_to_"


def train(
    model_arguments: StableModelArguments,
    data_arguments: StableDataArguments,
    training_arguments: Any,
    clips: Clips | None = None,
) -> PartsTrainer:
    """Train, from the newest checkpoint in the output folder if there is one. Returns the trainer.

    Writes the networks into the output folder, in files that `scripts.stable_animator` loads.

    Args:
        training_arguments: `TrainingArguments` with the fields of `StableTrainerOptions`.
        clips: what `check_files` returned, if it was called.

    Raises:
        InputError, MissingFileError: weights, data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    data, arguments = data_arguments, training_arguments
    clips = clips or check_files(model_arguments, data, arguments)
    samples, held_out = make_samples(clips, data, arguments)
    given = _given_case(data) if arguments.validation_steps else []
    svd = Path(model_arguments.pretrained_model_name_or_path)
    image_encoder = describe_image_encoder(svd / "image_encoder").load()
    with reproducible_start(arguments.seed):
        model = make_model(model_arguments, image_encoder.config.projection_dim)
    trained = freeze(model, model_arguments.train_whole_unet)
    vae = describe_video_vae(svd / "vae").load()
    dropout = model_arguments.conditioning_dropout_prob
    noises = (model_arguments.noise_d_low, model_arguments.noise_d_high)
    weight, steps = model_arguments.place_weight, model_arguments.place_steps
    places = lead(model.unet, weight, steps) if weight else None
    samples_per_step = samples_of_a_step(arguments)
    objective = StableObjective(vae, image_encoder, arguments.seed, samples_per_step, dropout, noises, places)
    settings = {
        "system": "stable_animator",
        **describe_sets(data),
        "trained_tensors": len(trained),
        "checkpoint_format": arguments.checkpoint_format,
    }
    validate = None
    if arguments.validation_steps:
        scheduler = make_scheduler("Euler", read_scheduler(svd))
        networks = {name: getattr(model, name) for name in ("unet", "pose_net", "face_encoder")}
        pipeline = StableAnimatorPipeline(vae=vae, image_encoder=image_encoder, scheduler=scheduler, **networks)
        sample = StableAnimator(pipeline, arguments)
        validate = Validation(sample, lambda: [*given, *of_animation_samples(held_out)], arguments.validation_metrics)

    def describe(folder: str, files: dict[str, str]) -> None:
        write_trained(folder, {"svd": absolute(svd), **files})

    trained_parts = parts(model, f".{arguments.checkpoint_format}")
    training = Training(model, trained_parts, objective, samples, collate, settings, held_out, validate, describe)
    return fit(training, data, arguments)


def _given_case(data: StableDataArguments) -> list[PosedCase]:
    """The `PosedCase` of --validation_image, in a list; an empty one without it.

    Raises:
        InputError, MissingFileError: files that cannot be read, or other numbers of frames than of skeletons.
    """
    if not data.validation_image:
        return []
    _, width, height, _ = data.named_sets()[0]
    reference = resize(np.asarray(read_image(data.validation_image)), width, height)
    poses, *truth = (np.stack([resize(frame, width, height) for frame in source]) for source in open_given(data))
    embedding = FaceEmbeddings(data.faces_path, data.face_cache)(reference)
    return [PosedCase(reference, poses, truth[0] if truth else None, embedding)]


def make_model(arguments: StableModelArguments, clip_width: int) -> StableAnimatorModel:
    """`StableAnimatorModel` with the weights of `StableModelArguments`; other weights are new.

    Args:
        clip_width: of the image encoder's embedding.
    """
    svd = Path(arguments.pretrained_model_name_or_path)
    unet = AnimationUNet(**known_options(AnimationUNet, read_config(svd / "unet")))
    if arguments.unet_model_finetune_path:
        load_weights(unet, arguments.unet_model_finetune_path)
    elif arguments.unet_model_path != "none":
        source = Path(arguments.unet_model_path or svd / "unet")
        adapters = tuple(name for name in unet.state_dict() if _ADAPTER in name)
        load_weights(unet, find_weights(source) if source.is_dir() else source, may_miss=adapters)
        _start_adapters(unet)
    else:
        draw_first_weights(unet)
    pose_net = PoseNet(unet.config.block_out_channels[0])
    face_encoder = FusionFaceId(unet.config.cross_attention_dim, clip_embeddings_dim=clip_width)
    for network, path in (
        (pose_net, arguments.posenet_model_finetune_path),
        (face_encoder, arguments.face_encoder_finetune_path),
    ):
        if path:
            load_weights(network, path)
    if arguments.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return StableAnimatorModel(unet, pose_net, face_encoder)


def _start_adapters(unet: AnimationUNet) -> None:
    """Have keys and values of the face begin as those of the picture, as the original has them."""
    parameters = dict(unet.named_parameters())
    for name, parameter in parameters.items():
        if _ADAPTER in name:
            layer, _, which = name.partition(_ADAPTER)
            parameter.set_value(parameters[f"{layer}to_{which}"])
