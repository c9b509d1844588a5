"""TensorFlow Lite's networks give the same numbers as ONNX: each operator against a plain loop over its definition."""

import itertools
import struct

import numpy as np
import onnxruntime
import pytest

from ppdiffusers_ext.weights.tflite_conversion import convert_tflite
from ppdiffusers_ext.weights.tflite_file import TfliteError, read_tflite
from tests.support.tflite import Sparsity, Step, write_tflite

SAME, VALID = 0, 1


@pytest.fixture
def draw():
    generator = np.random.default_rng(5)
    return lambda *shape: generator.standard_normal(shape, np.float32)


def moved(values):
    return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values


def back(values):
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


def run(data, *inputs):
    """The outputs of a network, in TensorFlow Lite's layout."""
    session = onnxruntime.InferenceSession(convert_tflite(data))
    names = [value.name for value in session.get_inputs()]
    return [back(value) for value in session.run(None, dict(zip(names, map(moved, inputs))))]


def check(picture, constants, code, expected, options=None, custom=b"", before=()):
    """An operator on a picture and constants gives what is expected. `before`: constants that come first."""
    tensors = [picture.shape, expected.shape, *before, *constants]
    first, last = 2 + len(before), 2 + len(before) + len(constants)
    inputs = [*range(2, first), 0, *range(first, last)]
    (found,) = run(write_tflite(tensors, [Step(code, inputs, [1], options or {}, custom)], [0], [1]), picture)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def padded(picture, kernel, strides, dilations, padding, value=0.0):
    """A picture with TensorFlow's SAME padding, and the size of what a window over it gives."""
    reach = [(side - 1) * step + 1 for side, step in zip(kernel, dilations)]
    if padding == VALID:
        return picture, [(side - size) // stride + 1 for side, size, stride in zip(picture.shape[1:3], reach, strides)]
    sizes = [-(-side // stride) for side, stride in zip(picture.shape[1:3], strides)]
    total = [
        max((size - 1) * stride + far - side, 0)
        for size, stride, far, side in zip(sizes, strides, reach, picture.shape[1:3])
    ]
    pads = [(0, 0), *((number // 2, number - number // 2) for number in total), (0, 0)]
    return np.pad(picture, pads, constant_values=value), sizes


def windows(picture, kernel, strides, dilations, padding, value=0.0):
    """(height, width, kernel height, kernel width, channels) of the first picture."""
    picture, (height, width) = padded(picture, kernel, strides, dilations, padding, value)
    found = np.empty((height, width, *kernel, picture.shape[3]), np.float32)
    for y, x, i, j in itertools.product(range(height), range(width), range(kernel[0]), range(kernel[1])):
        found[y, x, i, j] = picture[0, y * strides[0] + i * dilations[0], x * strides[1] + j * dilations[1]]
    return found


ACTIVATIONS = {0: lambda x: x, 1: lambda x: np.maximum(x, 0), 3: lambda x: np.clip(x, 0, 6), 4: np.tanh}
SHAPES = [
    ((8, 8), (3, 3), (1, 1), (1, 1)),
    ((8, 7), (3, 3), (2, 2), (1, 1)),
    ((9, 6), (2, 5), (2, 1), (1, 1)),
    ((9, 11), (3, 2), (1, 1), (2, 3)),
    ((5, 5), (1, 1), (3, 2), (1, 1)),
]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(("size", "kernel", "strides", "dilations"), SHAPES)
def test_convolutions(draw, size, kernel, strides, dilations, padding, activation):
    picture, bias = draw(1, *size, 3), draw(6)
    seen = windows(picture, kernel, strides, dilations, padding)
    fields = {0: ("b", padding), 1: ("i", strides[1]), 2: ("i", strides[0])}
    weights = draw(6, *kernel, 3)
    expected = ACTIVATIONS[activation](np.einsum("yxijc,oijc->yxo", seen, weights) + bias)[None]
    steps = {4: ("i", dilations[1]), 5: ("i", dilations[0])}
    check(picture, [weights, bias], 3, expected, {**fields, 3: ("b", activation), **steps})
    weights = draw(1, *kernel, 6)  # two results of each of three channels
    expected = np.einsum("yxijc,ijcm->yxcm", seen, weights.reshape(*kernel, 3, 2)).reshape(*seen.shape[:2], 6) + bias
    steps = {5: ("i", dilations[1]), 6: ("i", dilations[0])}
    options = {**fields, 3: ("i", 2), 4: ("b", activation), **steps}
    check(picture, [weights, bias], 4, ACTIVATIONS[activation](expected)[None], options)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(("size", "kernel", "strides", "dilations"), [shape for shape in SHAPES if shape[3] == (1, 1)])
def test_pooling(draw, size, kernel, strides, dilations, padding):
    picture = draw(1, *size, 3)
    options = {0: ("b", padding), 1: ("i", strides[1]), 2: ("i", strides[0]), 3: ("i", kernel[1]), 4: ("i", kernel[0])}
    seen = windows(picture, kernel, strides, dilations, padding, np.nan)  # what is outside does not count
    check(picture, [], 17, np.nanmax(seen, (2, 3))[None], options)
    check(picture, [], 1, np.nanmean(seen, (2, 3))[None], options)


@pytest.mark.parametrize("size", [(3, 4), (5, 2)])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(
    ("kernel", "strides"), [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((4, 3), (2, 1)), ((1, 2), (1, 2))]
)
def test_transposed_convolutions(draw, size, kernel, strides, padding):
    picture, weights, bias = draw(1, *size, 3), draw(5, *kernel, 3), draw(5)
    whole = [(side - 1) * stride + far for side, stride, far in zip(size, strides, kernel)]
    result = [side * stride for side, stride in zip(size, strides)] if padding == SAME else whole
    summed = np.zeros((*np.maximum(whole, result), 5), np.float32)
    for y, x in itertools.product(*map(range, size)):
        where = slice(y * strides[0], y * strides[0] + kernel[0]), slice(x * strides[1], x * strides[1] + kernel[1])
        summed[where] += np.einsum("c,oijc->ijo", picture[0, y, x], weights)
    cut = [max(far - side, 0) // 2 for far, side in zip(whole, result)]
    expected = summed[cut[0] : cut[0] + result[0], cut[1] : cut[1] + result[1]][None] + bias
    options = {0: ("b", padding), 1: ("i", strides[1]), 2: ("i", strides[0])}
    shape = np.array(expected.shape, np.int32)
    tensors = [picture.shape, expected.shape, shape, weights, bias]
    (found,) = run(write_tflite(tensors, [Step(67, [2, 3, 0, 4], [1], options)], [0], [1]), picture)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    custom = struct.pack("<3i", 1 if padding == SAME else 2, strides[1], strides[0])
    check(picture, [weights, bias], "Convolution2DTransposeBias", expected, custom=custom)


@pytest.mark.parametrize(("code", "function"), [(0, np.add), (18, np.multiply), (41, np.subtract)])
@pytest.mark.parametrize("shape", [(1, 4, 5, 3), (3,), (1,), (), (5, 3), (1, 1, 1, 3), (4, 1, 1), (1, 4, 5, 1)])
def test_operators_of_two(draw, code, function, shape):
    picture, constant = draw(1, 4, 5, 3), draw(*shape)
    check(picture, [constant], code, ACTIVATIONS[3](function(picture, constant)), {0: ("b", 3)})
    if shape:
        check(picture[0, 0], [constant.reshape(-1)[:1]], code, function(picture[0, 0], constant.reshape(-1)[:1]))


def test_operators_of_one(draw):
    for picture in (8 * draw(1, 4, 5, 3), 8 * draw(2, 7)):
        check(picture, [], 14, 1 / (1 + np.exp(-picture)))
        check(picture, [], 19, np.maximum(picture, 0))
        check(picture, [], 21, np.clip(picture, 0, 6))
        check(picture, [], 117, picture * np.clip(picture + 3, 0, 6) / 6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 5, 3), (3,)])
def test_prelu(draw, shape):
    picture, slope = draw(1, 4, 5, 3), draw(*shape)
    check(picture, [slope], 54, np.where(picture < 0, picture * slope, picture))


@pytest.mark.parametrize("pads", [[(0, 0), (1, 2), (0, 3), (0, 0)], [(0, 0), (0, 0), (0, 0), (2, 1)]])
def test_padding(draw, pads):
    picture = draw(1, 4, 5, 3)
    check(picture, [np.array(pads, np.int32)], 34, np.pad(picture, pads))


def resized(picture, sides, align, half):
    """Bilinear by the definition of each corner mode, on the first picture."""
    places = []
    for side, size in zip(picture.shape[1:3], sides):
        at = np.arange(size)
        if align:
            place = at * ((side - 1) / (size - 1) if size > 1 else 0)
        else:
            place = (at + 0.5) * side / size - 0.5 if half else at * side / size
        low = np.clip(np.floor(place).astype(int), 0, side - 1)
        places.append((low, np.minimum(low + 1, side - 1), np.clip(place, 0, side - 1) - low))
    (top, bottom, v), (left, right, h) = places
    v, h = v[:, None, None], h[None, :, None]
    rows = picture[0][top] * (1 - v) + picture[0][bottom] * v
    return (rows[:, left] * (1 - h) + rows[:, right] * h)[None].astype(np.float32)


@pytest.mark.parametrize(("align", "half"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("sides", [(8, 10), (7, 3), (4, 5)])
def test_resizing_in_each_corner_mode(draw, sides, align, half):
    picture = draw(1, 4, 5, 3)
    options = {2: ("B", int(align)), 3: ("B", int(half))}
    check(picture, [np.array(sides, np.int32)], 23, resized(picture, sides, align, half), options)


def test_depth_to_space(draw):
    picture = draw(1, 2, 3, 12)
    parts = picture.reshape(1, 2, 3, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    check(picture, [], 5, parts.reshape(1, 4, 6, 3), {0: ("i", 2)})


@pytest.mark.parametrize("shape", [(1, 60), (1, 20, 3), (1, 3, 5, 4), (4, 5, 3)])
def test_reshaping_goes_by_the_order_of_the_values(draw, shape):
    picture = draw(1, 4, 5, 3)
    check(picture, [np.array(shape, np.int32)], 22, picture.reshape(shape))
    check(picture.reshape(60), [np.array(shape, np.int32)], 22, picture.reshape(shape))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_concatenation(draw, axis):
    picture = draw(1, 4, 4, 4)
    other = draw(1, 4, 4, 4)
    check(picture, [other], 2, np.concatenate([picture, other], axis), {0: ("i", axis)})
    lists = draw(2, 3), draw(2, 3)
    check(lists[0], [lists[1]], 2, np.concatenate(lists, 1), {0: ("i", 1)})


@pytest.mark.parametrize(("axes", "keeps"), [((1, 2), True), ((1, 2), False), ((3,), True), ((-1, -2, -3), False)])
def test_mean(draw, axes, keeps):
    picture = draw(1, 4, 5, 3)
    expected = picture.mean(axes, keepdims=keeps)
    check(picture, [np.array(axes, np.int32)], 40, expected, {0: ("B", int(keeps))})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fully_connected(draw, activation):
    picture, weights, bias = draw(1, 4, 5, 3), draw(7, 60), draw(7)
    expected = ACTIVATIONS[activation](picture.reshape(1, 60) @ weights.T + bias)
    check(picture, [weights, bias], 9, expected, {0: ("b", activation)})
    rows = draw(4, 60)
    check(rows, [weights], 9, rows @ weights.T)


def test_slices(draw):
    picture = draw(1, 6, 5, 4)
    numbers = [np.array(part, np.int32) for part in ([0, 1, 9, 0], [9, -1, 9, 3], [1, 2, 2, 1])]
    options = {0: ("i", 0b0100), 1: ("i", 0b0101)}
    check(picture, numbers, 45, picture[:, 1:-1:2, ::2, :3], options)


def test_weights_in_half_precision(draw):
    picture, weights = draw(1, 4, 5, 3), draw(6, 1, 1, 3).astype(np.float16)
    tensors = [picture.shape, (1, 4, 5, 6), weights, (6, 1, 1, 3)]
    steps = [Step(6, [2], [3]), Step(3, [0, 3], [1], {0: ("b", VALID), 1: ("i", 1), 2: ("i", 1)})]
    (found,) = run(write_tflite(tensors, steps, [0], [1]), picture)
    expected = np.einsum("nyxc,oc->nyxo", picture, weights[:, 0, 0].astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_values_are_halved_only_where_that_loses_nothing(draw):
    """A file of weights that halves hold is half as large, and no weight is rounded."""
    sizes = {}
    for name, weights in (("halves", draw(99, 999).astype(np.float16).astype(np.float32)), ("others", draw(99, 999))):
        data = write_tflite([(1, 999), (1, 99), weights], [Step(9, [0, 2], [1])], [0], [1])
        sizes[name] = len(convert_tflite(data))
        (found,) = run(data, np.eye(999, dtype=np.float32)[:1])
        assert np.array_equal(found[0], weights[:, 0])
    assert sizes["halves"] < 0.51 * sizes["others"]


SPARSE = [
    # Rows are stored, and of each row the columns that have something.
    ((3, 4), Sparsity([0, 1], [], [3, ([0, 2, 2, 3], [1, 3, 0])]), [(0, 1), (0, 3), (2, 0)]),
    # By columns first.
    ((3, 4), Sparsity([1, 0], [], [4, ([0, 1, 1, 3, 3], [2, 0, 1])]), [(2, 0), (0, 2), (1, 2)]),
    # Blocks of four columns.
    (
        (2, 8),
        Sparsity([0, 1, 2], [1], [2, ([0, 1, 2], [1, 0]), 4]),
        [(0, 4), (0, 5), (0, 6), (0, 7), (1, 0), (1, 1), (1, 2), (1, 3)],
    ),
]


@pytest.mark.parametrize(("shape", "sparsity", "places"), SPARSE)
def test_sparse_weights(draw, shape, sparsity, places):
    values = draw(len(places)).astype(np.float16)
    expected = np.zeros(shape, np.float32)
    for place, value in zip(places, values):
        expected[place] = value
    steps = [Step(124, [2], [3]), Step(6, [3], [4]), Step(9, [0, 4], [1])]
    data = write_tflite(
        [(1, shape[1]), (1, shape[0]), values, shape, shape], steps, [0], [1], sparsity={2: (shape, sparsity)}
    )
    row = draw(1, shape[1])
    np.testing.assert_allclose(run(data, row)[0], row @ expected.T, rtol=1e-5, atol=1e-6)


BAD_SPARSITY = [
    Sparsity([0, 0], [], [3, 4]),
    Sparsity([0], [], [3]),
    Sparsity([0, 1], [], [3, 5]),
    Sparsity([0, 1], [], [3, ([0, 2, 2, 9], [1, 3, 0])]),
    Sparsity([0, 1], [], [3, ([0, 2, 1, 3], [1, 3, 0])]),
    Sparsity([0, 1], [], [3, ([0, 2, 3], [1, 3, 0])]),
    Sparsity([0, 1], [], [3, ([0, 2, 2, 3], [1, 4, 0])]),
    Sparsity([0, 1], [], [3, ([0, 2, 2, 3], [1, -1, 0])]),
    Sparsity([0, 1], [], [3, ([0, 1, 1, 2], [1, 3])]),
    Sparsity([0, 1, 2], [1], [3, 4, 3]),
    Sparsity([0, 1, 2], [7], [3, 4, 1]),
    Sparsity([0, 1], [], [-3, -4]),
]


@pytest.mark.parametrize("sparsity", BAD_SPARSITY)
def test_sparse_weights_that_do_not_fit_are_refused(draw, sparsity):
    steps = [Step(124, [2], [3]), Step(9, [0, 3], [1])]
    data = write_tflite([(1, 4), (1, 3), draw(3), (3, 4)], steps, [0], [1], sparsity={2: ((3, 4), sparsity)})
    with pytest.raises(TfliteError, match="sparse"):
        convert_tflite(data)


def small_network(draw):
    """Bytes of a network of some operators."""
    steps = [
        Step(6, [2], [3]),
        Step(3, [0, 3], [4], {0: ("b", SAME), 1: ("i", 2), 2: ("i", 2), 3: ("b", 1)}),
        Step(23, [4, 5], [6], {3: ("B", 1)}),
        Step(22, [6, 7], [1]),
    ]
    sides, shape = np.array([6, 6], np.int32), np.array([1, 144], np.int32)
    tensors = [(1, 8, 8, 3), (1, 144), draw(4, 3, 3, 3).astype(np.float16), (4, 3, 3, 3), (1, 4, 4, 4)]
    return write_tflite([*tensors, sides, (1, 6, 6, 4), shape], steps, [0], [1])


def test_the_same_file_gives_the_same_bytes(draw):
    data = small_network(draw)
    assert convert_tflite(data) == convert_tflite(bytes(bytearray(data)))


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0" * 8, b"\0\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + b"\xff" * 99, b"PK\3\4" * 9]
)
def test_what_is_no_network_is_refused(data):
    with pytest.raises(TfliteError):
        convert_tflite(data)


def test_a_network_that_is_cut_off_is_refused_wherever_it_is_cut(draw):
    data = small_network(draw)
    for length in range(0, len(data) - 8, 3):
        with pytest.raises(TfliteError):
            read_tflite(data[:length])


def test_a_damaged_network_is_refused_or_converted(draw):
    """Any byte may be another: the only error is TfliteError."""
    data, generator = small_network(draw), np.random.default_rng(3)
    refused = 0
    for _ in range(600):
        damaged = bytearray(data)
        for place in generator.integers(len(data), size=generator.integers(1, 4)):
            damaged[place] = generator.choice([0, 1, 127, 128, 255, generator.integers(256)])
        try:
            convert_tflite(bytes(damaged))
        except TfliteError:
            refused += 1
    assert refused > 100


def test_an_operator_that_is_not_known_is_named(draw):
    for code in (99, "TransformLandmarks"):
        with pytest.raises(TfliteError, match=f"operator {code!r}"):
            convert_tflite(write_tflite([(1, 3), (1, 3)], [Step(code, [0], [1])], [0], [1]))


@pytest.mark.parametrize(
    "step",
    [
        Step(3, [0], [1]),
        Step(3, [0, 1], [1]),
        Step(3, [0, -1], [1]),
        Step(0, [0, 3], [1]),
        Step(0, [0, 0], [0, 1]),
        Step(2, [0, 0], [1], {0: ("i", 9)}),
        Step(0, [0, 0], [1], {0: ("b", 5)}),
        Step(5, [0], [1], {0: ("i", 0)}),
        Step(17, [0], [1]),
        Step("Convolution2DTransposeBias", [0, 2], [1]),
    ],
)
def test_an_operator_without_what_it_needs_is_refused(draw, step):
    with pytest.raises(TfliteError):
        convert_tflite(write_tflite([(1, 4, 4, 3), (1, 4, 4, 3), draw(3, 1, 1, 3), (1, 4, 4, 3)], [step], [0], [1]))
