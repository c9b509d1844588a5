"""An autoencoder of videos from one of pictures: the same latents but for one convolution, the same pixels."""

import numpy as np
import paddle
import pytest
from ppdiffusers import AutoencoderKL

from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.pipelines.loading import describe_video_vae
from ppdiffusers_ext.training.stable_animator.video_autoencoder import to_video_vae
from ppdiffusers_ext.weights.folders import read_config
from tests.scripts.test_trainers import ROOT


@pytest.fixture(scope="module")
def pair():
    """Both, the first with noise added to its biases so that all of them have a say, and pictures."""
    paddle.seed(0)
    config = read_config(ROOT / "configs" / "training" / "stable_animator_demo" / "vae.json")
    vae = use_own_layers(AutoencoderKL(**config))
    vae.eval()
    for parameter in vae.parameters():
        if parameter.ndim == 1:
            parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    pixels = paddle.rand([6, 3, 64, 64]) * 2 - 1
    return vae, to_video_vae(vae, pixels), pixels


@paddle.no_grad()
@pytest.mark.parametrize("num_frames", [1, 3, 6])
def test_frames_come_back_as_pictures_do(pair, num_frames):
    vae, video, pixels = pair
    expected = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    decoded = video.decode(video.encode(pixels).latent_dist.mean, num_frames=num_frames).sample
    np.testing.assert_allclose(decoded.numpy(), expected.numpy(), atol=1e-5)


@paddle.no_grad()
def test_scaling_factor_brings_latents_to_unit_variance(pair):
    _, video, pixels = pair
    latents = video.encode(pixels).latent_dist.mean * video.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, rel=1e-3)


@paddle.no_grad()
def test_saved_folder_loads_with_its_group_norms(pair, tmp_path):
    _, video, pixels = pair
    video.save_pretrained(str(tmp_path), safe_serialization=True)
    loaded = describe_video_vae(tmp_path).load()
    loaded.eval()
    assert loaded.config.norm_num_groups == 1
    means = [vae.encode(pixels).latent_dist.mean.numpy() for vae in (video, loaded)]
    np.testing.assert_array_equal(*means)
