"""Valid files of every format, changed at random: they load, or they are refused by the named error, and at once."""

import pickle
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.formats import most_bytes
from ppdiffusers_ext.weights.loading import read_state
from ppdiffusers_ext.weights.writing import write_torch
from tests.support.fuzzing import EXAMPLES, bounded, fuzz, refused_or_read
from tests.support.weight_files import Storage, torch_tensor, write_old_torch

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "norm.bias": np.arange(5, dtype=np.float16),
    "steps": np.array(7, dtype=np.int64),
}
# Only archives have checksums. Of the others, a changed number looks as good as the right one.
CHECKED = ("torch zip", "npz", "compressed npz")


def write_pickle(path, protocol):
    path.write_bytes(pickle.dumps(ARRAYS, protocol))


def write_old(path):
    kinds = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
    storages = [
        Storage(kinds[str(array.dtype)], str(key), array, (None,)) for key, array in enumerate(ARRAYS.values())
    ]
    content = {}
    for (name, array), storage in zip(ARRAYS.items(), storages):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        content[name] = torch_tensor(storage, array.shape, strides)
    write_old_torch(path, content, storages)


FORMATS = {
    "safetensors": (".safetensors", lambda path: safetensors.numpy.save_file(ARRAYS, path)),
    "torch zip": (".pth", lambda path: write_torch(path, ARRAYS)),
    "old torch": (".bin", write_old),
    "pdparams": (".pdparams", lambda path: write_pickle(path, 4)),
    "old pdparams": (".pdparams", lambda path: write_pickle(path, 2)),
    "npz": (".npz", lambda path: np.savez(path, **ARRAYS)),
    "compressed npz": (".npz", lambda path: np.savez_compressed(path, **ARRAYS)),
}

# What is done at a place given as a part of the file: bytes changed, inserted, removed, repeated, or the end cut off.
PLACE = st.floats(0, 1, exclude_max=True)
BYTES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [b"\x00", b"\xff" * 4, b"\xff" * 8, b"\x00" * 8, b"\x7f\xff\xff\xff", b"PK\x05\x06", b"R", b"2\x86"]
    ),
)
CHANGE = st.one_of(
    st.tuples(st.just("change"), PLACE, BYTES),
    st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("insert"), PLACE, BYTES),
    st.tuples(st.just("remove"), PLACE, st.integers(1, 40)),
    st.tuples(st.just("repeat"), PLACE, st.integers(1, 200)),
    st.tuples(st.just("cut"), PLACE, st.none()),
)


def apply(content, changes):
    content = bytearray(content)
    for kind, place, argument in changes:
        at = int(place * len(content))
        if kind == "change":
            content[at : at + len(argument)] = argument
        elif kind == "flip" and content:
            content[at] ^= 1 << argument
        elif kind == "insert":
            content[at:at] = argument
        elif kind == "remove":
            del content[at : at + argument]
        elif kind == "repeat":
            content[at:at] = content[at : at + argument]
        elif kind == "cut":
            del content[at:]
    return bytes(content)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    contents = {}
    for name, (suffix, write) in FORMATS.items():
        write(folder / f"a{suffix}")
        contents[name] = (folder / f"a{suffix}").read_bytes()
    return contents


def check(path, name):
    tracemalloc.start()
    start = time.process_time()
    try:
        tensors = {key: tensor.numpy() for key, tensor in load_tensors(path).items()}
    except InputError as error:
        assert str(path) in str(error)
        tensors = None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < 5
    assert peak < 32 << 20
    if tensors is None:
        return
    assert sum(array.nbytes for array in tensors.values()) <= most_bytes(path.stat().st_size)
    if name in CHECKED:
        for key, array in tensors.items():
            assert array.dtype == ARRAYS[key].dtype
            np.testing.assert_array_equal(array, ARRAYS[key])


@pytest.mark.parametrize("name", FORMATS)
def test_file_as_it_was_written_loads(tmp_path, originals, name):
    path = tmp_path / f"a{FORMATS[name][0]}"
    path.write_bytes(originals[name])
    tensors = load_tensors(path)
    assert set(tensors) == set(ARRAYS)
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[key].numpy(), array)


@pytest.mark.parametrize("name", FORMATS)
def test_changed_file_loads_or_is_refused(tmp_path, originals, name):
    path = tmp_path / f"a{FORMATS[name][0]}"

    @fuzz(changes=st.lists(CHANGE, min_size=1, max_size=4), examples=2 * EXAMPLES)
    def run(changes):
        path.write_bytes(apply(originals[name], changes))
        with bounded():
            check(path, name)

    run()


def test_what_is_checked_is_changed_often_enough_to_matter(originals):
    """The changes leave some files loadable and others not: neither branch of `check` is idle."""
    assert apply(b"abcdef", [("insert", 0.5, b"X"), ("cut", 0.9, None)]) == b"abcXde"
    assert apply(b"abcdef", [("flip", 0.0, 0), ("remove", 0.5, 2), ("repeat", 0.0, 2)]) == b"`b`bcf"
    assert apply(originals["npz"], [("change", 0.0, originals["npz"][:1])]) == originals["npz"]


# States of optimisers: valid ones changed, and pickles made of the operations that states are made of.

OPERATIONS = (
    *(
        b"(",
        b")",
        b"]",
        b"}",
        b"t",
        b"l",
        b"d",
        b"a",
        b"e",
        b"s",
        b"u",
        b"0",
        b"1",
        b"2",
        b"N",
        b"\x88",
        b"\x85",
        b"\x86",
    ),
    *(b"K\x01", b"M\x01\x02", b"J\xff\xff\xff\xff", b"G" + bytes(8), b"\x94", b"q\x00", b"q\x01", b"h\x00", b"h\x01"),
    *(b"X\x01\x00\x00\x00a", b"X\x01\x00\x00\x00b", b"B\x04\x00\x00\x00\x00\x00\x80?", b"C\x01a", b"\x8a\x01\x05"),
    *(b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"R", b"b", b"\x93"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n", b"Q", b"L5L\n"),
)
STATE = {"moment": ARRAYS["conv.weight"], "pair": ("name", ARRAYS["norm.bias"]), "LR_Scheduler": {"last_epoch": 3}}


@fuzz(changes=st.lists(CHANGE, min_size=1, max_size=4), protocol=st.sampled_from([2, 3, 4]))
def test_changed_state_is_read_or_refused(tmp_path, changes, protocol):
    (tmp_path / "a.pdopt").write_bytes(apply(pickle.dumps(STATE, protocol), changes))
    with refused_or_read():
        read_state(tmp_path / "a.pdopt")


@fuzz(operations=st.lists(st.sampled_from(OPERATIONS), max_size=60), times=st.sampled_from([1, 1, 2, 1000]))
def test_made_up_state_is_read_or_refused(tmp_path, operations, times):
    (tmp_path / "a.pdopt").write_bytes(b"\x80\x02" + b"".join(operations) * times + b".")
    with refused_or_read():
        repr(read_state(tmp_path / "a.pdopt"))


@fuzz(
    levels=st.lists(
        st.tuples(st.sampled_from("tld"), st.lists(st.integers(0, 30), min_size=1, max_size=9)),
        min_size=1,
        max_size=90,
    ),
    ending=st.sampled_from(["array", "text", "number"]),
)
def test_state_whose_parts_are_shared_is_read_or_refused(tmp_path, levels, ending):
    """Each container refers to those before it, any number of times."""
    made = [{"array": np.zeros(5000, np.float32), "text": "a" * 600, "number": 1}[ending]]
    for kind, numbers in levels:
        items = [made[-1 - number % len(made)] for number in numbers]
        named = {str(number): item for number, item in enumerate(items)}
        made.append({"t": tuple(items), "l": items, "d": named}[kind])
    (tmp_path / "a.pdopt").write_bytes(pickle.dumps(made[-1], 4))
    with refused_or_read():
        assert len(repr(read_state(tmp_path / "a.pdopt"))) < 1 << 28


# Tensors below names, the names of wrappers, and keys.

WORDS = st.sampled_from(["ema", "model", "state_dict", "params", "optimizer", "a", "_orig_mod", "module", "", "x.y"])
TREES = st.recursive(
    st.sampled_from([ARRAYS["norm.bias"], 3, None, "text"]),
    lambda inner: st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@fuzz(content=st.dictionaries(WORDS, TREES, max_size=5), key=st.none() | WORDS | st.text(max_size=5))
def test_tensors_below_names_are_read_or_refused(tmp_path, content, key):
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(content, 4))
    with refused_or_read():
        for tensor in load_tensors(tmp_path / "a.pdparams", key).values():
            np.testing.assert_array_equal(tensor.numpy(), ARRAYS["norm.bias"])
