"""Face embeddings of training pictures, computed once and cached on disk."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.outputs import moved_by, output_file
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.preprocess.faces import EMBEDDING, FaceAnalyzer, network_files


class FaceEmbeddings:
    """Embedding of a picture's largest face, from the cache if it is there.

    The key is the contents of the picture and of the networks' files: other pixels or networks have entries of their
    own, whatever their names and sizes.

    Args:
        faces: folder with models/antelopev2. Its networks are opened at the first picture that is not in the cache.
        cache: folder of the embeddings; created if it is missing.

    Raises:
        MissingFileError: the networks are not there.
    """

    def __init__(self, faces: str | os.PathLike, cache: str | os.PathLike) -> None:
        self._faces, self._cache = Path(faces), Path(cache)
        self._analyzer: FaceAnalyzer | None = None
        self._networks = [digest(path) for path in network_files(faces)]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (512,) fp32, zeros without a face."""
        path = self._cache / f"{self._key(picture)}.npy"
        kept = _read(path) if path.is_file() else None
        if kept is not None and kept.shape == (EMBEDDING,) and kept.dtype == np.float32:
            return kept
        embedding = self._embed(picture)
        buffer = io.BytesIO()
        np.save(buffer, embedding)  # which does not say what the system said when a disk is full
        with moved_by("--face_cache"), output_file(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
        return embedding

    def _key(self, picture: np.ndarray) -> str:
        what = f"{picture.shape} {self._networks} bgr".encode()
        return hashlib.sha256(what + np.ascontiguousarray(picture).tobytes()).hexdigest()

    def _embed(self, picture: np.ndarray) -> np.ndarray:
        if self._analyzer is None:
            self._analyzer = FaceAnalyzer(self._faces, channels="bgr", threads=1)
        embedding = self._analyzer.embed(picture)
        return np.zeros(EMBEDDING, np.float32) if embedding is None else np.asarray(embedding, np.float32)


def _read(path: Path) -> np.ndarray | None:
    """The array of a file; None for a damaged one."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return None
