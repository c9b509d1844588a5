"""What the registry says of a checkpoint and of its files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name there, its size in bytes and its sha256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Packed:
    """Where a file lies in a public package.

    archive, size, sha256: the name of the package's file, its size in bytes and its sha256.
    member: the file in it. A .tflite file becomes the ONNX file that `File.path` names.
    """

    archive: str
    size: int
    sha256: str
    member: Member

    def is_converted(self, path: str) -> bool:
        """Whether `path` is not the member itself, but made of it."""
        return self.member.path.endswith(".tflite") and path.endswith(".onnx")


@dataclass(frozen=True)
class File:
    """A file of a checkpoint.

    path: where it lies below the checkpoint's folder; of an archive, the folder that takes its content.
    remote: its name at the source, where that differs from `path`.
    size, sha256: in bytes, and as 64 hexadecimal digits; of an archive, those of the archive itself.
    md5: as 32 hexadecimal digits, where its publisher says no better hash: it tells damage, not forgery.
    about: the size in bytes as its publisher rounds it, where nothing more exact is known: for people and for the room
        on the disk, never held against a file.
    members: of an archive, names of files that must be in it; a single folder around everything is left out.
    packed: of a file whose sources are packages, where it lies in them; size and sha256 are those of the file itself.
    """

    path: str
    remote: str = ""
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    about: int | None = None
    members: tuple[str, ...] = ()
    packed: Packed | None = None

    @property
    def is_archive(self) -> bool:
        return bool(self.members)


@dataclass(frozen=True)
class Weights:
    """A checkpoint: one or more files of one publication that are fetched together.

    folder: where its files lie below the folder of all weights.
    needed_by: the commands that read it.
    by_default: False for alternatives and extras, which are fetched when named only.
    """

    name: str
    systems: tuple[str, ...]
    folder: str
    sources: tuple[str, ...]
    files: tuple[File, ...]
    licence: str
    needed_by: str
    by_default: bool = True
