"""Draws shapes that are given in the world on a canvas, as a camera sees them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.data.figures.cameras import View
from ppdiffusers_ext.data.figures.surfaces import Canvas, Paint


@dataclass(frozen=True)
class Pen:
    """A canvas and the view of it. Arguments are those of `Canvas`, in the world instead of pixels."""

    canvas: Canvas
    view: View

    def cone(self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float], paint: Paint, part: int) -> None:
        (first, last), scales = self.view.project(np.stack([start, end]))
        self.canvas.cone(first, last, (radii[0] * scales[0], radii[1] * scales[1]), paint, part)

    def chain(
        self, points: Sequence[np.ndarray] | np.ndarray, radii: Sequence[float], paint: Paint, part: int
    ) -> None:
        """Cones from each point to the next."""
        for start, end, *ends in zip(points, points[1:], radii, radii[1:]):
            self.cone(start, end, (ends[0], ends[1]), paint, part)

    def ellipsoid(
        self,
        center: np.ndarray,
        axes: np.ndarray,
        radii: Sequence[float] | np.ndarray,
        paint: Paint,
        part: int,
        keep: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        place, scale = self.view.project(center)
        self.canvas.ellipsoid(place, axes @ self.view.axes.T, np.asarray(radii) * scale, paint, part, keep)

    def loft(self, centers: np.ndarray, sideways: np.ndarray, forward: np.ndarray, paint: Paint, part: int) -> None:
        places, scales = self.view.project(centers)
        turn = self.view.axes.T
        self.canvas.loft(places, sideways @ turn * scales[:, None], forward @ turn * scales[:, None], paint, part)
