"""The safe reader: what it reads, what it refuses, and that nothing in a file is executed."""

import collections
import os
import pickle
import signal
import struct
import zipfile

import numpy as np
import paddle
import pytest
import safetensors.numpy
import safetensors.paddle

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.loading import SUFFIXES, read_checkpoint

PICKLES = [".pth", ".pt", ".bin", ".ckpt", ".pdparams"]


# Writing pickles of torch without torch, and others that nobody should load


class Global:
    """Pickled as a reference to `module.name`, which need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self):
        raise AssertionError("only ever pickled")

    def __reduce_ex__(self, protocol):
        return self.name


class Call:
    """Pickled as a call of a function with arguments, and optionally a state to set on what it returns."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce_ex__(self, protocol):
        return self.reduced


class Storage:
    """What torch calls a storage: the bytes that tensors look at."""

    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, np.ascontiguousarray(array)


class Pickler(pickle._Pickler):
    # As Python has it: dill, once something imports it, puts its own functions into the standard library's table.
    dispatch = {
        type(None): pickle._Pickler.save_none,
        bool: pickle._Pickler.save_bool,
        int: pickle._Pickler.save_long,
        float: pickle._Pickler.save_float,
        bytes: pickle._Pickler.save_bytes,
        str: pickle._Pickler.save_str,
        tuple: pickle._Pickler.save_tuple,
        list: pickle._Pickler.save_list,
        dict: pickle._Pickler.save_dict,
    }

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", Global("torch", obj.kind), obj.key, "cpu", obj.array.size)
        return None

    def save_global(self, obj, name=None):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def write_pickle(path, content):
    with open(path, "wb") as file:
        Pickler(file, 2).dump(content)


def write_torch(path, content, storages, folder="archive"):
    """A file as `torch.save` writes it since version 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{folder}/data.pkl", "w") as file:
            Pickler(file, 2).dump(content)
        for storage in storages:
            archive.writestr(f"{folder}/data/{storage.key}", storage.array.tobytes())
        archive.writestr(f"{folder}/version", "3\n")


def torch_tensor(storage, size, stride, offset=0):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, storage, offset, size, stride, False, collections.OrderedDict())


def torch_parameter(tensor):
    return Call(Global("torch._utils", "_rebuild_parameter"), tensor, True, collections.OrderedDict())


def bfloat16_bits(array):
    return (np.asarray(array, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_two_tensors(path):
    """A small torch file; returns what is in it."""
    storage = Storage("FloatStorage", "0", np.arange(6, dtype=np.float32))
    state = collections.OrderedDict(a=torch_tensor(storage, (2, 3), (3, 1)), b=torch_tensor(storage, (2,), (1,), 4))
    write_torch(path, state, [storage])
    return {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([4, 5], dtype=np.float32)}


def assert_equal(tensors, expected):
    assert list(tensors) == list(expected)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name])
        assert tensor.numpy().dtype == expected[name].dtype
        assert tensor.shape == list(expected[name].shape)


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
    with pytest.raises(InputError, match="a.pth is not a weight file"):
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


def test_torch_file_of_before_1_6_is_refused_with_a_way_out(tmp_path):
    # Its first two pickles are a magic number and a protocol version.
    with open(tmp_path / "a.pth", "wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
    with pytest.raises(InputError, match="torch before 1.6"):
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
