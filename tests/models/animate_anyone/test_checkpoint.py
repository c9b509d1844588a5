"""Checkpoints of Animate Anyone, Stable Diffusion and AnimateDiff in the networks of Animate Anyone."""

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import ReferenceUNet
from ppdiffusers_ext.models.animate_anyone.checkpoint import load_motion_module
from ppdiffusers_ext.weights.assignment import create, load_weights
from tests.conftest import COMMON
from tests.support.tensors import different, make_empty_unet, save_torch, spatial_of, torch_layout, values

HEAD = {
    "conv_norm_out.weight": paddle.ones([32]),
    "conv_norm_out.bias": paddle.zeros([32]),
    "conv_out.weight": paddle.ones([4, 32, 3, 3]),
    "conv_out.bias": paddle.zeros([4]),
}


@pytest.fixture(scope="module")
def spatial(denoising_unet):
    return spatial_of(denoising_unet)


@pytest.fixture(scope="module")
def temporal(denoising_unet):
    """The torch-layout tensors of the motion modules: what an AnimateDiff file has."""
    return {name: tensor for name, tensor in torch_layout(denoising_unet).items() if ".motion_modules." in name}


WRAPPERS = {
    "denoising_unet": ("denoising_unet.", "module.denoising_unet.", "denoising_unet.module."),
    "reference_unet": ("reference_unet.", "module.reference_unet."),
    "pose_guider": ("pose_guider.", "module.pose_guider."),
}


@pytest.mark.parametrize("name, prefix", [(name, prefix) for name in WRAPPERS for prefix in WRAPPERS[name]])
def test_prefix_of_a_trainer_of_all_networks_is_stripped(tmp_path, request, make_pose_guider, name, prefix):
    model = make_pose_guider() if name == "pose_guider" else request.getfixturevalue(name)
    tensors = {prefix + key: tensor for key, tensor in torch_layout(model).items()}
    loaded = load_weights(
        create(lambda: type(model).from_config(dict(model.config))), save_torch(tmp_path / "a.safetensors", tensors)
    )
    assert different(loaded, values(model)) == []


def test_prefix_of_another_network_is_refused(tmp_path, reference_unet):
    tensors = {f"denoising_unet.{name}": tensor for name, tensor in torch_layout(reference_unet).items()}
    with pytest.raises(InputError, match="unexpected .denoising_unet."):
        load_weights(create(lambda: ReferenceUNet(**COMMON)), save_torch(tmp_path / "a.safetensors", tensors))


def test_unet_of_stable_diffusion_initialises_the_reference_unet(tmp_path, reference_unet):
    tensors = {**torch_layout(reference_unet), **HEAD}
    unet = load_weights(create(lambda: ReferenceUNet(**COMMON)), save_torch(tmp_path / "a.safetensors", tensors))
    assert different(unet, values(reference_unet)) == []


def test_head_of_stable_diffusion_is_needed_by_the_denoising_unet(tmp_path, spatial):
    tensors = {name: tensor for name, tensor in spatial.items() if name not in HEAD}
    with pytest.raises(InputError, match="4 tensors missing .conv_norm_out.bias"):
        load_weights(make_empty_unet(use_motion_module=False), save_torch(tmp_path / "a.safetensors", tensors))


def test_stable_diffusion_and_animatediff_initialise_the_denoising_unet(tmp_path, denoising_unet, spatial, temporal):
    unet = load_motion_module(
        make_empty_unet(),
        save_torch(tmp_path / "unet.safetensors", spatial),
        save_torch(tmp_path / "motion.safetensors", temporal),
    )
    assert different(unet, values(denoising_unet)) == []


@pytest.mark.parametrize("prefix", ["module.", "motion_module."])
def test_prefix_before_the_motion_modules_is_stripped(tmp_path, denoising_unet, spatial, temporal, prefix):
    unet = load_motion_module(
        make_empty_unet(),
        save_torch(tmp_path / "unet.safetensors", spatial),
        save_torch(tmp_path / "motion.safetensors", {prefix + name: tensor for name, tensor in temporal.items()}),
    )
    assert different(unet, values(denoising_unet)) == []


def test_motion_modules_of_their_own_file_win_over_those_of_the_unet(tmp_path, spatial, temporal):
    old = {name: paddle.zeros_like(tensor) for name, tensor in temporal.items()}
    unet = load_motion_module(
        make_empty_unet(),
        save_torch(tmp_path / "unet.safetensors", {**spatial, **old}),
        save_torch(tmp_path / "motion.safetensors", temporal),
    )
    assert float(unet.mid_block.motion_modules[0].temporal_transformer.proj_in.weight.abs().max()) > 0


def test_one_file_of_everything_needs_no_motion_file(tmp_path, denoising_unet):
    path = save_torch(tmp_path / "a.safetensors", torch_layout(denoising_unet))
    assert different(load_motion_module(make_empty_unet(), path, None), values(denoising_unet)) == []


def test_motion_file_without_motion_modules_is_refused(tmp_path, spatial):
    path = save_torch(tmp_path / "unet.safetensors", spatial)
    with pytest.raises(InputError, match=r"unet.safetensors holds no motion module"):
        load_motion_module(make_empty_unet(), path, path)


def test_motion_file_of_other_blocks_is_refused(tmp_path, spatial, temporal):
    # AnimateDiff's first version has no motion module in the middle block.
    first = {name: tensor for name, tensor in temporal.items() if not name.startswith("mid_block")}
    with pytest.raises(InputError, match="missing .mid_block.motion_modules"):
        load_motion_module(
            make_empty_unet(),
            save_torch(tmp_path / "unet.safetensors", spatial),
            save_torch(tmp_path / "motion.safetensors", first),
        )


def test_unet_without_motion_modules_needs_a_motion_file(tmp_path, spatial):
    with pytest.raises(InputError, match="motion_modules"):
        load_motion_module(make_empty_unet(), save_torch(tmp_path / "unet.safetensors", spatial), None)
