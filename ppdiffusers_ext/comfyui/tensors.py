"""What ComfyUI hands from node to node, and arrays: IMAGE, MASK and AUDIO are tensors of torch, and cross as numpy.

An IMAGE is (pictures, height, width, channels) in 0 to 1, a MASK (pictures, height, width), 1 where it is white, an
AUDIO a dict of `waveform`, (batch, channels, samples), and `sample_rate`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import InputError, counted, shown

_IMAGE = "an IMAGE of the shape (pictures, height, width, 3) with numbers from 0 to 1 is accepted"
_MASK = "a MASK of the shape (pictures, height, width) with numbers from 0 to 1 is accepted"
_AUDIO = "an AUDIO with a waveform of the shape (1, channels, samples) and a sample_rate is accepted"
_MOST_RATE = 10_000_000


def frames_of(image: Any, name: str) -> np.ndarray:
    """The pictures of an IMAGE: (pictures, height, width, 3) uint8. Transparent pixels are laid over white.

    Numbers beyond 0 and 1, which filters of other nodes leave, are cut off.

    Args:
        image: tensor or array.
        name: of the input, for messages.

    Raises:
        InputError: it is none, has no pictures, or numbers that are not finite.
    """
    array = _array(image, name, _IMAGE)
    if array.ndim != 4 or array.shape[3] not in (3, 4) or 0 in array.shape:
        raise InputError(f"{name} has the shape {_shape(array)}; {_IMAGE}")
    array = _numbers(array, name, _IMAGE)
    if array.shape[3] == 4:
        alpha = array[..., 3:]
        array = array[..., :3] * alpha + (1 - alpha)
    return _to_bytes(array)


def picture_of(image: Any, name: str) -> np.ndarray:
    """The one picture of an IMAGE: (1, height, width, 3) uint8. Raises InputError as `frames_of`, and for several."""
    frames = frames_of(image, name)
    if len(frames) > 1:
        raise InputError(f"{name} has {counted(len(frames), 'picture')}; one is accepted")
    return frames


def masks_of(mask: Any, name: str) -> np.ndarray:
    """The masks of a MASK: (pictures, height, width, 3) uint8, white where it is 1. Errors as `frames_of`."""
    array = _array(mask, name, _MASK)
    array = array[None] if array.ndim == 2 else array  # as some nodes leave it
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(f"{name} has the shape {_shape(array)}; {_MASK}")
    return np.repeat(_to_bytes(_numbers(array, name, _MASK))[..., None], 3, axis=3)


def check_same_size(arrays: dict[str, np.ndarray]) -> None:
    """Raises InputError if pictures of several inputs, by name, are not of one size."""
    sizes = {name: f"{array.shape[2]}x{array.shape[1]}" for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        words = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(f"pictures are of several sizes ({words}); one size is accepted")


def to_image(frames: Sequence[np.ndarray] | np.ndarray) -> Any:
    """An IMAGE of frames, (height, width, 3) uint8 each."""
    return _to_tensor(np.stack(list(frames)).astype(np.float32) / 255)


def to_mask(masks: Sequence[np.ndarray] | np.ndarray) -> Any:
    """A MASK of masks, (height, width) uint8 each."""
    return _to_tensor(np.stack(list(masks)).astype(np.float32) / 255)


def check_audio(audio: Any, name: str) -> None:
    """Raises InputError for what is no AUDIO."""
    waveform = audio.get("waveform") if isinstance(audio, dict) else None
    rate = audio.get("sample_rate") if isinstance(audio, dict) else None
    if waveform is None or rate is None:
        raise InputError(f"{name} is {shown(type(audio).__name__)} without a waveform or a rate; {_AUDIO}")
    array = _array(waveform, name, _AUDIO)
    is_rate = isinstance(rate, int) and not isinstance(rate, bool) and 0 < rate <= _MOST_RATE
    if array.ndim != 3 or 0 in array.shape or not is_rate:
        raise InputError(f"{name} has a waveform of the shape {_shape(array)} at a rate of {shown(rate)}; {_AUDIO}")
    _numbers(array, name, _AUDIO)


def fit_audio(audio: Any, seconds: float) -> Any:
    """An AUDIO as long as a video: the end is cut off, or silence added."""
    waveform = _array(audio["waveform"], "audio", _AUDIO)
    samples = max(1, round(seconds * audio["sample_rate"]))
    missing = max(0, samples - waveform.shape[2])
    waveform = np.pad(waveform[:, :, :samples], ((0, 0), (0, 0), (0, missing)))
    return {"waveform": _to_tensor(waveform), "sample_rate": audio["sample_rate"]}


def silence() -> Any:
    """The AUDIO of a video without sound: nodes that put it beside frames need one sample at least."""
    return {"waveform": _to_tensor(np.zeros((1, 1, 1), np.float32)), "sample_rate": 44100}


def _array(value: Any, name: str, accepted: str) -> np.ndarray:
    """The array of a tensor, on whatever device it is."""
    if value is None:
        raise InputError(f"{name} is not given; {accepted}")
    for method in ("detach", "cpu", "numpy"):
        value = getattr(value, method)() if hasattr(value, method) else value
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} is {shown(value)}; {accepted}")
    return value


def _numbers(array: np.ndarray, name: str, accepted: str) -> np.ndarray:
    """As float32. Raises InputError for what is none, or not finite."""
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name} has numbers of the type {array.dtype}; {accepted}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name} has numbers that are not finite (NaN or infinity); {accepted}")
    return array


def _to_bytes(array: np.ndarray) -> np.ndarray:
    return (array.clip(0, 1) * 255).round().astype(np.uint8)


def _shape(array: np.ndarray) -> str:
    return f"({', '.join(map(str, array.shape))})"


def _to_tensor(array: np.ndarray) -> Any:
    import torch  # ComfyUI has it; nothing of ours needs it before a node has run

    return torch.from_numpy(np.ascontiguousarray(array))
