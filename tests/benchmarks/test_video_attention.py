"""The benchmark of a video's attention: its tiles see what they should, and compute what whole attention computes."""

import numpy as np
import openvino
import pytest

from benchmarks import video_attention
from benchmarks.video_attention import windows_of


def test_each_token_is_in_a_tile_and_in_its_window():
    size = (2, 7, 9)
    tiles, windows = windows_of(size, 0.5, tiles=3)
    assert sorted(np.concatenate(tiles)) == list(range(2 * 7 * 9))
    for tile, window in zip(tiles, windows, strict=True):
        assert set(tile) <= set(window) and len(set(window)) == len(window) == 2 * 4 * 4


@pytest.mark.parametrize("part, is_whole", [(1.0, True), (0.5, False)])
def test_tiles_that_see_everything_give_whole_attention(monkeypatch, part, is_whole):
    monkeypatch.setattr(video_attention, "CHANNELS", 8)
    size, generator = (2, 5, 7), np.random.default_rng(0)
    arrays = [generator.standard_normal((1, 2 * 5 * 7, 32), np.float32) for _ in range(3)]
    whole, tiled = (
        openvino.Core().compile_model(
            video_attention._make_model(size, of, ""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )(arrays)[0]
        for of in (None, part)
    )
    assert (np.abs(whole - tiled).max() < 1e-5) == is_whole
