"""Networks of ppdiffusers with own layers in them, against the same networks without."""

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdiffusers.models.attention_processor import Attention
from ppdiffusers.models.resnet import Upsample2D

from ppdiffusers_ext.models import eager_attention, layers
from ppdiffusers_ext.models.borrowed import use_groups, use_own_layers


@paddle.no_grad()
def test_own_layers_in_an_autoencoder_give_its_numbers(make_vae):
    vae, x = make_vae(), paddle.randn([2, 3, 16, 24])
    expected = vae(x).sample
    assert {type(layer).__module__ for layer in use_own_layers(vae).sublayers()} >= {layers.__name__}
    assert float((vae(x).sample - expected).abs().max()) < 1e-5
    plain = [layer for layer in vae.sublayers() if type(layer) in (nn.Conv2D, Upsample2D)]
    assert plain == [] and float(expected.abs().max()) > 0.1


def make_attention(**options):
    paddle.seed(0)
    return Attention(32, heads=2, dim_head=16, bias=True, **options)


KINDS = {
    "of tokens": {},
    "of pictures": {"norm_num_groups": 4, "residual_connection": True, "rescale_output_factor": 2.0},
    "without a scale": {"scale_qk": False},
    "across": {"cross_attention_dim": 24},
}


@pytest.mark.parametrize("kind", KINDS)
@paddle.no_grad()
def test_attention_gives_the_same_numbers(kind):
    x = paddle.randn([2, 32, 5, 7] if kind == "of pictures" else [2, 35, 32])
    more = {"encoder_hidden_states": paddle.randn([2, 3, 24])} if kind == "across" else {}
    expected = make_attention(**KINDS[kind])(x, **more)
    own = use_own_layers(make_attention(**KINDS[kind]))(x, **more)
    assert own.shape == expected.shape == x.shape
    np.testing.assert_allclose(own.numpy(), expected.numpy(), atol=1e-5)
    assert float(expected.std()) > 0.01


@paddle.no_grad()
def test_masked_attention_gives_the_same_numbers():
    x, mask = paddle.randn([2, 6, 32]), paddle.to_tensor([[0.0] * 6, [0.0] * 3 + [-1e4] * 3])
    given = {"attention_mask": mask.unsqueeze(1)}
    expected, own = (make(make_attention())(x, **given) for make in (lambda network: network, use_own_layers))
    np.testing.assert_allclose(own.numpy(), expected.numpy(), atol=1e-5)
    assert float((own - use_own_layers(make_attention())(x)).abs().max()) > 1e-3


@paddle.no_grad()
def test_scores_of_a_picture_do_not_exist_all_at_one_time(make_vae, monkeypatch):
    """Those of two frames of 512x384 before eight-fold autoencoders are 75 MB, before four-fold ones 1.2 GB."""
    sizes, attend = [], layers._attend
    monkeypatch.setattr(layers, "MAX_SCORES", 1000)
    monkeypatch.setattr(eager_attention, "is_worth_it", lambda *counts: False)
    monkeypatch.setattr(
        layers, "_attend", lambda q, k, v, b: sizes.append(q.shape[2] * k.shape[2] * q.shape[0]) or attend(q, k, v, b)
    )
    vae = use_own_layers(make_vae())
    pixels = vae.decode(paddle.randn([2, vae.config.latent_channels, 16, 12])).sample
    vae.encode(pixels)
    assert max(sizes) <= 1000 and sum(sizes) == 2 * 2 * (16 * 12) ** 2


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="32 channels cannot be normalised in 5 groups"):
        use_groups(nn.Sequential(nn.GroupNorm(4, 32)), 5)
    network = use_groups(nn.Sequential(nn.GroupNorm(4, 32)), 8)
    assert network[0]._num_groups == 8
