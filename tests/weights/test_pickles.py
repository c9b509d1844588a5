"""The machine that reads pickles: plain values as Python reads them, everything else refused, in bounded time."""

import collections
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from ppdiffusers_ext.weights import pickles
from ppdiffusers_ext.weights.pickles import Machine, RefusedImport
from ppdiffusers_ext.weights.vocabulary import Array

PLAIN = [
    None,
    True,
    [False, 0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**64), 10**50],
    [0.0, -1.5, 1e300, float("inf")],
    ["", "text", "ünï\ncödé 漢字", 'quo"te', "x" * 300],
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], [[]], {}, {"a": 1, 2: [3]}],
    {"state_dict": {f"layer.{index}": index for index in range(2500)}},
    collections.OrderedDict([("b", 1), ("a", (2, 3))]),
]


def run(data):
    return Machine(memoryview(bytearray(data))).run()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_values_are_read_as_python_reads_them(value, protocol):
    assert run(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_bytes_are_read_as_python_reads_them(protocol):
    value = [bytes(range(256)), b"x" * 70_000]
    assert [bytes(item) for item in run(pickle.dumps(value, protocol))] == value


def test_sets_become_lists():
    assert sorted(run(pickle.dumps({1, 2}, 4))) == sorted(run(pickle.dumps(frozenset({1, 2}), 4))) == [1, 2]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "i8", "?", "u1", "<u2"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2), (40, 50)], ids=str)
def test_arrays_are_read_as_numpy_reads_them(protocol, dtype, shape):
    array = (np.arange(np.prod(shape)) - 5).reshape(shape).astype(dtype)
    for value in (array, np.asfortranarray(array)):
        read = run(pickle.dumps(value, protocol))
        assert isinstance(read, Array)
        assert read.value.dtype == array.dtype
        np.testing.assert_array_equal(read.value, array)


def test_scalars_of_numpy_are_read():
    assert run(pickle.dumps({"loss": np.float64(0.5), "step": np.int64(3)}, 4)) == {"loss": 0.5, "step": 3}


def test_large_values_are_not_copied():
    array = np.arange(1 << 20, dtype=np.float32)
    data = bytearray(pickle.dumps({"a": array}, 4))
    tracemalloc.start()
    read = Machine(memoryview(data)).run()["a"].value
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    start = np.frombuffer(data, np.uint8).ctypes.data
    assert start <= read.ctypes.data < start + len(data)


def test_several_pickles_are_read_one_after_the_other():
    data = pickle.dumps(1) + pickle.dumps("two")
    machine = Machine(memoryview(data))
    assert [machine.run(), machine.run(), machine.position] == [1, "two", len(data)]


# What is refused


@pytest.mark.parametrize("module", ["os", "builtins", "torch", "collections", "numpy"])
@pytest.mark.parametrize("name", ["system", "getattr", "OrderedDict.__class__", "load", ""])
@pytest.mark.parametrize("in_one", [True, False], ids=["GLOBAL", "STACK_GLOBAL"])
def test_names_that_are_not_in_the_vocabulary_are_refused(module, name, in_one):
    both = [pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode() for text in (module, name)]
    data = f"c{module}\n{name}\n.".encode() if in_one else b"".join([b"\x80\x04", *both, b"\x93."])
    with pytest.raises(RefusedImport, match=f"^{module}.{name}$"):
        run(data)


@pytest.mark.parametrize(
    "code",
    [pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID]
    + [pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, b"\xff"],
)
def test_operations_that_no_checkpoint_has_are_refused(code):
    with pytest.raises(ValueError, match="operation"):
        run(b"(NN" + code + b"os\nsystem\n.")


@pytest.mark.parametrize(
    "data",
    [
        b"]N\x86R.",  # calls a list
        b"N)R.",  # calls nothing
        b"cnumpy\nndarray\n)R.",  # a name that is for handing on
        b"ccollections\nOrderedDict\n]R.",  # with a list instead of arguments
        b"}Nb.",  # sets the state of a dict
        b"]K\x01K\x02s.",  # puts an entry into a list
        b"}K\x01a.",  # appends to a dict
        b"}(K\x01u.",  # a key without a value
        b"}))s.",  # a key that is no name
        b"X\x04\x00\x00\x00data)R.",  # calls a text
        b"cbuiltins\neval\nX\x01\x00\x00\x001}\x86R.",  # evaluates something else than paddle's word
        b"c_codecs\nencode\nX\x01\x00\x00\x001X\x05\x00\x00\x00utf-7\x86R.",
        b"h\x00.",  # what was never remembered
        b".",
        b"0.",
        b"t.",
        b"I\n.",
        b"Sabc\n.",
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises(Exception):  # noqa: B017, PT011 (its reader turns any into the named error)
        run(data)


# Bounds


def deep(kind, levels):
    return {
        "lists": b"]" * levels + b"a" * (levels - 1),
        "tuples": b")" + b"\x85" * levels,
        "dicts": b"".join([b"}"] + [b"K\x01}"] * levels + [b"s"] * levels),
        "marks": b"(" * levels + b"t" * levels,
        "inside a state dict": b"}X\x01\x00\x00\x00a" + b"]" * levels + b"a" * (levels - 1) + b"s",
    }[kind] + b"."


@pytest.mark.parametrize("kind", ["lists", "tuples", "dicts", "marks", "inside a state dict"])
@pytest.mark.parametrize("levels", [10_000, 300_000])
def test_deep_nesting_is_refused(kind, levels):
    with pytest.raises(ValueError, match="nests too deep"):
        run(deep(kind, levels))


def test_what_holds_itself_is_read():
    content = []
    content.append(content)
    read = run(pickle.dumps(content))
    assert read[0] is read


@pytest.mark.parametrize(
    "data",
    [
        b"r\xff\xff\xff\x7f",  # remember something at a place two thousand million from here
        b"\x8d" + struct.pack("<Q", 1 << 40),  # a text of a terabyte
        b"\x8e" + struct.pack("<Q", 1 << 62),
        b"\x96" + struct.pack("<Q", (1 << 64) - 1),
        b"B\xff\xff\xff\xff",
        b"T\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x95" + struct.pack("<Q", 1 << 40),
        b"I" + b"9" * 100_000 + b"\n",
        b"c" + b"x" * 100_000,
    ],
    ids=lambda data: repr(data[:10]),
)
def test_claims_cost_nothing(data):
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(Exception):  # noqa: B017, PT011
        run(data + b".N0" * 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20
    assert time.process_time() - start < 5


def shared(levels):
    """A tuple of twice a tuple of twice ...: small to write, endless to look at."""
    return b")" + b"2\x86" * levels


@pytest.mark.parametrize(
    "data",
    [
        b"}" + shared(60) + b"Ns.",  # as a key, which is hashed
        shared(60) + b"X\x01\x00\x00\x00a\x93.",  # as a name
        b"X\x01\x00\x00\x00a" + shared(60) + b"\x93.",
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + shared(60) + b"NNtQ.",  # as the key of a storage
    ],
    ids=["key", "module", "name", "storage"],
)
def test_what_is_shared_a_thousand_times_is_not_unfolded(data):
    with pytest.raises((ValueError, RefusedImport)):
        run(data)


def test_small_steps_are_limited(monkeypatch):
    monkeypatch.setattr(pickles, "_MAX_OPERATIONS", 1000)
    with pytest.raises(ValueError, match="too many operations"):
        run(b"N" * 1001 + b".")
    # A function that copies what it is given counts by its length.
    many = b"(" + b"N" * 400 + b"l"
    assert run(many + b".") == [None] * 400
    with pytest.raises(ValueError, match="too many operations"):
        run(b"ctorch\nSize\n" + many + b"\x85q\x00R0ctorch\nSize\nh\x00R.")


def test_long_text_is_decoded_once_however_often_it_is_asked_for():
    text = "é" * 100_000
    encode = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    data = b"X" + struct.pack("<I", len(text.encode())) + text.encode() + b"q\x000(" + encode * 50 + b"l."
    results = run(data)
    assert bytes(results[0]) == text.encode("latin1")
    assert all(result is results[0] for result in results)


PYTHON_HASH_MODULUS = 2**61 - 1


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def name(module, function):
    return b"c" + module + b"\n" + function + b"\n"


REBUILD = name(b"torch._utils", b"_rebuild_parameter")
SIZE = name(b"torch", b"Size")
FROM_BUFFER = name(b"numpy.core.numeric", b"_frombuffer")
REFERENCE = b"(" + text(b"storage") + name(b"torch", b"FloatStorage") + text(b"k") + b"NN" + b"N" * 100_000 + b"t"
BIG_ENDIAN = name(b"numpy", b"dtype") + text(b"f4") + b"\x85R(K\x03" + text(b">") + b"tb"
# Each a small pickle that would take a machine long, or all its memory, if what is remembered were copied or hashed.
EXHAUSTING = {
    "a call with a hundred thousand arguments": REBUILD
    + b"q\x00("
    + b"N" * 100_000
    + b"tq\x01"
    + b"h\x00h\x01R0" * 9999,
    "a reference of a hundred thousand parts": REFERENCE + b"q\x01" + b"h\x01Q0" * 9999,
    "a tuple of bytes": b"B"
    + struct.pack("<I", 10**6)
    + bytes(10**6)
    + b"\x85q\x01"
    + SIZE
    + b"q\x00"
    + b"h\x00h\x01R" * 2000,
    "a tuple of text": b"V" + b"a" * 65_000 + b"\n\x85q\x01" + SIZE + b"q\x00" + b"h\x00h\x01R" * 9999,
    "an array of text": b"(V"
    + b"a" * 65_000
    + b"\n"
    + name(b"numpy", b"dtype")
    + text(b"u1")
    + b"\x85R(M\xe8\xfdt"
    + text(b"C")
    + b"tq\x01"
    + FROM_BUFFER
    + b"q\x00"
    + b"h\x00h\x01R" * 200_000,
    "integers of one hash": b"}("
    + b"".join(pickle.dumps(i * PYTHON_HASH_MODULUS, 2)[2:-1] + b"N" for i in range(1, 20_000))
    + b"u",
    "places of one hash": b"N" + b"".join(b"p%d\n" % (i * PYTHON_HASH_MODULUS) for i in range(1, 20_000)),
    "a long integer as a key": b"\x8b"
    + struct.pack("<i", 65_000)
    + b"\x7f" * 65_000
    + b"q\x00}"
    + b"h\x00Ns" * 99_999,
}


@pytest.mark.parametrize("kind", EXHAUSTING)
def test_what_is_remembered_is_not_copied_or_hashed_without_end(kind):
    tracemalloc.start()
    with pytest.raises(Exception):  # noqa: B017, PT011
        run(EXHAUSTING[kind] + b".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_bytes_of_the_other_order_are_not_copied():
    data = b"B" + struct.pack("<I", 10**6) + bytes(10**6)
    call = b"(" + data + BIG_ENDIAN + b"(J" + struct.pack("<i", 250_000) + b"t" + text(b"C") + b"tq\x01" + FROM_BUFFER
    tracemalloc.start()
    arrays = run(b"(" + call + b"q\x00" + b"h\x00h\x01R" * 1000 + b"l.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(arrays) > 1000
    assert peak < 16 << 20


def test_pickles_of_one_file_share_the_limit(monkeypatch):
    monkeypatch.setattr(pickles, "_MAX_OPERATIONS", 1000)
    machine = Machine(memoryview((b"(" + b"N" * 600 + b"t.") * 2))
    machine.run()
    with pytest.raises(ValueError, match="too many operations"):
        machine.run()
