"""The safe reader: what it reads, what it refuses, and that nothing in a file is executed."""

import collections
import os
import pickle
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
import safetensors.paddle

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights import load_tensors, writing
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.loading import SUFFIXES, read_checkpoint
from tests.support.weight_files import (
    Call,
    Global,
    Storage,
    assert_equal,
    bfloat16_bits,
    torch_parameter,
    torch_tensor,
    write_old_torch,
    write_pickle,
    write_torch,
    write_two_tensors,
)

ROOT = Path(__file__).parents[2]
PICKLES = [".pth", ".pt", ".bin", ".ckpt", ".pdparams"]


# What is read


def test_safetensors_of_torch_are_read(tmp_path):
    expected = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(3, dtype=np.int64)}
    safetensors.numpy.save_file(expected, tmp_path / "a.safetensors", metadata={"format": "pt"})
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.layout == "torch"
    assert_equal(dict(sorted(checkpoint.tensors.items())), expected)


# "np" is what paddlenlp writes.
@pytest.mark.parametrize(("kind", "layout"), [("pd", "paddle"), ("np", "paddle"), ("pt", "torch"), (None, "torch")])
def test_layout_of_safetensors_follows_their_metadata(tmp_path, kind, layout):
    metadata = {"format": kind} if kind else None
    safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "a.safetensors", metadata=metadata)
    assert read_checkpoint(tmp_path / "a.safetensors").layout == layout


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool", "uint8"])
def test_dtypes_of_safetensors_are_kept(tmp_path, dtype):
    expected = paddle.to_tensor([[0, 1], [2, 3]]).astype(dtype)
    safetensors.paddle.save_file({"a": expected}, str(tmp_path / "a.safetensors"), metadata={"format": "pd"})
    tensor = load_tensors(tmp_path / "a.safetensors")["a"]
    assert tensor.dtype == expected.dtype
    assert tensor.astype("float32").tolist() == expected.astype("float32").tolist()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_tensor_without_elements_is_read(tmp_path, suffix):
    save = safetensors.numpy.save_file if suffix == ".safetensors" else lambda arrays, path: np.savez(path, **arrays)
    save({"a": np.zeros((0, 4), dtype=np.float32)}, tmp_path / f"a{suffix}")
    assert load_tensors(tmp_path / f"a{suffix}")["a"].shape == [0, 4]


def test_npz_is_read(tmp_path):
    expected = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True, False])}
    np.savez(tmp_path / "a.npz", **expected)
    checkpoint = read_checkpoint(tmp_path / "a.npz")
    assert checkpoint.layout == "torch"
    assert_equal(checkpoint.tensors, expected)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_torch_file_is_read(tmp_path, suffix):
    expected = write_two_tensors(tmp_path / f"a{suffix}")
    checkpoint = read_checkpoint(tmp_path / f"a{suffix}")
    assert checkpoint.layout == "torch"
    assert_equal(checkpoint.tensors, expected)


def test_torch_file_whose_folder_has_another_name_is_read(tmp_path):
    storage = Storage("FloatStorage", "0", np.ones(2, dtype=np.float32))
    write_torch(tmp_path / "a.pth", {"a": torch_tensor(storage, (2,), (1,))}, [storage], folder="denoising_unet")
    assert load_tensors(tmp_path / "a.pth")["a"].tolist() == [1, 1]


def test_views_of_one_torch_storage_are_read(tmp_path):
    array = np.arange(60, dtype=np.float32)
    storage = Storage("FloatStorage", "7", array)
    views = {
        "whole": ((6, 10), (10, 1), 0),
        "transposed": ((10, 6), (1, 10), 0),
        "every second row, from the fourth column": ((3, 7), (20, 1), 3),
        "the last number": ((1,), (1,), 59),
        "scalar": ((), (), 17),
        "expanded": ((4, 3), (0, 0), 5),
        "empty": ((0, 4), (4, 1), 0),
    }
    content = {name: torch_tensor(storage, *view) for name, view in views.items()}
    write_torch(tmp_path / "a.pth", content, [storage])
    table = array.reshape(6, 10)
    expected = [table, table.T, table[::2, 3:], array[59:], array[17], np.full((4, 3), 5.0), np.zeros((0, 4))]
    assert_equal(load_tensors(tmp_path / "a.pth"), {n: a.astype(np.float32) for n, a in zip(views, expected)})


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("DoubleStorage", np.float64, paddle.float64),
        ("FloatStorage", np.float32, paddle.float32),
        ("HalfStorage", np.float16, paddle.float16),
        ("BFloat16Storage", bfloat16_bits, paddle.bfloat16),
        ("LongStorage", np.int64, paddle.int64),
        ("IntStorage", np.int32, paddle.int32),
        ("ShortStorage", np.int16, paddle.int16),
        ("CharStorage", np.int8, paddle.int8),
        ("ByteStorage", np.uint8, paddle.uint8),
        ("BoolStorage", np.bool_, paddle.bool),
    ],
)
def test_dtypes_of_torch_are_kept(tmp_path, kind, dtype, expected):
    storage = Storage(kind, "0", dtype([1, 0, 1]))
    write_torch(tmp_path / "a.pth", {"a": torch_tensor(storage, (3,), (1,))}, [storage])
    tensor = load_tensors(tmp_path / "a.pth")["a"]
    assert tensor.dtype == expected
    assert tensor.astype("float32").tolist() == [1, 0, 1]


def test_torch_parameters_are_read(tmp_path):
    storage = Storage("FloatStorage", "0", np.ones(2, dtype=np.float32))
    write_torch(tmp_path / "a.pth", {"a": torch_parameter(torch_tensor(storage, (2,), (1,)))}, [storage])
    assert load_tensors(tmp_path / "a.pth")["a"].tolist() == [1, 1]


def test_state_dict_of_a_trainer_is_unwrapped_and_its_other_entries_ignored(tmp_path):
    storage = Storage("FloatStorage", "0", np.ones(2, dtype=np.float32))
    state = collections.OrderedDict(a=torch_tensor(storage, (2,), (1,)))
    write_torch(tmp_path / "a.ckpt", {"epoch": 3, "lr": 0.1, "name": "x", "state_dict": state}, [storage])
    assert list(load_tensors(tmp_path / "a.ckpt")) == ["a"]


def test_state_dict_with_torchs_version_metadata_is_read(tmp_path):
    storage = Storage("FloatStorage", "0", np.ones(2, dtype=np.float32))
    state = collections.OrderedDict(a=torch_tensor(storage, (2,), (1,)))
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    write_torch(tmp_path / "a.pth", state, [storage])
    assert list(load_tensors(tmp_path / "a.pth")) == ["a"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_pdparams_of_paddle_are_read(tmp_path, wrapped):
    expected = {
        "a": paddle.arange(6, dtype="float32").reshape([2, 3]),
        "b": paddle.to_tensor([1.0, -2.5]).astype("bfloat16"),
        "c": paddle.to_tensor([1.0, -2.5]).astype("float16"),
        "d": paddle.to_tensor(3),
    }
    paddle.save({"state_dict": expected, "epoch": 3} if wrapped else expected, str(tmp_path / "a.pdparams"))
    checkpoint = read_checkpoint(tmp_path / "a.pdparams")
    assert checkpoint.layout == "paddle"
    assert {name: tensor.dtype for name, tensor in checkpoint.tensors.items()} == {
        name: tensor.dtype for name, tensor in expected.items()
    }
    assert all(bool((checkpoint.tensors[name] == expected[name]).all()) for name in expected)


def test_pdparams_of_a_layers_state_dict_are_read(tmp_path):
    layer = paddle.nn.Linear(3, 2)
    paddle.save(layer.state_dict(), str(tmp_path / "a.pdparams"))
    tensors = load_tensors(tmp_path / "a.pdparams")
    assert list(tensors) == ["weight", "bias"]
    assert bool((tensors["weight"] == layer.weight).all())


def test_tensors_lie_on_the_cpu_and_may_be_written_to(tmp_path):
    write_two_tensors(tmp_path / "a.pth")
    tensor = load_tensors(tmp_path / "a.pth")["a"]
    assert tensor.place.is_cpu_place()
    tensor[0] = 7.0
    assert tensor[0].tolist() == [7, 7, 7]


# What is refused


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nothing.pth does not exist"):
        load_tensors(tmp_path / "nothing.pth")


def test_folder_is_refused(tmp_path):
    (tmp_path / "a.pth").mkdir()
    with pytest.raises(InputError, match="weight file .*a.pth is a folder; a file that ends in"):
        load_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["weights", "weights.txt", "weights.pkl", "weights.PTH.gz"])
def test_unknown_suffix_is_refused_with_those_that_are_accepted(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=".safetensors, .pth, .pt, .bin, .ckpt, .pdparams, .npz"):
        load_tensors(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am not a checkpoint\n", b"\x80", b"PK\x03\x04", b"<html>404</html>"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_of_another_kind_is_refused_by_name(tmp_path, suffix, content):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"a{suffix}"):
        load_tensors(tmp_path / f"a{suffix}")


def write_any(path):
    """A file of two tensors in the format of its suffix."""
    arrays = {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3), dtype=np.float32)}
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".pdparams":
        paddle.save({name: paddle.to_tensor(array) for name, array in arrays.items()}, str(path))
    else:
        write_two_tensors(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pdparams", ".npz"])
def test_truncated_file_is_refused_wherever_it_ends(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_any(path)
    content = path.read_bytes()
    for length in range(1, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            load_tensors(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pdparams", ".npz"])
def test_damaged_file_is_read_or_refused_but_nothing_else(tmp_path, suffix):
    path, random = tmp_path / f"a{suffix}", np.random.RandomState(0)
    write_any(path)
    content = path.read_bytes()
    errors = collections.Counter()
    for _ in range(300):
        damaged = bytearray(content)
        start = random.randint(len(content))
        damaged[start : start + random.randint(1, 5)] = random.bytes(random.randint(1, 5))
        path.write_bytes(damaged)
        try:
            load_tensors(path)
        except InputError:
            pass
        except Exception as error:  # anything else is what must not happen
            errors[f"{type(error).__name__}: {error}"[:100]] += 1
    assert dict(errors) == {}


def test_archive_that_is_no_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="without the pickle of a torch checkpoint"):
        load_tensors(tmp_path / "a.pth")


def test_torch_file_without_its_storages_is_refused(tmp_path):
    storage = Storage("FloatStorage", "0", np.ones(2, dtype=np.float32))
    write_torch(tmp_path / "a.pth", {"a": torch_tensor(storage, (2,), (1,))}, [])
    with pytest.raises(InputError, match="a.pth"):
        load_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [3, "text", [1], (), {}, {"a": 1, "b": "text"}, {"state_dict": {}}], ids=repr)
@pytest.mark.parametrize("suffix", [".pdparams", ".pth"])
def test_file_without_tensors_is_refused(tmp_path, suffix, content):
    if suffix == ".pth":
        write_torch(tmp_path / "a.pth", content, [])
    else:
        write_pickle(tmp_path / "a.pdparams", content)
    with pytest.raises(InputError, match=f"a{suffix} holds"):
        load_tensors(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    "array",
    [np.array(["text"]), np.zeros(2, dtype=[("x", "f4")]), np.zeros(2, dtype="M8[s]"), np.zeros(2, dtype=np.uint32)],
    ids=lambda array: str(array.dtype),
)
@pytest.mark.parametrize("suffix", [".npz", ".pdparams"])
def test_array_of_a_dtype_that_tensors_do_not_have_is_refused(tmp_path, suffix, array):
    if suffix == ".npz":
        np.savez(tmp_path / "a.npz", a=array)
    else:
        write_pickle(tmp_path / "a.pdparams", {"a": array})
    with pytest.raises(InputError, match=f"a{suffix}"):
        load_tensors(tmp_path / f"a{suffix}")


# Nothing is executed


@pytest.fixture
def sentinel(tmp_path):
    """A file that the malicious pickles below would create."""
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()


def write_malicious(path, content):
    if path.suffix == ".pdparams":
        write_pickle(path, content)
    else:
        write_torch(path, content, [])


EXECUTIONS = {
    "os.system": lambda target: Call(Global("os", "system"), f"touch {target}"),
    "posix.system": lambda target: Call(Global("posix", "system"), f"touch {target}"),
    "subprocess.Popen": lambda target: Call(Global("subprocess", "Popen"), ["touch", str(target)]),
    "builtins.exec": lambda target: Call(Global("builtins", "exec"), f"open({str(target)!r}, 'w')"),
    "builtins.open": lambda target: Call(Global("builtins", "open"), str(target), "w"),
    "builtins.getattr": lambda target: Call(Global("builtins", "getattr"), {}, "keys"),
    "builtins.__import__": lambda target: Call(Global("builtins", "__import__"), "antigravity"),
    "__builtin__.exec": lambda target: Call(Global("__builtin__", "exec"), f"open({str(target)!r}, 'w')"),
    "numpy.load": lambda target: Call(Global("numpy", "load"), str(target)),
    "numpy.save": lambda target: Call(Global("numpy", "save"), str(target), 1),
    "paddle.save": lambda target: Call(Global("paddle", "save"), {}, str(target)),
    "torch.load": lambda target: Call(Global("torch", "load"), str(target)),
    "torch.hub.load": lambda target: Call(Global("torch.hub", "load"), str(target)),
    "torch.storage._load_from_bytes": lambda target: Call(Global("torch.storage", "_load_from_bytes"), b"x"),
    "collections.namedtuple": lambda target: Call(Global("collections", "namedtuple"), "x", "y"),
    "pickle.loads": lambda target: Call(Global("pickle", "loads"), b"x"),
    "functools.partial": lambda target: Call(Global("functools", "partial"), len),
}


@pytest.mark.parametrize("suffix", [".pth", ".pdparams"])
@pytest.mark.parametrize("name", EXECUTIONS)
def test_pickle_that_imports_something_is_refused_by_its_name(tmp_path, sentinel, name, suffix):
    write_malicious(tmp_path / f"a{suffix}", {"a": EXECUTIONS[name](sentinel)})
    with pytest.raises(InputError, match=f"a{suffix} .*import {name.replace('.', '[.]')}, which is refused"):
        load_tensors(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", PICKLES)
def test_pickle_that_only_mentions_something_is_refused_in_every_format(tmp_path, suffix):
    write_malicious(tmp_path / f"a{suffix}", {"a": Global("os", "system")})
    with pytest.raises(InputError, match="os.system"):
        load_tensors(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_eval_of_anything_but_paddles_own_word_is_refused(tmp_path, sentinel, module):
    expression = f"open({str(sentinel)!r}, 'w')"
    write_pickle(tmp_path / "a.pdparams", {"a": Call(Global(module, "eval"), expression, {"data": 1})})
    with pytest.raises(InputError, match="expression"):
        load_tensors(tmp_path / "a.pdparams")


def test_name_with_dots_does_not_reach_into_an_allowed_class(tmp_path, sentinel):
    # Protocol 4 looks "a.b" up as an attribute of an attribute.
    names = [b"collections", b"OrderedDict.__init__"]
    names = b"".join(pickle.SHORT_BINUNICODE + bytes([len(name)]) + name for name in names)
    write = pickle.PROTO + b"\x04" + names + pickle.STACK_GLOBAL + pickle.STOP
    (tmp_path / "a.pdparams").write_bytes(write)
    with pytest.raises(InputError, match="collections.OrderedDict.__init__"):
        load_tensors(tmp_path / "a.pdparams")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((7,), (1,), 0),
        ((2, 3), (4, 1), 0),
        ((1,), (1,), 6),
        ((6,), (1,), 1),
        ((3,), (-1,), 5),
        ((-2,), (1,), 0),
        ((2,), (1,), -1),
        ((2**62, 4), (1, 1), 0),
        ((2, 3), (3,), 0),
    ],
)
def test_torch_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    storage = Storage("FloatStorage", "0", np.arange(6, dtype=np.float32))
    write_torch(tmp_path / "a.pth", {"a": torch_tensor(storage, size, stride, offset)}, [storage])
    with pytest.raises(InputError, match="a.pth"):
        load_tensors(tmp_path / "a.pth")


def test_tensor_that_is_said_to_be_much_larger_than_its_file_is_refused(tmp_path):
    # One stored number, "expanded" to 40 terabytes.
    storage = Storage("FloatStorage", "0", np.ones(1, dtype=np.float32))
    write_torch(tmp_path / "a.pth", {"a": torch_tensor(storage, (10**7, 10**6), (0, 0))}, [storage])
    with pytest.raises(InputError, match="a.pth"):
        load_tensors(tmp_path / "a.pth")


def test_array_that_is_said_to_be_much_larger_than_its_file_is_refused(tmp_path):
    write_pickle(tmp_path / "a.pdparams", {"a": Call(Global("numpy", "ndarray"), (10**13,))})
    with pytest.raises(InputError, match="a.pdparams"):
        load_tensors(tmp_path / "a.pdparams")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm to stop a reader that hangs")
def test_state_dict_that_holds_itself_is_refused(tmp_path):
    content = {}
    content["state_dict"] = content
    write_pickle(tmp_path / "a.pdparams", content)

    def give_up(*_):
        raise AssertionError("the reader hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        with pytest.raises(InputError, match="a.pdparams"):
            load_tensors(tmp_path / "a.pdparams")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("suffix", [".npz", ".pdparams"])
def test_object_arrays_are_refused(tmp_path, sentinel, suffix):
    class Malicious:
        def __reduce__(self):
            return os.system, (f"touch {sentinel}",)

    array = np.array([Malicious()], dtype=object)
    if suffix == ".npz":
        np.savez(tmp_path / "a.npz", a=array)
    else:
        with open(tmp_path / "a.pdparams", "wb") as file:
            pickle.dump({"a": array}, file, protocol=2)
    with pytest.raises(InputError, match=f"a{suffix}"):
        load_tensors(tmp_path / f"a{suffix}")


def test_array_of_objects_beside_tensors_is_not_handed_out(tmp_path):
    write_pickle(tmp_path / "a.pdparams", {"a": np.ones(2), "b": np.array([None], dtype=object)})
    assert list(load_tensors(tmp_path / "a.pdparams")) == ["a"]


def test_pickle_cannot_change_a_shared_dtype(tmp_path):
    state = (3, ">", None, None, None, -1, -1, 0)
    write_pickle(tmp_path / "a.pdparams", {"a": np.ones(2), "b": Call(Global("numpy", "dtype"), "f4", state=state)})
    load_tensors(tmp_path / "a.pdparams")
    assert np.dtype("f4").newbyteorder("=") == np.dtype(np.float32)
    assert np.frombuffer(struct.pack("<f", 1.5), dtype=np.float32)[0] == 1.5


# Torch before 1.6


def old_two_tensors(path, **options):
    storages = [
        Storage("FloatStorage", "94", np.arange(6, dtype=np.float32), (None,)),
        Storage("BFloat16Storage", "95", bfloat16_bits([1.5, -2]), (None,)),
    ]
    content = collections.OrderedDict(
        a=torch_tensor(storages[0], (3, 2), (1, 3)), b=torch_parameter(torch_tensor(storages[1], (2,), (1,)))
    )
    write_old_torch(path, content, storages, **options)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_torch_file_of_before_1_6_is_read(tmp_path, suffix):
    old_two_tensors(tmp_path / f"a{suffix}")
    checkpoint = read_checkpoint(tmp_path / f"a{suffix}")
    assert checkpoint.layout == "torch"
    assert checkpoint.tensors["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert checkpoint.tensors["b"].dtype == paddle.bfloat16
    assert checkpoint.tensors["b"].astype("float32").tolist() == [1.5, -2]


def test_old_torch_file_of_the_other_byte_order_is_refused(tmp_path):
    old_two_tensors(tmp_path / "a.pth", little_endian=False)
    with pytest.raises(InputError, match="byte order"):
        load_tensors(tmp_path / "a.pth")


def test_old_torch_file_that_ends_too_early_is_refused_wherever(tmp_path):
    old_two_tensors(tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    for end in range(0, len(content), 7):
        (tmp_path / "b.pth").write_bytes(content[:end])
        with pytest.raises(InputError, match="b.pth"):
            load_tensors(tmp_path / "b.pth")


# What is no checkpoint at all


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html><title>404</title></html>", "web page that a server sent"),
        (b"\n<html><body>Sign in</body></html>", "web page that a server sent"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "pointer of Git LFS"),
    ],
)
def test_what_came_instead_of_the_file_is_told(tmp_path, suffix, content, message):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"a{suffix} .*{message}"):
        load_tensors(tmp_path / f"a{suffix}")


# Memory


def test_tensors_are_views_of_the_file_and_outlive_its_name(tmp_path):
    expected = {"a": np.arange(1 << 20, dtype=np.float32)}
    safetensors.numpy.save_file(expected, tmp_path / "a.safetensors")
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.file.holds(to_array(checkpoint.tensors["a"]))
    tensors = checkpoint.tensors
    del checkpoint
    (tmp_path / "a.safetensors").unlink()
    assert_equal(tensors, expected)


def test_what_is_written_into_a_tensor_stays_out_of_the_file(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    load_tensors(tmp_path / "a.safetensors")["a"].add_(paddle.ones([3], "float64"))
    assert (tmp_path / "a.safetensors").read_bytes() == before


MEASURE = """
import sys
import paddle
from ppdiffusers_ext.weights import load_tensors, writing
from ppdiffusers_ext.weights.arrays import to_array

def memory(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))

import ppdiffusers_ext.weights.loading
paddle.ones([10]).sum()
path = sys.argv[1]
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
tensors = load_tensors(path)
total = sum(float(tensor.sum()) for tensor in tensors.values())
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="memory is measured Linux's way")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pdparams", ".npz"])
def test_loading_takes_little_more_memory_than_the_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    arrays = {f"layer.{index}": np.full((1 << 20) + index, index, np.float32) for index in range(40)}
    if suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
    elif suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".pth":
        writing.write_torch(path, arrays)
    else:
        with open(path, "wb") as file:
            pickle.dump(arrays, file, protocol=4)
    command = [sys.executable, "-c", MEASURE, str(path)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    assert 0 < int(process.stdout.split()[-1]) < 1.2 * path.stat().st_size


# Names and messages


def test_big_endian_arrays_are_read(tmp_path):
    expected = np.arange(6, dtype=">f4").reshape(2, 3)
    for suffix in (".npz", ".pdparams"):
        if suffix == ".npz":
            np.savez(tmp_path / "a.npz", a=expected)
        else:
            write_pickle(tmp_path / "a.pdparams", {"a": expected})
        assert load_tensors(tmp_path / f"a{suffix}")["a"].tolist() == expected.tolist()


def test_path_that_cannot_be_one_is_refused():
    with pytest.raises(InputError, match="is too long: up to 255 bytes"):
        load_tensors("a" * 5000 + ".pth")


def test_message_is_one_line_whatever_the_file_says(tmp_path):
    names = [b"os\n\x1b[2J", b"x\nUsage: ok"]
    texts = b"".join(b"X" + struct.pack("<I", len(name)) + name for name in names)
    (tmp_path / "a.pdparams").write_bytes(b"\x80\x04" + texts + b"\x93.")
    with pytest.raises(InputError) as caught:
        load_tensors(tmp_path / "a.pdparams")
    assert str(caught.value).isprintable()
    assert r"wants to import os \x1b[2J.x Usage: ok, which is refused" in str(caught.value)


def test_keys_of_old_storages_that_are_no_names_are_refused(tmp_path):
    shared = b"]q\0" + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(60)) + b"h\x3c\x85."
    start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {})]
    (tmp_path / "a.pth").write_bytes(b"".join(start) + shared + bytes(8))
    with pytest.raises(InputError, match="no names"):
        load_tensors(tmp_path / "a.pth")
