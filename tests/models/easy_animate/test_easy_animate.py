"""EasyAnimate's networks: what parity does not show: checkpointing, halves, and options that do not fit."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.easy_animate.positions import rotations
from ppdiffusers_ext.pipelines.loading import known_options
from tests.pipelines.easy_animate.test_pipeline import NETWORK, text
from tests.support.easy_folders import WHOLE
from tests.support.golden import Case


def hunyuan():
    paddle.seed(0)
    return HunyuanTransformer3D(in_channels=4, out_channels=8, **NETWORK)


def inputs_of_hunyuan():
    paddle.seed(1)
    given = text()
    return (
        paddle.randn([1, 4, 2, 4, 6]),
        paddle.to_tensor([500.0]),
        given.states,
        given.mask,
        given.states_2,
        given.mask_2,
        paddle.to_tensor([[1024.0, 1024.0, 32.0, 48.0, 0.0, 0.0]]),
        rotations(2, 3, 8, 32),
    )


def pixart():
    paddle.seed(0)
    motion = {"num_attention_heads": 4, "num_transformer_block": 1, "temporal_position_encoding": True}
    return PixArtTransformer3D(4, 8, 4, 8, 2, 32, caption_channels=16, motion_module_kwargs=motion)


def inputs_of_pixart():
    paddle.seed(1)
    return paddle.randn([1, 4, 2, 4, 6]), paddle.to_tensor([500]), paddle.randn([1, 5, 16]), paddle.ones([1, 5])


MODELS = pytest.mark.parametrize("make, inputs", [(hunyuan, inputs_of_hunyuan), (pixart, inputs_of_pixart)])


@MODELS
def test_gradient_checkpointing_gives_the_same_gradients(make, inputs):
    gradients = []
    for checkpointing in (False, True):
        model = make()
        model.train()
        model.gradient_checkpointing = checkpointing
        model(*inputs()).square().mean().backward()
        gradients.append({name: x.grad.numpy() for name, x in model.named_parameters() if x.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 20
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


@MODELS
def test_weights_in_halves_compute_in_fp32_on_a_cpu(make, inputs):
    model = make()
    model.eval()
    with paddle.no_grad():
        expected = model(*inputs()).numpy()
        model.to(dtype="bfloat16")
        result = model(*inputs())
    assert result.dtype == paddle.float32
    assert np.abs(result.numpy() - expected).max() < 0.05 * np.abs(expected).max()


def test_odd_numbers_of_blocks_are_refused():
    with pytest.raises(ValueError, match="3 blocks of 2 heads of 8 channels do not make a network of width 16"):
        HunyuanTransformer3D(in_channels=4, out_channels=8, **{**NETWORK, "num_layers": 3})


def test_latents_are_a_quarter_of_the_frames_and_an_eighth_of_the_size():
    vae = AutoencoderKLMagvit(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, slice_mag_vae=False,
        slice_compression_vae=True, mini_batch_encoder=8, mini_batch_decoder=2,
    )  # fmt: skip
    vae.eval()
    with paddle.no_grad():
        latents = vae.encode(paddle.rand([1, 3, 16, 32, 48])).latent_dist.mode()
        assert list(latents.shape) == [1, 4, 4, 4, 6]
        assert list(vae.decode(latents).sample.shape) == [1, 3, 16, 32, 48]


def test_latents_of_a_flat_mask_are_those_of_float64():
    """Norms divide what little varies in it by nearly nothing: rounding shows as nowhere else."""
    case = Case(WHOLE)
    options = known_options(AutoencoderKLMagvit, case.config["vae"])
    vae = case.fill("vae", AutoencoderKLMagvit(**options))
    mask = paddle.ones([1, 3, 16, 48, 64])
    mask[:, :, :1] = 0
    with paddle.no_grad():
        ours = vae.encode(mask).latent_dist.mode().astype("float64")
        exact = vae.to(dtype="float64").encode(mask.astype("float64")).latent_dist.mode()
    assert float(exact.std()) > 0.05
    assert float((ours - exact).abs().max()) < 2e-5


def small_vae(**options):
    paddle.seed(0)
    vae = AutoencoderKLMagvit(
        block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2,
        down_block_types=("SpatialTemporalDownBlock3D",) * 2, up_block_types=("SpatialTemporalUpBlock3D",) * 2,
        **options,
    )  # fmt: skip
    vae.eval()
    return vae


@pytest.mark.parametrize("way", ["slice_mag_vae", "slice_compression_vae", "cache_compression_vae"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_latents_in_chunks_of_any_size_become_as_many_frames_as_is_said(way, size):
    vae = small_vae(mini_batch_encoder=2 * size, mini_batch_decoder=size, **{"slice_mag_vae": False, way: True})
    with paddle.no_grad():
        for count in range(1, 8):
            frames = vae.decode(paddle.rand([1, 4, count, 2, 2])).sample.shape[2]
            assert frames == vae.frames_of(count), (way, size, count)


@pytest.mark.parametrize("tiled", [False, True])
def test_where_chunks_share_no_statistics_their_size_changes_nothing(tiled):
    """As in the original (V4), whose first chunk goes on, too, where it is of a single frame."""
    of_frames = {"spatial_group_norm": True, "mid_block_attention_type": "spatial", "tile_sample_min_size": 16}
    latents, videos = paddle.rand([1, 4, 7, 9, 9]), []
    for size in (1, 2, 3, 4, 7):
        vae = small_vae(cache_compression_vae=True, mini_batch_decoder=size, **of_frames)
        vae.use_tiling = tiled
        with paddle.no_grad():
            videos.append(vae.decode(latents).sample.numpy())
    assert videos[0].shape == (1, 3, 14, 18, 18) and videos[0].std() > 0.01
    for video in videos:
        np.testing.assert_allclose(video, videos[-1], atol=1e-5)
