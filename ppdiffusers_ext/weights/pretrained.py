"""Has ppdiffusers and paddlenlp read weights with the safe reader, where they would run what is in a pickle.

`AutoencoderKL.from_pretrained`, LoRA loaders, text encoders and the rest of both libraries call a few functions for
that. `secure` puts others in their place, for the whole process.
"""

import sys

import paddlenlp.transformers.model_utils
import paddlenlp.utils.serialization
import ppdiffusers.models.modeling_utils
import ppdiffusers.utils
import ppdiffusers.utils.load_utils

from ppdiffusers_ext.weights.arrays import FLOAT8_BITS
from ppdiffusers_ext.weights.loading import read_checkpoint


def _owned(path):
    """The tensors of a checkpoint in memory of their own: both libraries may keep them as they are."""
    checkpoint = read_checkpoint(path)
    return {name: _own(tensor) for name, tensor in checkpoint.tensors.items()}, checkpoint.layout


def _own(tensor):
    is_float8 = str(tensor.dtype).removeprefix("paddle.") in FLOAT8_BITS  # which neither library knows
    return tensor.astype("float32") if is_float8 else tensor.clone()


def _load_into(checkpoint_file, state_dict, tensor_parallel_split_mapping=None, ignore_keys=None):
    tensors, layout = _owned(checkpoint_file)
    for name, tensor in tensors.items():
        if not any(name.startswith(prefix) for prefix in ignore_keys or ()):
            split = (tensor_parallel_split_mapping or {}).get(name)
            state_dict[name] = split(tensor) if split else tensor
    return "pd" if layout == "paddle" else "pt"


def _smart_load(path, map_location=None, return_numpy=False, return_global_step=False, return_is_torch_weight=False):
    tensors, layout = _owned(path)
    if return_numpy:
        tensors = {name: tensor.numpy() for name, tensor in tensors.items()}
    if return_is_torch_weight:
        tensors["is_torch_weight"] = layout == "torch"
    return tensors


def _load_numpy(path, **_):
    return {name: tensor.numpy() for name, tensor in _owned(path)[0].items()}


def _load(path, **_):
    return _owned(path)[0]


_REPLACED = (
    (ppdiffusers.models.modeling_utils.load_state_dict, _load_into),
    (ppdiffusers.utils.load_utils.smart_load, _smart_load),
    (ppdiffusers.utils.load_utils.torch_load, _load_numpy),
    (paddlenlp.transformers.model_utils.paddlenlp_load, _load),
    (paddlenlp.utils.serialization.load_torch, _load_numpy),
)


def secure():
    """Replace the loaders of ppdiffusers and paddlenlp. Doing it twice is as good as once."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("ppdiffusers", "paddlenlp"):
            # In every module that has imported one of them; those to come import them from these.
            for key, value in list(vars(module).items()):
                for original, replacement in _REPLACED:
                    if value is original:
                        setattr(module, key, replacement)
