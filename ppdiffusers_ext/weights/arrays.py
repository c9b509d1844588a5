"""numpy's arrays and Paddle's tensors on the CPU, one as the other without a copy.

numpy has neither bf16 nor 8-bit floats. The bits of bf16 are in uint16, which is Paddle's convention; those of the two
8-bit formats (Micikevicius et al. 2022, arXiv:2209.05433) in bytes of a dtype that has the format's name.
"""

from typing import Any

import numpy as np
import paddle

BFLOAT16_BITS: np.dtype = np.dtype(np.uint16)
FLOAT8_BITS: dict[str, np.dtype] = {name: np.dtype([(name, np.uint8)]) for name in ("float8_e4m3fn", "float8_e5m2")}
_FLOAT8_NAMES = {dtype: name for name, dtype in FLOAT8_BITS.items()}
_COMPARED = 1 << 22  # bytes at a time


def to_array(tensor: paddle.Tensor) -> np.ndarray:
    """A tensor as an array, which shares the memory of one that lies on the CPU."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == paddle.bfloat16:
        return to_array(tensor.view("int16")).view(BFLOAT16_BITS)
    if (name := str(tensor.dtype).removeprefix("paddle.")) in FLOAT8_BITS:
        return to_array(tensor.view("uint8")).view(FLOAT8_BITS[name])
    return np.from_dlpack(tensor) if tensor.size else np.empty(tensor.shape, tensor.numpy().dtype)


def to_tensor(array: np.ndarray) -> paddle.Tensor:
    """An array as a tensor, which shares its memory."""
    if array.size == 0:  # which Paddle cannot make a view of
        return paddle.zeros(array.shape, dtype_name(array.dtype))  # type: ignore[arg-type]  # takes names of all dtypes
    if array.dtype in _FLOAT8_NAMES:
        return to_tensor(array.view(np.uint8)).view(_FLOAT8_NAMES[array.dtype])  # type: ignore[arg-type]  # as above
    return paddle.Tensor(array, place=paddle.CPUPlace(), zero_copy=True)


def dtype_name(dtype: np.dtype) -> str:
    """What Paddle calls the numbers of an array: "float32", "bfloat16", "float8_e4m3fn", ..."""
    return "bfloat16" if dtype == BFLOAT16_BITS else _FLOAT8_NAMES.get(dtype) or str(dtype)


def are_equal(first: Any, second: Any) -> bool:
    """Whether two tensors have one shape and dtype and the same bits."""
    if list(first.shape) != list(second.shape) or first.dtype != second.dtype:
        return False
    first, second = to_array(first), to_array(second)
    if first.ctypes.data == second.ctypes.data and first.strides == second.strides:
        return True
    if first.ndim == 0:
        return first.tobytes() == second.tobytes()
    rows = max(1, _COMPARED * len(first) // max(1, first.nbytes))  # in pieces: tables of tokens take gigabytes
    return all(
        first[start : start + rows].tobytes() == second[start : start + rows].tobytes()
        for start in range(0, len(first), rows)
    )
