"""Tiles cover every pixel, have one shape, and are joined without seams."""

from types import SimpleNamespace

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.layers import resize_nearest
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.tiling import in_tiles, tile_of, tile_starts, untiled
from tests.pipelines.animate_anyone.test_pipeline import largest_difference, run

__all__ = ["run"]  # a fixture


@pytest.mark.parametrize("length, tile", [(5, 8), (8, 8), (9, 8), (13, 8), (40, 8), (100, 64), (1, 8), (20, 0)])
def test_tiles_cover_the_length_and_overlap_by_a_fourth_or_more(length, tile):
    starts = tile_starts(length, tile)
    size = min(tile or length, length)
    assert starts[0] == 0 and starts[-1] + size == length
    assert all(later - earlier <= tile - tile // 4 for earlier, later in zip(starts, starts[1:]))
    shorter = len(starts) - 1  # fewer tiles would overlap by less
    assert len(starts) == 1 or shorter == 1 or (length - tile) / (shorter - 1) > tile - tile // 4


@pytest.mark.parametrize("shape", [(9, 8), (8, 21), (19, 30), (5, 6)])
def test_function_of_single_pixels_is_as_without_tiles_and_is_called_with_one_shape(shape):
    shapes = []

    def double(x):
        shapes.append(tuple(x.shape))
        return resize_nearest(2 * x, [2 * side for side in x.shape[2:]])

    x = paddle.randn([2, 3, *shape])
    assert largest_difference(in_tiles(double, x, 8, scale_out=2), double(x)) < 1e-5
    assert set(shapes[:-1]) == {(2, 3, min(8, shape[0]), min(8, shape[1]))}
    half = lambda x: x[:, :1, ::2, ::2]  # noqa: E731
    x = paddle.randn([1, 3, 2 * shape[0], 2 * shape[1]])
    assert largest_difference(in_tiles(half, x, 8, scale_in=2), half(x)) < 1e-5


def test_tiles_of_different_brightness_are_joined_without_seams():
    calls = iter(range(100))
    result = in_tiles(lambda x: paddle.full([1, 1, 32, 32], next(calls) % 2), paddle.zeros([1, 1, 32, 104]), 32)
    assert result.min() == 0 and result.max() == 1
    assert float((result[..., 1:] - result[..., :-1]).abs().max()) < 2 / 8  # the overlap has eight pixels


@pytest.mark.parametrize(
    "width, shares",
    [
        (14, [*[1] * 6, 0.75, 0.25, *[0] * 6]),  # columns 6 and 7 are in both
        (10, [1, 1, 1 / 1.25, 1 / 1.75, 0.5, 0.5, 0.75 / 1.75, 0.25 / 1.25, 0, 0]),  # columns 2 to 7
    ],
)
def test_weights_of_a_tile_rise_linearly_over_a_fourth_of_it(width, shares):
    """What the left one of two tiles is worth in each column: a quarter, three quarters, then as much as anywhere."""
    calls = iter([1.0, 0.0])
    joined = in_tiles(lambda x: paddle.full([1, 1, 8, 8], next(calls)), paddle.zeros([1, 1, 8, width]), 8)
    assert joined[0, 0, 3].tolist() == pytest.approx(shares)


def test_tiles_keep_the_precision():
    x = paddle.ones([1, 1, 8, 14], "float64")
    assert in_tiles(lambda part: part, x, 8).dtype == paddle.float64


@pytest.mark.parametrize("is_on, side, expected", [(False, 512, 0), (True, 512, 512), (True, 32, 64)])
def test_side_of_tiles_is_that_of_the_autoencoder_from_64_on(is_on, side, expected):
    assert tile_of(SimpleNamespace(use_tiling=is_on, tile_sample_min_size=side)) == expected


@pytest.mark.parametrize("is_on", [False, True])
def test_autoencoder_does_without_its_own_tiles_for_the_length_of_a_call(is_on):
    vae = SimpleNamespace(use_tiling=is_on)

    def function(x):
        assert vae.use_tiling is False
        return 1 / x

    assert untiled(vae, function)(4) == 0.25 and vae.use_tiling is is_on
    with pytest.raises(ZeroDivisionError):
        untiled(vae, function)(0)
    assert vae.use_tiling is is_on


def test_clip_in_tiles_is_nearly_the_same(pipeline, run):
    options = {"width": 96, "height": 64, "output_type": "pd"}
    whole, tiled = run(pipeline, **options), run(pipeline, **options, vae_tile_size=64)
    assert whole.shape == tiled.shape
    assert 0 < largest_difference(tiled, whole) < 0.5
    assert float((tiled - whole).abs().mean()) < 0.05
    assert largest_difference(run(pipeline, **options, vae_tile_size=96), whole) == 0


@pytest.mark.parametrize("size", [-8, 8, 63])
def test_tiles_too_small_are_refused(pipeline, run, size):
    message = f"vae_tile_size is {size}; 0, for the whole picture at once, or 64 or more is accepted"
    with pytest.raises(InputError, match=message):
        run(pipeline, vae_tile_size=size)
    with pytest.raises(InputError, match=message):
        Pose2VidConfig(vae_tile_size=size).check()
