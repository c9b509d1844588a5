"""Weights that StableAnimator's UNet starts from: the reference reaches the output from the first step."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.stable_animator import AnimationUNet
from ppdiffusers_ext.training.stable_animator.first_weights import draw_first_weights
from ppdiffusers_ext.training.stable_animator.options import StableModelArguments
from ppdiffusers_ext.training.stable_animator.run import make_model

DEMO = Path(__file__).parents[3] / "configs" / "training" / "stable_animator_demo"
CONFIG = json.loads((DEMO / "unet" / "config.json").read_text())
SIDE, CHANNELS = 8, CONFIG["out_channels"]


def make_unet(seed=0):
    paddle.seed(seed)
    unet = AnimationUNet(**CONFIG)
    unet.eval()
    return unet


def missed(unet):
    """The part of the references' variance that no linear map makes of what comes before the last convolution."""
    rng, seen, pictures = np.random.default_rng(0), [], []
    hook = unet.conv_norm_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
    for _ in range(30):
        noise, picture = rng.standard_normal((2, 1, 1, CHANNELS, SIDE, SIDE)).astype(np.float32)
        sample = paddle.to_tensor(np.concatenate([noise, picture], axis=2))
        context = paddle.zeros([1, 5, CONFIG["cross_attention_dim"]])
        with paddle.no_grad():
            unet(sample, 1.0, context, paddle.ones([1, 3]))
        pictures.append(picture[0, 0].reshape(CHANNELS, -1).T)
    hook.remove()
    known = np.concatenate([x[0].reshape(x.shape[1], -1).T for x in seen]).astype(np.float64)
    truth, half = np.concatenate(pictures), len(known) // 2
    found, *_ = np.linalg.lstsq(known[:half], truth[:half], rcond=None)
    return np.mean((known[half:] @ found - truth[half:]) ** 2)


def test_reference_is_in_what_the_output_is_made_of():
    unet = make_unet()
    before = missed(unet)
    draw_first_weights(unet)
    after = missed(unet)
    assert before > 0.5 and after < 0.1, (before, after)


def test_second_halves_of_residual_blocks_and_transformers_add_nothing():
    unet = make_unet()
    draw_first_weights(unet)
    silent = {name for name, weight in unet.named_parameters() if not float(weight.abs().max())}
    ends = (".conv2.weight", ".proj_out.weight")
    expected = {name for name, _ in unet.named_parameters() if name.endswith(ends)}
    assert {name for name in silent if name.endswith(".weight")} == expected


def test_weights_are_those_of_the_random_state():
    drawn = []
    for seed in (5, 5, 6):
        unet = make_unet(seed)
        draw_first_weights(unet)
        drawn.append({name: value.numpy() for name, value in unet.state_dict().items()})
    assert all((drawn[0][name] == drawn[1][name]).all() for name in drawn[0])
    assert any((drawn[0][name] != drawn[2][name]).any() for name in drawn[0])


@pytest.mark.parametrize("is_given", [False, True])
def test_trainer_draws_them_for_a_unet_without_weights(tmp_path, is_given):
    paths = {"pretrained_model_name_or_path": str(DEMO)}
    if is_given:
        paddle.save(make_unet().state_dict(), str(tmp_path / "unet.pdparams"))
        paths["unet_model_finetune_path"] = str(tmp_path / "unet.pdparams")
    model = make_model(StableModelArguments(unet_model_path="none", **paths), 64)
    is_silent = not float(model.unet.mid_block.resnets[0].spatial_res_block.conv2.weight.abs().max())
    assert is_silent != is_given
