"""What each method of LoRA files adds to layers of every kind, against formulas in float64 written apart."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.arrays import to_array, to_tensor
from ppdiffusers_ext.weights.lora import Lora, MergedLoras
from ppdiffusers_ext.weights.writing import write_safetensors
from tests.support.lora_files import METHODS, OF_KERNELS, RANK, drawing, low_rank, write

KINDS = {
    "linear": (lambda: nn.Linear(4, 6), (6, 4)),
    "1x1": (lambda: nn.Conv2D(4, 6, 1), (6, 4, 1, 1)),
    "3x3": (lambda: nn.Conv2D(4, 6, 3), (6, 4, 3, 3)),
    "1d": (lambda: nn.Conv1D(4, 6, 3), (6, 4, 3)),
    "3d": (lambda: nn.Conv3D(4, 6, (1, 3, 2)), (6, 4, 1, 3, 2)),
}


class Network(nn.Layer):
    def __init__(self, kind):
        super().__init__()
        self.to_q = KINDS[kind][0]()
        self.norm = nn.LayerNorm(5)
        self.table = nn.Embedding(7, 4)


def network(kind="linear"):
    paddle.seed(0)
    return Network(kind)


def weight_of(model):
    """Of `to_q`, float64, in torch's layout."""
    array = model.to_q.weight.astype("float32").numpy().astype(np.float64)
    return array.T if isinstance(model.to_q, nn.Linear) else array


def merge(model, path, weight=1.0):
    return MergedLoras(model, [(Lora(path), weight)])


def refused(path, message, model=None):
    with pytest.raises(InputError, match=message):
        merge(model or network(), path)


CASES = [(kind, method) for kind in KINDS for method in METHODS]
CASES += [(kind, method) for kind in ("1x1", "3x3") for method in OF_KERNELS]


@pytest.mark.parametrize("alpha", [None, 1.5])
@pytest.mark.parametrize(("kind", "method"), CASES)
def test_every_method_adds_what_its_formula_says(tmp_path, kind, method, alpha):
    shape = KINDS[kind][1]
    elements, product, rank = {**METHODS, **OF_KERNELS}[method](drawing(), shape)
    scale = 1.0 if alpha is None or rank is None else alpha / rank
    if alpha is not None and method != "whole":
        elements = {**elements, "alpha": np.array(alpha)}
    model = network(kind)
    before, bits = weight_of(model), {name: x.numpy().copy() for name, x in model.state_dict().items()}
    merged = merge(model, write(tmp_path / "a.safetensors", elements), -0.75)
    np.testing.assert_allclose(weight_of(model), before - 0.75 * scale * product, rtol=2e-5, atol=2e-5)
    assert [name for name, x in model.state_dict().items() if not np.array_equal(x.numpy(), bits[name])] == [
        "to_q.weight"
    ]
    merged.undo()
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), bits[name])


@pytest.mark.parametrize("shape", [(RANK, 4), (RANK, 4, 1, 1)])
@pytest.mark.parametrize("kind", ["linear", "1x1"])
def test_1x1_convolutions_and_linear_layers_stand_for_each_other(tmp_path, kind, shape):
    draw = drawing()
    up, down = draw(6, RANK, *shape[2:]), draw(*shape)
    model = network(kind)
    before = weight_of(model)
    merge(model, write(tmp_path / "a.safetensors", {"lora_up.weight": up, "lora_down.weight": down}))
    added = (up.reshape(6, RANK) @ down.reshape(RANK, 4)).reshape(before.shape)
    np.testing.assert_allclose(weight_of(model), before + added, rtol=1e-5, atol=1e-5)


# DoRA


def decomposed(weight, product, magnitude, axis):
    """m * (W + s BA) / ||W + s BA||, the norm over all axes but one."""
    merged = weight + product
    norm = np.sqrt((merged**2).sum(axis=tuple(i for i in range(merged.ndim) if i != axis), keepdims=True))
    return merged / norm * magnitude.reshape([-1 if i == axis else 1 for i in range(merged.ndim)])


@pytest.mark.parametrize("strength", [1.0, 0.5, -2.0])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("method", ["low_rank", "low_rank_in_the_middle", "loha", "lokr"])
@pytest.mark.parametrize("kind", ["linear", "3x3"])
def test_dora_scales_what_is_merged_to_its_magnitudes(tmp_path, kind, method, axis, strength):
    shape = KINDS[kind][1]
    draw = drawing(1)
    elements, product, rank = METHODS[method](draw, shape)
    magnitude = np.abs(draw(shape[axis])) + 0.5
    sizes = [shape[axis] if i == axis else 1 for i in range(len(shape))]
    elements |= {"alpha": np.array(2.0), "dora_scale": magnitude.reshape(sizes)}
    product = product * (1.0 if rank is None else 2.0 / rank)
    model = network(kind)
    before = weight_of(model)
    merged = merge(model, write(tmp_path / "a.safetensors", elements), strength)
    expected = before + strength * (decomposed(before, product, magnitude, axis) - before)
    np.testing.assert_allclose(weight_of(model), expected, rtol=1e-4, atol=1e-4)
    merged.undo()
    np.testing.assert_array_equal(weight_of(model), before)


@pytest.mark.parametrize("sizes", [(6,), (6, 1), (1, 6)])
@pytest.mark.parametrize(
    "name", ["lora_magnitude_vector", "lora_magnitude_vector.weight", "lora_magnitude_vector.x.weight"]
)
def test_magnitudes_of_peft_are_of_outputs(tmp_path, sizes, name):
    draw = drawing()
    elements, product, _ = low_rank(draw, (6, 4))
    elements[name] = magnitude = np.abs(draw(*sizes))
    model = network()
    before = weight_of(model)
    merge(model, write(tmp_path / "a.safetensors", elements))
    np.testing.assert_allclose(weight_of(model), decomposed(before, product, magnitude, 0), rtol=1e-4, atol=1e-4)


def test_magnitudes_of_a_square_layer_are_told_apart_by_their_shape(tmp_path):
    draw = drawing()
    elements, product, _ = low_rank(draw, (4, 4))
    magnitude = np.abs(draw(4))
    for axis, sizes in enumerate([(4, 1), (1, 4)]):
        model = network()
        model.to_q = nn.Linear(4, 4)
        before = weight_of(model)
        merge(model, write(tmp_path / "a.safetensors", {**elements, "dora_scale": magnitude.reshape(sizes)}))
        np.testing.assert_allclose(
            weight_of(model), decomposed(before, product, magnitude, axis), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("sizes", [(5,), (4, 1), (1, 6), (6, 4), (), (2, 3)])
def test_magnitudes_of_another_layer_are_refused(tmp_path, sizes):
    elements, _, _ = low_rank(drawing(), (6, 4))
    elements["dora_scale"] = np.ones(sizes, np.float32)
    refused(write(tmp_path / "a.safetensors", elements), r"magnitudes of the shape .*\(6, 1\) or \(1, 4\) is needed")


def test_several_files_are_added_to_the_weight_as_it_was(tmp_path):
    draw = drawing()
    one, product, _ = low_rank(draw, (6, 4))
    two, other, _ = low_rank(draw, (6, 4))
    magnitude = np.abs(draw(6, 1))
    paths = write(tmp_path / "a.safetensors", one), write(tmp_path / "b.safetensors", {**two, "dora_scale": magnitude})
    results = []
    for order in (paths, paths[::-1]):
        model = network()
        before = weight_of(model)
        MergedLoras(model, [(Lora(path), 1.0) for path in order])
        results.append(weight_of(model))
        expected = decomposed(before, other, magnitude, 0) + product
        np.testing.assert_allclose(results[-1], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)


# Biases and other layers


def test_biases_and_norms_take_differences(tmp_path):
    draw = drawing()
    model = network()
    values = {"to_q.diff": draw(6, 4), "to_q.diff_b": draw(6), "norm.diff": draw(5), "norm.diff_b": draw(5)}
    values["table.diff"] = draw(7, 4)
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    arrays = {f"diffusion_model.{name}": x.astype(np.float32) for name, x in values.items()}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    merged = merge(model, tmp_path / "a.safetensors", 0.5)
    added = {
        "to_q.weight": values["to_q.diff"].T,
        "to_q.bias": values["to_q.diff_b"],
        "norm.weight": values["norm.diff"],
    }
    added |= {"norm.bias": values["norm.diff_b"], "table.weight": values["table.diff"]}
    for name, x in model.state_dict().items():
        np.testing.assert_allclose(x.numpy(), before[name] + 0.5 * added[name], rtol=1e-5, atol=1e-6)
    merged.undo()
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name])


def test_bias_of_peft_is_scaled_as_the_product_is(tmp_path):
    draw = drawing()
    elements, product, rank = low_rank(draw, (6, 4))
    model = network()
    before, bias = weight_of(model), model.to_q.bias.numpy()
    added = draw(6)
    path = write(tmp_path / "a.safetensors", {**elements, "alpha": np.array(6.0), "lora_B.bias": added})
    merge(model, path, 0.5)
    np.testing.assert_allclose(weight_of(model), before + 0.5 * 6 / rank * product, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.to_q.bias.numpy(), bias + 0.5 * 6 / rank * added, rtol=1e-5, atol=1e-6)


def test_layers_that_take_no_product_or_no_bias_are_told(tmp_path):
    draw = drawing()
    elements, _, _ = low_rank(draw, (7, 4))
    refused(
        write(tmp_path / "a.safetensors", elements, "lora_unet_table"), "is of a Embedding; linear layers and conv"
    )
    refused(
        write(tmp_path / "a.safetensors", low_rank(draw, (5, 1))[0], "lora_unet_norm"), "is of a LayerNorm; linear"
    )
    refused(write(tmp_path / "a.safetensors", {"diff_b": draw(3)}), r"changes a bias by \(3,\); \(6,\) is needed")
    refused(write(tmp_path / "a.safetensors", {"diff_b": draw(3)}, "lora_unet_table"), "the layer has no bias")
    model = network()
    model.to_q = nn.Linear(4, 6, bias_attr=False)
    refused(write(tmp_path / "a.safetensors", {"diff_b": draw(6)}), "the layer has no bias", model)


# Numbers


def halves(array, kind):
    return to_array(paddle.to_tensor(array.astype(np.float32)).astype(kind))


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("network_kind", ["float32", "bfloat16", "float16"])
def test_numbers_of_every_kind_are_computed_in_fp32(tmp_path, kind, network_kind):
    elements, _, _ = low_rank(drawing(), (6, 4))
    elements = {name: halves(x, kind) for name, x in elements.items()}
    rounded = [to_array(to_tensor(x).astype("float64")) for x in elements.values()]
    model = network()
    model.to(dtype=network_kind)
    before = weight_of(model)
    arrays = {f"lora_unet_to_q.{name}": x for name, x in elements.items()}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    merge(model, tmp_path / "a.safetensors")
    tolerance = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}[network_kind]
    np.testing.assert_allclose(weight_of(model), before + rounded[0] @ rounded[1], rtol=tolerance, atol=tolerance)
    assert str(model.to_q.weight.dtype) == f"paddle.{network_kind}"


@pytest.mark.parametrize("name", ["lora_up.weight", "lora_down.weight", "alpha", "dora_scale", "diff_b"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, name, value):
    elements, _, _ = low_rank(drawing(), (6, 4))
    elements |= {"alpha": np.ones(1, np.float32), "dora_scale": np.ones((6, 1)), "diff_b": np.ones(6)}
    elements[name].flat[0] = value
    refused(write(tmp_path / "a.safetensors", elements), f"lora_unet_to_q.{name} .*finite number")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.bool_])
def test_whole_numbers_in_the_place_of_weights_are_refused(tmp_path, kind):
    elements, _, _ = low_rank(drawing(), (6, 4))
    for name in elements:
        changed = {**elements, name: np.ones(elements[name].shape, kind)}
        refused(write(tmp_path / "a.safetensors", changed), f"{name} holds .*numbers with a fraction are accepted")


@pytest.mark.parametrize("alpha", [2, 2.0, [2.0], [[2.0]], np.int64(2), np.float16(2), np.array([[[2]]], np.int32)])
def test_alpha_may_be_any_single_number(tmp_path, alpha):
    elements, product, rank = low_rank(drawing(), (6, 4))
    model = network()
    before = weight_of(model)
    merge(model, write(tmp_path / "a.safetensors", {**elements, "alpha": np.array(alpha)}))
    np.testing.assert_allclose(weight_of(model), before + 2 / rank * product, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (0,), (RANK,), (1, 2)])
def test_alpha_of_several_numbers_is_refused(tmp_path, shape):
    elements, _, _ = low_rank(drawing(), (6, 4))
    elements["alpha"] = np.ones(shape, np.float32)
    refused(write(tmp_path / "a.safetensors", elements), "alpha is of the shape .*one finite number is needed")


@pytest.mark.parametrize("alpha", [0, 0.0, -0.0, [0.0], np.int8(0), np.float16(1e-9)])
def test_alpha_of_zero_is_refused(tmp_path, alpha):
    elements, _, _ = low_rank(drawing(), (6, 4))
    refused(write(tmp_path / "a.safetensors", {**elements, "alpha": np.array(alpha)}), "alpha is 0; another number")


def test_sums_that_are_too_large_are_refused_and_leave_the_network(tmp_path):
    elements, _, _ = low_rank(drawing(), (6, 4))
    model = network()
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    path = write(tmp_path / "a.safetensors", elements, **{"lora_unet_norm.diff": np.ones(5, np.float32)})
    for weight, message in ((1e38, "is too large for float32"), (float("nan"), "has the weight nan; a finite")):
        with pytest.raises(InputError, match=message):
            merge(model, path, weight)
        for name, x in model.state_dict().items():
            np.testing.assert_array_equal(x.numpy(), before[name])


# Shapes


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"lora_up.weight": (6, 3)}, "lacks lora_down beside it"),
        ({"lora_down.weight": (3, 4)}, "lacks lora_up beside it"),
        ({"lora_mid.weight": (3, 3, 3, 3)}, "lacks lora_up and lora_down"),
        ({"lora_up.weight": (6, 3), "lora_down.weight": (2, 4)}, "parts of the ranks 2, 3"),
        ({"lora_up.weight": (6, 0), "lora_down.weight": (0, 4)}, "which is no matrix"),
        ({"lora_up.weight": (6,), "lora_down.weight": (6, 4)}, "which is no matrix"),
        ({"lora_up.weight": (6, 3), "lora_down.weight": (3, 5)}, "to_q takes 5 numbers and gives 6 there; 4 and 6"),
        ({"lora_up.weight": (5, 3), "lora_down.weight": (3, 4)}, "to_q takes 4 numbers and gives 5 there; 4 and 6"),
        ({"lora_up.weight": (6, 3, 3, 3), "lora_down.weight": (3, 4)}, "a kernel where a matrix is needed"),
        ({"lora_up.weight": (6, 3), "lora_down.weight": (3, 4, 3, 3)}, "to_q takes 4x3x3 numbers and gives 6"),
        ({"alpha": ()}, "alpha of a layer without lora_up and lora_down"),
        ({"dora_scale": (6, 1)}, "dora_scale of a layer without lora_up and lora_down"),
        ({"dora_scale": (6, 1), "diff": (6, 4)}, "dora_scale of a layer without lora_up and lora_down"),
        ({"diff": (4, 6)}, "to_q takes 6 numbers and gives 4"),
        ({"diff": (6, 4), "lora_up.weight": (6, 3), "lora_down.weight": (3, 4)}, "two methods for one layer"),
        ({"hada_w1_a": (6, 3), "hada_w1_b": (3, 4), "hada_w2_a": (6, 3)}, "lacks hada_w2_b beside it"),
        (
            {"hada_w1_a": (6, 3), "hada_w1_b": (3, 4), "hada_w2_a": (6, 3), "hada_w2_b": (3, 5)},
            "two products of different shapes",
        ),
        (
            {"hada_w1_a": (6, 2), "hada_w1_b": (2, 4), "hada_w2_a": (6, 3), "hada_w2_b": (3, 4)},
            "parts of the ranks 2, 3",
        ),
        ({"lokr_w1": (2, 2)}, "not either lokr_w2, or lokr_w2_a and lokr_w2_b"),
        ({"lokr_w1": (2, 2), "lokr_w2": (3, 2), "lokr_w2_a": (3, 1)}, "not either lokr_w2, or"),
        ({"lokr_w1": (2, 2), "lokr_w2": (3, 2), "lokr_t2": (3, 3, 1, 1)}, "lokr_t2 without"),
        ({"lokr_w1": (2, 2), "lokr_w2": (3, 3)}, "to_q takes 6 numbers and gives 6 there"),
        ({"lokr_w1": (2, 2, 1, 1), "lokr_w2": (3, 2)}, "a kernel where a matrix is needed"),
        ({"lokr_w1_a": (2, 2), "lokr_w1_b": (2, 2), "lokr_w2_a": (3, 1), "lokr_w2_b": (1, 2)}, "the ranks 2, 1"),
        # Whose product would take 10 TB.
        ({"lokr_w1": (3000, 1000), "lokr_w2": (1000, 900)}, "to_q takes 900000 numbers and gives 3000000 there"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, elements, message):
    arrays = {name: np.ones(shape, np.float32) for name, shape in elements.items()}
    refused(write(tmp_path / "a.safetensors", arrays), message)


def test_kernel_of_another_shape_is_refused(tmp_path):
    model = network("3d")  # 1x3x2
    refused(write(tmp_path / "a.safetensors", {"diff": np.ones((6, 4, 3, 1, 2))}), "takes 4x3x1x2 numbers", model)
