"""One safe reader for checkpoint files: safetensors, PyTorch (.pth .pt .bin .ckpt), Paddle (.pdparams), .npz.

Most published checkpoints are pickles, and a pickle is a program. Here nothing in a file is executed or imported
(`ppdiffusers_ext.weights.pickles`); neither torch nor `paddle.load` is involved. The tensors are views of the file,
which is read where they are looked at. The index of a checkpoint in several files stands for all of them.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.files import check_file
from ppdiffusers_ext.weights import formats
from ppdiffusers_ext.weights.arrays import to_tensor
from ppdiffusers_ext.weights.mapping import MappedFile, MappedFiles
from ppdiffusers_ext.weights.pickles import Machine, RefusedImport
from ppdiffusers_ext.weights.selection import checkpoint_key, select
from ppdiffusers_ext.weights.shards import INDEX_SUFFIX, check_shard, is_index, read_index
from ppdiffusers_ext.weights.vocabulary import Array, Text

if TYPE_CHECKING:
    import paddle


SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pdparams", ".npz")

_FLAT = (".safetensors", ".npz")  # whose tensors lie in no dicts; names may say so nevertheless
_FORGET_AFTER = 32 << 20  # bytes that are copied before the memory of the originals is given back
_MOST_COPIED = 4  # times the file's size: a view takes nothing, but many views of one storage may have to be copied
_MOST_VALUES = 1_000_000  # of a state, each counted as often as it is referred to
_ACCEPTED = f"a file that ends in {', '.join((*SUFFIXES, INDEX_SUFFIX))} is accepted"


@dataclass
class Checkpoint:
    """The tensors of a file and the layout of its Linear weights: "torch" is (out, in), "paddle" is (in, out).

    file: the `MappedFile` that the tensors are views of, or `MappedFiles`.
    metadata: texts that a .safetensors file has beside its tensors; of shards, those of the first.
    """

    path: Path
    tensors: dict
    layout: str
    file: MappedFile | MappedFiles
    metadata: dict


def load_tensors(path: str | os.PathLike, key: str | None = None) -> dict[str, paddle.Tensor]:
    """Read a checkpoint file, or all that an index names: a dict of name -> `paddle.Tensor` on the CPU.

    They are in the file's own layout and dtypes, which may be 8-bit floats.

    Args:
        path: str or Path.
        key: name of the dict of tensors that is meant, where a file has them below names, as "ema"; what is meant
            otherwise, `weights.selection` says.

    Where the format allows it, the tensors are views of the file: they take memory when they are looked at, and the
    file must not be changed meanwhile (replaced by another of its name it may be). They may be written to.

    Raises:
        MissingFileError: there is no such file, or not all that an index names.
        InputError: the file is of another kind, damaged, or a pickle that would import something; an index that does
            not fit its files; a key that it has not, or none where one is needed.
    """
    return read_checkpoint(path, key).tensors


def read_checkpoint(path: str | os.PathLike, key: str | None = None) -> Checkpoint:
    """As `load_tensors`, with the layout: a `Checkpoint`."""
    path = check_file(path, "weight file", _ACCEPTED)
    with _damage_as_input_error(path):
        if is_index(path):
            return _read_shards(path, key)
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path} is not a weight file; {_ACCEPTED}")
        checkpoint = _read(path, key)
        if path.suffix in _FLAT:
            checkpoint.tensors = select(checkpoint.tensors, lambda _: True, path, key)
        return checkpoint


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a .safetensors file without Paddle, as a process that reads data has to: a dict of name -> array.

    They are views of the file, as those of `load_tensors`, whose errors these are; bf16 comes as its bits in uint16.
    """
    path = check_file(path, "weight file", "a .safetensors file is accepted")
    with _damage_as_input_error(path):
        return formats.read_safetensors(MappedFile(path))[0]


def _read_shards(index: Path, key: str | None) -> Checkpoint:
    """The `Checkpoint` of an index: all of its shards as one."""
    checkpoints = []
    for shard, names in read_index(index).items():
        check_file(shard, "shard", "the weight files of one checkpoint are accepted")
        if shard.suffix not in SUFFIXES:
            raise InputError(f"{index} names {shard}, which is not a weight file; {_ACCEPTED}")
        with _damage_as_input_error(shard), checkpoint_key(None):
            checkpoints.append(_read(shard))
        check_shard(index, shard, names, checkpoints[-1].tensors)
    if len({checkpoint.layout for checkpoint in checkpoints}) > 1:
        raise InputError(f"the files that {index} names are some of torch's layout, some of Paddle's; one is accepted")
    tensors = {name: tensor for checkpoint in checkpoints for name, tensor in checkpoint.tensors.items()}
    tensors = select(tensors, lambda _: True, index, key)
    files = MappedFiles([checkpoint.file for checkpoint in checkpoints])
    return Checkpoint(index, tensors, checkpoints[0].layout, files, checkpoints[0].metadata)


def read_state(path: str | os.PathLike) -> Any:
    """What `paddle.save` wrote of an optimiser or a schedule, as `paddle.load` gives it, but without running it.

    Returns:
        nested dicts, lists, tuples and plain values, with `paddle.Tensor`s that own their memory.

    Raises:
        InputError: the file cannot be read, is damaged, or a pickle that would import something.
    """
    path = check_file(path, "weight file", "one that paddle.save wrote is accepted")
    with _damage_as_input_error(path):
        file = MappedFile(path)
        content = Machine(file.data).run()
        if isinstance(content, dict):
            content.pop("StructuredToParameterName@@", None)  # a note of paddle.save to itself
        return _State(formats.most_bytes(file.size)).make(content)[0]


class _State:
    """Makes the values of a state. What is shared stays so, and is made once, but counts wherever it stands: a few
    bytes of a pickle can refer to one array, or one tuple, any number of times.

    Args:
        most_bytes: of all tensors and texts together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._made: dict[int, Any] = {}

    def make(self, value: Any) -> tuple[Any, int, int]:
        """The value, and how many values and bytes it is. Raises ValueError for too many."""
        made = self._made.get(id(value), self)
        if made is self:
            self._made[id(value)] = None  # while it is made
            made = self._made[id(value)] = self._make(value)
        if made is None:
            raise ValueError("it holds itself")
        self._check(*made[1:])
        return made

    def _make(self, value: Any) -> tuple[Any, int, int]:
        value = formats.without_internal_name(value)
        if isinstance(value, Array):
            if value.value is None:
                raise ValueError("it holds an array of objects")
            self._check(1, value.value.nbytes)
            tensor = paddle.to_tensor(np.array(value.value))
            return tensor, 1, value.value.nbytes
        if isinstance(value, (dict, list, tuple)):
            parts, count, size = [], 1, 0
            for part in value.values() if isinstance(value, dict) else value:
                part, values, bytes_ = self.make(part)
                parts.append(part)
                count, size = count + values, size + bytes_
                self._check(count, size)
            return dict(zip(value, parts)) if isinstance(value, dict) else type(value)(parts), count, size
        if isinstance(value, (Text, memoryview)):
            value = str(value.raw, value.encoding) if isinstance(value, Text) else bytes(value)
            return value, 1, len(value)
        return value, 1, 0

    def _check(self, values: int, size: int) -> None:
        if values > _MOST_VALUES or size > self._most_bytes:
            raise ValueError("it unfolds to more than its size allows")


@contextlib.contextmanager
def _damage_as_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except RefusedImport as error:
        raise InputError(
            f"weight file {path} is a pickle that wants to import {_reason(error)}, which is refused: a file that "
            "holds only tensors is accepted"
        ) from error
    except formats.Unfit as error:
        raise InputError(f"weight file {path} {_reason(error)}") from error
    except OSError as error:
        raise InputError(f"weight file {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file can make a parser raise anything
        what = _reason(error) or type(error).__name__
        raise InputError(f"weight file {path} is damaged or of another kind than its name says ({what})") from error


def _reason(error: BaseException) -> str:
    """A message, which may quote the file, on one line and without anything that a terminal would obey."""
    return printable(" ".join(str(error)[:1000].split()), 300)


def _read(path: Path, key: str | None = None) -> Checkpoint:
    file = MappedFile(path)
    _refuse_messages(bytes(file.data[:512]))
    layout = "torch"
    metadata: dict = {}
    if path.suffix == ".safetensors":
        arrays, metadata = formats.read_safetensors(file)
        layout = "paddle" if metadata.get("format") in ("pd", "np") else "torch"  # np: paddlenlp
    elif path.suffix == ".npz":
        arrays = formats.read_npz(file, path)
    elif zipfile.is_zipfile(path):
        arrays = formats.read_torch_zip(file, path, key)
    elif path.suffix == ".pdparams":
        arrays, layout = formats.read_paddle_pickle(file, path, key), "paddle"
    else:
        arrays = formats.read_old_torch(file, path, key)
    if not arrays:
        raise formats.Unfit("holds no tensors")
    if sum(array.nbytes for array in arrays.values()) > formats.most_bytes(file.size):
        raise ValueError("its tensors are said to be much larger than the file")
    return Checkpoint(path, _to_tensors(arrays, file), layout, file, metadata)


def _refuse_messages(start: bytes) -> None:
    """Refuse what servers and tools put in the place of a file that they do not give."""
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise formats.Unfit("is a web page that a server sent instead of the file; download it again")
    if start.startswith(b"version https://git-lfs"):
        raise formats.Unfit("is a pointer of Git LFS instead of the file; `git lfs pull` fetches it")


def _to_tensors(arrays: dict[str, np.ndarray], file: MappedFile) -> dict[str, paddle.Tensor]:
    file.forget()  # what has been read to check it
    tensors, copied, all_copied = {}, 0, 0
    for name in list(arrays):
        array = arrays.pop(name)
        if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise ValueError(f"tensor {name!s:.100} is said to be of truth values, and is not")
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned and flags.writeable and array.dtype.isnative):
            all_copied += array.nbytes if file.holds(array) else 0
            if all_copied > _MOST_COPIED * file.size:
                raise ValueError("its tensors overlap, and are much larger together than the file")
            array = np.array(array, array.dtype.newbyteorder("="), order="C")
            copied += array.nbytes
            if copied > _FORGET_AFTER:
                file.forget()
                copied = 0
        tensors[name] = to_tensor(array)
    file.forget()
    return tensors
