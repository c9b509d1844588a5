"""LoRA files: several at a time, undone bit by bit, and files that are none or of another model."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights.lora import Lora, MergedLoras
from ppdiffusers_ext.weights.lora_names import TEXT_ENCODER
from ppdiffusers_ext.weights.writing import write_safetensors


class Network(nn.Layer):
    def __init__(self):
        super().__init__()
        self.to_q = nn.Linear(6, 4)
        self.blocks = nn.LayerList([nn.Linear(4, 4), nn.Linear(4, 5)])


@pytest.fixture
def network():
    paddle.seed(0)
    return Network()


def write(path, layers, seed=0, rank=2, prefix="lora_unet__", alpha=1.0):
    """Layers: name -> (inputs, outputs)."""
    random, arrays = np.random.default_rng(seed), {}
    for name, (inputs, outputs) in layers.items():
        arrays[f"{prefix}{name}.lora_down.weight"] = random.standard_normal((rank, inputs)).astype(np.float32)
        arrays[f"{prefix}{name}.lora_up.weight"] = random.standard_normal((outputs, rank)).astype(np.float32)
        if alpha is not None:
            arrays[f"{prefix}{name}.alpha"] = np.array(alpha, np.float32)
    write_safetensors(path, arrays, {"format": "pt"})
    return arrays


LAYERS = {"to_q": (6, 4), "blocks_1": (4, 5)}


def test_several_files_add_up_and_are_undone_bit_by_bit(network, tmp_path):
    before = {name: x.numpy().copy() for name, x in network.state_dict().items()}
    arrays = [
        write(tmp_path / "a.safetensors", LAYERS),
        write(tmp_path / "b.safetensors", {"to_q": (6, 4)}, 1, 3, alpha=None),
    ]
    merged = MergedLoras(network, [(Lora(tmp_path / "a.safetensors"), 0.5), (Lora(tmp_path / "b.safetensors"), -2.0)])
    expected = before["to_q.weight"]
    for scale, tensors in zip((0.5 / 2, -2.0), arrays):
        product = tensors["lora_unet__to_q.lora_up.weight"] @ tensors["lora_unet__to_q.lora_down.weight"]
        expected = expected + scale * product.T
    np.testing.assert_allclose(network.to_q.weight.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(network.blocks[0].weight.numpy(), before["blocks.0.weight"])
    assert not np.array_equal(network.blocks[1].weight.numpy(), before["blocks.1.weight"])
    merged.undo()
    for name, x in network.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name])


def test_layers_of_another_network_in_a_file_are_left_alone(network, tmp_path):
    path = tmp_path / "both.safetensors"
    arrays = {**write(path, LAYERS), **write(path, {"to_q": (6, 4)}, prefix="lora_te_")}
    write_safetensors(path, arrays, {"format": "pt"})
    assert sorted(Lora(path).of(network)) == ["blocks.1", "to_q"]
    assert list(Lora(path).of(network, TEXT_ENCODER)) == ["to_q"]


def test_weights_in_halves_keep_their_dtype(network, tmp_path):
    network.to(dtype="bfloat16")
    write(tmp_path / "a.safetensors", LAYERS)
    before = network.to_q.weight.astype("float32").numpy()
    merged = MergedLoras(network, [(Lora(tmp_path / "a.safetensors"), 1.0)])
    assert network.to_q.weight.dtype == paddle.bfloat16
    assert not np.array_equal(network.to_q.weight.astype("float32").numpy(), before)
    merged.undo()
    np.testing.assert_array_equal(network.to_q.weight.astype("float32").numpy(), before)


@pytest.mark.parametrize(
    "layers, prefix, message",
    [
        ({"to_k": (6, 4), "to_q": (6, 4)}, "lora_unet__", "of another model, which has lora_unet__to_k; the nearest"),
        ({"to_q": (6, 9)}, "lora_unet__", "to_q takes 6 numbers and gives 9 there; 6 and 4 are needed"),
        ({"to_q": (6, 4)}, "lora_te_", "has no layer of the transformer; known prefixes are lora_unet_"),
    ],
)
def test_files_of_another_model_are_told(network, tmp_path, layers, prefix, message):
    write(tmp_path / "a.safetensors", layers, prefix=prefix)
    before = network.to_q.weight.numpy().copy()
    with pytest.raises(InputError, match=message):
        MergedLoras(network, [(Lora(tmp_path / "a.safetensors"), 1.0)])
    np.testing.assert_array_equal(network.to_q.weight.numpy(), before)


def test_files_that_are_none_are_told(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"to_q.weight": np.zeros((2, 2), np.float32)}, {"format": "pt"})
    with pytest.raises(InputError, match="is no LoRA: to_q.weight is nothing of one; LoRA, LoCon, DoRA"):
        Lora(tmp_path / "a.safetensors")
    with pytest.raises(MissingFileError, match="nowhere.safetensors"):
        Lora(tmp_path / "nowhere.safetensors")


def test_layers_that_do_not_fit_are_told_together(network, tmp_path):
    sizes = {"to_q": (7, 4), "blocks_0": (4, 4), "blocks_1": (4, 6)}
    write(tmp_path / "a.safetensors", sizes)
    with pytest.raises(InputError) as caught:
        Lora(tmp_path / "a.safetensors").of(network)
    assert str(caught.value) == (
        f"{tmp_path / 'a.safetensors'} is of another model: to_q takes 7 numbers and gives 4 there; 6 and 4 are "
        "needed; blocks.1 takes 4 numbers and gives 6 there; 4 and 5 are needed"
    )
    network.more = nn.LayerList([nn.Linear(3, 3) for _ in range(4)])
    write(tmp_path / "a.safetensors", {f"more_{i}": (3, 4) for i in range(4)})
    with pytest.raises(InputError, match="more.2 takes 3 numbers and gives 4 there; 3 and 3 are needed; 1 more do"):
        Lora(tmp_path / "a.safetensors").of(network)
