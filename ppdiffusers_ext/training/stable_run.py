"""One training run of StableAnimator, from its arguments to its last checkpoint."""

from pathlib import Path

from ppdiffusers import AutoencoderKLTemporalDecoder

from ppdiffusers_ext.data.animation_clips import find_animation_clips
from ppdiffusers_ext.data.animation_samples import AnimationSamples, ClipSet
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.layers import use_own_layers
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, known_options
from ppdiffusers_ext.training.face_embeddings import FaceEmbeddings
from ppdiffusers_ext.training.fit import fit, reproducible_start, samples_of_a_step
from ppdiffusers_ext.training.stable_animator import StableAnimatorModel, freeze, parts
from ppdiffusers_ext.training.stable_objective import StableObjective, collate
from ppdiffusers_ext.weights.assignment import find_weights, load_weights, read_config

_ADAPTER = "processor.id_to_"


def train(model_arguments, data_arguments, training_arguments):
    """Train, from the newest checkpoint in the output folder if there is one. Returns the trainer.

    The networks lie in the output folder afterwards, as safetensors that `scripts.stable_animator` loads.

    Raises:
        InputError, MissingFileError: weights, data or checkpoints that cannot be used.
        NonFiniteError: the loss is not finite.
    """
    data, arguments = data_arguments, training_arguments
    if arguments.validation_steps:
        raise InputError("--validation_steps is not there for this system yet; 0 is accepted")
    sets = [
        ClipSet(find_animation_clips(path, data.data_root_path), width, height, share)
        for path, width, height, share in data.named_sets()
    ]
    samples_per_step = samples_of_a_step(arguments)
    samples = AnimationSamples(
        sets,
        arguments.max_steps * samples_per_step,
        arguments.seed,
        samples_per_step,
        data.sample_n_frames,
        data.sample_stride,
        FaceEmbeddings(data.faces_path, data.face_cache),
    )
    svd = Path(model_arguments.pretrained_model_name_or_path)
    image_encoder = describe_image_encoder(svd / "image_encoder").load()
    with reproducible_start(arguments.seed):
        model = make_model(model_arguments, image_encoder.config.projection_dim)
    trained = freeze(model)
    options = known_options(AutoencoderKLTemporalDecoder, read_config(svd / "vae"))
    vae = use_own_layers(AutoencoderKLTemporalDecoder(**options))
    load_weights(vae, find_weights(svd / "vae"))
    dropout = model_arguments.conditioning_dropout_prob
    objective = StableObjective(vae, image_encoder, arguments.seed, samples_per_step, dropout)
    run = {
        "system": "stable_animator",
        "samples_per_step": samples_per_step,
        "sizes": [[each.width, each.height, each.share] for each in sets],
        "frames": [data.sample_n_frames, data.sample_stride],
        "trained_tensors": len(trained),
    }
    return fit(model, parts(model), objective, samples, collate, run, data.max_bad_share, arguments)


def make_model(arguments, clip_width):
    """The `StableAnimatorModel` with the weights that `StableModelArguments` name; the rest is new.

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


def _start_adapters(unet):
    """Have keys and values of the face begin as those of the picture, as the original has them."""
    parameters = dict(unet.named_parameters())
    for name, parameter in parameters.items():
        if _ADAPTER in name:
            layer, _, which = name.partition(_ADAPTER)
            parameter.set_value(parameters[f"{layer}to_{which}"])
