"""Archives and headers that lie: each is refused with the file's name and the reason, and nothing is allocated."""

import io
import json
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights import formats, load_tensors, writing
from ppdiffusers_ext.weights.writing import write_torch
from tests.support.weight_files import Storage, torch_tensor, write_two_tensors
from tests.support.weight_files import write_torch as write_torch_content


def refused(path, message):
    tracemalloc.start()
    with pytest.raises(InputError, match=message) as caught:
        load_tensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < 64 << 20
    assert list(path.parent.iterdir()) == [path]


# safetensors


def write_safetensors(path, header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry(offsets=(0, 4)), "b": entry(offsets=(2, 10))}, "does not lie where"),
        ({"a": entry(), "b": entry()}, "does not lie where"),
        ({"a": entry(offsets=(4, 12)), "b": entry(offsets=(12, 20))}, "does not lie where"),  # a hole before
        ({"a": entry(offsets=(0, 8)), "b": entry(offsets=(12, 20))}, "does not lie where"),  # a hole between
        ({"a": entry(offsets=(-8, 0))}, "not counts"),
        ({"a": entry(offsets=(8, 0))}, "does not lie where"),
        ({"a": entry(offsets=(0.0, 8.0))}, "not counts"),
        ({"a": entry(offsets=(False, 8))}, "not counts"),
        ({"a": entry(shape=(-2,), offsets=(0, 8))}, "not counts"),
        ({"a": entry(shape=(1 << 38,), offsets=(0, 1 << 40))}, "does not lie where"),  # a terabyte
        ({"a": entry(shape=(1 << 62, 1 << 62), offsets=(0, 8))}, "does not lie where"),
        ({"a": entry(shape=(3,), offsets=(0, 8))}, "does not lie where"),
        ({"a": entry(shape=[1] * 40 + [2])}, "not counts"),
        ({"a": entry("F33")}, "has the dtype F33"),
        ({"a": entry("F8_E8M0", (8,))}, "has the dtype F8_E8M0"),
        ({"a": entry(["F32"])}, "damaged"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "damaged"),
        ({"a": 3}, "damaged"),
        ([1], "damaged"),
        ({"__metadata__": 3, "a": entry()}, "metadata are not texts"),
        ({"__metadata__": {"format": []}, "a": entry()}, "metadata are not texts"),
        ({"a": {**entry("F64", (), (0, 8)), "shape": ""}}, "not counts"),
        ({"\ud800": entry()}, "damaged"),
        (json.dumps({"a": entry()}).encode("utf-16"), "damaged"),
        (b'{"a":[' + b"{}," * 3_300_000 + b"0]}", "header is said to be"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": 1}', "a name twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "a name twice"),
        (b"[" * 100_000, "damaged"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"{", "damaged"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_safetensors_header_that_lies_is_refused(tmp_path, header, message):
    write_safetensors(tmp_path / "a.safetensors", header, bytes(20))
    refused(tmp_path / "a.safetensors", message)


@pytest.mark.parametrize("length", [100, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_safetensors_header_that_is_larger_than_the_file_is_refused(tmp_path, length):
    write_safetensors(tmp_path / "a.safetensors", {"a": entry()}, bytes(8), length)
    refused(tmp_path / "a.safetensors", "header is said to be")


def test_safetensors_file_that_is_longer_than_its_tensors_is_refused(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"a": entry()}, bytes(9))
    refused(tmp_path / "a.safetensors", "longer than its tensors")


# Archives


def rewrite(path, change):
    """Write the members of an archive anew: `change(name, data)` gives the names, data and compressions."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile's own about names twice
        for name, data in members:
            for new_name, new_data, compression in change(name, data):
                archive.writestr(new_name, new_data, compression)


def test_compressed_storage_is_refused(tmp_path):
    write_two_tensors(tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", lambda name, data: [(name, data, zipfile.ZIP_DEFLATED)])
    refused(tmp_path / "a.pth", "is compressed, which torch does not do")


def test_storage_that_is_a_bomb_is_refused(tmp_path):
    storage = Storage("ByteStorage", "0", np.zeros(40 << 20, np.uint8))
    write_torch_content(tmp_path / "a.pth", {"a": torch_tensor(storage, (40 << 20,), (1,))}, [storage])
    rewrite(tmp_path / "a.pth", lambda name, data: [(name, data, zipfile.ZIP_DEFLATED)])
    assert (tmp_path / "a.pth").stat().st_size < 1 << 20
    refused(tmp_path / "a.pth", "is compressed")


def test_member_twice_is_refused(tmp_path):
    write_two_tensors(tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", lambda name, data: [(name, data, 0), (name, data[::-1], 0)])
    refused(tmp_path / "a.pth", "a name twice")


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_flipped_bit_is_found_wherever_it_is(tmp_path, suffix):
    path, expected = tmp_path / f"a{suffix}", {"a": np.arange(12, dtype=np.float32).reshape(3, 4)}
    if suffix == ".pth":
        write_torch(path, expected)
    else:
        np.savez(path, **expected)
    content = path.read_bytes()
    start = content.index(expected["a"].tobytes())
    for position in range(start, start + expected["a"].nbytes, 5):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        refused(path, "checksum")


def overlapping(path, names, size):
    """An archive with the directory of `names` members, each of which has all the bytes behind its header."""
    headers = [struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name for name in names]
    body = b"".join(headers) + bytes(size)
    directory, start = b"", 0
    for name, header in zip(names, headers):
        data = body[start + len(header) :]
        fields = (
            0x02014B50,
            20,
            20,
            0,
            0,
            0,
            0,
            zlib.crc32(data),
            len(data),
            len(data),
            len(name),
            0,
            0,
            0,
            0,
            0,
            start,
        )
        directory += struct.pack("<IHHHHHHIIIHHHHHII", *fields) + name
        start += len(header)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(names), len(names), len(directory), len(body), 0)
    path.write_bytes(body + directory + end)


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_members_that_lie_in_each_other_are_refused(tmp_path, suffix):
    names = [b"a/data.pkl", *(b"a/data/%d" % index for index in range(50))]
    overlapping(tmp_path / f"a{suffix}", names, 1000)
    with zipfile.ZipFile(tmp_path / f"a{suffix}") as archive:
        assert len(archive.namelist()) == 51
    refused(tmp_path / f"a{suffix}", "members overlap")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_file_of_very_many_tensors_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(formats, "_MAX_TENSORS", 10)
    arrays = {str(index): np.ones(1, np.float32) for index in range(11)}
    if suffix == ".npz":
        np.savez(tmp_path / "a.npz", **arrays)
    elif suffix == ".pth":
        write_torch(tmp_path / "a.pth", arrays)
    else:
        writing.write_safetensors(tmp_path / "a.safetensors", arrays, {})
    refused(tmp_path / f"a{suffix}", "holds 11 tensors; 10 at most are accepted")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truth_values_that_are_neither_are_refused(tmp_path, suffix):
    path, array = tmp_path / f"a{suffix}", np.array([True, False])
    if suffix == ".pth":
        write_torch(path, {"a": array})
        content = path.read_bytes().replace(
            struct.pack("<I", zlib.crc32(b"\1\0")), struct.pack("<I", zlib.crc32(b"\1\7"))
        )
    else:
        write_safetensors(path, {"a": entry("BOOL", (2,), (0, 2))}, b"\1\0")
        content = path.read_bytes()
    at = content.rindex(b"\1\0", 0, content.index(b"PK\x01\x02") if suffix == ".pth" else None)
    path.write_bytes(content[:at] + b"\1\7" + content[at + 2 :])
    refused(path, "truth values")


def test_many_tensors_of_one_storage_are_refused(tmp_path):
    storage = Storage("FloatStorage", "0", np.zeros(1 << 20, np.float32))
    content = {str(index): torch_tensor(storage, (1 << 20,), (1,)) for index in range(1000)}
    write_torch_content(tmp_path / "a.pth", content, [storage])
    refused(tmp_path / "a.pth", "much larger than the file")


def test_tied_tensors_are_read(tmp_path):
    storage = Storage("FloatStorage", "0", np.arange(6, dtype=np.float32))
    content = {"a": torch_tensor(storage, (6,), (1,)), "b": torch_tensor(storage, (6,), (1,))}
    write_torch_content(tmp_path / "a.pth", content, [storage])
    tensors = load_tensors(tmp_path / "a.pth")
    assert tensors["a"].tolist() == tensors["b"].tolist() == [0, 1, 2, 3, 4, 5]


def test_torch_file_of_the_other_byte_order_is_refused(tmp_path):
    write_torch(tmp_path / "a.pth", {"a": np.ones(2, np.float32)})
    rewrite(tmp_path / "a.pth", lambda name, data: [(name, b"big" if "byteorder" in name else data, 0)])
    refused(tmp_path / "a.pth", "byte order")


# npz


def test_compressed_npz_is_read(tmp_path):
    expected = {"a": np.random.RandomState(0).randn(100, 30), "b": np.asfortranarray(np.ones((2, 3), np.float16))}
    np.savez_compressed(tmp_path / "a.npz", **expected)
    tensors = load_tensors(tmp_path / "a.npz")
    assert list(tensors) == ["a", "b"]
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)


def test_npz_that_is_a_bomb_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(64 << 20, np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    refused(tmp_path / "a.npz", "unpacks to more than its size allows")


def test_compressed_member_that_says_it_is_empty_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(40 << 20, np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 16 : at + 20] = content[at + 24 : at + 28] = bytes(4)
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "is empty")


@pytest.mark.parametrize("field", ["packed", "unpacked"])
def test_compressed_member_that_is_said_to_be_huge_is_refused(tmp_path, field):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(9))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    at = content.index(b"PK\x01\x02") + {"packed": 20, "unpacked": 24}[field]
    content[at : at + 4] = b"\x00\x00\x00\x70"
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "ends too early|more than its size allows")


def npy(descr="<f4", shape="(2,)", fortran="False", body=bytes(8)):
    header = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(shape="(1000000000000,)"), "not of its size"),
        (npy(shape="(-2,)"), "do not fit"),
        (npy(shape="(2.0,)"), "damaged"),
        (npy(shape="(" * 5000), "damaged"),
        (npy(shape="-" * 9000 + "1"), "damaged"),
        (npy(descr="|O"), "an array of object"),
        (npy(descr="<c8"), "an array of complex64"),
        (npy(descr=[("x", "<f4"), ("y", "<f4")], shape="(1,)"), "an array of"),
        (npy(shape="__import__('os').system('true')"), "damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "damaged"),
        (b"hello", "damaged"),
        (b"", "damaged"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_array_that_lies_is_refused(tmp_path, content, message):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", content)
    (tmp_path / "a.npz").write_bytes(stream.getvalue())
    refused(tmp_path / "a.npz", message)
