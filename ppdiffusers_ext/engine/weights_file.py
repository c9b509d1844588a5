"""File of a network's weights that engines map into memory; all graphs of the network share it."""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import paddle
import xxhash
from paddle import nn

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.files import check_file, read_json

WEIGHTS, _INDEX = "weights.bin", "weights.json"
_ALIGNMENT = 4096  # a page of memory
_READ_BYTES = 2**20  # what stays in the processor's cache between reading and digesting
_MOST_INDEX = 2**26  # bytes, some hundred for each tensor
_CONVOLUTIONS = (nn.Conv1D, nn.Conv2D, nn.Conv3D)
_BYTES = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
_BYTES |= {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Stored:
    """Location of a tensor: `length` bytes from `offset` in `file`, with this shape, or its transpose."""

    file: str
    offset: int
    length: int
    dtype: str
    shape: list
    transposed: bool = False


def digest_of_layer(layer: nn.Layer) -> str:
    """Digest of names, shapes, dtypes and values of all weights of a network."""
    digest = xxhash.xxh3_128()
    for name, tensor in layer.state_dict().items():
        array = _array(tensor)
        digest.update(f"{name} {tensor.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def digest_of_file(path: str | os.PathLike) -> str:
    """Digest of a file's content."""
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(_READ_BYTES))
    with open(check_file(path, "file", "a plain file is needed"), "rb", buffering=0) as file:
        while length := file.readinto(block):
            digest.update(block[:length])
    return digest.hexdigest()


def write_weights(layer: nn.Layer, folder: str | os.PathLike, transpose: bool = False, dtype: str = "float32") -> str:
    """Write all weights of a network, one after the other, into a new folder. Returns the digest of their file.

    Args:
        layer: an `nn.Layer`.
        folder: to be made.
        transpose: True to write the matrices of linear layers, which are (in, out) in Paddle, as (out, in).
        dtype: that fp32 weights are written in: "float32"; "float16"; or "bfloat16" for matrices and kernels of linear
            layers and convolutions alone, rounded to the nearest, as an engine that computes in bf16 does with them.
    """
    parts = layer.sublayers(include_self=True)
    linear = {id(part.weight) for part in parts if isinstance(part, nn.Linear)}
    matrices = linear | {id(part.weight) for part in parts if isinstance(part, _CONVOLUTIONS)}
    index, digest = {}, xxhash.xxh3_128()
    with output_folder(folder) as temporary, open(temporary / WEIGHTS, "wb") as file:
        for name, tensor in layer.state_dict().items():
            transposed, is_matrix = transpose and id(tensor) in linear, id(tensor) in matrices
            if tensor.dtype == paddle.float32 and (is_matrix or dtype != "bfloat16"):
                tensor = tensor.astype(getattr(paddle, dtype))
            array = np.ascontiguousarray(_array(tensor).T) if transposed else _array(tensor)
            padding = b"\0" * (-file.tell() % _ALIGNMENT)
            file.write(padding)
            written = str(tensor.dtype).removeprefix("paddle.")
            index[name] = asdict(Stored(WEIGHTS, file.tell(), array.nbytes, written, tensor.shape, transposed))
            file.write(array.data)
            digest.update(padding)
            digest.update(array.data)
        (temporary / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    return digest.hexdigest()


def read_index(folder: str | os.PathLike) -> dict[str, Stored]:
    """Name of a weight -> `Stored`.

    Raises:
        OSError, ValueError, TypeError, AttributeError: the folder is damaged.
    """
    content = read_json(Path(folder) / _INDEX, "index", "that of this cache's weights is needed", _MOST_INDEX)
    index = {name: Stored(**entry) for name, entry in content.items()}
    if not all(map(_is_sound, index.values())):
        raise ValueError("an entry is not that of a tensor")
    end = max((stored.offset + stored.length for stored in index.values()), default=0)
    check_file(Path(folder) / WEIGHTS, "file of weights", "that of this cache is needed")
    if (Path(folder) / WEIGHTS).stat().st_size != end:
        raise ValueError(f"{Path(folder) / WEIGHTS} is not {end} bytes long")
    return index


def _is_sound(stored: Stored) -> bool:
    numbers = [stored.offset, stored.length, *stored.shape]
    size = _BYTES.get(stored.dtype) if isinstance(stored.dtype, str) else None
    return (
        stored.file == WEIGHTS
        and type(stored.transposed) is bool
        and isinstance(stored.shape, list)
        and all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
        and size is not None
        and math.prod(stored.shape) * size == stored.length
    )


def _array(tensor: paddle.Tensor) -> np.ndarray:
    # NumPy has no bf16: the bits are what is stored.
    array = tensor.view("int16").numpy() if tensor.dtype == paddle.bfloat16 else tensor.numpy()
    return np.ascontiguousarray(array)
