"""Masks of the faces in clips, beside their pictures, as `scripts.face_mask_extraction` makes them."""

from __future__ import annotations

import contextlib
import functools
import shutil
from dataclasses import dataclass
from typing import ClassVar

from ppdiffusers_ext.data.chain.skeletons import new_folder
from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, Step
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.preprocess.face_finders import EMBEDDED, Find, find_retinaface, open_finder
from ppdiffusers_ext.preprocess.faces import mask_names, write_face_masks

FACES = "faces"  # folder beside a clip's pictures


@dataclass(frozen=True, kw_only=True)
class Faces(Step):
    """Writes a mask of each frame of a clip: white where a face is, or all over where none is found.

    Columns: `face_folder`, and `face_share`, the share of frames in which a face is found.

    Attributes:
        detector: "antelopev2" or "embedded"; see `preprocess.face_finders`.
        fallback: whether RetinaFace looks where that finds no face, and its weights are there.
    """

    name: ClassVar[str] = "faces"
    needs: ClassVar[tuple[str, ...]] = ("split", "skeletons")
    is_network: ClassVar[bool] = True
    is_gated: ClassVar[bool] = True

    detector: str = EMBEDDED
    fallback: bool = True

    def open(self, place: Place) -> None:
        """Open the networks, once in a process."""
        _opened(self.detector, self.fallback)

    def __call__(self, row: Row, place: Place) -> Columns:
        source = open_frames(place.file_of(row))
        with contextlib.ExitStack() as stack:
            folder = new_folder(place.output / row["clip_folder"] / FACES, stack)
            without = write_face_masks(source, folder, _opened(self.detector, self.fallback), mask_names(source))
        path = f"{row['clip_folder']}/{FACES}"
        return {"face_folder": path, "face_share": round(1 - without / source.num_frames, 5)}

    def is_kept(self, columns: Row, place: Place) -> bool:
        """Whether the masks are there still."""
        return (place.output / columns["face_folder"]).is_dir()

    def forget(self, columns: Row, place: Place) -> None:
        """Remove the masks."""
        shutil.rmtree(place.output / columns["face_folder"], ignore_errors=True)


@functools.cache
def _opened(detector: str, fallback: bool) -> Find:
    return open_finder(detector, retinaface=find_retinaface() if fallback else None, threads=1)
