"""Curves of validation as one picture, which lies beside the checkpoints."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paddlenlp.trainer import TrainerCallback
from PIL import Image, ImageDraw, ImageFont

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.training.progress import VALIDATION

_ACCEPTED = "a file that this training wrote, or none, is accepted"
NUMBERS, PICTURE = "validation.json", "validation.png"
_WIDTH, _HEIGHT = 420, 200  # pixels of a chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 28, 24
_PAPER, _INK, _GRID, _LINE = (255, 255, 255), (20, 20, 20), (215, 215, 215), (31, 111, 180)
_COLUMNS = 2


class ValidationCurves(TrainerCallback):
    """Keeps the numbers of all validations in a run's `validation.json`, and their curves as `validation.png`.

    A run that goes on from a checkpoint keeps the numbers up to there.
    """

    def __init__(self) -> None:
        self._curves: dict[str, dict[int, float]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        path = Path(args.output_dir) / NUMBERS
        is_kept = state.is_world_process_zero and state.global_step and path.is_file()
        self._curves = _read(path, state.global_step) if is_kept else {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        numbers = {name.removeprefix(VALIDATION): n for name, n in logs.items() if name.startswith(VALIDATION)}
        if not (numbers and state.is_world_process_zero):
            return
        for name, number in numbers.items():
            self._curves.setdefault(name, {})[state.global_step] = number
        curves = {name: sorted(points.items()) for name, points in self._curves.items()}
        with output_file(Path(args.output_dir) / NUMBERS) as temporary:
            Path(temporary).write_text(json.dumps(curves) + "\n", encoding="utf-8")
        write_image(Path(args.output_dir) / PICTURE, curve_sheet(curves))


def _read(path: Path, last: int) -> dict[str, dict[int, float]]:
    """The numbers of a file up to a step: name -> step -> value."""
    values = read_json(path, "numbers of validations", _ACCEPTED)
    try:
        curves = {
            str(name): {int(step): float(value) for step, value in points if step <= last}
            for name, points in values.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{shown_path(path)} has no numbers of validations; {_ACCEPTED}") from error
    return {name: points for name, points in curves.items() if points}


def curve_sheet(curves: Mapping[str, Sequence[tuple[int, float]]]) -> np.ndarray:
    """A chart of each curve, (H, W, 3) uint8. Raises ValueError where there is none."""
    if not curves:
        raise ValueError("there are no curves to draw; at least one is needed")
    rows = -(-len(curves) // _COLUMNS)
    sheet = Image.new("RGB", (_WIDTH * min(_COLUMNS, len(curves)), _HEIGHT * rows), _PAPER)
    for number, (name, points) in enumerate(curves.items()):
        sheet.paste(_chart(name, points), (_WIDTH * (number % _COLUMNS), _HEIGHT * (number // _COLUMNS)))
    return np.asarray(sheet)


def _chart(name: str, points: Sequence[tuple[int, float]]) -> Image.Image:
    chart = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw, font = ImageDraw.Draw(chart), ImageFont.load_default(12)
    points = [(step, value) for step, value in points if np.isfinite(value)]
    draw.text((_LEFT, 6), name, _INK, font)
    if not points:
        draw.text((_LEFT, _HEIGHT // 2), "no finite value", _INK, font)
        return chart
    steps, values = zip(*points)
    low, high = min(values), max(values)
    margin = max((high - low) * 0.08, abs(high) * 1e-3, 1e-9)
    low, high = low - margin, high + margin
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + (right - _LEFT) * (step - first) / (last - first)
        return x, bottom - (bottom - _TOP) * (value - low) / (high - low)

    for value in (min(values), max(values)):
        _, y = place(first, value)
        draw.line([(_LEFT, y), (right, y)], _GRID)
        draw.text((4, y - 7), f"{value:.5g}", _INK, font)
    for step, anchor in ((steps[0], "la"), (steps[-1], "ra")):
        if anchor == "la" or len(points) > 1:
            draw.text((place(step, low)[0], bottom + 6), str(step), _INK, font, anchor=anchor)
    line = [place(step, value) for step, value in points]
    if len(line) > 1:
        draw.line(line, _LINE, 2)
    for x, y in line:
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], _LINE)
    return chart
