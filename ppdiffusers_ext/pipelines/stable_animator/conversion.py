"""Folders of checkpoints of StableAnimator from the original's form to that of `from_pretrained`, and back.

The original's form: `Animation/unet.pth`, `pose_net.pth` and `face_encoder.pth`, with `glintr100_torch.pth` if it is
there, and `stable-video-diffusion-img2vid-xt` with the VAE, the image encoder, the sampler and the UNet's
configuration. In ours the recogniser is a folder of its own, `recognizer`, for `IResNet.from_pretrained`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers import AutoencoderKLTemporalDecoder

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, IResNet, PoseNet
from ppdiffusers_ext.pipelines.conversion import (
    Report,
    check_converted,
    describe_own,
    part_to_torch,
    pipeline_to_paddle,
    plain,
    write_config,
)
from ppdiffusers_ext.pipelines.loading import Part, describe_image_encoder, find_file, known_options, models_of
from ppdiffusers_ext.pipelines.schedulers import scheduler_class
from ppdiffusers_ext.pipelines.stable_animator.faces import describe_recognizer
from ppdiffusers_ext.pipelines.stable_animator.loading import (
    OWN,
    SVD,
    describe_parts,
    find_originals,
    make_configured_scheduler,
)
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.weights.folders import read_config

_RECOGNIZER = "glintr100_torch"
_EULER = "EulerDiscreteScheduler"
_OURS = {
    "num_face_tokens": 4,
    "norm_num_groups": 32,
}  # options of the UNet that the original does not know, and has so
_CLASSES = {
    "vae": AutoencoderKLTemporalDecoder,
    "unet": AnimationUNet,
    "pose_net": PoseNet,
    "face_encoder": FusionFaceId,
    "recognizer": IResNet,
}
_FILES = {
    "vae": f"{SVD}/vae/diffusion_pytorch_model.safetensors",
    "image_encoder": f"{SVD}/image_encoder/model.safetensors",
    "unet": f"{OWN}/unet.pth",
    "pose_net": f"{OWN}/pose_net.pth",
    "face_encoder": f"{OWN}/face_encoder.pth",
    "recognizer": f"{OWN}/{_RECOGNIZER}.pth",
}


def to_paddle(source: str | os.PathLike, target: str | os.PathLike, dtype: str | None = None) -> list[Report]:
    """Convert the original's folder to one for `StableAnimatorPipeline.from_pretrained`.

    Args:
        source, target: folders; the second must be new or empty, and appears when it is complete.
        dtype: "fp32", "fp16" or "bf16" for all numbers with a fraction; as they are if left out.

    Returns:
        A `Report` for each part.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model.
    """
    source = Path(source)
    config = find_originals(source)
    parts = describe_parts(config)
    pipeline = StableAnimatorPipeline(**models_of(parts), scheduler=make_configured_scheduler(config))
    if recognizer := find_file(source / OWN, _RECOGNIZER, optional=True):
        parts["recognizer"] = Part(describe_recognizer(recognizer), [recognizer])
    return pipeline_to_paddle(pipeline, parts, target, dtype)


def to_torch(source: str | os.PathLike, target: str | os.PathLike, dtype: str | None = None) -> list[Report]:
    """Convert a folder of `StableAnimatorPipeline.save_pretrained` to the original's files in torch's layout.

    Arguments, results and errors are those of `to_paddle`.
    """
    source = Path(source)
    check_converted(source, StableAnimatorPipeline.__name__)
    parts = {"image_encoder": describe_image_encoder(source / "image_encoder")}
    for name, cls in _CLASSES.items():
        if name != "recognizer" or (source / name).is_dir():
            parts[name] = describe_own(source / name, cls)
    scheduler = _read_euler(source / "scheduler")
    _check_comes_back(source, parts)
    with output_folder(target) as folder:
        reports = [part_to_torch(name, part, folder, dtype, ((_FILES[name], ""),)) for name, part in parts.items()]
        (folder / SVD / "vae" / "config.json").write_bytes((source / "vae" / "config.json").read_bytes())
        clip = parts["image_encoder"].model.config
        clip.to_json_file(folder / SVD / "image_encoder" / "config.json", use_diff=False)  # as `part_to_paddle`
        unet = plain(parts["unet"].model.config)
        del unet["num_face_tokens"]
        if unet["norm_num_groups"] == 32:  # which the original has without saying so
            del unet["norm_num_groups"]
        write_config(folder / SVD / "unet/config.json", {"_class_name": "UNetSpatioTemporalConditionModel", **unet})
        write_config(folder / SVD / "scheduler/scheduler_config.json", {"_class_name": _EULER, **scheduler})
    return reports


def _read_euler(folder: Path) -> dict[str, Any]:
    """What a folder says of the sampler, of which the original knows one alone."""
    options = read_config(folder / "scheduler_config.json")
    name = options.get("_class_name", _EULER)
    if name != _EULER:
        raise InputError(f"{folder} holds a {name}; the {_EULER} of the original is accepted")
    return known_options(scheduler_class("Euler"), options)


def _check_comes_back(source: Path, parts: Mapping[str, Part]) -> None:
    """Refuse options of networks that the original's files have no place for."""
    unet, encoder = parts["unet"].model.config, parts["image_encoder"].model.config
    sizes = {"cross_attention_dim": unet.cross_attention_dim, "clip_embeddings_dim": encoder.projection_dim}
    expected = {
        "unet": {"num_face_tokens": 4},
        "face_encoder": {"id_embeddings_dim": 512, "num_tokens": 4, **sizes},
        "pose_net": {"noise_latent_channels": unet.block_out_channels[0]},
    }
    for part, options in expected.items():
        own = parts[part].model.config
        for name, value in options.items():
            if own[name] != value:
                raise InputError(
                    f"{source / part} has {name} {own[name]!r}, for which the original's files have no place; "
                    f"{value!r} is accepted"
                )
