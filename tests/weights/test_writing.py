"""Files that this project writes: what it and others read from them."""

import os
import subprocess

import numpy as np
import paddle
import pytest
import safetensors
import safetensors.numpy

from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, to_array, to_tensor
from ppdiffusers_ext.weights.loading import load_tensors, read_checkpoint
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "scalar": np.array(3, dtype=np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "names.with.ünïcode": np.array([True, False]),
    **{str(np.dtype(kind)): np.arange(5).astype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1")},
}
BF16 = {"half": to_array(paddle.to_tensor([[1.5, -2.0], [0.25, 3e38]], dtype="bfloat16"))}


def assert_read(path, expected):
    tensors = load_tensors(path)
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        assert to_array(tensors[name]).dtype == array.dtype
        np.testing.assert_array_equal(to_array(tensors[name]), array)


def write(path, arrays):
    if path.suffix == ".safetensors":
        write_safetensors(path, arrays, {"format": "pt"})
    else:
        write_torch(path, arrays)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, {**ARRAYS, **BF16})
    assert_read(path, {**ARRAYS, **BF16})
    assert read_checkpoint(path).layout == "torch"
    assert load_tensors(path)["half"].dtype == paddle.bfloat16


def test_package_safetensors_reads_what_is_written(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, ARRAYS, {"format": "pd", "note": "ü"})
    read = safetensors.numpy.load_file(path)
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pd", "note": "ü"}
    checkpoint = read_checkpoint(path)
    assert (checkpoint.layout, checkpoint.metadata) == ("paddle", {"format": "pd", "note": "ü"})


def test_same_tensors_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        write_torch(tmp_path / f"{name}.pth", ARRAYS)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_storages_are_aligned_so_that_they_can_be_mapped(tmp_path):
    write_torch(tmp_path / "a.pth", ARRAYS)
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    for name, tensor in checkpoint.tensors.items():
        if tensor.size:
            assert checkpoint.file.holds(to_array(tensor)), name


def test_arrays_and_tensors_share_their_memory():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = to_tensor(array)
    array[0, 0] = 7
    assert float(tensor[0, 0]) == 7
    assert to_array(tensor).ctypes.data == array.ctypes.data
    half = paddle.to_tensor([1.5], dtype="bfloat16")
    assert to_array(half).dtype == BFLOAT16_BITS
    assert to_array(half).ctypes.data == half.data_ptr()
    np.testing.assert_array_equal(to_array(tensor.t()), array.T)
    assert to_array(paddle.zeros([0, 3], "bfloat16")).shape == (0, 3)


@pytest.mark.skipif("PEER_PYTHON" not in os.environ, reason="PEER_PYTHON names no Python with torch")
def test_torch_reads_what_is_written(tmp_path):
    write_torch(tmp_path / "a.pth", {**ARRAYS, **BF16})
    np.savez(tmp_path / "expected.npz", **ARRAYS)
    script = """
import sys, numpy, torch
state = torch.load(sys.argv[1], weights_only=True)
expected = numpy.load(sys.argv[2])
assert list(state) == [*expected.files, "half"], list(state)
for name in expected.files:
    assert str(state[name].dtype) == f"torch.{expected[name].dtype}"
    numpy.testing.assert_array_equal(state[name].numpy(), expected[name])
assert state["half"].dtype == torch.bfloat16 and state["half"][0].tolist() == [1.5, -2.0]
"""
    command = [os.environ["PEER_PYTHON"], "-c", script, str(tmp_path / "a.pth"), str(tmp_path / "expected.npz")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
