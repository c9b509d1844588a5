"""Zip, tar and tar.gz files, made of headers that fit and of those that do not, or valid ones changed.

They unpack to plain files inside the folder, or are refused and leave nothing.
"""

import gzip
import io
import itertools
import os
import shutil
import tarfile
import zipfile

import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.archives import unpack
from tests.fuzz.test_weight_files import CHANGE, apply
from tests.support.fuzzing import EXAMPLES, bounded, fuzz
from tests.weights.test_archives import local_part, record, tar_header, with_content, zip_of

MEMBERS = {"one": b"1" * 700, "sub/two": b"22", "sub/": None}
KINDS = ("zip", "stored zip", "tar", "tar.gz", "pax", "gnu")


def original(kind):
    file = io.BytesIO()
    if "zip" in kind:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED if "stored" in kind else zipfile.ZIP_DEFLATED) as archive:
            for name, content in MEMBERS.items():
                archive.writestr(zipfile.ZipInfo(name), content or b"")
        return file.getvalue()
    form = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}.get(kind, tarfile.USTAR_FORMAT)
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name if kind in ("zip", "tar", "tar.gz") else f"{name.rstrip('/')}{'n' * 120}")
            info.size, info.type = len(content or b""), tarfile.REGTYPE if content else tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(content or b""))
    return gzip.compress(file.getvalue(), mtime=0) if kind == "tar.gz" else file.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


_NUMBERS = itertools.count()


def try_to_unpack(place, content):
    """What is unpacked lies in the folder as plain files; a refusal leaves nothing behind."""
    folder = place / f"out{next(_NUMBERS)}"
    (place / "data").write_bytes(content)
    before = set(os.listdir(place))
    with bounded(most=200 << 20):
        try:
            files = unpack(place / "data", folder)
        except InputError as error:
            assert set(os.listdir(place)) == before
            assert str(error).isprintable() and len(str(error)) < 1000
            return None
    assert set(os.listdir(place)) == before | {folder.name}
    there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
    assert set(files) == set(there)
    for path in folder.rglob("*"):
        assert not path.is_symlink() and (path.is_file() or path.is_dir())
    sizes = {name: path.stat().st_size for name, path in there.items()}
    assert sizes == {name: size for name, (size, _) in files.items()}
    shutil.rmtree(folder)
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_originals_unpack(place, kind):
    assert sorted(size for size, _ in try_to_unpack(place, original(kind)).values()) == [2, 700]


@pytest.mark.parametrize("kind", KINDS)
def test_changed_archives(place, kind):
    content = original(kind)

    @fuzz(changes=st.lists(CHANGE, min_size=1, max_size=4), examples=max(20, EXAMPLES // len(KINDS)))
    def run(changes):
        try_to_unpack(place, apply(content, changes))

    run()


TEXTS = st.sampled_from(
    [b"", b"a", b"b", b"a/b", b"a/", "ä".encode(), b"\xff", b"../x", b"/x", b"a\0b", b"n" * 300, b"a/" * 100 + b"b"]
)
COUNTS = st.sampled_from([0, 1, 2, 511, 512, 513, 70_000, 2**31, 2**33 - 1])
FIELDS = st.sampled_from(
    [b"0000001\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b"1_0", b" 7 ", b"9" * 11, bytes(12)]
)
RECORDS = st.one_of(
    st.builds(
        record,
        st.sampled_from([b"path", b"size", b"linkpath", b"hdrcharset", b"comment", b"GNU.sparse.size", b"mtime"]),
        TEXTS | st.sampled_from([b"1", b"-1", b"9" * 40, b"BINARY"]),
    ),
    st.sampled_from([b"0 a=b\n", b"5 a=b", b"99999 a=b\n", b"9" * 3000, b"\0" * 20, b"6 a=b\n6 a=b\n"]),
)
PARTS = st.one_of(
    st.builds(with_content, st.sampled_from([b"0", b"\0", b"7"]), TEXTS, name=TEXTS),
    st.builds(with_content, st.sampled_from([b"L", b"K"]), TEXTS),
    st.builds(with_content, st.sampled_from([b"x", b"g", b"X"]), st.lists(RECORDS, max_size=3).map(b"".join)),
    st.builds(
        tar_header, st.sampled_from([bytes([kind]) for kind in b"0123456789SLKxgVD\0"]), COUNTS | FIELDS, name=TEXTS
    ),
    st.sampled_from([bytes(512), b"x" * 512]),
)


@fuzz(parts=st.lists(PARTS, max_size=8), times=st.sampled_from([1, 1, 1, 50]), packs=st.booleans(), ends=st.booleans())
def test_made_up_tars(place, parts, times, packs, ends):
    content = b"".join(parts) * times + bytes(1024 * ends)
    # The first member says what kind of file it is.
    content = with_content(b"0", b"1", name=b"first") + content
    try_to_unpack(place, gzip.compress(content, mtime=0) if packs else content)


ENTRIES = st.tuples(
    st.builds(
        local_part,
        TEXTS,
        st.sampled_from([b"1", b"", b"22"]),
        st.sampled_from([b"", b"\x01\0\xff\xff"]),
        st.sampled_from([0, 8, 9, 99]),
    ),
    st.fixed_dictionaries(
        {"name": TEXTS},
        optional={
            "flags": st.sampled_from([0, 1, 0x41, 0x800, 8]),
            "method": st.sampled_from([0, 8, 12, 14]),
            "packed": st.sampled_from([0, 1, 2, 5000, 0xFFFFFFFF]),
            "size": st.sampled_from([0, 1, 2, 5000, 0xFFFFFFFF]),
            "offset": st.sampled_from([0, 1, 30, 0xFFFFFFFF]),
            "crc": st.sampled_from([0, 1]),
            "extra": st.binary(max_size=12),
            "comment": st.binary(max_size=3),
        },
    ),
)


@fuzz(
    entries=st.lists(ENTRIES, max_size=5),
    count=st.none() | st.integers(0, 65535),
    size=st.none() | st.sampled_from([0, 46, 2**31, 2**32 - 1]),
    behind=st.binary(max_size=5) | st.just(b""),
)
def test_made_up_zips(place, entries, count, size, behind):
    try_to_unpack(place, zip_of(entries, count, size, behind=behind))
