"""What the registry says of a checkpoint and of its files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file of a checkpoint.

    path: where it lies below the checkpoint's folder; of an archive, the folder that takes its content.
    remote: its name at the source, where that differs from `path`.
    size, sha256: in bytes, and as 64 hexadecimal digits; of an archive, those of the archive itself.
    about: the size in bytes as its publisher rounds it, where nothing more exact is known: for people and for the room
        on the disk, never held against a file.
    members: of an archive, names of files that must be in it; a single folder around everything is left out.
    """

    path: str
    remote: str = ""
    size: int | None = None
    sha256: str | None = None
    about: int | None = None
    members: tuple[str, ...] = ()

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
