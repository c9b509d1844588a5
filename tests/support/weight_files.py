"""Checkpoint files for tests: those of torch and Paddle without either, and such as nobody should load."""

import collections
import pickle
import struct
import zipfile

import numpy as np


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

    def __init__(self, kind, key, array, more=(), module="torch"):
        self.kind, self.key, self.array, self.more = kind, key, np.ascontiguousarray(array), more
        self.module = module


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
            # Before version 1.6, a sixth entry said of what other storage this one is a view: of none.
            return ("storage", Global(obj.module, obj.kind), obj.key, "cpu", obj.array.size, *obj.more)
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


def write_old_torch(path, content, storages, little_endian=True):
    """A file as `torch.save` wrote it before version 1.6."""
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little_endian}):
            Pickler(file, 2).dump(part)
        Pickler(file, 2).dump(content)
        Pickler(file, 2).dump([storage.key for storage in storages])
        for storage in storages:
            file.write(struct.pack("<q", storage.array.size) + storage.array.tobytes())


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
