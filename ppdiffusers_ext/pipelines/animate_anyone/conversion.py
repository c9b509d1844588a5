"""Folders of checkpoints of Animate Anyone from the original's form to that of `from_pretrained`, and back.

The original's form of Animate Anyone: `denoising_unet`, `motion_module`, `reference_unet` and `pose_guider` as `.pth`
(or Paddle's `.pdparams`) in one folder, and folders of the VAE, of the image encoder and of Stable Diffusion 1.5, of
which `unet/config.json` is read. Tensors keep their bits unless another dtype is asked for, and are in memory one at a
time.
"""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from paddle import nn

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.animate_anyone.loading import (
    BASE_MODEL,
    INFERENCE_CONFIG,
    VAE,
    describe_parts,
    find_originals,
    make_configured_scheduler,
)
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.conversion import (
    Report,
    check_converted,
    describe_own,
    part_to_torch,
    pipeline_to_paddle,
    plain,
    write_config,
)
from ppdiffusers_ext.pipelines.loading import Part, describe_image_encoder, describe_vae, known_options, models_of
from ppdiffusers_ext.pipelines.model_index import find_part
from ppdiffusers_ext.pipelines.schedulers import scheduler_class
from ppdiffusers_ext.weights.folders import read_config

# part -> its files in the original's folder, each with what is in the names of its tensors; the first that fits.
_ORIGINAL_FILES = {
    "denoising_unet": (("motion_module.pth", "motion_modules."), ("denoising_unet.pth", "")),
    "reference_unet": (("reference_unet.pth", ""),),
    "pose_guider": (("pose_guider.pth", ""),),
    "vae": ((f"{VAE}/diffusion_pytorch_model.safetensors", ""),),
    "image_encoder": (("image_encoder/pytorch_model.bin", ""),),
}


def to_paddle(
    source: str | os.PathLike,
    target: str | os.PathLike,
    inference_config: str | os.PathLike | None = None,
    vae: str | os.PathLike | None = None,
    image_encoder: str | os.PathLike | None = None,
    base_model: str | os.PathLike | None = None,
    dtype: str | None = None,
) -> list[Report]:
    """Convert the original's folder to one for `Pose2VideoPipeline.from_pretrained`.

    Args:
        source, target: folders; the second must be new or empty, and appears when it is complete.
        inference_config: YAML file with `unet_additional_kwargs` and `noise_scheduler_kwargs`; that which `to_torch`
            wrote into `source` if left out.
        vae, image_encoder, base_model: folders, where they are not in `source` under the original's names.
        dtype: "fp32", "fp16" or "bf16" for all numbers with a fraction; as they are if left out.

    Returns:
        A `Report` for each part.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model.
    """
    config = find_originals(Path(source), inference_config, vae, image_encoder, base_model)
    parts = describe_parts(config)
    pipeline = Pose2VideoPipeline(**models_of(parts), scheduler=make_configured_scheduler(config))
    return pipeline_to_paddle(pipeline, parts, target, dtype)


def to_torch(source: str | os.PathLike, target: str | os.PathLike, dtype: str | None = None) -> list[Report]:
    """Convert a folder of `Pose2VideoPipeline.save_pretrained` to the original's files in torch's layout.

    Beside the weights, `inference.yaml` takes what `from_pretrained` knows of the networks and the scheduler.

    Arguments, results and errors are those of `to_paddle`.
    """
    source = Path(source)
    check_converted(source, Pose2VideoPipeline.__name__)
    parts = {
        "vae": describe_vae(source / "vae"),
        "image_encoder": describe_image_encoder(source / "image_encoder"),
        "reference_unet": describe_own(find_part(source, "reference_unet", Pose2VideoPipeline), ReferenceUNet),
        "denoising_unet": describe_own(source / "denoising_unet", DenoisingUNet3D),
        "pose_guider": describe_own(source / "pose_guider", PoseGuider),
    }
    with output_folder(target) as folder:
        reports = [part_to_torch(name, part, folder, dtype, _ORIGINAL_FILES[name]) for name, part in parts.items()]
        _write_configurations(source, parts, folder)
    return reports


def _write_configurations(source: Path, parts: Mapping[str, Part], folder: Path) -> None:
    targets = {name: folder / Path(_ORIGINAL_FILES[name][0][0]).parent / "config.json" for name in parts}
    targets["vae"].write_bytes((source / "vae" / "config.json").read_bytes())
    parts["image_encoder"].model.config.to_json_file(targets["image_encoder"], use_diff=False)  # as `part_to_paddle`
    base = plain(parts["reference_unet"].model.config)
    write_config(folder / BASE_MODEL / "unet" / "config.json", {"_class_name": "UNet2DConditionModel", **base})
    scheduler = read_config(source / "scheduler" / "scheduler_config.json", may_be_infinite=True)
    inference = describe_inference(models_of(parts), scheduler)
    (folder / INFERENCE_CONFIG).write_text(yaml.safe_dump(inference, sort_keys=False), encoding="utf-8")


def describe_inference(models: Mapping[str, nn.Layer], scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """What an inference configuration has to say for the same networks and the same sampler to come back.

    Args:
        models: name -> network.
        scheduler: dict of a `scheduler_config.json`.

    Returns:
        A dict for YAML, which `read_inference_config` accepts: of the sampler, what it knows and is not its default.
    """
    base, denoising, guider = (
        plain(models[name].config) for name in ("reference_unet", "denoising_unet", "pose_guider")
    )
    of_both = known_options(DenoisingUNet3D, base)
    without = {**_defaults(DenoisingUNet3D), **of_both}  # what the options would be
    additional = {
        name: denoising[name]
        for name in sorted(without)
        if name in denoising
        and (denoising[name] != without[name] or (name not in of_both and denoising[name] is not None))
    }
    without = {**_defaults(PoseGuider), "conditioning_embedding_channels": denoising["block_out_channels"][0]}
    guider = {name: value for name, value in guider.items() if name in without and value != without[name]}
    name = scheduler.get("_class_name", "DDIM")
    defaults = _defaults(scheduler_class(name))
    return {
        "unet_additional_kwargs": additional,
        **({"pose_guider_kwargs": guider} if guider else {}),
        "noise_scheduler_kwargs": {
            key: value for key, value in plain(scheduler).items() if key in defaults and value != defaults[key]
        },
        "sampler": name,
    }


def _defaults(cls: Any) -> dict[str, Any]:
    """option -> its default, as JSON holds it."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return plain({each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty})
