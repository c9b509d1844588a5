"""Archives that are what they should be, and those that somebody made to do harm."""

import errno
import gzip
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights import archives
from ppdiffusers_ext.weights.archives import ArchiveError, unpack
from tests.support.fuzzing import bounded
from tests.support.special_files import KINDS as KINDS_OF_FILES
from tests.support.special_files import special

KINDS = ("zip", "tar", "tar.gz")
MEMBERS = {"one.onnx": b"1" * 5000, "deep/er/two.onnx": b"22"}


def make(path, members, kind):
    """An archive of `members`: name -> bytes, or None for a folder."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members:
                file.writestr(name, content or b"")
        return path
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            info.size = len(content or b"")
            file.addfile(info, io.BytesIO(content or b""))
    return path


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out" / "pack"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(archive, folder, *words, **options):
    """It must be refused with these words, and leave nothing."""
    before = sorted(folder.parent.parent.rglob("*"))
    with pytest.raises(ArchiveError) as caught:
        unpack(archive, folder, **options)
    message = str(caught.value)
    for word in (str(archive), "accepted", *words):
        assert word in message
    folder.parent.mkdir(exist_ok=True)
    left = set(folder.parent.parent.rglob("*")) - {folder.parent}
    assert left == set(before) - {folder.parent}
    assert len(message) < 500
    return message


def test_unpacks(tmp_path, folder, kind):
    archive = make(tmp_path / "data", MEMBERS.items(), kind)
    files = unpack(archive, folder, members=["deep/er/two.onnx"])
    assert tree(folder) == MEMBERS
    assert files == {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in MEMBERS.items()}
    assert [path.name for path in folder.parent.iterdir()] == ["pack"]


@pytest.mark.parametrize("prefix", ["antelopev2/", "./antelopev2/"])
def test_single_folder_around_everything_is_left_out(tmp_path, folder, kind, prefix):
    members = [(prefix, None), *((prefix + name, content) for name, content in MEMBERS.items())]
    files = unpack(make(tmp_path / "data", members, kind), folder, members=["one.onnx"])
    assert tree(folder) == MEMBERS
    assert set(files) == set(MEMBERS)


def test_only_one_folder_is_left_out(tmp_path, folder, kind):
    unpack(make(tmp_path / "data", [("a/b/c.onnx", b"1")], kind), folder)
    assert tree(folder) == {"b/c.onnx": b"1"}


def test_what_macos_adds_is_left_out(tmp_path, folder):
    members = [("pack/one.onnx", b"1"), ("__MACOSX/", None), ("__MACOSX/pack/._one.onnx", b"2")]
    unpack(make(tmp_path / "data", members, "zip"), folder)
    assert tree(folder) == {"one.onnx": b"1"}


def test_a_single_file_stays(tmp_path, folder, kind):
    unpack(make(tmp_path / "data", [("c.onnx", b"1")], kind), folder)
    assert tree(folder) == {"c.onnx": b"1"}


def test_earlier_folder_is_replaced_as_a_whole(tmp_path, folder, kind):
    folder.mkdir(parents=True)
    (folder / "old").write_text("old")
    with pytest.raises(ArchiveError, match="no three"):
        unpack(make(tmp_path / "data", MEMBERS.items(), kind), folder, members=["three"])
    assert tree(folder) == {"old": b"old"}
    unpack(tmp_path / "data", folder)
    assert tree(folder) == MEMBERS
    assert [path.name for path in folder.parent.iterdir()] == ["pack"]


def test_what_a_killed_run_has_left_does_no_harm(tmp_path, folder, kind):
    for name in (".pack.unpacking", ".pack.replaced"):
        (folder.parent / name).mkdir(parents=True)
        (folder.parent / name / "x").write_text("x")
    unpack(make(tmp_path / "data", MEMBERS.items(), kind), folder)
    assert tree(folder) == MEMBERS
    assert [path.name for path in folder.parent.iterdir()] == ["pack"]


def test_missing_members(tmp_path, folder, kind):
    archive = make(tmp_path / "data", MEMBERS.items(), kind)
    with pytest.raises(ArchiveError, match="has no three; an archive with one.onnx, three is needed"):
        unpack(archive, folder, members=["one.onnx", "three"])
    assert list(folder.parent.iterdir()) == []


def test_no_archive(tmp_path, folder):
    with pytest.raises(MissingFileError, match="archive .* does not exist"):
        unpack(tmp_path / "data", folder)


@pytest.mark.parametrize("content", [b"", b"text", b"7z\xbc\xaf\x27\x1c" + bytes(600), b"Rar!\x1a\x07" + bytes(600)])
def test_no_known_archive(tmp_path, folder, content):
    (tmp_path / "data").write_bytes(content)
    refuse(tmp_path / "data", folder, "zip, tar and tar.gz")


# --- names


@pytest.mark.parametrize(
    "name, words",
    [
        ("/etc/passwd", "outside"),
        ("//server/share", "outside"),
        ("../x", "outside"),
        ("a/../../x", "outside"),
        ("a/..", "outside"),
        ("..", "outside"),
        ("C:x", "drive letter"),
        ("c:/x", "drive letter"),
        ("a\\..\\x", "backslash"),
        ("a\nb", "control character"),
        ("a\x1b[2Jb", "control character"),
        ("x" * 256, "too long"),
        ("x/" * 600 + "x", "too long"),
        ("ü" * 128, "too long"),
    ],
)
def test_names_that_are_refused(tmp_path, folder, kind, name, words):
    message = refuse(make(tmp_path / "data", [("good", b"1"), (name, b"2")], kind), folder, "member", words)
    assert "\x1b" not in message


@pytest.mark.parametrize("name", ["/x/", "../x/", "a/../../x/"])
def test_folders_outside_are_refused(tmp_path, folder, kind, name):
    refuse(make(tmp_path / "data", [("good", b"1"), (name, None)], kind), folder, "outside")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "first, second", [("a", "a"), ("a", "./a"), ("a", "A"), ("B/c", "b/C"), ("ß", "SS"), ("\u00e9", "e\u0301")]
)
def test_names_that_collide(tmp_path, folder, kind, first, second):
    refuse(make(tmp_path / "data", [(first, b"1"), (second, b"2")], kind), folder, "twice")


@pytest.mark.parametrize("members", [[("a", b"1"), ("A/b", b"2")], [("a/b", b"1"), ("A", b"2")]])
def test_a_file_and_a_folder_of_one_name(tmp_path, folder, kind, members):
    refuse(make(tmp_path / "data", members, kind), folder, "twice")


def test_a_folder_may_be_there_twice(tmp_path, folder, kind):
    members = [("a/", None), ("a/b", b"1"), ("a/", None), ("c", b"2")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        unpack(make(tmp_path / "data", members, kind), folder)
    assert tree(folder) == {"a/b": b"1", "c": b"2"}


def test_zip_name_with_a_null(tmp_path, folder):
    archive = make(tmp_path / "data", [("good!bad", b"1")], "zip")
    archive.write_bytes(archive.read_bytes().replace(b"good!bad", b"good\0bad"))
    refuse(archive, folder)


# --- kinds of members

TAR_KINDS = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "a device": tarfile.CHRTYPE,
    "device, ": tarfile.BLKTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "special file": b"Z",
    "sparse": tarfile.GNUTYPE_SPARSE,
}


@pytest.mark.parametrize("words", TAR_KINDS)
@pytest.mark.parametrize("compression", ["", ":gz"])
def test_special_members_of_tar(tmp_path, folder, words, compression):
    with tarfile.open(tmp_path / "data", f"w{compression}") as file:
        info = tarfile.TarInfo("member")
        info.type, info.linkname = TAR_KINDS[words], "/etc/passwd"
        file.addfile(info)
    refuse(tmp_path / "data", folder, "'member'", words)


@pytest.mark.parametrize("mode, words", [(stat.S_IFLNK, "symbolic link"), (stat.S_IFCHR, "special file")])
def test_special_members_of_zip(tmp_path, folder, mode, words):
    with zipfile.ZipFile(tmp_path / "data", "w") as file:
        info = zipfile.ZipInfo("member")
        info.external_attr = (mode | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    refuse(tmp_path / "data", folder, "'member'", words)


def test_writing_through_a_link(tmp_path, folder):
    """The link alone is refused, so that what follows never comes to be written."""
    with tarfile.open(tmp_path / "data", "w") as file:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        file.addfile(link)
        info = tarfile.TarInfo("link/evil")
        info.size = 1
        file.addfile(info, io.BytesIO(b"1"))
    refuse(tmp_path / "data", folder, "symbolic link")
    assert not (tmp_path / "evil").exists()


def test_encrypted_zip(tmp_path, folder):
    archive = make(tmp_path / "data", [("member", b"1")], "zip")
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # the flags of the local header,
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and those of the directory
    archive.write_bytes(data)
    refuse(archive, folder, "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods(tmp_path, folder, method):
    with zipfile.ZipFile(tmp_path / "data", "w", method) as file:
        file.writestr("member", b"1")
    refuse(tmp_path / "data", folder, "deflate")


def test_executable_bits_are_not_kept(tmp_path, folder):
    with tarfile.open(tmp_path / "data", "w") as file:
        info = tarfile.TarInfo("member")
        info.mode = 0o6777
        file.addfile(info)
    unpack(tmp_path / "data", folder)
    assert (folder / "member").stat().st_mode & 0o7111 == 0


# --- bombs


def test_bomb(tmp_path, folder, kind):
    """Zeros compress a thousand times; 200 times is the limit."""
    archive = make(tmp_path / "data", [("a", bytes(1_000_000)), ("b", bytes(1_000_000))], kind)
    assert "bytes" in refuse(archive, folder, "'b'", "1500000 bytes", max_bytes=1_500_000)


def test_limits_of_size(tmp_path, folder, monkeypatch):
    archive = make(tmp_path / "data", [("a", bytes(1_000_000))], "zip")
    monkeypatch.setattr(archives, "_MAX_RATIO_MARGIN", 1000)
    refuse(archive, folder, f"{200 * archive.stat().st_size + 1000} bytes")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=archives.DISK_MARGIN + 5))
    refuse(archive, folder, "more than 5 bytes")


def test_bytes_are_counted_whatever_is_declared(tmp_path, folder):
    """A member that declares one byte and unpacks to a million."""
    archive = make(tmp_path / "data", [("a", bytes(1_000_000))], "zip")
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 1)))
    refuse(archive, folder, max_bytes=1000)
    unpacked = archives._Unpacked(archive, tmp_path, 1000, 10)
    with pytest.raises(ArchiveError, match="1000 bytes"):
        unpacked.add_file("a", io.BytesIO(bytes(2000)))


def test_number_of_members(tmp_path, folder, kind):
    archive = make(tmp_path / "data", [(str(number), b"") for number in range(11)], kind)
    refuse(archive, folder, "more than 10 members", max_members=10)
    unpack(archive, folder, max_members=11)


def test_a_header_that_fills_the_memory(tmp_path, folder):
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    with gzip.open(tmp_path / "data", "wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT if info.size < 2**33 else tarfile.GNU_FORMAT) + bytes(10_000))
    refuse(tmp_path / "data", folder, "header of 8589934592 bytes")


def test_headers_without_end(tmp_path, folder):
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 13
    header = info.tobuf() + b"13 path=abcd\n".ljust(512, b"\0")
    (tmp_path / "data").write_bytes(header * 5000)
    refuse(tmp_path / "data", folder, "damaged")


def test_zeros_without_end(tmp_path, folder):
    make(tmp_path / "data", [("a", b"1")], "tar")
    with gzip.open(tmp_path / "bomb", "wb", 1) as file:
        file.write((tmp_path / "data").read_bytes() + bytes(50_000_000))
    refuse(tmp_path / "bomb", folder, "damaged")


@pytest.fixture
def quick(tmp_path):
    """Whatever an archive says, the answer takes seconds and little memory."""
    with bounded(most=200 << 20):
        yield


def tar_header(kind, size, name=b"header", **fields):
    """A header with the checksum that it should have; `size` as it is to stand there."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)[:512])
    block[:100] = name.ljust(100, b"\0")
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[156:157] = kind
    for at, value in fields.get("more", {}).items():
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def with_content(kind, content, size=None, **fields):
    return tar_header(kind, len(content) if size is None else size, **fields) + content + bytes(-len(content) % 512)


def record(key, value):
    """A record of a pax header, whose length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return str(length).encode() + body


FILE = with_content(b"0", b"1", name=b"a") + bytes(1024)
DIGITS = b"9" * 1_000_000
HOSTILE_TARS = {
    "digits without end": with_content(b"x", DIGITS) + FILE,
    "digits of a length": with_content(b"x", DIGITS[:60_000]) + FILE,
    "digits before hdrcharset": with_content(b"x", DIGITS[:60_000] + b" hdrcharset=BINARY\n") + FILE,
    "a size of many digits": with_content(b"x", record(b"size", DIGITS[:50_000])) + FILE,
    "a size below zero": with_content(b"x", record(b"size", b"-5")) + FILE,
    "a size of other digits": with_content(b"x", record(b"size", "\u0661".encode())) + FILE,
    "a size beyond the file": with_content(b"x", record(b"size", b"9" * 15)) + FILE,
    "a record of length 0": with_content(b"x", b"0 a=b\n") + FILE,
    "a record that ends behind": with_content(b"x", b"99 path=b\n") + FILE,
    "a record without =": with_content(b"x", b"5 ab\n") + FILE,
    "a name for all": with_content(b"g", record(b"path", b"b")) + FILE,
    "a size for all": with_content(b"g", record(b"size", b"9")) + FILE,
    "holes for all": with_content(b"g", record(b"GNU.sparse.major", b"1")) + FILE,
    "holes": with_content(b"x", record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")) + FILE,
    "a map of holes": with_content(b"x", record(b"GNU.sparse.map", b"1," * 30_000)) + FILE,
    "GNU's map of holes": with_content(b"S", b"1", more={482: b"\1"}) + b"\1" * 512 * 1000 + FILE,
    "a long name": with_content(b"L", b"a" * 60_000) + FILE,
    "a longer name": with_content(b"L", b"a" * 1_000_000) + FILE,
    "a name that is not there": tar_header(b"L", 1 << 32) + FILE,
    "names without end": with_content(b"L", b"a" * 500) * 3000 + FILE,
    "headers without end": with_content(b"x", record(b"a", b"b")) * 3000 + FILE,
    "kinds of headers in turn": b"".join(with_content(kind, b"\0") for kind in (b"L", b"K")) * 3000 + FILE,
    "many large headers": (with_content(b"x", record(b"comment", b"c" * 60_000)) + FILE[:1024]) * 300 + bytes(1024),
    "a size below zero as GNU says it": tar_header(b"0", b"\xff" * 12) + FILE,
    "a size as GNU says it": tar_header(b"0", b"\x80" + b"\xff" * 11) + FILE,
    "a size of letters": tar_header(b"0", b"abcdefghijk\0") + FILE,
    "a size with an underscore": tar_header(b"0", b"0000000_001\0") + FILE,
    "an unknown kind": with_content(b"V", b"1") + FILE,
    "a header before nothing": with_content(b"x", record(b"path", b"b")) + bytes(1024),
    "a directory that is deep": with_content(b"L", b"a/" * 500 + b"b") + FILE,
    "folders without end": b"".join(
        with_content(b"L", b"/".join(b"%d-%d" % (n, d) for d in range(30))) + FILE[:1024] for n in range(500)
    )
    + bytes(1024),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["tar", "tar.gz"])
@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_tar_that_takes_for_ever_is_refused_at_once(tmp_path, folder, quick, name, compressed):
    content = HOSTILE_TARS[name]
    (tmp_path / "data").write_bytes(gzip.compress(content) if compressed else content)
    refuse(tmp_path / "data", folder)


def test_headers_that_say_something_harmless_are_read(tmp_path, folder):
    name = "ä" * 90 + "/" + "n" * 120
    content = with_content(b"g", record(b"comment", b"a commit")) + with_content(
        b"x", record(b"mtime", b"1.5") + record(b"path", name.encode()) + record(b"size", b"1")
    )
    content += with_content(b"0", b"1", size=0)
    content += with_content(b"L", b"gnu/" + b"m" * 200 + b"\0") + with_content(b"K", b"x\0") + FILE
    for data in (
        content,
        gzip.compress(content),
        gzip.compress(content[:700]) + gzip.compress(content[700:]) + bytes(9),
    ):
        (tmp_path / "data").write_bytes(data)
        unpack(tmp_path / "data", folder)
        assert tree(folder) == {name: b"1", "gnu/" + "m" * 200: b"1"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "name", ["a", "a" * 99, "b" * 100, f"{'c' * 90}/{'d' * 60}", f"{'e' * 150}/{'f' * 100}", "ü/é"]
)
def test_tars_of_all_forms_are_read(tmp_path, folder, form, name):
    with tarfile.open(tmp_path / "data", "w", format=form) as file:
        for number, each in enumerate(("0", name)):
            info = tarfile.TarInfo(each)
            info.size = 600 * number
            try:
                file.addfile(info, io.BytesIO(b"x" * info.size))
            except ValueError:  # too long for this form
                return
    unpack(tmp_path / "data", folder)
    assert tree(folder) == {"0": b"", name: b"x" * 600}


def gzip_header(more):
    return b"\x1f\x8b\x08" + more


HOSTILE_GZIPS = {
    "a name without end": lambda whole: gzip_header(b"\x08" + bytes(6)) + b"a" * 20_000_000,
    "an extra field": lambda whole: gzip_header(b"\x04" + bytes(6) + b"\xff\xff") + b"a" * 3,
    "empty streams without end": lambda whole: whole + gzip.compress(b"") * 500_000,
    "empty streams before": lambda whole: gzip.compress(b"") * 500_000 + whole,
    "zeros behind": lambda whole: whole + gzip.compress(bytes(300_000_000), 9),
    "words behind": lambda whole: whole + b"words",
    "cut": lambda whole: whole[:-9],
    "wrong checksum": lambda whole: whole[:-8] + b"1234" + whole[-4:],
    "wrong length": lambda whole: whole[:-4] + b"1234",
    "nothing": lambda whole: gzip.compress(b""),
    "reserved bits": lambda whole: gzip_header(b"\xff") + whole[4:],
}


@pytest.mark.parametrize("name", HOSTILE_GZIPS)
def test_gzip_that_takes_for_ever_is_refused_at_once(tmp_path, folder, quick, name):
    (tmp_path / "data").write_bytes(HOSTILE_GZIPS[name](gzip.compress(FILE)))
    refuse(tmp_path / "data", folder)


def zip_of(entries, count=None, size=None, prefix=b"", behind=b""):
    """A zip of (local part, fields of the directory's entry), by hand."""
    local, directory = bytearray(), bytearray()
    for part, fields in entries:
        values = {"flags": 0, "method": 0, "crc": zlib.crc32(b"1"), "packed": 1, "size": 1, "offset": len(local)}
        values |= {"name": b"a", "extra": b"", "comment": b""} | fields
        local += part
        directory += struct.pack(
            "<4s4B4HL2L5H2L",
            *(b"PK\x01\x02", 20, 3, 20, 0, values["flags"], values["method"], 0, 33, values["crc"]),
            *(values["packed"], values["size"], len(values["name"]), len(values["extra"]), len(values["comment"])),
            *(0, 0, 0o644 << 16, values["offset"]),
        )
        directory += values["name"] + values["extra"] + values["comment"]
    count, size = len(entries) if count is None else count, len(directory) if size is None else size
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, len(prefix) + len(local), 0)
    return prefix + bytes(local + directory) + end + behind


def local_part(name=b"a", data=b"1", extra=b"", method=0, size=None):
    size = len(data) if size is None else size
    header = struct.pack(
        "<4sBB4HL2L2H", b"PK\x03\x04", 20, 0, 0, method, 0, 33, zlib.crc32(data), size, size, len(name), len(extra)
    )
    return header + name + extra + data


LARGE = zlib.compressobj(9, zlib.DEFLATED, -15)
LARGE = LARGE.compress(bytes(50_000_000)) + LARGE.flush()
ONE = local_part()
HOSTILE_ZIPS = {
    "members that are one": zip_of([(ONE, {}), *((b"", {"name": b"b%d" % n, "offset": 0}) for n in range(5000))]),
    "members in each other": zip_of(
        [(local_part(data=LARGE, method=8), {"method": 8, "packed": len(LARGE), "size": 50_000_000, "crc": 0})]
        + [(b"", {"name": b"%d" % n, "offset": n, "packed": 40_000, "size": 40_000}) for n in range(1, 400)]
    ),
    "a directory without end": zip_of([(b"", {"name": b"x" * 60_000, "comment": b"c" * 60_000}) for n in range(100)]),
    "a directory of many": zip_of([(b"", {"name": b"x"})] * 100_000, count=65535),
    "a count that lies": zip_of([(ONE, {})], count=2),
    "a size of the directory that lies": zip_of([(ONE, {})], size=1 << 31),
    "an extra field that lies": zip_of([(ONE, {"extra": b"\x01\x00\xff\xff"})]),
    "extra fields without end": zip_of([(ONE, {"extra": b"\x01\x00\x00\x00" * 16_000})] * 20),
    "zip64 that is not there": zip_of([(ONE, {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF})]),
    "zip64 that lies": zip_of(
        [(ONE, {"size": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, 1 << 62)})],
    ),
    "zip64 of an offset": zip_of([(ONE, {"offset": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, 1 << 63)})]),
    "another name in place": zip_of([(local_part(b"b"), {})]),
    "another checksum": zip_of([(ONE, {"crc": 1})]),
    "data that are not there": zip_of([(ONE, {"packed": 1 << 30, "size": 1 << 30})]),
    "a name that is no text": zip_of([(local_part(b"\xff\xfe"), {"name": b"\xff\xfe", "flags": 0x800})]),
    "encryption": zip_of([(ONE, {"flags": 0x41})]),
    "an end within the end": zip_of([(ONE, {})], behind=b"PK\x05\x06" + bytes(10)),
}


@pytest.mark.parametrize("name", HOSTILE_ZIPS)
def test_zip_that_lies_is_refused_at_once(tmp_path, folder, quick, name):
    (tmp_path / "data").write_bytes(HOSTILE_ZIPS[name])
    refuse(tmp_path / "data", folder)


def test_zip_by_hand_is_one(tmp_path, folder):
    """The hostile ones are refused for what they have besides."""
    (tmp_path / "data").write_bytes(zip_of([(ONE, {}), (local_part(b"b", b"1"), {"name": b"b"})]))
    unpack(tmp_path / "data", folder)
    assert tree(folder) == {"a": b"1", "b": b"1"}


@pytest.mark.parametrize("what", KINDS_OF_FILES)
def test_what_is_no_file_is_refused(tmp_path, folder, quick, what):
    path = special(tmp_path / "data", what)
    with pytest.raises(InputError, match=f"archive {path} .*; a zip, tar or tar.gz file is accepted"):
        unpack(path, folder)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a" * 5000])
def test_impossible_names_are_refused(tmp_path, folder, name):
    with pytest.raises(InputError, match="accepted"):
        unpack(tmp_path / name, folder)


# --- damage


def test_truncated_anywhere(tmp_path, folder, kind):
    archive = make(tmp_path / "data", [("one", os.urandom(700)), ("two", os.urandom(700))], kind)
    data = archive.read_bytes()
    # The end of a tar is two blocks of zeros; what follows, and the second of them, is padding.
    end = 2 * 512 + 2 * 1024 + 512 if kind == "tar" else len(data)
    for length in sorted({*range(0, end, 97), *range(512, end, 512), end - 1}):
        archive.write_bytes(data[:length])
        refuse(archive, folder)
    archive.write_bytes(data[:end])
    unpack(archive, folder)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_flipped_bytes(tmp_path, folder, kind):
    members = {"one": os.urandom(300), "two": os.urandom(300)}
    archive = make(tmp_path / "data", members.items(), kind)
    data = archive.read_bytes()
    unharmed = 0
    for position in range(len(data)):
        archive.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            files = unpack(archive, folder)
        except InputError:
            assert not folder.exists()
        else:
            # A date, a mode, a name that is as good: the contents are what they were.
            unharmed += 1
            assert sorted(tree(folder).values()) == sorted(members.values())
            assert len(files) == 2
            shutil.rmtree(folder)
        assert list(folder.parent.iterdir()) == []
    assert unharmed < len(data) / 2


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip64(tmp_path, folder):
    """More members than the old format can count."""
    with zipfile.ZipFile(tmp_path / "data", "w") as file:
        for number in range(65_535):
            file.writestr(f"{number % 3}/" + "./" * (number // 3 % 3), b"")
        file.writestr("member", b"1")
    unpack(tmp_path / "data", folder, members=["member"], max_members=100_000)


def test_wrong_checksum(tmp_path, folder):
    archive = tmp_path / "data"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("member", b"content")
    archive.write_bytes(archive.read_bytes().replace(b"content", b"CONTENT"))
    refuse(archive, folder, "damaged", "CRC")


def test_damaged_header_in_the_middle_of_a_tar(tmp_path, folder):
    archive = make(tmp_path / "data", MEMBERS.items(), "tar")
    data = bytearray(archive.read_bytes())
    second = data.index(b"deep/er")
    data[second] ^= 1
    archive.write_bytes(data)
    refuse(archive, folder, "damaged")


def test_data_after_the_end_of_a_tar(tmp_path, folder):
    archive = make(tmp_path / "data", MEMBERS.items(), "tar")
    archive.write_bytes(archive.read_bytes() + b"more")
    refuse(archive, folder, "damaged")


def test_disk_full(tmp_path, folder, kind, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    archive = make(tmp_path / "data", MEMBERS.items(), kind)
    monkeypatch.setattr(archives, "open", lambda *path: (Full if path[1] == "xb" else open)(*path), raising=False)
    with pytest.raises(InputError, match="cannot unpack .* no space left on the disk") as caught:
        unpack(archive, folder)
    # The archive is fine, and must not be thrown away.
    assert not isinstance(caught.value, ArchiveError)
    assert list(folder.parent.iterdir()) == []
