"""UNets that take latents in patches: what a UNet of more channels computes from the same numbers."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D


def drawn(*shape, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def in_patches(x, side):
    """(..., channels, height, width) -> (..., channels * side * side, height / side, width / side)."""
    *rows, channels, height, width = x.shape
    parts = [
        x[..., channel, top::side, left::side]
        for channel in range(channels)
        for top in range(side)
        for left in range(side)
    ]
    return paddle.stack(parts, axis=len(rows))


@pytest.fixture(params=[2, 3])
def side(request):
    return request.param


def test_denoising_unet_of_patches_is_one_of_more_channels(make_denoising_unet, side):
    patched = make_denoising_unet(in_channels=3, out_channels=3, patch_size=side)
    wide = make_denoising_unet(in_channels=3 * side**2, out_channels=3 * side**2)
    assert {n: v.shape for n, v in patched.state_dict().items()} == {n: v.shape for n, v in wide.state_dict().items()}
    wide.set_state_dict(patched.state_dict())
    latents, poses = drawn(2, 3, 4, 4 * side, 5 * side), drawn(2, 32, 4, 4, 5, seed=1)
    rows = in_patches(latents.transpose([0, 2, 1, 3, 4]), side).transpose([0, 2, 1, 3, 4])
    context = drawn(2, 1, patched.config.cross_attention_dim, seed=2)
    with paddle.no_grad():
        found, expected = (u(x, 7, context, poses) for u, x in ((patched, latents), (wide, rows)))
    assert found.shape == latents.shape
    found = in_patches(found.transpose([0, 2, 1, 3, 4]), side).transpose([0, 2, 1, 3, 4])
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_reference_unet_of_patches_is_one_of_more_channels(make_reference_unet, side):
    patched, wide = make_reference_unet(in_channels=3, patch_size=side), make_reference_unet(in_channels=3 * side**2)
    wide.set_state_dict(patched.state_dict())
    latents, context = drawn(2, 3, 4 * side, 5 * side), drawn(2, 1, patched.config.cross_attention_dim, seed=2)
    with paddle.no_grad():
        found, expected = (u(x, 0, context) for u, x in ((patched, latents), (wide, in_patches(latents, side))))
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name].numpy(), expected[name].numpy())


def test_sides_that_do_not_divide_and_poses_of_latents_are_refused(make_denoising_unet):
    unet = make_denoising_unet(patch_size=2)
    context = drawn(1, 1, unet.config.cross_attention_dim)
    with pytest.raises(ValueError, match="latents of 8x9 do not divide into patches of 2x2"):
        unet(drawn(1, 4, 2, 8, 9), 7, context)
    with pytest.raises(ValueError, match=r"pose features of \[1, 2, 8, 8\].* do not fit latents of \[1, 2, 4, 4\]"):
        unet(drawn(1, 4, 2, 8, 8), 7, context, drawn(1, 32, 2, 8, 8))


def test_patches_of_too_many_channels_are_refused(make_denoising_unet):
    config = {name: value for name, value in make_denoising_unet().config.items() if not name.startswith("_")}
    for channels in ("in_channels", "out_channels"):
        with pytest.raises(InputError, match="patch_size 16 makes 16384 channels; 4096 at most are accepted"):
            DenoisingUNet3D.from_config({**config, channels: 64, "patch_size": 16})


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", 17, None])
def test_patch_size_is_checked(size, make_denoising_unet):
    config = {name: value for name, value in make_denoising_unet().config.items() if not name.startswith("_")}
    with pytest.raises(InputError, match="patch_size"):
        DenoisingUNet3D.from_config({**config, "patch_size": size})
