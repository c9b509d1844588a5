"""Transparent pixels of pictures and videos: over what they are laid, and the note that says so.

People stand on white, poses on black, as the models saw both when they were trained.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from ppdiffusers_ext.errors import printable

if TYPE_CHECKING:
    import os


logger = logging.getLogger(__name__)

_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # which see the transparency of WebM; FFmpeg's own leave it out
_GROUNDS = {"white": 255, "black": 0}

_told: set[tuple] = set()  # notes that this process has written


def tell_once(*note: Any) -> None:
    """Write a note, unless this process has written it already: a folder's pictures and a video's frames share one."""
    if note not in _told:
        _told.add(note)
        logger.warning(*note)


def tell_background(path: str | os.PathLike, background: str) -> None:
    """The note that transparent pixels of a file, or of those of a folder, are laid over "white" or "black"."""
    tell_once("%s has transparent pixels: they are laid over %s", printable(path), background)


def lay_over(pixels: np.ndarray, background: str, path: str | os.PathLike) -> np.ndarray:
    """(H, W, 4) uint8 RGBA -> (H, W, 3) uint8 over "white" or "black"; notes it where something is transparent."""
    colours, alpha = pixels[..., :3], pixels[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return colours
    tell_background(path, background)
    return ((colours * alpha + _GROUNDS[background] * (255 - alpha) + 127) // 255).astype(np.uint8)


def transparent_decoder(stream: Any) -> Any:
    """A decoder for a stream of VP8 or VP9 that has transparency; None for another stream."""
    if stream.metadata.get("alpha_mode") != "1" or stream.codec_context.name not in _DECODERS:
        return None
    decoder = av.CodecContext.create(_DECODERS[stream.codec_context.name], "r")
    decoder.thread_count = 1
    return decoder
