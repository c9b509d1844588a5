"""TensorFlow Lite's files: FlatBuffers, read without TensorFlow.

The field numbers are those of tensorflow/lite/schema/schema.fbs, counted from 0. Every offset is held against the
file's length before it is followed, so that a damaged file is refused and not misread.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

_IDENTIFIER = b"TFL3"
_MOST_ITEMS = 100_000  # tables of a vector, which would be 100,000 layers
_MOST_SIDE = 1 << 20
_MOST_VALUES = 1 << 28  # of a tensor
_DTYPES = {
    **{0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64},
    **{6: np.bool_, 7: np.int16, 9: np.int8, 10: np.float64},
}
_CUSTOM = 32  # the code of operators that are known by a name


class TfliteError(ValueError):
    """A file that is no TensorFlow Lite network, or a damaged one."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph. `values` is None for what is computed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    values: np.ndarray | None


@dataclass(frozen=True)
class Operator:
    """A step of the graph.

    code: the builtin code, or the name of a custom operator.
    inputs, outputs: indices of tensors; -1 for an input that is left out.
    options: the table of the operator's options.
    custom_options: the bytes of a custom operator's options.
    """

    code: int | str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table
    custom_options: bytes


@dataclass(frozen=True)
class Network:
    """The first graph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Table:
    """A table of a FlatBuffer. Fields that are left out have their defaults.

    Args:
        data: the whole file.
        position: where the table begins; None for one that is left out, with all its fields.
    """

    def __init__(self, data: bytes, position: int | None) -> None:
        self._data, self._position = data, position
        self._fields: tuple[int, ...] = ()
        if position is None:
            return
        entries = position - self._unpack("i", position)
        (size,) = (self._unpack("H", entries),)
        if size < 4 or size % 2:
            raise TfliteError("a table without a list of its fields")
        self._fields = tuple(self._unpack("H", entries + at) for at in range(4, size, 2))

    def scalar(self, field: int, kind: str = "i", default: Any = 0) -> Any:
        """A number; `kind` as in `struct`."""
        at = self._at(field)
        return default if at is None else self._unpack(kind, at)

    def table(self, field: int) -> Table:
        """A table, an empty one where it is left out."""
        at = self._at(field)
        return Table(self._data, None if at is None else self._follow(at))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, length = self._vector(field, 4)
        if length > _MOST_ITEMS:
            raise TfliteError(f"a list of {length} tables")
        return [Table(self._data, self._follow(start + 4 * index)) for index in range(length)]

    def array(self, field: int, dtype: str) -> np.ndarray:
        """A vector of numbers."""
        kind = np.dtype(dtype).newbyteorder("<")
        start, length = self._vector(field, kind.itemsize)
        return np.frombuffer(self._data, kind, length, start).astype(dtype, copy=False)

    def bytes(self, field: int) -> bytes:
        """A vector of bytes, or a text."""
        start, length = self._vector(field, 1)
        return self._data[start : start + length]

    def text(self, field: int) -> str:
        """A text in UTF-8."""
        try:
            return self.bytes(field).decode()
        except UnicodeDecodeError as error:
            raise TfliteError("a name that is no text") from error

    def has(self, field: int) -> bool:
        """True if the field is not left out."""
        return self._at(field) is not None

    def _at(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._position + offset if offset and self._position is not None else None

    def _follow(self, at: int) -> int:
        return at + self._unpack("I", at)

    def _vector(self, field: int, itemsize: int) -> tuple[int, int]:
        at = self._at(field)
        if at is None:
            return 0, 0
        start = self._follow(at)
        length = self._unpack("I", start)
        if start + 4 + length * itemsize > len(self._data):
            raise TfliteError("it is cut off")
        return start + 4, length

    def _unpack(self, kind: str, at: int) -> Any:
        if not 0 <= at <= len(self._data) - struct.calcsize(f"<{kind}"):
            raise TfliteError("it is cut off")
        return struct.unpack_from(f"<{kind}", self._data, at)[0]


def read_tflite(data: bytes) -> Network:
    """The network in the bytes of a .tflite file.

    Raises:
        TfliteError: it is no such file, or a damaged one.
    """
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise TfliteError("it does not begin as a TensorFlow Lite file")
    model = Table(data, struct.unpack_from("<I", data)[0])
    codes = [_code_of(table) for table in model.tables(1)]
    buffers = model.tables(4)
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise TfliteError(f"it has {len(graphs)} graphs instead of 1")
    (graph,) = graphs
    tensors = tuple(_read_tensor(table, buffers) for table in graph.tables(0))
    operators = tuple(_read_operator(table, codes, len(tensors)) for table in graph.tables(3))
    inputs, outputs = (_indices(graph, field, len(tensors)) for field in (1, 2))
    return Network(tensors, operators, inputs, outputs)


def _code_of(table: Table) -> int | str:
    # The first field is a byte; codes above 127 stand in the fourth.
    code = max(table.scalar(0, "b"), table.scalar(3, "i"))
    return table.text(1) if code == _CUSTOM else code


def _indices(table: Table, field: int, count: int, least: int = 0) -> tuple[int, ...]:
    found = tuple(int(index) for index in table.array(field, "i4"))
    if any(not least <= index < count for index in found):
        raise TfliteError("a tensor that is not there")
    return found


def _read_operator(table: Table, codes: list[int | str], count: int) -> Operator:
    index = table.scalar(0, "I")
    if index >= len(codes):
        raise TfliteError("an operator that is not there")
    inputs, outputs = _indices(table, 1, count, -1), _indices(table, 2, count)
    return Operator(codes[index], inputs, outputs, table.table(4), table.bytes(5))


def _read_tensor(table: Table, buffers: list[Table]) -> Tensor:
    name, shape = table.text(3), tuple(int(side) for side in table.array(0, "i4"))
    if any(not 0 <= side <= _MOST_SIDE for side in shape) or prod(shape) > _MOST_VALUES:
        raise TfliteError(f"tensor {name!r} of shape {shape}")
    kind, index = table.scalar(1, "b"), table.scalar(2, "I")
    if kind not in _DTYPES or index >= len(buffers):
        raise TfliteError(f"tensor {name!r} of an unknown type, or without its values")
    dtype = np.dtype(_DTYPES[kind])
    data = buffers[index].bytes(0)
    if not data:
        return Tensor(name, shape, dtype, None)
    if len(data) % dtype.itemsize:
        raise TfliteError(f"tensor {name!r} with a part of a value")
    stored = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
    if table.has(6):
        return Tensor(name, shape, dtype, _dense(stored, shape, table.table(6)))
    if stored.size != prod(shape):
        raise TfliteError(f"tensor {name!r} of shape {shape} with {stored.size} values")
    return Tensor(name, shape, dtype, stored.reshape(shape))


def _dense(stored: np.ndarray, shape: tuple[int, ...], sparsity: Table) -> np.ndarray:
    """A tensor of which only some values are stored, with zeros for the others.

    The dimensions are stored as levels in `traversal_order`: those of the shape, then those inside the blocks into
    which the dimensions of `block_map` are cut. Each level has all its indices, or lists those that it has.
    """
    order = [int(axis) for axis in sparsity.array(0, "i4")]
    cut = [int(axis) for axis in sparsity.array(1, "i4")]
    levels = sparsity.tables(2)
    rank = len(shape)
    if sorted(order) != list(range(rank + len(cut))) or len(levels) != len(order):
        raise TfliteError("a sparse tensor whose levels are not those of its shape")
    if len(set(cut)) != len(cut) or any(not 0 <= axis < rank for axis in cut):
        raise TfliteError("a sparse tensor with blocks of dimensions that are not there")
    sizes = {axis: level.scalar(1) for axis, level in zip(order, levels)}
    blocks = {axis: sizes[rank + index] for index, axis in enumerate(cut)}
    if any(size < 1 or shape[axis] % size for axis, size in blocks.items()):
        raise TfliteError("a sparse tensor whose blocks do not fill it")

    def extent(axis: int) -> int:
        return blocks[cut[axis - rank]] if axis >= rank else shape[axis] // blocks.get(axis, 1)

    parents, indices = 1, dict[int, np.ndarray]()
    for axis, level in zip(order, levels):
        repeats, own = _level(level, parents, extent(axis))
        indices = {known: values[repeats] for known, values in indices.items()}
        indices[axis], parents = own, len(own)
        if parents > prod(shape):
            raise TfliteError("a sparse tensor with more values than its shape has")
    if parents != stored.size:
        raise TfliteError(f"a sparse tensor of {parents} values with {stored.size} stored")
    place = tuple(
        indices[axis] * blocks[axis] + indices[rank + cut.index(axis)] if axis in blocks else indices[axis]
        for axis in range(rank)
    )
    dense = np.zeros(shape, stored.dtype)
    dense[place] = stored
    return dense


def _level(level: Table, parents: int, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """(the parent, the index) of each entry of a level of a sparse tensor."""
    if level.scalar(0, "b") == 0:
        if level.scalar(1) != extent:
            raise TfliteError("a sparse tensor with a level of another size than its shape has")
        if parents * extent > _MOST_VALUES:
            raise TfliteError("a sparse tensor with more values than its shape has")
        return np.repeat(np.arange(parents), extent), np.tile(np.arange(extent), parents)
    segments, indices = (_sparse_vector(level, field) for field in (2, 4))
    counts = np.diff(segments)
    if len(segments) != parents + 1 or segments[0] != 0 or (counts < 0).any() or segments[-1] != len(indices):
        raise TfliteError("a sparse tensor with a level of other entries than it lists")
    if len(indices) and not 0 <= indices.min() <= indices.max() < extent:
        raise TfliteError("a sparse tensor with an index outside its shape")
    return np.repeat(np.arange(parents), counts), indices


def _sparse_vector(level: Table, field: int) -> np.ndarray:
    """The numbers of a union of vectors of 32, 16 or 8 bits; `field` is that of its type."""
    kind = {1: "i4", 2: "u2", 3: "u1"}.get(level.scalar(field, "B"))
    if kind is None:
        raise TfliteError("a sparse tensor with a level of an unknown kind")
    return level.table(field + 1).array(0, kind).astype(np.int64)
