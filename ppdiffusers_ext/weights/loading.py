"""One safe reader for checkpoint files: safetensors, PyTorch (.pth .pt .bin .ckpt), Paddle (.pdparams), .npz.

Most published checkpoints are pickles, and a pickle is a program. Here nothing in a file is executed or imported
(`ppdiffusers_ext.weights.pickles`); neither torch nor `paddle.load` is involved. The tensors are views of the file,
which is read where they are looked at. The index of a checkpoint in several files stands for all of them.
"""

import contextlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights import formats
from ppdiffusers_ext.weights.arrays import to_tensor
from ppdiffusers_ext.weights.mapping import MappedFile, MappedFiles
from ppdiffusers_ext.weights.pickles import Machine, RefusedImport
from ppdiffusers_ext.weights.shards import INDEX_SUFFIX, check_shard, is_index, read_index
from ppdiffusers_ext.weights.vocabulary import Array

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pdparams", ".npz")

_FORGET_AFTER = 32 << 20  # bytes that are copied before the memory of the originals is given back


@dataclass
class Checkpoint:
    """The tensors of a file and the layout of its Linear weights: "torch" is (out, in), "paddle" is (in, out).

    file: the `MappedFile` that the tensors are views of, or `MappedFiles`.
    metadata: texts that a .safetensors file has beside its tensors; of shards, those of the first.
    """

    path: Path
    tensors: dict
    layout: str
    file: MappedFile
    metadata: dict


def load_tensors(path):
    """Read a checkpoint file, or all that an index names: a dict of name -> `paddle.Tensor` on the CPU.

    They are in the file's own layout and dtypes.

    Where the format allows it, the tensors are views of the file: they take memory when they are looked at, and the
    file must not be changed meanwhile (replaced by another of its name it may be). They may be written to.

    Raises:
        MissingFileError: there is no such file, or not all that an index names.
        InputError: the file is of another kind, damaged, or a pickle that would import something; an index that does
            not fit its files.
    """
    return read_checkpoint(path).tensors


def read_checkpoint(path):
    """As `load_tensors`, with the layout: a `Checkpoint`."""
    path = Path(path)
    with _damage_as_input_error(path):
        if not path.exists():
            raise MissingFileError(
                f"weight file {path} does not exist; a file that ends in {', '.join((*SUFFIXES, INDEX_SUFFIX))} is "
                "needed"
            )
        if is_index(path):
            return _read_shards(path)
        if path.suffix not in SUFFIXES or not path.is_file():
            raise InputError(f"{path} is not a weight file; a file that ends in {', '.join(SUFFIXES)} is accepted")
        return _read(path)


def _read_shards(index):
    """The `Checkpoint` of an index: all of its shards as one."""
    checkpoints = []
    for shard, names in read_index(index).items():
        checkpoints.append(read_checkpoint(shard))
        check_shard(index, shard, names, checkpoints[-1].tensors)
    if len({checkpoint.layout for checkpoint in checkpoints}) > 1:
        raise InputError(f"the files that {index} names are some of torch's layout, some of Paddle's; one is accepted")
    tensors = {name: tensor for checkpoint in checkpoints for name, tensor in checkpoint.tensors.items()}
    files = MappedFiles([checkpoint.file for checkpoint in checkpoints])
    return Checkpoint(index, tensors, checkpoints[0].layout, files, checkpoints[0].metadata)


def read_state(path):
    """What `paddle.save` wrote of an optimiser or a schedule, as `paddle.load` gives it, but without running it.

    Returns:
        nested dicts, lists, tuples and plain values, with `paddle.Tensor`s that own their memory.

    Raises:
        InputError: the file cannot be read, is damaged, or a pickle that would import something.
    """
    with _damage_as_input_error(path):
        content = Machine(MappedFile(path).data).run()
        if isinstance(content, dict):
            content.pop("StructuredToParameterName@@", None)  # a note of paddle.save to itself
        return _with_tensors(content)


def _with_tensors(value):
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Array):
        value = value[1]  # (internal name, array)
    if isinstance(value, Array):
        return paddle.to_tensor(np.array(value.value))
    if isinstance(value, dict):
        return {key: _with_tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with_tensors(item) for item in value)
    return value


@contextlib.contextmanager
def _damage_as_input_error(path):
    try:
        yield
    except InputError:
        raise
    except RefusedImport as error:
        raise InputError(
            f"weight file {path} is a pickle that wants to import {_printable(error)}, which is refused: a file that "
            "holds only tensors is accepted"
        ) from error
    except formats.Unfit as error:
        raise InputError(f"weight file {path} {_printable(error)}") from error
    except OSError as error:
        raise InputError(f"weight file {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file can make a parser raise anything
        what = _printable(error) or type(error).__name__
        raise InputError(f"weight file {path} is damaged or of another kind than its name says ({what})") from error


def _printable(error):
    """A message, which may quote the file, on one line and without anything that a terminal would obey."""
    text = " ".join(str(error)[:1000].split())[:300]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _read(path):
    file = MappedFile(path)
    _refuse_messages(bytes(file.data[:512]))
    layout, metadata = "torch", {}
    if path.suffix == ".safetensors":
        arrays, metadata = formats.read_safetensors(file)
        layout = "paddle" if metadata.get("format") in ("pd", "np") else "torch"  # np: paddlenlp
    elif path.suffix == ".npz":
        arrays = formats.read_npz(file, path)
    elif zipfile.is_zipfile(path):
        arrays = formats.read_torch_zip(file, path)
    elif path.suffix == ".pdparams":
        arrays, layout = formats.read_paddle_pickle(file), "paddle"
    else:
        arrays = formats.read_old_torch(file)
    if not arrays:
        raise formats.Unfit("holds no tensors")
    if sum(array.nbytes for array in arrays.values()) > formats.most_bytes(file.size):
        raise ValueError("its tensors are said to be much larger than the file")
    return Checkpoint(path, _to_tensors(arrays, file), layout, file, metadata)


def _refuse_messages(start):
    """Refuse what servers and tools put in the place of a file that they do not give."""
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise formats.Unfit("is a web page that a server sent instead of the file; download it again")
    if start.startswith(b"version https://git-lfs"):
        raise formats.Unfit("is a pointer of Git LFS instead of the file; `git lfs pull` fetches it")


def _to_tensors(arrays, file):
    file.forget()  # what has been read to check it
    tensors, copied = {}, 0
    for name in list(arrays):
        array = arrays.pop(name)
        if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise ValueError(f"tensor {name!s:.100} is said to be of truth values, and is not")
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned and flags.writeable and array.dtype.isnative):
            array = np.array(array, array.dtype.newbyteorder("="), order="C")
            copied += array.nbytes
            if copied > _FORGET_AFTER:
                file.forget()
                copied = 0
        tensors[name] = to_tensor(array)
    file.forget()
    return tensors
