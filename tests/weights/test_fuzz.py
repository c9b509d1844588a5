"""Valid files of every format, changed at random: they load, or they are refused by the named error, and at once."""

import os
import pickle
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.formats import most_bytes
from ppdiffusers_ext.weights.writing import write_torch
from tests.weights.files import Storage, torch_tensor, write_old_torch

# More are tried with FUZZ_EXAMPLES=20000.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
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

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def run(changes):
        path.write_bytes(apply(originals[name], changes))
        check(path, name)

    run()


def test_what_is_checked_is_changed_often_enough_to_matter(originals):
    """The changes leave some files loadable and others not: neither branch of `check` is idle."""
    assert apply(b"abcdef", [("insert", 0.5, b"X"), ("cut", 0.9, None)]) == b"abcXde"
    assert apply(b"abcdef", [("flip", 0.0, 0), ("remove", 0.5, 2), ("repeat", 0.0, 2)]) == b"`b`bcf"
    assert apply(originals["npz"], [("change", 0.0, originals["npz"][:1])]) == originals["npz"]
