"""From the names and the layout of published checkpoints to those of this project's classes, strictly.

The project's own classes have the original's names. What remains to be mapped: Linear weights of torch files are
transposed; paddlenlp names CLIP's layers differently; VAEs saved before diffusers 0.17 call their attention
differently; some trainers put a prefix before every name.
"""

import json
import re
from pathlib import Path

import paddle
from paddle import nn
from paddlenlp.transformers.model_utils import no_init_weights

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.strict import describe_mismatch
from ppdiffusers_ext.weights.loading import read_checkpoint

# Prefixes that a wrapper (data parallel training, a trainer of several networks) puts before every name of a file.
_WRAPPERS = ("module.", "denoising_unet.", "reference_unet.", "pose_guider.", "motion_module.")

# paddlenlp's CLIP -> transformers' (which ppdiffusers' CLIP follows), applied in this order.
_CLIP_NAMES = (
    (r"^vision_model\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^vision_model\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision_model\.positional_embedding\.", "vision_model.embeddings.position_embedding."),
    (r"^vision_model\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^vision_model\.ln_post\.", "vision_model.post_layernorm."),
    (r"^vision_model\.transformer\.layers\.(\d+)\.norm([12])\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (r"^vision_model\.transformer\.layers\.(\d+)\.linear([12])\.", r"vision_model.encoder.layers.\1.mlp.fc\2."),
    (r"^vision_model\.transformer\.layers\.", "vision_model.encoder.layers."),
    (r"^vision_projection$", "visual_projection.weight"),
)
_VAE_NAMES = (
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)
_NAMES = {"CLIPVisionModelWithProjection": _CLIP_NAMES, "AutoencoderKL": _VAE_NAMES}

# Tensors that some files hold and a class has no use for: tables that it computes, a head that it does not have.
_UNUSED = {
    "CLIPVisionModelWithProjection": re.compile(r"position_ids$|^text_|^logit_scale$"),
    "ReferenceUNet": re.compile(r"^(conv_norm_out|conv_out)\."),
}

_FOLDER_FILES = (
    "model_state.safetensors",
    "diffusion_paddle_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "model_state.pdparams",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)


def find_weights(folder):
    """The weight file in a folder as ppdiffusers, diffusers or transformers lay it out."""
    folder = Path(folder)
    if folder.is_file():
        return folder
    for name in _FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise MissingFileError(f"there are no weights in {folder}; one of {', '.join(_FOLDER_FILES)} is needed")


def read_config(path):
    """The dict in a `config.json`, given the file or its folder."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise MissingFileError(f"model configuration {path} does not exist; a config.json is needed")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"model configuration {path} is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"model configuration {path} holds a {type(config).__name__}; a JSON object is needed")
    return config


def transposed_names(model):
    """Names of the tensors that torch stores as (out, in) and Paddle as (in, out)."""
    return {f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}


def to_paddle_names(model, tensors, layout):
    """Rename and transpose the tensors of a checkpoint for a model: a new dict.

    Args:
        model: the layer that the tensors are for.
        tensors: name -> `paddle.Tensor`.
        layout: "torch" or "paddle".
    """
    kind = type(model).__name__
    for prefix in _WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    transposed = transposed_names(model) if layout == "torch" else ()
    unused = _UNUSED.get(kind)
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _NAMES.get(kind, ()):
            name = re.sub(pattern, replacement, name)
        if unused is None or not unused.search(name):
            renamed[name] = tensor.t() if name in transposed and tensor.ndim == 2 else tensor
    return renamed


def set_weights(model, tensors, source, may_miss=(), may_exceed=()):
    """Put tensors (already in the model's names and layout) into a model, which may be uninitialised (`LazyGuard`).

    Args:
        source: where the tensors come from, for messages.
        may_miss, may_exceed: parts of names that are allowed to be absent from the tensors (the model keeps or draws
            its initial values), or to be in them without use.

    Raises:
        InputError: a name is missing or unexpected, a shape differs, or a value is not finite.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in tensors and not any(part in name for part in may_miss)]
    unexpected = [name for name in tensors if name not in own and not any(part in name for part in may_exceed)]
    mismatched = [
        f"{name}: {list(tensors[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in tensors and list(tensors[name].shape) != list(own[name].shape)
    ]
    if missing or unexpected or mismatched:
        raise InputError(describe_mismatch(type(model).__name__, source, missing, unexpected, mismatched))
    with paddle.no_grad():
        for name, parameter in own.items():
            if name in tensors:
                tensor = tensors.pop(name)
                if not bool(paddle.isfinite(tensor.astype("float32")).all()):
                    raise InputError(f"{source}: {name} holds values that are not finite numbers; the file is damaged")
                parameter.copy_(tensor.astype(parameter.dtype), False)
            elif not parameter._is_initialized():
                parameter.initialize()


def load_weights(model, *paths, may_miss=(), may_exceed=()):
    """Load one or more checkpoint files into a model, later files over earlier ones; strict as `set_weights`.

    Raises:
        MissingFileError, InputError: as `read_checkpoint` and `set_weights`.
    """
    tensors = {}
    for path in paths:
        checkpoint = read_checkpoint(path)
        tensors.update(to_paddle_names(model, checkpoint.tensors, checkpoint.layout))
    set_weights(model, tensors, " + ".join(str(path) for path in paths), may_miss, may_exceed)
    return model


def create(make, dtype="float32"):
    """Call `make` so that no memory or time is spent on initial values: for models whose weights are loaded next."""
    with no_init_weights(_enable=True), paddle.LazyGuard(), paddle.dtype_guard(dtype):
        model = make()
    model.eval()
    return model


def load_motion_module(model, unet_path, motion_module_path):
    """Load a `DenoisingUNet3D` from the weights of its spatial layers and those of its motion modules.

    This is how released models come, and how Stable Diffusion 1.5's UNet and AnimateDiff's motion module initialise
    the network: AnimateDiff's files have the same names.

    Raises:
        InputError: the second file holds no motion module, or as `load_weights`.
    """
    if motion_module_path is None:
        return load_weights(model, unet_path)
    checkpoint = read_checkpoint(motion_module_path)
    motion = to_paddle_names(model, checkpoint.tensors, checkpoint.layout)
    if not any("motion_modules." in name for name in motion):
        raise InputError(
            f"{motion_module_path} holds no motion module ({len(motion)} tensors, none of them named "
            "*.motion_modules.*); a motion module of Animate Anyone or AnimateDiff is needed"
        )
    checkpoint = read_checkpoint(unet_path)
    tensors = to_paddle_names(model, checkpoint.tensors, checkpoint.layout)
    tensors.update(motion)
    set_weights(model, tensors, f"{unet_path} + {motion_module_path}")
    return model
