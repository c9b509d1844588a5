"""All that the pickle of a checkpoint may name, and what is built for it: `GLOBALS`.

Nothing here is imported by name or called with anything but plain values; what is not in the table is refused. A
tensor is a description until `array` makes it a view of the file's bytes.
"""

import collections
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, FLOAT8_BITS

TORCH_STORAGES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": BFLOAT16_BITS,
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


@dataclass(frozen=True)
class Global:
    """What a pickle refers to by a name. Only those with a `build` can be called; a torch storage has a dtype."""

    build: Callable | None = None
    dtype: np.dtype | None = None


@dataclass
class Text:
    """A long text that is not decoded yet: in old pickles it may be the bytes of a tensor."""

    raw: memoryview
    encoding: str

    @cached_property  # however often it is asked for
    def _latin1(self) -> memoryview | bytes:
        return self.raw if self.encoding == "latin1" else str(self.raw, self.encoding).encode("latin1")

    def encode(self, encoding: str) -> Any:
        """Its bytes in Latin-1, the only encoding there is here."""
        return self._latin1


@dataclass
class Dtype:
    """A numpy dtype by its code, such as "f4"."""

    code: str
    big_endian: bool = False

    def fill(self, state: Any) -> None:
        self.big_endian = state[1] == ">"

    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(">" if self.big_endian else "<")


@dataclass
class Array:
    """A numpy array, which a pickle first creates and then fills. It stays None for an array of objects."""

    value: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.code[:1] != "O":
            self.value = view(data, dtype.numpy(), shape, fortran)


@dataclass(frozen=True)
class Storage:
    """A torch storage: the key under which the file has its bytes, and what they are."""

    dtype: np.dtype
    key: str


@dataclass(frozen=True)
class TorchTensor:
    """A view of a torch storage: offset, size and stride in elements."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple

    def array(self, data: Any) -> np.ndarray:
        """The tensor as a view of the storage's bytes."""
        size, stride = _checked_shape(self.size), _checked_shape(self.stride)
        dtype = self.storage.dtype
        (offset,) = _checked_shape([self.offset])
        if len(size) != len(stride):
            raise ValueError("a tensor with sizes that do not fit")
        if not all(size):
            return np.empty(size, dtype)
        length = len(data) // dtype.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(size, stride))
        if last >= length or math.prod(size) > length:
            raise ValueError("a tensor that is larger than its storage")
        elements = np.frombuffer(data, np.uint8, length * dtype.itemsize).view(dtype)
        return np.lib.stride_tricks.as_strided(elements[offset:], size, [s * dtype.itemsize for s in stride])


def _checked_shape(values: Any) -> tuple[int, ...]:
    if (
        type(values) not in (list, tuple)
        or len(values) > 32
        or any(type(n) is not int or not 0 <= n < 1 << 48 for n in values)
    ):
        raise ValueError("a tensor with sizes that do not fit")
    return tuple(values)


def view(data: Any, dtype: np.dtype, shape: Sequence[int], fortran: bool) -> np.ndarray:
    """Bytes as an array, in their own byte order, without a copy.

    Raises ValueError where they are not as many as it needs, or the dtype is none of numbers.
    """
    shape = _checked_shape(shape)
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}")
    data = data.encode("latin1") if isinstance(data, (str, Text)) else data
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array whose data are not of its size")
    return np.frombuffer(data, np.uint8).view(dtype).reshape(shape, order="F" if fortran else "C")


def _ordered_dict(items: Iterable[Any] = ()) -> dict[Any, Any]:
    if type(items) not in (list, tuple) or any(len(item) != 2 or type(item[0]) is not str for item in items):
        raise ValueError("a dict of what is no pair of name and value")
    return collections.OrderedDict((name, value) for name, value in items)


def _plain_tuple(items: Iterable[Any] = ()) -> tuple[Any, ...]:
    if type(items) not in (list, tuple):
        raise ValueError("a tuple of what is no list")
    return tuple(items)


def _empty_bytes() -> bytes:
    return b""  # which protocol 2 writes as a call


def _paddle_array(expression: Any, values: dict[str, Any]) -> Any:
    # paddle.save writes a lone tensor as eval("data", {"data": array}); nothing is evaluated here.
    if expression != "data":
        raise ValueError("a pickled expression")
    return values["data"]


def _encode(text: Any, encoding: str) -> bytes:
    if encoding != "latin1" or not isinstance(text, (str, Text)):
        raise ValueError("bytes in an unknown encoding")
    return text.encode(encoding)


def _make_dtype(code: str, *_: Any) -> Dtype:
    if type(code) is not str or len(code) > 8:
        raise ValueError("an array of an unknown kind")
    return Dtype(code)


def _empty_array(kind: Global, shape: Any, code: Any) -> Array:
    if kind is not _NDARRAY or shape != (0,):
        raise ValueError("an array of a kind of its own")
    return Array()


def _array_of_buffer(data: memoryview, dtype: Dtype, shape: tuple[int, ...], order: str) -> Array:
    return Array(view(data, dtype.numpy(), shape, order == "F"))


def _scalar(dtype: Dtype, data: memoryview) -> float:
    return view(data, dtype.numpy(), (), False).item()


def _torch_tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> TorchTensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    return TorchTensor(storage, offset, size, stride)


def _torch_tensor_of_dtype(
    storage: Storage,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
    kind: Global,
    *_: Any,
) -> TorchTensor:
    dtype: Any = kind.dtype  # None for what is no kind of numbers, which a damaged file may say
    return _torch_tensor(Storage(dtype, storage.key), offset, size, stride)


def _torch_parameter(data: TorchTensor, *_: Any) -> TorchTensor:
    return data


_NDARRAY = Global()
_NUMPY_CORES = ("numpy.core", "numpy._core")  # the name changed with numpy 2

GLOBALS = {
    ("collections", "OrderedDict"): Global(_ordered_dict),
    ("builtins", "tuple"): Global(_plain_tuple),
    ("__builtin__", "tuple"): Global(_plain_tuple),
    ("builtins", "bytes"): Global(_empty_bytes),
    ("__builtin__", "bytes"): Global(_empty_bytes),
    ("builtins", "eval"): Global(_paddle_array),
    ("__builtin__", "eval"): Global(_paddle_array),
    ("_codecs", "encode"): Global(_encode),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Global(_make_dtype),
    **{(f"{core}.multiarray", "_reconstruct"): Global(_empty_array) for core in _NUMPY_CORES},
    **{(f"{core}.multiarray", "scalar"): Global(_scalar) for core in _NUMPY_CORES},
    **{(f"{core}.numeric", "_frombuffer"): Global(_array_of_buffer) for core in _NUMPY_CORES},
    ("torch", "Size"): Global(_plain_tuple),
    ("torch._utils", "_rebuild_tensor_v2"): Global(_torch_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Global(_torch_tensor_of_dtype),
    ("torch._utils", "_rebuild_parameter"): Global(_torch_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Global(_torch_parameter),
    ("torch.storage", "UntypedStorage"): Global(dtype=np.dtype(np.uint8)),
    **{("torch", name): Global(dtype=dtype) for name, dtype in TORCH_STORAGES.items()},
    # A tensor may also be written with its dtype, and trainers note dtypes beside the tensors.
    ("torch", "bfloat16"): Global(dtype=BFLOAT16_BITS),
    **{("torch", name): Global(dtype=dtype) for name, dtype in FLOAT8_BITS.items()},
    **{("torch", str(dtype)): Global(dtype=dtype) for dtype in TORCH_STORAGES.values() if dtype != BFLOAT16_BITS},
}
