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
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights import archives
from ppdiffusers_ext.weights.archives import ArchiveError, unpack

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
    with pytest.raises(MissingFileError, match="there is no archive"):
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
    refuse(tmp_path / "bomb", folder, "cut off or damaged")


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
    unpack(tmp_path / "data", folder, members=["member"])


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
    refuse(archive, folder, "cut off or damaged")


def test_data_after_the_end_of_a_tar(tmp_path, folder):
    archive = make(tmp_path / "data", MEMBERS.items(), "tar")
    archive.write_bytes(archive.read_bytes() + b"more")
    refuse(archive, folder, "cut off or damaged")


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
