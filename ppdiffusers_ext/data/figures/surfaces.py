"""Solid shapes drawn with a depth buffer: cones with round ends, ellipsoids, and bodies of elliptic cross-sections.

Each pixel's nearest point of a shape is computed exactly, so shapes that touch leave no gaps, and what is in front
covers what is behind from whichever side a figure is seen. Coordinates are pixels of the canvas: x to the right, y
down, z to the viewer.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

OVERSAMPLING = 2  # a canvas has as many times the picture's pixels along each side, which are averaged
_LIGHT = np.array([-0.45, -0.55, 0.70], np.float32)  # direction to the light
_AMBIENT, _DIFFUSE = 0.66, 0.40
Paint = np.ndarray | Callable[[np.ndarray], np.ndarray]  # a colour, or a function of places on the surface to colours


class Canvas:
    """A picture that is being drawn.

    Args:
        width, height: of the picture, pixels.

    Attributes:
        color: (height, width, 3) fp32 of the canvas, 0 to 255.
        depth: (height, width) fp32, z of what is seen; -inf where nothing is drawn.
        part: (height, width) uint8, the number of what is seen; 0 where nothing is drawn.
    """

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        shape = (height * OVERSAMPLING, width * OVERSAMPLING)
        self.color = np.zeros((*shape, 3), np.float32)
        self.depth = np.full(shape, -np.inf, np.float32)
        self.part = np.zeros(shape, np.uint8)

    def finish(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8."""
        small = cv2.resize(self.color, self.size, interpolation=cv2.INTER_AREA)
        return np.rint(np.clip(small, 0, 255)).astype(np.uint8)

    def cone(self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float], paint: Paint, part: int) -> None:
        """A cone with round ends: all spheres on the way between two.

        Args:
            start, end: (3,), centres of the spheres.
            radii: of the spheres.
            paint: takes (n,), fractions of the way.
            part: number to be written where it is seen.
        """
        if (window := self._window(np.stack([start, end]), max(radii))) is None:
            return
        x, y = self._grid(window, start)
        dx, dy, dz = (float(v) for v in end - start)
        first, growth = float(radii[0]), float(radii[1] - radii[0])
        # At fraction t of the way a sphere reaches z(t) = t dz + sqrt(q(t)), q(t) = a t^2 + b t + c. The largest z(t)
        # is the surface.
        a = growth * growth - dx * dx - dy * dy
        b = 2 * (first * growth + x * dx + y * dy)
        c = first * first - x * x - y * y
        t = np.zeros_like(c)
        if abs(a) > 1e-4 and dz * dz > a:
            root = np.sqrt(np.maximum(b * b - 4 * a * c, 0) / (dz * dz - a))
            t = np.clip((b + dz * root) / (-2 * a), 0, 1)
        q = c + t * (b + t * a)
        z = t * dz + np.sqrt(np.maximum(q, 0))
        if a > -1e-4:  # seen from an end, where one sphere hides the other: the ends may be nearer
            for end_t, end_q in ((0.0, c), (1.0, c + b + a)):
                end_z = np.where(end_q > 0, end_t * dz + np.sqrt(np.maximum(end_q, 0)), -np.inf)
                nearer = (end_z > z) | (q <= 0)
                t, q, z = np.where(nearer, end_t, t), np.where(nearer, end_q, q), np.where(nearer, end_z, z)
        z = z + start[2]
        if (seen := self._seen(window, q > 0, z)) is None:
            return
        t, x, y = t[seen], np.broadcast_to(x, q.shape)[seen], np.broadcast_to(y, q.shape)[seen]
        normal = np.stack([x - t * dx, y - t * dy, np.sqrt(q[seen])], axis=-1) / (first + t * growth)[:, None]
        self._put(window, seen, z[seen], normal, paint(t) if callable(paint) else paint, part)

    def ellipsoid(
        self,
        center: np.ndarray,
        axes: np.ndarray,
        radii: Sequence[float] | np.ndarray,
        paint: Paint,
        part: int,
        keep: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """An ellipsoid.

        Args:
            center: (3,).
            axes: (3, 3), a unit vector in each row.
            radii: along each of them.
            paint: takes (n, 3), places on the unit sphere that the ellipsoid is made of.
            part: number to be written where it is seen.
            keep: takes such places, (n, 3), and says which exist; all if left out.
        """
        radii = np.asarray(radii, np.float32)
        if (window := self._window(center[None], float(radii.max()))) is None:
            return
        x, y = self._grid(window, center)
        to_sphere = (axes / radii[:, None]).astype(np.float32)
        flat = to_sphere[:, 0] * x[..., None] + to_sphere[:, 1] * y[..., None]
        along = to_sphere[:, 2]
        half, square = flat @ along, float(along @ along)
        inside = half * half - square * ((flat * flat).sum(axis=-1) - 1)
        depth = (np.sqrt(np.maximum(inside, 0)) - half) / square
        is_there = inside > 0
        if keep is not None:
            is_there[is_there] = keep(flat[is_there] + depth[is_there][:, None] * along)
        z = center[2] + depth
        if (seen := self._seen(window, is_there, z)) is None:
            return
        places = flat[seen] + depth[seen][:, None] * along
        normal = (places / radii) @ axes
        normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
        self._put(window, seen, z[seen], normal, paint(places) if callable(paint) else paint, part)

    def loft(
        self,
        centers: np.ndarray,
        sideways: np.ndarray,
        forward: np.ndarray,
        paint: Callable[[np.ndarray], np.ndarray] | np.ndarray,
        part: int,
    ) -> None:
        """A body of elliptic cross-sections along a line that is seen from the side.

        Args:
            centers: (n, 3), of the sections from the first to the last.
            sideways, forward: (n, 3), half axes of each section.
            paint: takes (n, 2), fractions of the way and angles around it, 0 forward, positive along `sideways`.
            part: number to be written where it is seen.
        """
        reach = float(np.linalg.norm(sideways, axis=1).max() + np.linalg.norm(forward, axis=1).max())
        if (window := self._window(centers, reach)) is None:
            return
        x, y = self._grid(window, centers[0])
        line = centers[-1, :2] - centers[0, :2]
        length = max(float(np.linalg.norm(line)), 1.0)
        down = line / length
        across = np.array([down[1], -down[0]])
        offsets = centers[:, :2] - centers[0, :2]
        rows = np.maximum.accumulate(offsets @ down / length)
        t = (x * down[0] + y * down[1]) / length
        # Sections as planes through the line of sight: x, y become `u`; each half axis has a part in u and one in z.
        wide, deep = np.linalg.norm(sideways, axis=1), np.linalg.norm(forward, axis=1)
        columns = [offsets @ across, centers[:, 2], wide, deep]
        columns += [sideways[:, :2] @ across / wide, sideways[:, 2] / wide]
        columns += [forward[:, :2] @ across / deep, forward[:, 2] / deep]
        shift, z, wide, deep, side_u, side_z, front_u, front_z = (np.interp(t, rows, column) for column in columns)
        u = x * across[0] + y * across[1] - shift
        a = (side_z / wide) ** 2 + (front_z / deep) ** 2
        b = u * (side_u * side_z / wide**2 + front_u * front_z / deep**2)
        c = u * u * ((side_u / wide) ** 2 + (front_u / deep) ** 2) - 1
        inside = b * b - a * c
        depth = (np.sqrt(np.maximum(inside, 0)) - b) / a
        z = (z + depth).astype(np.float32)
        if (seen := self._seen(window, (inside > 0) & (t >= 0) & (t <= 1), z)) is None:
            return
        u, depth, side_u, side_z, front_u, front_z, wide, deep = (
            values[seen] for values in (u, depth, side_u, side_z, front_u, front_z, wide, deep)
        )
        left, front = (u * side_u + depth * side_z) / wide, (u * front_u + depth * front_z) / deep
        normal_u, normal_z = (
            left / wide * side_u + front / deep * front_u,
            left / wide * side_z + front / deep * front_z,
        )
        normal = np.stack([normal_u * across[0], normal_u * across[1], normal_z], axis=-1)
        normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
        places = np.stack([t[seen], np.arctan2(left, front)], axis=-1)
        self._put(window, seen, z[seen], normal, paint(places) if callable(paint) else paint, part)

    def _window(self, points: np.ndarray, reach: float) -> tuple[slice, slice] | None:
        """Rows and columns of the canvas within `reach` of points, (n, 3); None if there are none."""
        height, width = self.depth.shape
        left, top = np.floor(points[:, :2].min(axis=0) - reach).astype(int)
        right, bottom = np.ceil(points[:, :2].max(axis=0) + reach).astype(int) + 1
        rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def _grid(self, window: tuple[slice, slice], origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x, (1, columns), and y, (rows, 1), of the pixels of a window from a point."""
        rows, columns = window
        x = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - origin[0])
        y = np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - origin[1])
        return x[None], y[:, None]

    def _seen(self, window: tuple[slice, slice], is_there: np.ndarray, z: np.ndarray) -> np.ndarray | None:
        """Where a shape is nearest, in the window; None if nowhere."""
        seen: np.ndarray = is_there & (z > self.depth[window])
        return seen if seen.any() else None

    def _put(
        self,
        window: tuple[slice, slice],
        seen: np.ndarray,
        z: np.ndarray,
        normal: np.ndarray,
        color: np.ndarray,
        part: int,
    ) -> None:
        """Write pixels. Surfaces are lighter towards the light, and darker where they turn away from the viewer."""
        light = _AMBIENT + _DIFFUSE * np.maximum(normal @ _LIGHT, 0)
        light = light * (0.70 + 0.30 * np.minimum(1.7 * normal[:, 2], 1))
        self.depth[window][seen] = z
        self.part[window][seen] = part
        self.color[window][seen] = light[:, None] * color
