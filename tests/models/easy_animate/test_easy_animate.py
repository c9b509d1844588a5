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
