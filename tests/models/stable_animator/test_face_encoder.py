"""The face encoder: a face's embedding and CLIP's of the picture in, tokens out."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.stable_animator import FusionFaceId


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


@pytest.fixture
def encoder():
    paddle.seed(0)
    encoder = FusionFaceId(cross_attention_dim=64, id_embeddings_dim=32, clip_embeddings_dim=48)
    encoder.eval()
    return encoder


@paddle.no_grad()
def test_tokens_have_the_width_of_the_cross_attention(encoder):
    assert encoder(randn(2, 32), randn(2, 1, 48)).shape == [2, 4, 64]
    assert encoder(randn(2, 32), randn(2, 7, 48)).shape == [2, 4, 64]


@paddle.no_grad()
def test_tokens_depend_on_the_face_and_on_the_picture(encoder):
    out = encoder(randn(1, 32), randn(1, 1, 48))
    for other in (encoder(randn(1, 32, seed=1), randn(1, 1, 48)), encoder(randn(1, 32), randn(1, 1, 48, seed=1))):
        assert float((out - other).abs().max()) > 1e-2


@paddle.no_grad()
def test_samples_are_independent(encoder):
    face, clip = randn(3, 32), randn(3, 1, 48)
    np.testing.assert_allclose(encoder(face, clip)[1:2], encoder(face[1:2], clip[1:2]), atol=1e-5)


@paddle.no_grad()
def test_shortcut_adds_the_tokens_before_the_fusion(encoder):
    face, clip = randn(1, 32), randn(1, 1, 48)
    fused, half, whole = encoder(face, clip), *(encoder(face, clip, shortcut=True, scale=s) for s in (0.5, 1.0))
    np.testing.assert_allclose(whole - half, 0.5 * fused, atol=1e-5)


def test_default_sizes_are_those_of_the_released_weights():
    encoder = FusionFaceId()
    assert encoder.proj[2].weight.shape == [1024, 4096]
    assert len(encoder.fusion_model.layers) == 4 and encoder.fusion_model.layers[0][0].num_heads == 16


def test_width_that_has_no_heads_of_64_is_refused():
    with pytest.raises(ValueError, match="96 channels do not divide into heads of 64"):
        FusionFaceId(cross_attention_dim=96)


@paddle.no_grad()
def test_half_precision_is_nearly_the_same(encoder):
    face, clip = randn(1, 32), randn(1, 1, 48)
    expected = encoder(face, clip)
    out = encoder.to(dtype="bfloat16")(face.astype("bfloat16"), clip.astype("bfloat16"))
    assert out.dtype == paddle.bfloat16
    np.testing.assert_allclose(out.astype("float32"), expected, atol=0.05)


def test_gradient_reaches_every_parameter(encoder):
    (encoder(randn(1, 32), randn(1, 1, 48)) ** 2).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0] == []
