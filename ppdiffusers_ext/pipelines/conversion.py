"""One part of a checkpoint from the original's form to that of `from_pretrained`, and back, tensor by tensor.

Tensors keep their bits unless another dtype is asked for, and are in memory one at a time.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddlenlp.transformers import PretrainedModel
from ppdiffusers.utils import PADDLE_SAFETENSORS_WEIGHTS_NAME

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.errors import InputError, MissingFileError, shown, shown_path
from ppdiffusers_ext.files import check_folder, parse_json
from ppdiffusers_ext.options import DTYPES
from ppdiffusers_ext.pipelines.loading import Part, build, known_options
from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, FLOAT8_BITS, to_array, to_tensor
from ppdiffusers_ext.weights.assignment import check_fit, is_finite
from ppdiffusers_ext.weights.conversion import names_in_model, transpose, transposed_names
from ppdiffusers_ext.weights.folders import find_weights, read_config
from ppdiffusers_ext.weights.loading import Checkpoint, read_checkpoint
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch

_INDEX = "model_index.json"
_UNUSED = "unused.safetensors"
_CONVERTED = "one that this project's conversion wrote is accepted"
_DIGITS = 16  # of a tensor's name in it, which is made of its content


@dataclass
class Report:
    """What became of a part: how many tensors were read, which of them left out, and files with how many each."""

    part: str
    read: int
    left_out: list
    files: dict = field(default_factory=dict)


def check_converted(folder: Path, pipeline: str) -> None:
    """Raise InputError, MissingFileError unless a folder is one that `save_pretrained` of a pipeline wrote.

    Args:
        folder: `Path`.
        pipeline: name of its class.
    """
    accepted = f"a folder that save_pretrained of a {pipeline}, or --to paddle, wrote is needed"
    check_folder(folder, "folder", accepted)
    index = folder / _INDEX
    if not index.exists():
        raise MissingFileError(f"folder {shown_path(folder)} has no {_INDEX}, so that it is no pipeline; {accepted}")
    name = read_config(index).get("_class_name")
    if name != pipeline:
        raise InputError(f"{shown_path(folder)} holds a {shown(name)}; a {pipeline} is accepted")


def describe_own(folder: Path, cls: type, dtype: str = "float32") -> Part:
    """The `Part` of a folder of one of this project's networks, with weights of a dtype."""
    config = known_options(cls, read_config(folder), folder)
    return Part(build(cls, config, folder, dtype), [find_weights(folder)])


class _Tensor:
    """What writers take for an array; it is checked, cast and changed when its numbers are asked for."""

    def __init__(
        self,
        name: str,
        tensor: paddle.Tensor,
        dtype: str | None,
        checkpoint: Checkpoint,
        change: Callable[[paddle.Tensor], paddle.Tensor] | None = None,
    ) -> None:
        self._label, self._tensor, self._file = f"{checkpoint.path}: {name}", tensor, checkpoint.file
        own = str(tensor.dtype).removeprefix("paddle.")
        is_float = own in DTYPES.values() or own in FLOAT8_BITS
        self._change = change
        self._cast = DTYPES[dtype] if dtype and is_float and own != DTYPES[dtype] else None
        kept = self._cast or own
        self.shape = tuple(tensor.shape)
        self.dtype = BFLOAT16_BITS if kept == "bfloat16" else FLOAT8_BITS.get(kept) or np.dtype(kept)
        self.nbytes = tensor.size * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self._file.forget()  # the tensors before this one
        array = to_array(self._tensor)
        if not is_finite(array):
            raise InputError(f"{self._label} holds values that are not finite numbers; the file is damaged")
        if self._cast:
            tensor: Any = to_tensor(np.ascontiguousarray(array))
            array = to_array(tensor.astype(self._cast))
            if not is_finite(array):
                raise InputError(f"{self._label} has numbers too large for {self._cast}; fp32 or bf16 are accepted")
        return array if self._change is None else to_array(self._change(to_tensor(np.ascontiguousarray(array))))


def part_to_paddle(name: str, part: Part, folder: Path, dtype: str | None) -> Report:
    """Write a part's original files as the folder `name` in another, with its LoRA files merged: its `Report`."""
    changes = part.changes()
    arrays, originals, counts, report = {}, {}, {}, Report(name, 0, [])
    for path in part.files:
        checkpoint = read_checkpoint(path)
        renamed = names_in_model(part.model, checkpoint.tensors, path)
        own = {new: checkpoint.tensors[old] for old, new in renamed.items()}
        own = transpose(own, transposed_names(part.model)) if checkpoint.layout == "torch" else own
        for old, new in renamed.items():
            change = changes and functools.partial(changes, new)
            arrays[new] = _Tensor(old, own[new], dtype, checkpoint, change)
        originals.update({new: old for old, new in renamed.items() if old != new})
        counted = [old for old in checkpoint.tensors if old.endswith("num_batches_tracked")]
        counts.update({old: int(checkpoint.tensors[old]) for old in counted})
        report.read += len(checkpoint.tensors)
        report.left_out += [old for old in checkpoint.tensors if old not in renamed]
    check_fit(part.model, arrays, " + ".join(map(str, part.files)))
    # The loader of encoders is paddlenlp's, with a file name and a format of its own.
    is_encoder = isinstance(part.model, PretrainedModel)
    path = folder / name / ("model.safetensors" if is_encoder else PADDLE_SAFETENSORS_WEIGHTS_NAME)
    path.parent.mkdir()
    kept = {
        "names": originals,
        "tables": [old for old in report.left_out if old.endswith("position_ids")],
        "counts": {old: counts[old] for old in report.left_out if old in counts},
    }
    write_safetensors(path, arrays, {"format": "np" if is_encoder else "pd", "original": json.dumps(kept)})
    if is_encoder:
        part.model.config.to_json_file(str(path.with_name("config.json")), use_diff=False)
    else:
        part.model.save_config(str(path.parent))
    report.files[str(path.relative_to(folder))] = len(arrays)
    return report


def pipeline_to_paddle(
    pipeline: Any, parts: Mapping[str, Part], target: str | os.PathLike, dtype: str | None
) -> list[Report]:
    """Write a folder for the pipeline's `from_pretrained`.

    Args:
        pipeline: with a scheduler; its networks need no weights.
        parts: name -> `Part` of the original's files.
        target: new or empty folder, which appears when it is complete.
        dtype: see `part_to_paddle`.

    Returns:
        A `Report` for each part.
    """
    with output_folder(target) as folder:
        reports = [part_to_paddle(name, part, folder, dtype) for name, part in parts.items()]
        pipeline.save_config(str(folder))
        pipeline.scheduler.save_pretrained(str(folder / "scheduler"))
    return reports


def keep_unused(report: Report, part: Part, folder: Path, pattern: str, dtype: str | None) -> None:
    """Write what was left out of a part, for the way back: each tensor once, under however many names.

    Args:
        report: `Report` of the part, which is changed.
        part: `Part` of the original's files.
        folder: where `part_to_paddle` has put the part.
        pattern: of the names that are kept.
        dtype: see `part_to_paddle`.
    """
    tensors: dict = {}
    names: dict = {}
    for path in part.files:
        checkpoint = read_checkpoint(path)
        for name in report.left_out:
            if re.search(pattern, name) and name in checkpoint.tensors:
                tensor = _Tensor(name, checkpoint.tensors[name], dtype, checkpoint)
                key = hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()[:_DIGITS]
                names[name] = f"{key}-{tensor.dtype}-{'x'.join(map(str, tensor.shape))}"
                tensors.setdefault(names[name], tensor)
    if names:
        path = folder / report.part / _UNUSED
        write_safetensors(path, tensors, {"format": "pt", "names": json.dumps(names)})
        report.files[str(path.relative_to(folder))] = len(names)
        report.left_out = [name for name in report.left_out if name not in names]


def read_unused(folder: Path, dtype: str | None) -> dict[str, _Tensor]:
    """What `keep_unused` wrote into a part's folder: the original's name -> tensor; for dtype see `part_to_torch`."""
    path = folder / _UNUSED
    if not path.is_file():
        return {}
    checkpoint = read_checkpoint(path)
    try:
        names = parse_json(
            checkpoint.metadata["names"], f"the note of names in {path}", "a converted file is accepted"
        )
        return {name: _Tensor(name, checkpoint.tensors[key], dtype, checkpoint) for name, key in names.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} has notes of the original's names that cannot be read") from error


def part_to_torch(
    name: str,
    part: Part,
    folder: Path,
    dtype: str | None,
    files: Iterable[tuple[str, str]],
    unused: Mapping[str, _Tensor] | None = None,
) -> Report:
    """Write a part's folder as the original's files, with its LoRA files merged: its `Report`.

    Args:
        files: paths below the folder, each with what is in the names of its tensors; the first that fits.
        unused: name -> more that is written, of `read_unused`.
    """
    checkpoint = read_checkpoint(part.files[0])
    tensors = checkpoint.tensors
    check_fit(part.model, tensors, checkpoint.path)
    transposed = transposed_names(part.model) if checkpoint.layout == "paddle" else set()
    report = Report(name, len(tensors), [])
    names, positions, counts = _read_originals(checkpoint)
    changes = part.changes()
    arrays: dict = {}
    for key, value in transpose(tensors, transposed).items():
        change = changes and _of_torch(functools.partial(changes, key), key in transposed)
        arrays[names.get(key, key)] = _Tensor(key, value, dtype, checkpoint, change)
    for table in positions:  # they count the positions
        rows = tensors["vision_model.embeddings.position_embedding.weight"].shape[0]
        arrays[table] = np.arange(rows, dtype=np.int64)[np.newaxis]
    arrays.update({name: np.array(count, np.int64) for name, count in counts.items()})
    arrays.update(unused or {})
    for file, contained in files:
        chosen = {key: arrays.pop(key) for key in list(arrays) if contained in key}
        if chosen:
            _write_original(folder / file, chosen)
            report.files[file] = len(chosen)
    return report


def _of_torch(
    change: Callable[[paddle.Tensor], paddle.Tensor], is_transposed: bool
) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """A change of a weight in Paddle's layout as one of the weight in torch's."""
    return (lambda value: change(value.t()).t()) if is_transposed else change


def _read_originals(checkpoint: Checkpoint) -> tuple[dict[str, str], list[str], dict[str, int]]:
    """What `part_to_paddle` noted: our names -> the original's, names of tables and counts that were left out."""
    try:
        text = checkpoint.metadata.get("original", '{"names": {}, "tables": []}')
        kept = parse_json(text, f"the note of names in {checkpoint.path}", _CONVERTED)
        counts = {str(name): int(count) for name, count in kept.get("counts", {}).items()}
        names = {str(key): str(value) for key, value in kept["names"].items()}
        return names, [str(name) for name in kept["tables"]], counts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{checkpoint.path} has notes of the original's names that cannot be read") from error


def _write_original(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        write_safetensors(path, arrays, {"format": "pt"})
    else:
        write_torch(path, arrays)


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a configuration as JSON, into a folder that is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the notes of the library that wrote it, in JSON's kinds of values."""
    return json.loads(json.dumps({key: value for key, value in config.items() if not key.startswith("_")}))
