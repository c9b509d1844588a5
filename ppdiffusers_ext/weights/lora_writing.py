"""Writes LoRA files as kohya's scripts do.

Keys are NAME.alpha (no axes), NAME.lora_down.weight (rank, inputs) and NAME.lora_up.weight (outputs, rank), in torch's
layout; metadata are the two hashes by which web UIs know a file.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.weights.arrays import to_array, to_tensor
from ppdiffusers_ext.weights.writing import safetensors_parts, write_safetensors

_LEGACY_START, _LEGACY_SIZE, _LEGACY_DIGITS = 1 << 20, 1 << 16, 8  # bytes of the file that the old hash is of


def write_lora(
    path: str | os.PathLike, layers: Mapping[str, tuple[np.ndarray, np.ndarray]], alpha: float, dtype: str = "float32"
) -> None:
    """Write a LoRA file.

    Args:
        path: of the .safetensors file.
        layers: name of a layer, of `kohya_name` -> (down, up), fp32 in torch's layout.
        alpha: of all layers.
        dtype: of all numbers, as Paddle calls it; an alpha that has no such number is in fp32.
    """
    arrays = {f"{name}.alpha": _cast_alpha(alpha, dtype) for name in layers}
    for name, (down, up) in layers.items():
        arrays |= {f"{name}.lora_down.weight": _cast(down, dtype), f"{name}.lora_up.weight": _cast(up, dtype)}
    # As the package safetensors orders them.
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    write_safetensors(path, arrays, _hashes(arrays))


def _cast(array: Any, dtype: Any) -> np.ndarray:
    tensor = to_tensor(np.ascontiguousarray(array, np.float32))
    return to_array(tensor.astype(dtype)).reshape(np.shape(array))


def _cast_alpha(alpha: float, dtype: Any) -> np.ndarray:
    array = _cast(np.array(alpha), dtype)
    is_exact = float(paddle.to_tensor(alpha, "float32").astype(dtype).astype("float32")) == np.float32(alpha)
    return array if is_exact else np.array(alpha, np.float32)


def _hashes(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """`sshs_model_hash`, of all that follows the header, and `sshs_legacy_hash`, of 64 KiB of a file without both."""
    whole, legacy, position = hashlib.sha256(), hashlib.sha256(), 0
    for i, part in enumerate(safetensors_parts(arrays, {})):
        if i:
            whole.update(part)
        start = max(_LEGACY_START - position, 0)
        legacy.update(part[start : max(_LEGACY_START + _LEGACY_SIZE - position, 0)])
        position += len(part)
    return {"sshs_model_hash": whole.hexdigest(), "sshs_legacy_hash": legacy.hexdigest()[:_LEGACY_DIGITS]}
