"""The translation of each operation, against what Paddle computes."""

import numpy as np
import onnxruntime
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ppdiffusers_ext.engine.onnx_graph import UnsupportedOperation, write_onnx
from ppdiffusers_ext.engine.tracing import trace
from ppdiffusers_ext.models.layers import Conv2D, GroupNorm, LayerNorm, Linear, resize_nearest, scaled_dot_product


class Weights(nn.Layer):
    """One layer of each kind that has weights, none of which is the identity."""

    def __init__(self):
        super().__init__()
        self.conv = Conv2D(6, 4, 3, stride=2, padding=1)
        self.linear = Linear(6, 5)
        self.group_norm, self.layer_norm = GroupNorm(3, 6, epsilon=0.5), LayerNorm(6, epsilon=1e-3)
        self.batch_norm = nn.BatchNorm2D(6, epsilon=0.5)
        for parameter in self.parameters():
            parameter.set_value(paddle.randn(parameter.shape))
        self.batch_norm._mean.set_value(paddle.randn([6]))
        self.batch_norm._variance.set_value(1 + paddle.rand([6]))
        self.eval()


def conv_over_frames(net, x, **options):
    """The convolution over pixels as one over frames and pixels, of three frames of two channels."""
    weight = net.conv.weight[:, :2].unsqueeze(2).expand([4, 2, 3, 3, 3])
    return F.conv3d(x.reshape([2, 2, 3, 4, 5]), weight, net.conv.bias, **options)


CASES = {
    "conv": lambda net, x: net.conv(x),
    "conv over frames": lambda net, x: conv_over_frames(net, x, padding=[0, 1, 1]),
    "conv over frames in steps": lambda net, x: conv_over_frames(net, x, stride=[2, 1, 2], padding=[1, 0, 1]),
    "conv with another padding after than before": lambda net, x: conv_over_frames(net, x, padding=[0, 2, 1, 0, 2, 3]),
    "batch norm": lambda net, x: net.batch_norm(x),
    "group norm of frames": lambda net, x: net.group_norm(x.unsqueeze(2).expand([2, 6, 3, 4, 5])),
    "padding of frames": lambda net, x: F.pad(x.reshape([2, 2, 3, 4, 5]), [0, 1, 2, 0, 0, 0]),
    "linear": lambda net, x: net.linear(x.transpose([0, 2, 3, 1])),
    "group norm": lambda net, x: net.group_norm(x),
    "layer norm": lambda net, x: net.layer_norm(x.transpose([0, 2, 3, 1])),
    "layer norm without weights": lambda net, x: F.layer_norm(x, x.shape[2:], epsilon=1e-3),
    "scale and bias": lambda net, x: 2 * x - 1.5,
    "bias and scale": lambda net, x: paddle.scale(x, 3.0, 0.5, bias_after_scale=False),
    "subtract and divide": lambda net, x: (x[:1] - x[1:]) / (x[1:] + 10),
    "matrix times transposed": lambda net, x: paddle.matmul(x, x, transpose_y=True),
    "transposed times matrix": lambda net, x: paddle.matmul(x, x, transpose_x=True),
    "softmax": lambda net, x: F.softmax(x, axis=1),
    "activations": lambda net, x: F.silu(x) + F.gelu(x) + F.gelu(x, approximate=True) + F.sigmoid(x),
    "positive part": lambda net, x: F.relu(x),
    "largest of squares": lambda net, x: F.max_pool2d(x, 3, 2, padding=1),
    "largest of squares with padding after": lambda net, x: F.max_pool2d(x, 2, 2, padding=[0, 1, 0, 1]),
    "largest of frames": lambda net, x: F.max_pool3d(x.reshape([2, 2, 3, 4, 5]), [2, 1, 3], [1, 2, 1]),
    "mean of squares": lambda net, x: F.avg_pool2d(x, 3, 1, padding=1, exclusive=False),
    "mean of squares without padding": lambda net, x: F.avg_pool2d(x, 3, 1, padding=1, exclusive=True),
    "mean of frames": lambda net, x: F.avg_pool3d(x.reshape([2, 2, 3, 4, 5]), [1, 4, 5], 1),
    "stack": lambda net, x: paddle.stack([x, 2 * x], axis=-1) + paddle.stack([x[0], x[1]]).unsqueeze(-1),
    "slices": lambda net, x: x[:, 1:3, ::1] * x[:, 2:4] + x[:, 0].unsqueeze(1),
    "parts": lambda net, x: paddle.concat(x.chunk(3, axis=1)[::-1], axis=1),
    "shapes": lambda net, x: x.flatten(1, 2).unsqueeze(1).expand([2, 3, 24, 5]).reshape([6, -1]),
    "padding": lambda net, x: F.pad(x, [1, 2, 0, 3], value=0.5),
    "doubling": lambda net, x: resize_nearest(x, [8, 10]),
    "doubling to an odd size": lambda net, x: resize_nearest(x, [7, 9]),
    "another size": lambda net, x: resize_nearest(x, [10, 6]),
    "attention": lambda net, x: scaled_dot_product(*[x.flatten(2)] * 3, num_heads=5),
    "functions": lambda net, x: paddle.exp(x / 4) + paddle.sin(x) * paddle.cos(x),
    "means": lambda net, x: x.mean([1, 3], keepdim=True) + x.mean([2]).unsqueeze(2) + x.mean(),
    "sums": lambda net, x: (x.square().sum([1, 3], keepdim=True) + x.square().sum()).sqrt() + x.sum(2).unsqueeze(2),
    "numbers in a row": lambda net, x: x * paddle.arange(1, 11, 2, dtype="float32"),
    "rows of a table": lambda net, x: x + F.embedding(paddle.to_tensor([2, 0, 5, 2]), net.linear.weight),
    "what nothing depends on": lambda net, x: (paddle.erfinv(x), x * 2)[1],
    "one or the other": lambda net, x: paddle.where(
        F.pad(x, [2, 0, 0, 0])[..., :5].astype("bool"), x, net.linear.bias[0].expand_as(x)
    ),
    "root of the inverse": lambda net, x: (x.square() + 1).rsqrt(),
    "again and again": lambda net, x: paddle.tile(x, [1, 2, 1, 3]) + paddle.tile(x[0, 0], [2, 1, 1, 3]),
    "zeros of a shape": lambda net, x: paddle.concat([x, paddle.full_like(x, 0.5)]),
    "bicubic resizing": lambda net, x: F.interpolate(x, [7, 3], mode="bicubic", align_corners=False),
    "constant": lambda net, x: x + paddle.full([6, 1, 1], 0.5),
}


@pytest.fixture(scope="module")
def weights():
    paddle.seed(0)
    return Weights()


def run(net, function, x, folder):
    write_onnx(trace(net, lambda x: function(net, x), {"x": x}), folder / "net.onnx", {})
    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize("name", CASES)
@paddle.no_grad()
def test_operation_gives_what_paddle_gives(weights, tmp_path, name):
    x = paddle.randn([2, 6, 4, 5])
    expected = CASES[name](weights, x).numpy()
    given = run(weights, CASES[name], x, tmp_path)
    assert given.shape == expected.shape and np.abs(given - expected).max() < 1e-5
    assert np.abs(expected).max() > 0.01


def test_operation_without_translation_is_named(weights, tmp_path):
    with pytest.raises(UnsupportedOperation, match="pd_op.erfinv has no translation"):
        run(weights, lambda net, x: paddle.erfinv(x), paddle.rand([2, 3]), tmp_path)


REFUSED = {
    "a convolution with another padding": lambda net, x: F.conv2d(x, net.conv.weight, padding="SAME"),
    "a pool with another padding": lambda net, x: F.max_pool2d(x, 2, 1, padding="SAME"),
    "a pool of another kind": lambda net, x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_onnx_would_compute_otherwise_is_refused(weights, tmp_path, message):
    with pytest.raises(UnsupportedOperation, match=message):
        run(weights, REFUSED[message], paddle.rand([2, 6, 4, 5]), tmp_path)


def test_weights_in_a_file_are_not_in_the_graph(weights, tmp_path):
    from ppdiffusers_ext.engine.weights_file import read_index, write_weights

    x = paddle.randn([2, 6, 4, 5])
    write_weights(weights, tmp_path / "w")
    index = read_index(tmp_path / "w")
    stored = {id(tensor): index[name] for name, tensor in weights.state_dict().items()}
    write_onnx(trace(weights, weights.conv, {"x": x}), tmp_path / "w" / "net.onnx", stored)
    session = onnxruntime.InferenceSession(str(tmp_path / "w" / "net.onnx"), providers=["CPUExecutionProvider"])
    with paddle.no_grad():
        assert np.abs(session.run(None, {"x": x.numpy()})[0] - weights.conv(x).numpy()).max() < 1e-5
    assert b"weights.bin" in (tmp_path / "w" / "net.onnx").read_bytes()
    assert weights.conv.weight.numpy().tobytes() not in (tmp_path / "w" / "net.onnx").read_bytes()
