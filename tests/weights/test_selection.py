"""Files whose tensors lie below names, or with what a wrapper put before or into their names; 8-bit floats."""

import collections
import itertools
import logging

import numpy as np
import paddle
import pytest
import safetensors.numpy
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import FLOAT8_BITS
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.selection import KNOWN, checkpoint_key
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch
from tests.support.weight_files import Call, Global, Storage, torch_tensor
from tests.support.weight_files import write_old_torch as write_old
from tests.support.weight_files import write_torch as write_new

KEYS = sorted(KNOWN)


class Tree:
    """Nested dicts whose leaves are numbers, as files in which each is a tensor of that one number."""

    def __init__(self, content):
        self.storages = []
        self.content = self._tensors(content)

    def _tensors(self, value):
        if isinstance(value, dict):
            return {key: self._tensors(item) for key, item in value.items()}
        if not isinstance(value, float):
            return value
        self.storages.append(Storage("FloatStorage", str(len(self.storages)), np.array([value], np.float32), (None,)))
        return torch_tensor(self.storages[-1], (1,), (1,))

    def write(self, path):
        (write_old if path.suffix == ".bin" else write_new)(path, self.content, self.storages)
        return path


def read(path, key=None):
    return {name: float(tensor) for name, tensor in load_tensors(path, key).items()}


@pytest.mark.parametrize("suffix", [".pth", ".bin"])
@pytest.mark.parametrize("key", KEYS)
def test_tensors_below_a_known_name_are_read_and_the_name_is_said(tmp_path, caplog, suffix, key):
    path = Tree({key: {"a": 1.0, "b": 2.0}, "step": 7, "args": {"lr": "x"}}).write(tmp_path / f"a{suffix}")
    with caplog.at_level(logging.INFO, "ppdiffusers_ext"):
        assert read(path) == read(path, key) == {"a": 1.0, "b": 2.0}
    assert f"{path}: the tensors of {key} are read" in caplog.text


@pytest.mark.parametrize("trainer", ["optimizer", "opt", "optimizer_states", "lr_scheduler", "scaler"])
def test_tensors_of_an_optimiser_are_never_meant(tmp_path, trainer):
    moments = {f"m{i}": float(i) for i in range(9)}
    assert read(Tree({trainer: {"state": moments}, "net_g": {"a": 1.0}}).write(tmp_path / "a.pth")) == {"a": 1.0}
    with pytest.raises(InputError, match="optimiser"):
        read(Tree({trainer: {"state": moments}}).write(tmp_path / "b.pth"))


# What the tools that write such files read for inference.
@pytest.mark.parametrize(
    "names, chosen",
    [
        (("params", "params_ema"), "params_ema"),  # BasicSR
        (("model", "ema"), "ema"),  # DiT
        (("state_dict", "ema_state_dict"), "state_dict"),  # MMEngine, whose first are the averaged ones
        (("model", "model_ema"), "model_ema"),  # k-diffusion
        (("model", "discriminator"), "model"),
        (("module", "novelty"), "module"),
    ],
)
def test_of_several_dicts_the_one_for_inference_is_read(tmp_path, caplog, names, chosen):
    for order in itertools.permutations(names):
        content = {name: {"a": float(names.index(name))} for name in order}
        path = Tree({**content, "iteration": 3.0}).write(tmp_path / "a.pth")
        with caplog.at_level(logging.INFO, "ppdiffusers_ext"):
            assert read(path) == {"a": float(names.index(chosen))}
        assert "--checkpoint-key chooses" in caplog.text
        for name in names:
            assert read(path, name) == {"a": float(names.index(name))}


@pytest.mark.parametrize("names", [("unet", "vae"), ("ema", "model_ema"), ("model", "net"), ("a", "b", "c")])
def test_file_that_leaves_a_choice_is_refused_with_the_names(tmp_path, names):
    path = Tree({name: {"x": 1.0} for name in names}).write(tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"{', '.join(names)}; --checkpoint-key") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert read(path, names[-1]) == {"x": 1.0}


def test_dicts_in_dicts_are_found(tmp_path):
    path = Tree({"ema": {"decay": 0.9, "module": {"a": 1.0, "b": 2.0}}, "opt": {"c": 1.0}}).write(tmp_path / "a.pth")
    assert read(path) == read(path, "ema") == read(path, "ema.module") == {"a": 1.0, "b": 2.0}
    path = Tree({"model": {"encoder": {"a": 1.0}, "decoder": {"a": 2.0}}}).write(tmp_path / "a.pth")
    with pytest.raises(InputError, match="model.encoder, model.decoder"):
        read(path)
    assert read(path, "model.decoder") == {"a": 2.0}


def test_tensors_at_the_top_go_before_fewer_below(tmp_path):
    content = {"a": 1.0, "b": 2.0, "mean": {"c": 3.0}}
    assert read(Tree(content).write(tmp_path / "a.pth")) == {"a": 1.0, "b": 2.0}
    assert read(tmp_path / "a.pth", "mean") == {"c": 3.0}
    content = {"a": 1.0, "b": 2.0, "state_dict": {"c": 3.0}}
    assert read(Tree(content).write(tmp_path / "a.pth")) == {"c": 3.0}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_names_that_begin_with_those_of_dicts_are_as_good(tmp_path, suffix):
    arrays = {"ema.a": np.ones(1, np.float32), "model.a": np.zeros(1, np.float32)}
    write = {".safetensors": safetensors.numpy.save_file, ".npz": lambda a, p: np.savez(p, **a)}
    path = tmp_path / f"a{suffix}"
    write.get(suffix, lambda arrays, path: write_torch(path, arrays))(arrays, path)
    assert read(path) == read(path, "ema") == {"a": 1.0}
    assert read(path, "model") == {"a": 0.0}


@pytest.mark.parametrize("key", ["emma", "ema.", "model.a", "\x1b[31m", "x" * 5000])
def test_key_that_a_file_has_not_is_refused_with_those_that_it_has(tmp_path, key):
    path = Tree({"model": {"a": 1.0}, "ema": {"a": 2.0}}).write(tmp_path / "a.pth")
    with pytest.raises(InputError, match="model, ema") as caught:
        read(path, key)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 1000
    with pytest.raises(InputError, match="at the top"):
        read(Tree({"a": 1.0}).write(tmp_path / "b.pth"), key)


def test_key_of_a_command_chooses_in_files_that_have_dicts_and_says_where_it_has_no_effect(tmp_path, caplog):
    several = Tree({"model": {"a": 1.0}, "ema": {"a": 2.0}}).write(tmp_path / "a.pth")
    plain = Tree({"a": 3.0}).write(tmp_path / "b.pth")
    with checkpoint_key("model"), caplog.at_level(logging.INFO, "ppdiffusers_ext"):
        assert (read(several), read(plain)) == ({"a": 1.0}, {"a": 3.0})
        assert f"{plain} has its tensors at the top" in caplog.text
    assert read(several) == {"a": 2.0}
    with checkpoint_key("novelty"), pytest.raises(InputError, match="novelty is not in"):
        read(several)


def test_dicts_that_hold_each_other_are_looked_at_once(tmp_path):
    content = {"a": {}}
    content["a"]["b"] = content["a"]
    write_new(tmp_path / "a.pth", content, [])
    with pytest.raises(InputError, match="no tensors"):
        load_tensors(tmp_path / "a.pth")


WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "ema_model.", "model.", "params_ema.")


@pytest.mark.parametrize("prefix", [*WRAPPERS, *map("".join, itertools.permutations(WRAPPERS[:3]))])
def test_prefixes_of_wrappers_are_left_out(tmp_path, caplog, prefix):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    arrays = {f"{prefix}{name}": value.numpy() for name, value in network.state_dict().items()}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pd"})
    again = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    with caplog.at_level(logging.INFO, "ppdiffusers_ext"):
        load_weights(again, tmp_path / "a.safetensors")
    assert paddle.equal_all(again(paddle.ones([1, 2])), network(paddle.ones([1, 2])))
    assert [record.message.count("is left out") for record in caplog.records] == [1]


@pytest.mark.parametrize("inserted", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_what_wrappers_insert_into_some_names_is_left_out(tmp_path, inserted):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    arrays = {
        name.replace("1.", f"1.{inserted}"): value.numpy() for name, value in sorted(network.state_dict().items())
    }
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pd"})
    load_weights(network, tmp_path / "a.safetensors")
    arrays = {"1.weight": arrays["0.weight"], **arrays}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pd"})
    with pytest.raises(InputError, match="one name here"):
        load_weights(network, tmp_path / "a.safetensors")


def test_prefix_of_some_names_only_stays(tmp_path):
    network = nn.Linear(2, 1)
    arrays = {"module.weight": np.zeros((2, 1), np.float32), "bias": np.zeros(1, np.float32)}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pd"})
    with pytest.raises(InputError, match="unexpected .module.weight"):
        load_weights(network, tmp_path / "a.safetensors")


def test_layer_that_is_called_as_a_wrapper_keeps_its_name(tmp_path):
    network = nn.Layer()
    network.model = nn.Linear(2, 1)
    arrays = {name: np.full(value.shape, 2, np.float32) for name, value in network.state_dict().items()}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pd"})
    load_weights(network, tmp_path / "a.safetensors")
    assert network.model.bias.tolist() == [2]


# By sign, exponent and fraction; the last is the largest number that there is.
FLOAT8 = {"float8_e4m3fn": (4, 3, 7, 448), "float8_e5m2": (5, 2, 15, 57344)}
FINITE = {
    "float8_e4m3fn": [bits for bits in range(256) if bits & 0x7F != 0x7F],
    "float8_e5m2": [bits for bits in range(256) if bits & 0x7C != 0x7C],
}


def value_of(bits, exponents, fractions, bias):
    sign, exponent, fraction = bits >> 7, (bits >> fractions) & (2**exponents - 1), bits & (2**fractions - 1)
    whole = 2.0 ** (exponent - bias) * (1 + fraction / 2**fractions)
    return (-1) ** sign * (whole if exponent else 2.0 ** (1 - bias) * fraction / 2**fractions)


@pytest.mark.parametrize("name, kind", [("float8_e4m3fn", "F8_E4M3"), ("float8_e5m2", "F8_E5M2")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_float8_is_read_as_such_and_put_into_networks_exactly(tmp_path, name, kind, suffix, dtype):
    bits = np.array(FINITE[name], np.uint8).reshape(2, -1)
    path = tmp_path / f"a{suffix}"
    if suffix == ".safetensors":
        write_safetensors(path, {"0.weight": bits.view(FLOAT8_BITS[name])}, {"format": "pt"})
        assert f'"{kind}"'.encode() in path.read_bytes()
    else:
        # torch has no storage of its own for them: an untyped one, and a dtype beside it.
        storage = Storage("UntypedStorage", "0", bits, module="torch.storage")
        rebuild, more = Global("torch._utils", "_rebuild_tensor_v3"), (False, collections.OrderedDict())
        tensor = Call(rebuild, storage, 0, bits.shape, (bits.shape[1], 1), *more, Global("torch", name))
        write_new(path, {"0.weight": tensor}, [storage])
    (tensor,) = load_tensors(path).values()
    assert tensor.dtype == getattr(paddle, name) and tensor.shape == list(bits.shape)
    exponents, fractions, bias, largest = FLOAT8[name]
    expected = np.array([value_of(int(b), exponents, fractions, bias) for b in bits.ravel()]).reshape(bits.shape)
    assert expected.max() == largest
    with paddle.dtype_guard(dtype):
        network = nn.Sequential(nn.Linear(bits.shape[1], 2, bias_attr=False))
    load_weights(network, path)
    assert str(network[0].weight.dtype) == f"paddle.{dtype}"
    np.testing.assert_array_equal(network[0].weight.astype("float64").numpy(), expected.T)


@pytest.mark.parametrize("name, wrong", [("float8_e4m3fn", 0xFF), ("float8_e5m2", 0x7C), ("float8_e5m2", 0xFD)])
def test_float8_that_is_not_finite_is_refused(tmp_path, name, wrong):
    bits = np.array([[0, 1], [2, wrong]], np.uint8)
    write_safetensors(tmp_path / "a.safetensors", {"0.weight": bits.view(FLOAT8_BITS[name])}, {"format": "pt"})
    with pytest.raises(InputError, match="not finite"):
        load_weights(nn.Sequential(nn.Linear(2, 2, bias_attr=False)), tmp_path / "a.safetensors")


def test_float8_is_not_written_for_torch(tmp_path):
    with pytest.raises(InputError, match="float8_e5m2 cannot be written .*fp32, bf16 or fp16"):
        write_torch(tmp_path / "a.pth", {"a": np.zeros(2, FLOAT8_BITS["float8_e5m2"])})
    assert not (tmp_path / "a.pth").exists()
