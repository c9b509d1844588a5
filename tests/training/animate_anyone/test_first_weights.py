"""What UNets start from where they have no trained weights."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.animate_anyone.transformer import ReferenceAttention
from ppdiffusers_ext.training.animate_anyone.first_weights import draw_first_weights
from ppdiffusers_ext.training.animate_anyone.options import ModelArguments
from ppdiffusers_ext.training.animate_anyone.places import lead
from ppdiffusers_ext.training.animate_anyone.run import make_model
from ppdiffusers_ext.weights.writing import write_safetensors

ROOT = Path(__file__).parents[3]
SIDE = 16


def latents(seed, count):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((count, 4, SIDE, SIDE)).astype("float32"))


def tokens_seen(unet, pictures):
    """What the last attention of half the latents' height hands over: (n, tokens, channels)."""
    seen = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in unet.sublayers()
        if isinstance(layer, ReferenceAttention)
    ]
    context = paddle.zeros([pictures.shape[0], 1, unet.config.cross_attention_dim])
    with paddle.no_grad():
        unet(pictures, 0, context)
    for hook in hooks:
        hook.remove()
    return next(tokens for tokens in reversed(seen) if tokens.shape[1] == SIDE**2 // 4).numpy()


def left_of_pictures(unet):
    """The part of the pictures' variance that no linear map makes of the tokens that are handed over."""
    pictures = latents(0, 40)
    tokens = tokens_seen(unet, pictures)
    half = SIDE // 2
    truth = pictures.numpy().reshape(40, 4, half, 2, half, 2).transpose(0, 2, 4, 1, 3, 5).reshape(40, half**2, 16)
    tokens = np.concatenate([tokens, np.ones_like(tokens[..., :1])], axis=-1).astype(np.float64)
    known, asked = tokens[:30].reshape(-1, tokens.shape[-1]), tokens[30:].reshape(-1, tokens.shape[-1])
    found, *_ = np.linalg.lstsq(known, truth[:30].reshape(-1, 16), rcond=None)
    return np.mean((asked @ found - truth[30:].reshape(-1, 16)) ** 2)


def test_reference_is_in_what_is_attended_to(make_reference_unet):
    paddle.seed(0)
    unet = make_reference_unet()
    before = left_of_pictures(unet)
    draw_first_weights(unet, of_reference=True)
    after = left_of_pictures(unet)
    assert before > 0.9 and after < 0.65


def told_apart(reference, denoising):
    """How far outputs of two references are apart, as a part of their deviation; attention is led to its place."""
    noise, poses = latents(1, 2).unsqueeze(2), paddle.zeros([2, 32, 1, SIDE, SIDE])
    context, outputs = paddle.zeros([2, 1, denoising.config.cross_attention_dim]), []
    places = lead(denoising, weight=1.0, steps=1)
    places.begin(0, SIDE, SIDE, np.zeros([2, 2, 18, 3]))
    with paddle.no_grad():
        for seed in (2, 3):
            features = reference(latents(seed, 2), 0, context)
            outputs.append(denoising(noise, paddle.to_tensor([999, 999]), context, poses, features).numpy())
    places.end()
    return np.std(outputs[0] - outputs[1]) / np.std(outputs[0])


def test_reference_reaches_the_output(make_reference_unet, make_denoising_unet):
    reference, denoising = make_reference_unet(), make_denoising_unet(use_motion_module=False)
    before = told_apart(reference, denoising)
    draw_first_weights(reference, of_reference=True)
    draw_first_weights(denoising, of_reference=False)
    after = told_apart(reference, denoising)
    assert after > 0.15 and after > 1.5 * before, (after, before)


def test_second_halves_of_residual_blocks_add_nothing(make_denoising_unet):
    unet = make_denoising_unet(use_motion_module=False)
    draw_first_weights(unet, of_reference=False)
    silent = [name for name, weight in unet.named_parameters() if not float(weight.abs().max())]
    assert {name for name in silent if name.endswith(".weight")} == {
        name
        for name, _ in unet.named_parameters()
        if name.endswith((".conv2.weight", ".ff.net.2.weight", ".attn2.to_out.0.weight"))
    }


@pytest.mark.parametrize("of_reference", [True, False])
def test_weights_are_those_of_the_random_state(make_reference_unet, make_denoising_unet, of_reference):
    drawn = []
    for seed in (5, 5, 6):
        unet = make_reference_unet(seed) if of_reference else make_denoising_unet(seed, use_motion_module=False)
        draw_first_weights(unet, of_reference)
        drawn.append({name: value.numpy() for name, value in unet.state_dict().items()})
    assert all((drawn[0][name] == drawn[1][name]).all() for name in drawn[0])
    assert any((drawn[0][name] != drawn[2][name]).any() for name in drawn[0])


def test_stage_1_draws_them_for_what_has_no_weights(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    values = {
        "base_model_path": "configs/training/demo",
        "inference_config_path": "configs/inference/demo_model.yaml",
    }
    paddle.seed(1)
    drawn = make_model(1, ModelArguments(**values))
    for unet in (drawn.reference_unet, drawn.denoising_unet):
        assert not float(unet.mid_block.resnets[0].conv2.weight.abs().max())
    arrays = {name: np.full(value.shape, 0.5, np.float32) for name, value in drawn.denoising_unet.state_dict().items()}
    write_safetensors(tmp_path / "unet.safetensors", arrays, {"format": "pd"})
    path = str(tmp_path / "unet.safetensors")
    given = make_model(1, ModelArguments(**values, denoising_unet_base_model_path=path))
    assert all((value == 0.5).all() for value in given.denoising_unet.state_dict().values())
    assert not float(given.reference_unet.mid_block.resnets[0].conv2.weight.abs().max())
