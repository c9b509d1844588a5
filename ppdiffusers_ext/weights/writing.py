"""Writes checkpoint files: .safetensors, and .pth as torch itself writes and reads it, without torch.

What is written are numpy arrays in the order given, as they are (bf16 as its bits in uint16), or what has their
`shape`, `dtype` and `nbytes` and turns into one when its turn comes.
"""

import json
import math
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.arrays import dtype_name
from ppdiffusers_ext.weights.formats import SAFETENSORS_DTYPES
from ppdiffusers_ext.weights.vocabulary import TORCH_STORAGES

_SAFETENSORS_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items() if name != "U16"}
_STORAGE_NAMES = {dtype: name for name, dtype in TORCH_STORAGES.items()}
_ALIGNMENT = 64  # bytes; where torch starts each storage in the file


def write_safetensors(path: str | os.PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write arrays by name as .safetensors, with a dict of texts: "format" is "pt" for torch's layout, else "pd".

    The package safetensors wants all of them at once in memory of its own.
    """
    with open(path, "wb") as file:
        file.writelines(safetensors_parts(arrays, metadata))


def safetensors_parts(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The parts of a file that `write_safetensors` writes: header, then each array."""
    header: dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _SAFETENSORS_NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight
    yield struct.pack("<Q", len(text)) + text
    for array in arrays.values():
        yield _bytes(array)


def write_torch(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as `torch.save` writes a state dict since version 1.6.

    Raises InputError for 8-bit floats, which have no kind of storage of their own there.
    """
    for name, array in arrays.items():
        if array.dtype not in _STORAGE_NAMES:
            raise InputError(
                f"tensor {name} of {dtype_name(array.dtype)} cannot be written to {path}; --dtype fp32, bf16 or fp16 "
                "is accepted, or a file that ends in .safetensors"
            )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "archive/data.pkl", _pickle_state_dict(arrays))
        _add(archive, "archive/byteorder", sys.byteorder.encode())
        for index, array in enumerate(arrays.values()):
            _add(archive, f"archive/data/{index}", _bytes(array))
        _add(archive, "archive/version", b"3\n")


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Add a member whose data start at a multiple of `_ALIGNMENT`, with the same date in every archive."""
    member = zipfile.ZipInfo(name)
    header = archive.fp.tell() + 30 + len(name)  # type: ignore[union-attr]  # open
    padding = -(header + 4) % _ALIGNMENT
    member.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding  # torch's own field for this
    member.file_size = len(data)  # or a member of more than 2 GiB would be refused
    with archive.open(member, "w", force_zip64=False) as file:
        file.write(data)


def _pickle_state_dict(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of an OrderedDict of tensors, each with a storage of its own."""
    out = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    for index, (name, array) in enumerate(arrays.items()):
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(len(array.shape))]
        storage = f"ctorch\n{_STORAGE_NAMES[array.dtype]}\n".encode()
        out += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", _text("storage"), storage]
        out += [_text(str(index)), _text("cpu"), _integer(math.prod(array.shape)), b"tQ", _integer(0)]
        out += [_tuple(array.shape), _tuple(strides), b"\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*out, b"u."])


def _text(value: str) -> bytes:
    data = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    if value < 1 << 31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)


def _tuple(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(_integer(value) for value in values) + b"t"
