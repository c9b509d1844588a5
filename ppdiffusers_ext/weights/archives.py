"""Unpacking zip, tar and tar.gz files that nobody has vouched for. Nothing is run; only plain files come out.

Refused: members that would lie outside the folder, links and devices, names that collide where case does not count,
encrypted or sparse members, and archives that unpack to far more than they are.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.files import check_file, check_name
from ppdiffusers_ext.weights import tar_files
from ppdiffusers_ext.weights.parts import sync

MAX_MEMBERS = 2000  # files and folders; published archives have some ten
DISK_MARGIN = 2**26  # bytes of the free disk that are left alone
_MAX_RATIO, _MAX_RATIO_MARGIN = 200, 100_000_000
_MAX_NAME_BYTES, _MAX_PART_BYTES, _MAX_PARTS = 1024, 255, 32
_MAX_DIRECTORY_BYTES = 2**22  # of a zip file
_LOCAL_HEADER = 30  # bytes of a zip member's header, without name and extra field
_BLOCK_BYTES = 2**20
_MAX_ZIP_COUNT = 2**16 - 1  # stands for this many members or more
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(InputError):
    """An archive is damaged, or has content that is refused."""


def unpack(
    archive: Path,
    folder: Path,
    members: Iterable[str] = (),
    max_bytes: int | None = None,
    max_members: int = MAX_MEMBERS,
) -> dict[str, tuple[int, str]]:
    """Unpack `archive` into `folder`, which appears (or replaces an earlier one) only when all is there.

    A single folder around everything is left out. Files get no executable or setuid bits.

    archive: a file; zip, tar and tar.gz are told apart by their content.
    members: names that must be in `folder` in the end.
    max_bytes: of everything unpacked (default: 200 times the archive and 100 MB, at most what the disk has free).
    Returns: dict of name -> (size in bytes, sha256 as 64 hexadecimal digits).

    Raises:
        ArchiveError: the archive is damaged, or is refused; nothing is left behind.
        MissingFileError: there is no such archive.
        InputError: the disk is full, or the folder cannot be written.
    """
    archive = check_file(archive, "archive", "a zip, tar or tar.gz file is accepted")
    folder = check_name(folder, "folder", "a name for what is unpacked is accepted")
    # A fixed name: what a killed run has left is found and removed by the next one.
    temporary = folder.with_name(f".{folder.name}.unpacking")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        if max_bytes is None:
            ratio_limit = _MAX_RATIO * archive.stat().st_size + _MAX_RATIO_MARGIN
            max_bytes = min(ratio_limit, max(0, shutil.disk_usage(temporary).free - DISK_MARGIN))
        unpacked = _Unpacked(archive, temporary, max_bytes, max_members)
        with damage_as_archive_error(archive):
            _open_archive(archive)(archive, unpacked)
        content, files = unpacked.without_single_folder()
        absent = [name for name in members if name not in files]
        if absent:
            raise ArchiveError(f"{archive} has no {', '.join(absent)}; an archive with {', '.join(members)} is needed")
        _put_in_place(content, folder)
        return files
    except OSError as error:
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise InputError(f"cannot unpack {archive} into {folder}: {reason}; a folder with room is needed") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(content: Path, folder: Path) -> None:
    """Rename `content` to `folder`. An earlier folder goes only when the new one has its name.

    What has the name is on the disk: a machine that stops must not leave files of zeros under it.
    """
    for path in sorted(content.rglob("*")):
        sync(path)
    earlier = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(earlier, ignore_errors=True)
    if folder.exists():
        os.rename(folder, earlier)
    os.rename(content, folder)
    sync(folder.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def _open_archive(archive: Path) -> Callable[[Path, "_Unpacked"], None]:
    """The function that unpacks this kind of archive."""
    with open(archive, "rb") as file:
        start = file.read(512)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _unpack_zip
    if start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar":
        return _unpack_tar
    raise ArchiveError(f"{archive} is no archive that is known; zip, tar and tar.gz are accepted")


def _unpack_zip(archive: Path, unpacked: "_Unpacked") -> None:
    with open(archive, "rb") as whole, zipfile.ZipFile(SmallReads(whole)) as file:
        if min(len(file.infolist()), _MAX_ZIP_COUNT) != _zip_count(archive):
            raise ArchiveError(f"{archive} is damaged (members are missing); an archive that is whole is accepted")
        _check_overlap(archive, file)
        for member in file.infolist():
            # The name as it is in the file: zipfile's own ends at a null byte.
            name = member.orig_filename
            if name.startswith("__MACOSX/"):  # what macOS adds beside the content
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & 0x1:
                raise unpacked.refusal(name, "is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise unpacked.refusal(name, "is a symbolic link" if kind == stat.S_IFLNK else "is a special file")
            if name.endswith("/"):
                unpacked.add_folder(name)
                continue
            if member.compress_type not in ZIP_METHODS:
                raise unpacked.refusal(name, "is compressed by other means than deflate")
            unpacked.check_size(name, member.file_size)
            with file.open(member) as content:
                unpacked.add_file(name, content)


def _check_overlap(archive: Path, file: zipfile.ZipFile) -> None:
    end = 0
    for member in sorted(file.infolist(), key=lambda member: member.header_offset):
        if member.header_offset < end:  # with each inside the other, a small file has terabytes in it
            raise ArchiveError(f"{archive} has members that overlap; an archive in which they do not is accepted")
        end = member.header_offset + _LOCAL_HEADER + member.compress_size


def _zip_count(archive: Path) -> int:
    """The number of members in the record at the end, at most _MAX_ZIP_COUNT: zipfile does not look at it."""
    with open(archive, "rb") as file:
        file.seek(max(0, archive.stat().st_size - 2**16 - 22))
        end = file.read()
    return int.from_bytes(end[end.rindex(b"PK\x05\x06") + 10 :][:2], "little")


def _unpack_tar(archive: Path, unpacked: "_Unpacked") -> None:
    with open(archive, "rb") as file:
        for member in tar_files.members(file):
            if member.refused:
                raise unpacked.refusal(member.name, f"is {member.refused}")
            if member.is_folder:
                unpacked.add_folder(member.name)
            else:
                unpacked.check_size(member.name, member.size)
                unpacked.add_file(member.name, member)


class SmallReads:
    """A file of which only so much is read at once: zipfile believes what an archive says of its directory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_DIRECTORY_BYTES:
            raise ValueError(f"a directory of {size} bytes")
        return self._file.read(size if size >= 0 else _MAX_DIRECTORY_BYTES)


class _Unpacked:
    """The folder that receives the members, and what may still come."""

    def __init__(self, archive: Path, folder: Path, max_bytes: int, max_members: int) -> None:
        self._archive, self._folder = archive, folder
        self._max_bytes, self._max_members = max_bytes, max_members
        self._bytes = self._members = 0
        self._seen: dict[str, bool] = {}  # name without regard to case -> whether it is a folder
        self._files: dict[str, tuple[int, str]] = {}

    def refusal(self, name: str, reason: str) -> ArchiveError:
        return ArchiveError(
            f"{self._archive}: member {_printable(name)} {reason}; plain files and folders inside the archive, with "
            "names of their own, are accepted"
        )

    def check_size(self, name: str, declared: int = 0) -> None:
        if self._bytes + declared > self._max_bytes:
            raise self.refusal(name, f"brings the content to more than {self._max_bytes} bytes, the limit here")

    def add_folder(self, name: str) -> None:
        path = self._claim(name, is_folder=True)
        (self._folder / path).mkdir(parents=True, exist_ok=True)

    def add_file(self, name: str, content: IO[bytes] | tar_files.Member) -> None:
        path = self._claim(name, is_folder=False)
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, before = hashlib.sha256(), self._bytes
        with open(target, "xb") as file:
            while block := content.read(_BLOCK_BYTES):
                # What a header declares may be a lie, so the bytes themselves are counted.
                self.check_size(name, len(block))
                self._bytes += len(block)
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        self._files[path] = (self._bytes - before, digest.hexdigest())

    def without_single_folder(self) -> tuple[Path, dict[str, tuple[int, str]]]:
        """The folder with the content, and its files by their names in it, less a single folder around everything."""
        top = list(self._folder.iterdir())
        if len(top) != 1 or not top[0].is_dir():
            return self._folder, self._files
        return top[0], {path.partition("/")[2]: values for path, values in self._files.items()}

    def _claim(self, name: str, is_folder: bool) -> str:
        """The checked relative path of a member; every member is counted, and no two may be the same."""
        self._members += 1
        if self._members > self._max_members:
            raise ArchiveError(f"{self._archive} has more than {self._max_members} members; fewer are accepted")
        parts = self._checked_parts(name, is_folder)
        if len(self._seen) + len(parts) > self._max_members + _MAX_PARTS:
            raise ArchiveError(f"{self._archive} has more than {self._max_members} folders; fewer are accepted")
        path = ""
        for depth, part in enumerate(parts, 1):
            path = f"{path}/{part}" if path else part
            folder_here = is_folder or depth < len(parts)
            key = unicodedata.normalize("NFC", path).casefold()
            if key in self._seen and not (folder_here and self._seen[key]):
                raise self.refusal(name, "is there twice (as it is where case does not count)")
            self._seen[key] = folder_here
        return path

    def _checked_parts(self, name: str, is_folder: bool) -> list[str]:
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            raise self.refusal(name, "has a name that is too long")
        if "\\" in name or re.match("[A-Za-z]:", name) or any(ord(character) < 32 for character in name):
            raise self.refusal(name, "has a drive letter, a backslash or a control character in its name")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            raise self.refusal(name, "lies outside the archive's folder")
        if any(len(os.fsencode(part)) > _MAX_PART_BYTES for part in parts) or len(parts) > _MAX_PARTS:
            raise self.refusal(name, "has a name that is too long")
        if not parts and not is_folder:
            raise self.refusal(name, "has no name")
        return parts


def _printable(name: str) -> str:
    text = ascii(name)
    return text if len(text) <= 100 else f"{text[:100]}..."


@contextlib.contextmanager
def damage_as_archive_error(archive: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # The standard library answers damage with exceptions of a dozen kinds. An OSError with a number is the disk's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = printable(" ".join(str(error).split()), 200)
        raise ArchiveError(f"{archive} is damaged ({what}); an archive that is whole is accepted") from error
