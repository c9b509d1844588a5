"""One safe reader for checkpoint files: safetensors, PyTorch (.pth .pt .bin .ckpt), Paddle (.pdparams), .npz.

Most published checkpoints are pickles, and a pickle is a program. They are read by an unpickler that knows only how to
build tensors and plain containers, and refuses anything else by name; neither torch nor `paddle.load` is involved.
"""

import collections
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from safetensors import safe_open

from ppdiffusers_ext.errors import InputError, MissingFileError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pdparams", ".npz")

# bf16 has no numpy dtype: Paddle's convention is to hold its bits in uint16.
_BFLOAT16 = np.dtype(np.uint16)
_OLD_TORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # the first pickle of such a file, little-endian
_TORCH_STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


@dataclass
class Checkpoint:
    """The tensors of a file and the layout of its Linear weights: "torch" is (out, in), "paddle" is (in, out)."""

    path: Path
    tensors: dict
    layout: str


def load_tensors(path):
    """Read a checkpoint file: a dict of name -> `paddle.Tensor` on the CPU, in the file's own layout and dtypes.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is of another kind, damaged, or a pickle that would import something.
    """
    return read_checkpoint(path).tensors


def read_checkpoint(path):
    """As `load_tensors`, with the layout: a `Checkpoint`."""
    path = Path(path)
    if not path.exists():
        raise MissingFileError(
            f"weight file {path} does not exist; a file that ends in {', '.join(SUFFIXES)} is needed"
        )
    if path.suffix not in SUFFIXES or not path.is_file():
        raise InputError(f"{path} is not a weight file; a file that ends in {', '.join(SUFFIXES)} is accepted")
    try:
        return _read(path)
    except InputError:
        raise
    except Exception as error:  # a damaged file can make a parser raise anything
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"weight file {path} is damaged or of another kind than its name says ({what})") from error


def _read(path):
    if path.suffix == ".safetensors":
        arrays, layout = _read_safetensors(path)
    elif path.suffix == ".npz":
        arrays, layout = _read_npz(path), "torch"
    elif zipfile.is_zipfile(path):
        arrays, layout = _read_torch_zip(path), "torch"
    elif path.suffix == ".pdparams":
        arrays, layout = _read_paddle_pickle(path), "paddle"
    else:
        raise InputError(_explain_other_file(path))
    return Checkpoint(path, {name: _to_tensor(array) for name, array in arrays.items()}, layout)


def _explain_other_file(path):
    with open(path, "rb") as file:
        start = file.read(64)
    if _OLD_TORCH_MAGIC in start:
        return (
            f"{path} was written by torch before 1.6, a format that is not read; load and save it again with a newer "
            "torch, or as .safetensors"
        )
    return f"weight file {path} is damaged or of another kind than its name says (it is no archive of torch's)"


def _to_tensor(array):
    if isinstance(array, paddle.Tensor):
        return array
    # uint16 becomes bf16 here, by Paddle's own convention.
    return paddle.to_tensor(np.ascontiguousarray(array).reshape(array.shape), place=paddle.CPUPlace())


def _read_safetensors(path):
    tensors = {}
    with safe_open(path, framework="paddle") as file:
        layout = "paddle" if (file.metadata() or {}).get("format") in ("pd", "np") else "torch"  # np: paddlenlp
        for name in file.keys():  # noqa: SIM118 (not a dict)
            shape = file.get_slice(name).get_shape()
            # Paddle cannot make a view of nothing.
            tensors[name] = file.get_tensor(name) if all(shape) else paddle.zeros(shape)
    return tensors, layout


def _read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


class _TensorUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers only. `storages` maps a storage's key to its bytes (torch's zip format)."""

    def __init__(self, file, path, read_storage=None):
        super().__init__(file, encoding="latin1")
        self._path = path
        self._read_storage = read_storage

    def find_class(self, module, name):
        known = _ALLOWED.get((module, name))
        if known is not None:
            return known
        if module == "torch" and name in _TORCH_STORAGES:
            return _TORCH_STORAGES[name]
        raise InputError(
            f"weight file {self._path} is a pickle that wants to import {module}.{name}, which is refused: a file "
            "that holds only tensors is accepted"
        )

    def persistent_load(self, identifier):
        kind, dtype, key, _, _ = identifier
        if kind != "storage" or self._read_storage is None:
            raise pickle.UnpicklingError("unknown reference in the pickle")
        return np.frombuffer(self._read_storage(str(key)), dtype=dtype)


def _rebuild_tensor(storage, offset, size, stride, *_):
    if len(size) != len(stride) or any(n < 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor with sizes that do not fit")
    if not all(size):
        return np.empty(size, dtype=storage.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if last >= storage.size or math.prod(size) > storage.size:
        raise ValueError("a tensor that is larger than its storage")
    strides = [s * storage.dtype.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _rebuild_parameter(data, *_):
    return data


def _paddle_array(name, values):
    # paddle.save writes a lone tensor as eval("data", {"data": array}); nothing is evaluated here.
    if name != "data":
        raise ValueError("a pickled expression")
    return values["data"]


_NDARRAY = object()  # stands for the class, which a pickle only ever passes on


def _reconstruct_array(kind, shape, code):
    if kind is not _NDARRAY or shape != (0,):
        raise ValueError("an array of a kind of its own")
    return np.ndarray(shape, dtype=np.uint8)  # its state, the next thing in the pickle, brings shape and data


def _make_dtype(code, *_):
    dtype = np.dtype(str(code), copy=True)  # a copy: the pickle sets its byte order
    if dtype.kind not in "biufO":  # arrays of objects hold what this reader lets through, and are left out later
        raise ValueError(f"an array of {dtype}")
    return dtype


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    ("builtins", "eval"): _paddle_array,
    ("__builtin__", "eval"): _paddle_array,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _make_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct_array,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct_array,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def _read_torch_zip(path):
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(names) != 1:
            raise InputError(f"weight file {path} is an archive without the pickle of a torch checkpoint")
        folder = names[0][: -len("data.pkl")]
        with archive.open(names[0]) as file:
            content = _TensorUnpickler(file, path, lambda key: archive.read(f"{folder}data/{key}")).load()
        return _named_arrays(content, path)


def _read_paddle_pickle(path):
    with open(path, "rb") as file:
        content = _TensorUnpickler(file, path).load()
    return _named_arrays(content, path)


def _named_arrays(content, path):
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]  # trainers wrap the tensors in one more dict
    if not isinstance(content, dict):
        raise InputError(f"weight file {path} holds a {type(content).__name__}; a dict of named tensors is needed")
    arrays = {}
    for name, value in content.items():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
            value = value[1]  # Paddle 2 saved a tensor as (internal name, array)
        if isinstance(value, np.ndarray) and value.dtype != object:
            arrays[str(name)] = value
    if not arrays:
        raise InputError(f"weight file {path} holds no tensors")
    return arrays
