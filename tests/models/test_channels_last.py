"""Layers of traced graphs that keep channels innermost: they give what Paddle's own layers give."""

import numpy as np
import onnx
import openvino
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.engine.onnx_graph import write_onnx
from ppdiffusers_ext.engine.tracing import trace
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.models.channels_last import (
    channels_last,
    group_norm,
    is_channels_last,
    over_pixels,
    twice_the_size,
)
from ppdiffusers_ext.models.stable_animator.residual import VideoDecoder, use_video_blocks
from ppdiffusers_ext.pipelines.loading import make_video_vae

SMALL = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "block_out_channels": [8, 16],
    "norm_num_groups": 4,
    "layers_per_block": 2,
}


def draw(*shape):
    return paddle.to_tensor(3 + 2 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


def vary(layer):
    """Parameters that are not what a new layer has, which hides mistakes."""
    for i, parameter in enumerate(layer.parameters()):
        generator = np.random.default_rng(i)
        parameter.set_value(parameter + 0.2 * generator.standard_normal(parameter.shape, dtype=np.float32))
    return layer


@pytest.mark.parametrize("shape", [(2, 8, 5, 6), (2, 8, 3, 5, 6)], ids=["pictures", "videos"])
def test_group_norm_is_that_of_paddle(shape):
    norm, x = vary(nn.GroupNorm(4, 8, epsilon=1e-3)), draw(*shape)
    np.testing.assert_allclose(group_norm(x, norm).numpy(), norm(x).numpy(), atol=1e-5)


def test_group_norm_by_frame_is_that_of_each_frame():
    norm, x = vary(nn.GroupNorm(4, 8)), draw(2, 8, 3, 5, 6)
    expected = paddle.stack([norm(frame) for frame in x.unbind(2)], axis=2)
    np.testing.assert_allclose(group_norm(x, norm, by_frame=True).numpy(), expected.numpy(), atol=1e-5)
    assert float((norm(x) - expected).abs().max()) > 0.1


@pytest.mark.parametrize("padding", [1, [0, 1]])
def test_convolution_over_pixels_is_that_of_each_frame(padding):
    layer, x = nn.Conv2D(4, 6, 3, padding=padding), draw(1, 4, 3, 5, 6)
    expected = paddle.stack([layer(frame) for frame in x.unbind(2)], axis=2)
    np.testing.assert_allclose(over_pixels(x, layer).numpy(), expected.numpy(), atol=1e-5)


def test_twice_the_size_repeats_pixels():
    x = draw(2, 3, 2, 3, 5)
    expected = x.numpy().repeat(2, axis=3).repeat(2, axis=4)
    np.testing.assert_array_equal(twice_the_size(x).numpy(), expected)


def test_eager_mode_is_not_concerned():
    with channels_last(True):
        assert not is_channels_last()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A video decoder, latents of three frames, and both ways' compiled graphs and graphs."""
    paddle.seed(0)
    vae = vary(use_own_layers(use_video_blocks(make_video_vae(SMALL))))
    vae.eval()
    latents, compiled, graphs = draw(3, 4, 6, 8), {}, []
    for is_so in (False, True):
        path = tmp_path_factory.mktemp("graph") / "model.onnx"
        with channels_last(is_so):
            traced = trace(vae, lambda z: [vae.decode(z, num_frames=z.shape[0]).sample], {"z": latents})
        write_onnx(traced, path, {})
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        compiled[is_so] = openvino.Core().compile_model(str(path), "CPU", options)
        graphs.append(onnx.load(str(path)).graph)
    return vae, latents, compiled, graphs


def test_video_decoder_gives_what_it_gives_in_paddle(decoder):
    vae, latents, compiled, _ = decoder
    assert type(vae.decoder) is VideoDecoder
    with paddle.no_grad():
        expected = vae.decode(latents, num_frames=3).sample.numpy()
        alone = vae.decode(latents[:1], num_frames=1).sample.numpy()
    assert np.abs(expected[:1] - alone).max() > 1e-2 * np.abs(expected).max()  # frames see one another
    for session in compiled.values():
        output = session(latents.numpy())[0]
        np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())


def test_video_decoder_changes_the_layout_only_around_attention_and_at_its_ends(decoder):
    def count(graph, kind):
        return sum(node.op_type == kind for node in graph.node)

    _, _, _, (usual, stacked) = decoder
    blocks, norms = 2 + 2 * 3, 4
    assert count(usual, "InstanceNormalization") >= norms * blocks
    assert count(stacked, "InstanceNormalization") == 1  # that of the attention
    assert count(usual, "Transpose") - count(stacked, "Transpose") >= 2 * blocks - 4
    assert count(stacked, "Expand") == 2 * (norms * blocks + 1)  # of the norms, none to repeat pixels
