"""Folders of checkpoints from the original's form to that of `from_pretrained`, and back, tensor by tensor.

The original's form of Animate Anyone: `denoising_unet`, `motion_module`, `reference_unet` and `pose_guider` as `.pth`
(or Paddle's `.pdparams`) in one folder, and folders of the VAE, of the image encoder and of Stable Diffusion 1.5, of
which `unet/config.json` is read. Tensors keep their bits unless another dtype is asked for, and are in memory one at a
time.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from ppdiffusers.utils import PADDLE_SAFETENSORS_WEIGHTS_NAME

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.animate_anyone import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.configuration import Pose2VidConfig
from ppdiffusers_ext.pipelines.loading import (
    Part,
    describe_image_encoder,
    describe_parts,
    describe_vae,
    make_configured_scheduler,
    option_names,
)
from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, to_array, to_tensor
from ppdiffusers_ext.weights.assignment import check_fit, create, find_weights, is_finite, read_config
from ppdiffusers_ext.weights.conversion import names_in_model, transpose, transposed_names
from ppdiffusers_ext.weights.loading import SUFFIXES, read_checkpoint
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

# part -> its files in the original's folder, each with what is in the names of its tensors; the first that fits.
_ORIGINAL_FILES = {
    "denoising_unet": (("motion_module.pth", "motion_modules."), ("denoising_unet.pth", "")),
    "reference_unet": (("reference_unet.pth", ""),),
    "pose_guider": (("pose_guider.pth", ""),),
    "vae": (("sd-vae-ft-mse/diffusion_pytorch_model.safetensors", ""),),
    "image_encoder": (("image_encoder/pytorch_model.bin", ""),),
}
_BASE_MODEL = "stable-diffusion-v1-5"


@dataclass
class Report:
    """What became of a part: how many tensors were read, which of them left out, and files with how many each."""

    part: str
    read: int
    left_out: list
    files: dict = field(default_factory=dict)


def to_paddle(source, target, inference_config, vae=None, image_encoder=None, base_model=None, dtype=None):
    """Convert the original's folder to one for `Pose2VideoPipeline.from_pretrained`.

    Args:
        source, target: folders; the second must be new or empty, and appears when it is complete.
        inference_config: YAML file with `unet_additional_kwargs` and `noise_scheduler_kwargs`.
        vae, image_encoder, base_model: folders, where they are not in `source` under the original's names.
        dtype: "fp32", "fp16" or "bf16" for all numbers with a fraction; as they are if left out.

    Returns:
        A `Report` for each part.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model.
    """
    config = _find_originals(Path(source), inference_config, vae, image_encoder, base_model)
    parts = describe_parts(config)
    pipeline = Pose2VideoPipeline(
        **{name: part.model for name, part in parts.items()}, scheduler=make_configured_scheduler(config)
    )
    with output_folder(target) as folder:
        reports = [_part_to_paddle(name, part, folder, dtype) for name, part in parts.items()]
        pipeline.save_config(str(folder))
        pipeline.scheduler.save_pretrained(str(folder / "scheduler"))
    return reports


def to_torch(source, target, dtype=None):
    """Convert a folder of `Pose2VideoPipeline.save_pretrained` to the original's files in torch's layout.

    Beside the weights, `inference.yaml` takes what `from_pretrained` knows of the networks and the scheduler.

    Arguments, results and errors are those of `to_paddle`.
    """
    source = Path(source)
    name = read_config(source / "model_index.json").get("_class_name")
    if name != Pose2VideoPipeline.__name__:
        raise InputError(f"{source} holds a {name}; a {Pose2VideoPipeline.__name__} is accepted")
    parts = {
        "vae": describe_vae(source / "vae"),
        "image_encoder": describe_image_encoder(source / "image_encoder"),
        "reference_unet": _describe_own(source / "reference_unet", ReferenceUNet),
        "denoising_unet": _describe_own(source / "denoising_unet", DenoisingUNet3D),
        "pose_guider": _describe_own(source / "pose_guider", PoseGuider),
    }
    with output_folder(target) as folder:
        reports = [_part_to_torch(name, part, folder, dtype) for name, part in parts.items()]
        _write_configurations(source, parts, folder)
    return reports


def _find_originals(source, inference_config, vae, image_encoder, base_model):
    if not source.is_dir():
        raise MissingFileError(f"folder {source} does not exist; a folder with the original's files is needed")
    folders = {
        "pretrained_vae_path": ("--vae", vae or source / "sd-vae-ft-mse"),
        "image_encoder_path": ("--image-encoder", image_encoder or source / "image_encoder"),
        "pretrained_base_model_path": ("--base-model", base_model or source / _BASE_MODEL),
    }
    for option, folder in folders.values():
        if not Path(folder).is_dir():
            raise MissingFileError(f"folder {folder} does not exist; {option} names where it is")
    return Pose2VidConfig(
        **{key: str(folder) for key, (_, folder) in folders.items()},
        denoising_unet_config_path=str(source / "config.json") if (source / "config.json").is_file() else "",
        denoising_unet_path=_find_file(source, "denoising_unet"),
        motion_module_path=_find_file(source, "motion_module", "motion_module_stage2", optional=True),
        reference_unet_path=_find_file(source, "reference_unet"),
        pose_guider_path=_find_file(source, "pose_guider"),
        inference_config=str(inference_config),
    )


def _find_file(folder, *stems, optional=False):
    found = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    found = [str(path) for path in found if path.is_file()]
    if len(found) > 1:
        raise InputError(f"{' and '.join(found)} are both there; one of them is accepted")
    if not found and not optional:
        raise MissingFileError(f"there is no {stems[0]} in {folder}; one that ends in {', '.join(SUFFIXES)} is needed")
    return found[0] if found else ""


def _describe_own(folder, cls):
    config = {key: value for key, value in read_config(folder).items() if key in option_names(cls)}
    return Part(create(lambda: cls(**config)), [find_weights(folder)])


class _Tensor:
    """What writers take for an array; it is checked and cast when its numbers are asked for."""

    def __init__(self, name, tensor, dtype, checkpoint):
        self._label, self._tensor, self._file = f"{checkpoint.path}: {name}", tensor, checkpoint.file
        own = str(tensor.dtype).removeprefix("paddle.")
        self._cast = DTYPES[dtype] if dtype and own in DTYPES.values() and own != DTYPES[dtype] else None
        kept = self._cast or own
        self.shape = tuple(tensor.shape)
        self.dtype = BFLOAT16_BITS if kept == "bfloat16" else np.dtype(kept)
        self.nbytes = tensor.size * self.dtype.itemsize

    def __array__(self, dtype=None, copy=None):
        self._file.forget()  # the tensors before this one
        array = to_array(self._tensor)
        if not is_finite(array):
            raise InputError(f"{self._label} holds values that are not finite numbers; the file is damaged")
        if self._cast:
            array = to_array(to_tensor(np.ascontiguousarray(array)).astype(self._cast))
            if not is_finite(array):
                raise InputError(f"{self._label} has numbers too large for {self._cast}; fp32 or bf16 are accepted")
        return array


def _part_to_paddle(name, part, folder, dtype):
    arrays, originals, report = {}, {}, Report(name, 0, [])
    for path in part.files:
        checkpoint = read_checkpoint(path)
        renamed = names_in_model(part.model, list(checkpoint.tensors))
        own = {new: checkpoint.tensors[old] for old, new in renamed.items()}
        own = transpose(own, transposed_names(part.model)) if checkpoint.layout == "torch" else own
        arrays.update({new: _Tensor(old, own[new], dtype, checkpoint) for old, new in renamed.items()})
        originals.update({new: old for old, new in renamed.items() if old != new})
        report.read += len(checkpoint.tensors)
        report.left_out += [old for old in checkpoint.tensors if old not in renamed]
    check_fit(part.model, arrays, " + ".join(map(str, part.files)))
    is_encoder = name == "image_encoder"  # whose loader is paddlenlp's, with a file name and a format of its own
    path = folder / name / ("model.safetensors" if is_encoder else PADDLE_SAFETENSORS_WEIGHTS_NAME)
    path.parent.mkdir()
    kept = {"names": originals, "tables": [old for old in report.left_out if old.endswith("position_ids")]}
    write_safetensors(path, arrays, {"format": "np" if is_encoder else "pd", "original": json.dumps(kept)})
    if is_encoder:
        part.model.config.to_json_file(str(path.with_name("config.json")), use_diff=False)
    else:
        part.model.save_config(str(path.parent))
    report.files[str(path.relative_to(folder))] = len(arrays)
    return report


def _part_to_torch(name, part, folder, dtype):
    checkpoint = read_checkpoint(part.files[0])
    tensors = checkpoint.tensors
    check_fit(part.model, tensors, checkpoint.path)
    if checkpoint.layout == "paddle":
        tensors = transpose(tensors, transposed_names(part.model))
    report = Report(name, len(tensors), [])
    names, tables = _read_originals(checkpoint)
    arrays = {names.get(key, key): _Tensor(key, value, dtype, checkpoint) for key, value in tensors.items()}
    for table in tables:  # they count the positions
        rows = tensors["vision_model.embeddings.position_embedding.weight"].shape[0]
        arrays[table] = np.arange(rows, dtype=np.int64)[np.newaxis]
    for file, contained in _ORIGINAL_FILES[name]:
        chosen = {key: arrays.pop(key) for key in list(arrays) if contained in key}
        if chosen:
            _write_original(folder / file, chosen)
            report.files[file] = len(chosen)
    return report


def _read_originals(checkpoint):
    """What `_part_to_paddle` noted: our names -> the original's, and the names of tables that were left out."""
    try:
        kept = json.loads(checkpoint.metadata.get("original", '{"names": {}, "tables": []}'))
        return {str(key): str(value) for key, value in kept["names"].items()}, [str(name) for name in kept["tables"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{checkpoint.path} has notes of the original's names that cannot be read") from error


def _write_original(path, arrays):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".safetensors":
        write_safetensors(path, arrays, {"format": "pt"})
    else:
        write_torch(path, arrays)


def _write_configurations(source, parts, folder):
    for name in ("vae", "image_encoder"):
        target = folder / Path(_ORIGINAL_FILES[name][0][0]).parent / "config.json"
        target.write_bytes((source / name / "config.json").read_bytes())
    base, denoising = (_plain(parts[name].model.config) for name in ("reference_unet", "denoising_unet"))
    target = folder / _BASE_MODEL / "unet" / "config.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps({"_class_name": "UNet2DConditionModel", **base}, indent=2) + "\n", encoding="utf-8")
    additional = set(option_names(DenoisingUNet3D)) - set(option_names(ReferenceUNet))
    scheduler = read_config(source / "scheduler" / "scheduler_config.json")
    inference = {
        "unet_additional_kwargs": {
            key: denoising[key] for key in sorted(additional) if denoising.get(key) is not None
        },
        "noise_scheduler_kwargs": _plain(scheduler),
        "sampler": scheduler.get("_class_name", "DDIM"),
    }
    (folder / "inference.yaml").write_text(yaml.safe_dump(inference, sort_keys=False), encoding="utf-8")


def _plain(config):
    """A configuration without the notes of the library that wrote it, in JSON's kinds of values."""
    return json.loads(json.dumps({key: value for key, value in config.items() if not key.startswith("_")}))
