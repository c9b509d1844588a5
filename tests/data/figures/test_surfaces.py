import numpy as np
import pytest

from ppdiffusers_ext.data.figures.surfaces import OVERSAMPLING, Canvas

RED, GREEN = np.array([200.0, 0, 0], np.float32), np.array([0, 200.0, 0], np.float32)


@pytest.mark.parametrize(
    "start, end, radii",
    [
        ((10, 12, 0), (50, 40, 0), (4, 9)),
        ((10, 12, -20), (50, 40, 25), (8, 3)),
        ((30, 30, -30), (33, 31, 30), (6, 5)),
        ((30, 30, 5), (30.5, 30, -9), (3, 12)),
    ],
)
def test_a_cone_is_all_spheres_on_its_way(start, end, radii):
    canvas, spheres = Canvas(32, 32), Canvas(32, 32)
    start, end = np.array(start, float), np.array(end, float)
    canvas.cone(start, end, radii, RED, 1)
    for part in np.linspace(0, 1, 400):
        center = start + part * (end - start)
        spheres.ellipsoid(center, np.eye(3), np.full(3, radii[0] + part * (radii[1] - radii[0])), RED, 1)
    assert (canvas.part == spheres.part).mean() > 0.995
    both = (canvas.part > 0) & (spheres.part > 0)
    assert np.abs(canvas.depth[both] - spheres.depth[both]).max() < 0.6


def test_an_ellipsoid_covers_its_area_and_reaches_its_radius_towards_the_viewer():
    canvas = Canvas(40, 40)
    turn = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    canvas.ellipsoid(np.array([40.0, 40, 7]), turn, np.array([30.0, 10, 5]), RED, 1)
    assert (canvas.part > 0).sum() == pytest.approx(np.pi * 300, rel=0.01)
    assert canvas.depth.max() == pytest.approx(12, abs=0.05)
    rows, columns = np.nonzero(canvas.part)
    assert np.polyfit(columns, rows, 1)[0] > 0.8  # it lies along the first axis


def test_what_is_in_front_is_seen_whatever_is_drawn_first():
    pictures = []
    for order in ((0, 1), (1, 0)):
        canvas = Canvas(24, 24)
        shapes = [
            lambda canvas=canvas: canvas.ellipsoid(np.array([24.0, 24, 10]), np.eye(3), np.full(3, 8.0), RED, 1),
            lambda canvas=canvas: canvas.cone(np.array([4.0, 24, 0]), np.array([44.0, 24, 0]), (6, 6), GREEN, 2),
        ]
        for number in order:
            shapes[number]()
        pictures.append((canvas.color.copy(), canvas.part.copy()))
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    assert pictures[0][1][24, 24] == 1 and pictures[0][1][24, 6] == 2


def test_a_loft_turns_with_its_axes():
    """The middle of the front goes to a side, and a flat body looks narrow from there."""
    widths, middles = [], []
    for angle in (0.0, 0.5, 1.1):
        canvas = Canvas(40, 40)
        left, front = np.array([np.cos(angle), 0, -np.sin(angle)]), np.array([np.sin(angle), 0, np.cos(angle)])
        centers = np.array([[40.0, 10, 0], [40.0, 70, 0]])

        def paint(places):
            return np.where(np.abs(places[:, 1:]) < 0.3, RED, GREEN)

        canvas.loft(centers, np.stack([20 * left] * 2), np.stack([8 * front] * 2), paint, 1)
        row, is_red = canvas.part[40] > 0, canvas.color[40, :, 0] > 0
        widths.append(row.sum())
        middles.append(np.nonzero(is_red)[0].mean())
    assert widths[0] == pytest.approx(40, abs=1) and widths[2] == pytest.approx(
        2 * np.hypot(20 * np.cos(1.1), 8 * np.sin(1.1)), abs=1
    )
    assert middles[0] == pytest.approx(39.5, abs=0.6) and middles[0] + 2 < middles[1] < middles[2]


def test_a_picture_is_the_mean_of_the_canvas():
    canvas = Canvas(4, 4)
    canvas.color[: OVERSAMPLING // 2] = 100
    assert canvas.finish()[0, 0, 0] == 50 and canvas.finish().shape == (4, 4, 3)
