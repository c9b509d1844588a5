"""The formats of checkpoint files, each as views of the file's bytes: a dict of name -> numpy array.

bf16 is held as its bits in uint16. Nothing that the file says of itself is believed before it is compared with the
file's size.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, FLOAT8_BITS
from ppdiffusers_ext.weights.pickles import Machine
from ppdiffusers_ext.weights.selection import select
from ppdiffusers_ext.weights.vocabulary import Array, TorchTensor, view

if TYPE_CHECKING:
    import os

    from ppdiffusers_ext.weights.mapping import MappedFile


_OLD_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file that torch before 1.6 wrote
SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": BFLOAT16_BITS,
    "U16": BFLOAT16_BITS,  # how ppdiffusers writes bf16
    "F8_E4M3": FLOAT8_BITS["float8_e4m3fn"],
    "F8_E5M2": FLOAT8_BITS["float8_e5m2"],
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_MAX_HEADER = 8 << 20  # bytes of a safetensors header, which takes thirty times that while it is parsed
_MAX_TENSORS = 50_000  # each takes some kilobytes, however small it is
_LOCAL_HEADER = 30  # bytes of a zip member's header, without name and extra field


class Unfit(ValueError):
    """What is wrong with a file as a whole, said as the rest of a sentence that begins with its name."""


def read_safetensors(file: MappedFile) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a .safetensors file.

    Read here and not by safetensors' own package, which lets two tensors have one name, and whose mapping cannot give
    memory back.
    """
    if file.size < 8:
        raise ValueError("it ends within its header")
    (length,) = struct.unpack("<Q", file.data[:8])
    most = min(_MAX_HEADER, file.size - 8)
    if length > most:
        raise ValueError(f"its header is said to be {length} bytes long, {most} are possible")
    # Decoded here, or json would take other encodings as well.
    header = json.loads(str(file.data[8 : 8 + length], "utf-8"), object_pairs_hook=_dict_without_duplicates)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(type(text) is not str for text in metadata.values()):
        raise ValueError("its metadata are not texts")
    _check_count(header)
    body = file.data[8 + length :]
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        shape = entry["shape"]
        name.encode()  # refuses halves of characters
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise ValueError(f"tensor {name} has the dtype {entry['dtype']!s:.20}")
        dtype = SAFETENSORS_DTYPES[entry["dtype"]]
        if (
            type(shape) is not list
            or len(shape) > 32
            or any(type(n) is not int or n < 0 for n in (start, stop, *shape))
        ):
            raise ValueError(f"tensor {name} has sizes or offsets that are not counts")
        if start != end or stop - start != math.prod(shape) * dtype.itemsize or stop > len(body):
            raise ValueError(f"tensor {name} does not lie where its size allows")
        arrays[name] = np.frombuffer(body[start:stop], np.uint8).view(dtype).reshape(shape)
        end = stop
    if end != len(body):
        raise ValueError("it is longer than its tensors")
    return arrays, metadata


def _dict_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("its header has a name twice")
    return result


def read_npz(file: MappedFile, path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Arrays of a .npz file."""
    with zipfile.ZipFile(path) as archive:
        members = _members(archive)
    _check_count(members)
    packed = [member for member in members.values() if member.compress_type != zipfile.ZIP_STORED]
    if sum(member.file_size for member in packed) > most_bytes(file.size):
        raise ValueError("it unpacks to more than its size allows")
    _check_sums(file, [member for member in members.values() if member.compress_type == zipfile.ZIP_STORED])
    arrays = {}
    for name, member in members.items():
        data = _stored(file, member) if member.compress_type == zipfile.ZIP_STORED else _inflated(file, member)
        arrays[name.removesuffix(".npy")] = _read_npy(data)
    return arrays


def _read_npy(data: memoryview) -> np.ndarray:
    start = io.BytesIO(bytes(data[: 1 << 15]))  # numpy reads headers of 10,000 bytes at most
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = readers[np.lib.format.read_magic(start)](start)
    return view(data[start.tell() :], dtype, shape, fortran)


def read_torch_zip(file: MappedFile, path: str | os.PathLike, key: str | None = None) -> Any:
    """The content of a torch file since version 1.6: an archive of a pickle and of one member for each storage.

    Which dict of tensors is meant, `key` says here and in the readers below; see `selection.select`.
    """
    with zipfile.ZipFile(path) as archive:
        members = _members(archive)
    names = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise Unfit("is an archive without the pickle of a torch checkpoint")
    folder = names[0].removesuffix("data.pkl")
    if members.get(f"{folder}byteorder") and bytes(_stored(file, members[f"{folder}byteorder"])) != b"little":
        raise Unfit("was written on a machine of the other byte order")
    machine = Machine(_stored(file, members[names[0]]))
    content = machine.run()
    used = {key: members[f"{folder}data/{key}"] for key in machine.storages}
    _check_sums(file, [members[names[0]], *used.values()])
    storages = {key: _stored(file, member) for key, member in used.items()}
    return _named_arrays(content, storages, path, key)


def read_old_torch(file: MappedFile, path: str | os.PathLike, key: str | None = None) -> Any:
    """The content of a torch file before version 1.6: five pickles, then the storages one after the other."""
    machine = Machine(file.data)
    if machine.run() != _OLD_TORCH_MAGIC or machine.run() != 1001:
        raise ValueError("it is no checkpoint of torch")
    if machine.run().get("little_endian") is not True:
        raise Unfit("was written on a machine of the other byte order")
    content, keys = machine.run(), machine.run()
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise ValueError("the keys of its storages are no names")
    storages = {}
    for name in keys:
        count = machine.number(8)
        storages[name] = machine.take(count * machine.storages[name].dtype.itemsize)
    return _named_arrays(content, storages, path, key)


def read_paddle_pickle(file: MappedFile, path: str | os.PathLike, key: str | None = None) -> Any:
    """The content of a .pdparams file: a pickle with the tensors in it."""
    return _named_arrays(Machine(file.data).run(), {}, path, key)


def _named_arrays(
    content: Any, storages: dict[str, memoryview], path: str | os.PathLike, key: str | None
) -> dict[str, np.ndarray]:
    """The tensors in what a pickle described, by name; what else is in it is left out."""
    if not isinstance(content, dict):
        raise Unfit(f"holds a {type(content).__name__}; a dict of named tensors is needed")
    if "UnpackBigParamInfor@@" in content:
        raise Unfit("holds tensors in pieces; one that paddle.save wrote with protocol 4 is accepted")
    content = select(content, _is_tensor, path, key)
    _check_count(content)
    arrays = {}
    for name, value in content.items():
        value = without_internal_name(value)
        if isinstance(value, TorchTensor):
            arrays[str(name)] = value.array(storages[value.storage.key])
        elif _is_tensor(value):
            arrays[str(name)] = value.value
    return arrays


def without_internal_name(value: Any) -> Any:
    """A pickled value; of a tensor that Paddle 2 saved as (internal name, array), the array."""
    is_pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Array)
    return value[1] if is_pair else value


def _is_tensor(value: Any) -> bool:
    value = without_internal_name(value)
    return isinstance(value, TorchTensor) or (isinstance(value, Array) and value.value is not None)


def _check_count(entries: Collection[str]) -> None:
    if len(entries) > _MAX_TENSORS:
        raise Unfit(f"holds {len(entries)} tensors; {_MAX_TENSORS} at most are accepted")


def most_bytes(file_size: int) -> int:
    """How much all tensors of a file may take together: more than any honest file needs, for a bomb too little."""
    return 16 * file_size + (16 << 20)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """name -> member; none of them twice, encrypted or in the place of another."""
    members = {member.filename: member for member in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("it is an archive with a name twice")
    if any(member.flag_bits & 1 for member in members.values()):
        raise ValueError("it is an encrypted archive")
    end = 0
    for member in sorted(members.values(), key=lambda member: member.header_offset):
        if member.header_offset < end:  # with each inside the other, a small file has terabytes to look at
            raise ValueError("it is an archive whose members overlap")
        end = member.header_offset + _LOCAL_HEADER + member.compress_size
    return members


def _stored(file: MappedFile, member: zipfile.ZipInfo) -> memoryview:
    """The bytes of a member that is not compressed, where they are in the file."""
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise ValueError(f"member {member.filename!s:.100} is compressed, which torch does not do")
    return _packed(file, member)


def _inflated(file: MappedFile, member: zipfile.ZipInfo) -> memoryview:
    """The bytes of a compressed member, not more than it says."""
    if member.compress_type != zipfile.ZIP_DEFLATED or not member.file_size:  # zlib takes a limit of 0 for none
        raise ValueError(f"member {member.filename!s:.100} is empty, or compressed in an unusual way")
    data = bytearray(zlib.decompressobj(-zlib.MAX_WBITS).decompress(_packed(file, member), member.file_size))
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise ValueError(f"the checksum of {member.filename!s:.100} in it is wrong")
    return memoryview(data)


def _packed(file: MappedFile, member: zipfile.ZipInfo) -> memoryview:
    """The bytes of a member as they are in the file."""
    header = file.data[member.header_offset :][:_LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise ValueError("it is an archive that is damaged")
    name, extra = struct.unpack("<HH", header[26:30])
    start = member.header_offset + _LOCAL_HEADER
    encoding = "utf-8" if member.flag_bits & 0x800 else "cp437"  # as zipfile decodes the name in the directory
    if bytes(file.data[start : start + name]) != member.orig_filename.encode(encoding):
        raise ValueError(f"it is an archive with two names for {member.filename!s:.100}")
    start += name + extra
    data = file.data[start : start + member.compress_size]
    if len(data) != member.compress_size:
        raise ValueError("it is an archive that ends too early")
    return data


def _check_sums(file: MappedFile, members: list[zipfile.ZipInfo]) -> None:
    """Compare the members' checksums, or a flipped bit would go unnoticed; torch itself does not look."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sums = pool.map(lambda member: zlib.crc32(_stored(file, member)), members)
        wrong = [member.filename for member, value in zip(members, sums) if value != member.CRC]
    if wrong:
        raise ValueError(f"the checksum of {wrong[0]!s:.100} in it is wrong")
