"""A contact sheet of training clips that were checked, whichever system they are for."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ppdiffusers_ext.data.images import contact_sheet, side_by_side, write_image
from ppdiffusers_ext.errors import InputError

_CELL = 192  # pixels of the height of a picture on the sheet


_MOST_ON_SHEET = 96


def write_rows(path: str | os.PathLike, reports: Sequence[Any], show: Callable[[Any], Sequence[np.ndarray]]) -> None:
    """Write a picture of clips without problems; of many, evenly chosen ones.

    Args:
        path: to write.
        reports: list of what has `problems`.
        show: called with a report, gives pictures of one height that belong beside each other.

    Raises:
        InputError: there are none, or the file cannot be written.
    """
    good = [report for report in reports if not report.problems]
    if not good:
        raise InputError(f"none of {len(reports)} clips can be trained on; {path} is not written")
    chosen = [good[index] for index in np.linspace(0, len(good) - 1, min(len(good), _MOST_ON_SHEET)).astype(int)]
    pairs = [side_by_side(show(report)) for report in chosen]
    width = max(pair.shape[1] for pair in pairs)
    cells = [np.pad(pair, ((0, 0), (0, width - pair.shape[1]), (0, 0)), constant_values=255) for pair in pairs]
    write_image(path, contact_sheet(cells, columns=max(1, 1536 // width)))


def to_cell(frame: np.ndarray) -> np.ndarray:
    """A frame, (H, W, 3) uint8, as high as a picture on the sheet."""
    width = max(2, round(frame.shape[1] * _CELL / frame.shape[0]))
    return np.asarray(Image.fromarray(frame).resize((width, _CELL), Image.Resampling.BILINEAR))
