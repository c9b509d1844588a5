"""An autoencoder of pictures becomes one of clips: what stands still is coded as a picture is."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.training.easy_animate.inflation import inflate
from tests.training.easy_animate.test_autoencoder_model import WAYS, make


def coded(vae, frames):
    """The same picture so many times, encoded and decoded: (frames, 3, height, width)."""
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 3, 1, 32, 32)).astype(np.float32)
    with paddle.no_grad():
        latents = vae.encode(paddle.to_tensor(picture.repeat(frames, axis=2))).latent_dist.mean
        return vae.decode(latents).sample[0].transpose([1, 0, 2, 3]).numpy()


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_clip_that_stands_still_is_coded_as_a_picture(way, chunks):
    vae, frames = make(way).vae, chunks * WAYS[way][1]
    picture, before = coded(vae, 1), coded(vae, frames)
    inflate(vae)
    after = coded(vae, frames)
    if way != "v4":  # whose decoder sees a picture where it sees the frame before of a clip
        np.testing.assert_allclose(coded(vae, 1), picture, rtol=0, atol=1e-5)
    np.testing.assert_allclose(after, picture.repeat(len(after), axis=0), rtol=0, atol=2e-5)
    if way != "v2":  # all of which is causal, so that this is true of any weights
        assert np.abs(before - picture).max() > 0.01
