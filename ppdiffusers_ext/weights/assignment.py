"""Puts the tensors of checkpoints into models, strictly: every name, every shape, every value a finite number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import ppdiffusers.utils.paddle_utils  # noqa: F401 (adds dtype_guard to paddle)
from paddlenlp.transformers.model_utils import no_init_weights

from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError, counted
from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, FLOAT8_BITS, to_array, to_tensor
from ppdiffusers_ext.weights.conversion import to_paddle_names
from ppdiffusers_ext.weights.loading import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    from paddle import nn


_BATCH = 128 << 20  # bytes that are put into a model at a time
_PIECE = 1 << 17  # numbers that are looked at at a time
_STRIP = 32  # columns that are transposed at a time
# The bits of the exponent of each kind of number.
_EXPONENTS: dict[np.dtype, np.unsignedinteger] = {
    np.dtype(np.float64): np.uint64(0x7FF0 << 48),
    np.dtype(np.float32): np.uint32(0x7F80 << 16),
    np.dtype(np.float16): np.uint16(0x7C00),
    BFLOAT16_BITS: np.uint16(0x7F80),
    FLOAT8_BITS["float8_e4m3fn"]: np.uint8(0x7F),  # has no infinity, and NaN is these bits alone
    FLOAT8_BITS["float8_e5m2"]: np.uint8(0x7C),
}


def check_fit(
    model: nn.Layer,
    tensors: Mapping[str, Any],
    source: str | os.PathLike,
    may_miss: Iterable[str] = (),
    may_exceed: Iterable[str] = (),
) -> None:
    """Raise an InputError if names or shapes of tensors are not a model's; for arguments see `set_weights`."""
    own = model.state_dict()
    there = {id(own[name]) for name in own if name in tensors}  # a weight that has two names may come under either
    missing = [name for name in own if id(own[name]) not in there and not any(part in name for part in may_miss)]
    unexpected = [name for name in tensors if name not in own and not any(part in name for part in may_exceed)]
    mismatched = [
        f"{name}: {list(tensors[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in tensors and list(tensors[name].shape) != list(own[name].shape)
    ]
    if missing or unexpected or mismatched:
        raise InputError(describe_mismatch(type(model).__name__, source, missing, unexpected, mismatched))


def describe_mismatch(
    class_name: str,
    source: str | os.PathLike,
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Iterable[str],
) -> str:
    """One message that says in what way the weights at `source` are not those of the class, naming the first few."""
    parts = []
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched)):
        names = sorted(names)
        if names:
            parts.append(
                f"{counted(len(names), 'tensor')} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            )
    return f"{source} does not hold the weights of this {class_name}: {'; '.join(parts)}"


def set_weights(
    model: nn.Layer,
    tensors: dict[str, paddle.Tensor],
    source: str | os.PathLike,
    may_miss: Iterable[str] = (),
    may_exceed: Iterable[str] = (),
    files: Any = (),
    change: Callable | None = None,
) -> None:
    """Put tensors (already in the model's names and layout) into a model, which may be uninitialised (`LazyGuard`).

    Args:
        source: where the tensors come from, for messages.
        may_miss, may_exceed: parts of names that are allowed to be absent from the tensors (the model keeps or draws
            its initial values), or to be in them without use.
        files: the `MappedFile`s that the tensors were read from, whose memory is given back on the way. Tensors that
            are no views of a file are then the model's own afterwards. Without files, everything is copied.
        change: called as `(name, tensor)` with each tensor, in the model's dtype, before the model gets it: what it
            gets instead, or None for nothing: the caller keeps what it needs, and the weight stays without memory.

    Raises:
        InputError: a name is missing or unexpected, a shape differs, or a value is not finite.
    """
    check_fit(model, tensors, source, may_miss, may_exceed)
    own = model.state_dict()
    drawn = [name for name in own if name not in tensors]
    with paddle.no_grad(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches([name for name in own if name in tensors], tensors):
            prepare = [(tensors.pop(name), own[name].dtype, files) for name in batch]
            for name, tensor in zip(batch, pool.map(own_copy, *zip(*prepare))):
                if tensor is None:
                    raise InputError(f"{source}: {name} holds values that are not finite numbers; the file is damaged")
                tensor = tensor if change is None else change(name, tensor)
                if tensor is not None:
                    give(tensor, own[name])
            for file in files:
                file.forget()
        for name in drawn:
            if not own[name]._is_initialized():
                own[name].initialize()


def _batches(names: Sequence[str], tensors: dict[str, paddle.Tensor]) -> Iterator[list[str]]:
    """The names in groups of about `_BATCH` bytes."""
    batch, size = [], 0
    for name in names:
        batch.append(name)
        size += tensors[name].size * tensors[name].element_size()
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def own_copy(tensor: paddle.Tensor, dtype: Any, files: Any) -> paddle.Tensor | None:
    """The tensor on the CPU in memory of its own, contiguous and of a dtype; None if not all of it is finite."""
    array = to_array(tensor)
    if not is_finite(array):
        return None
    if array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous:
        copy = _transposed_copy(array)
    elif files and not any(file.holds(array) for file in files) and array.flags.c_contiguous:
        copy = array
    else:
        copy = np.array(array, order="C")
    return to_tensor(copy).astype(dtype)


def _transposed_copy(array: np.ndarray) -> np.ndarray:
    """A contiguous copy of the transpose of a contiguous matrix."""
    copy = np.empty(array.shape, array.dtype)
    # In strips that stay in the processor's cache: several times as fast as at one go, numpy's way or Paddle's.
    for start in range(0, array.shape[1], _STRIP):
        copy[:, start : start + _STRIP] = array[:, start : start + _STRIP]
    return copy


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of an array (bf16 as its bits) are: none has the exponent of infinity and NaN."""
    if array.dtype not in _EXPONENTS:
        return True
    exponent = _EXPONENTS[array.dtype]
    bits = array.ravel(order="K").view(exponent.dtype)
    # In pieces that stay in the processor's cache.
    return all((bits[start : start + _PIECE] & exponent).max() != exponent for start in range(0, bits.size, _PIECE))


def give(tensor: paddle.Tensor, parameter: paddle.Tensor) -> None:
    """Make a tensor on the CPU the value of a parameter, without a copy where the parameter has no memory yet."""
    if parameter._is_initialized() or not isinstance(paddle.framework._current_expected_place(), paddle.CPUPlace):
        parameter.copy_(tensor, False)  # type: ignore[call-arg]  # Paddle's types leave `blocking` out
    else:
        tensor._share_underline_tensor_to(parameter)


def load_weights(
    model: Any,
    *files: str | os.PathLike | Checkpoint,
    may_miss: Iterable[str] = (),
    may_exceed: Iterable[str] = (),
    change: Callable | None = None,
) -> Any:
    """Load one or more checkpoints into a model, later ones over earlier ones; strict as `set_weights`.

    Args:
        files: paths, or what `read_checkpoint` made of them, whose tensors are taken away.

    Raises:
        MissingFileError, InputError: as `read_checkpoint` and `set_weights`.
    """
    checkpoints = [file if isinstance(file, Checkpoint) else read_checkpoint(file) for file in files]
    tensors = {}
    for checkpoint in checkpoints:
        tensors.update(to_paddle_names(model, checkpoint.tensors, checkpoint.layout, checkpoint.path))
        checkpoint.tensors.clear()  # so that a tensor's memory is free when the model has taken it
    source = " + ".join(str(checkpoint.path) for checkpoint in checkpoints)
    set_weights(model, tensors, source, may_miss, may_exceed, [checkpoint.file for checkpoint in checkpoints], change)
    return model


def release_weights(model: nn.Layer) -> None:
    """Give back the memory of a model's weights, which is then as `create` made it."""
    for tensor in model.state_dict().values():
        tensor._clear_data()
    return_freed_memory()


def create(make: Callable[[], Any], dtype: str = "float32") -> Any:
    """Call `make` so that no memory or time is spent on initial values: for models whose weights are loaded next."""
    guard = paddle.dtype_guard(dtype)  # type: ignore[attr-defined]  # missing in Paddle's list of names
    with no_init_weights(_enable=True), paddle.LazyGuard(), guard:
        model = make()
    model.eval()
    return model
