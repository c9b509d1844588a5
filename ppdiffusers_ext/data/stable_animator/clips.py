"""Training clips of StableAnimator: frames, skeletons and face masks, as folders of pictures or as videos.

The layout is that of Francis-Rings/StableAnimator (`animation/dataset/animation_dataset.py`): a clip is a folder with
`images`, `poses` and, if there are any, `faces`, each a folder of pictures of the same names; or a video of that name
(`images.mp4`), which need not be taken apart. Path lists are text files with a clip in each line. Two files beside
them are not known to the original: `face.npy`, the embedding of the clip's face, for which none is looked for then,
and `keypoints.npy`, the person's joints as numbers.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppdiffusers_ext.data.frames import VIDEOS, picture_names
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.keypoints import read_keypoints
from ppdiffusers_ext.data.meta_files import find_path, read_rows
from ppdiffusers_ext.data.openpose import KEYPOINTS as JOINTS
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.errors import InputError, MissingFileError, counted
from ppdiffusers_ext.files import check_folder, check_name

logger = logging.getLogger(__name__)

_IMAGES, _POSES, _FACES = "images", "poses", "faces"
EMBEDDING, KEYPOINTS = "face.npy", "keypoints.npy"
EMBEDDING_SIZE = 512
_LISTS = "a text file of paths, or a folder, or JSON or CSV with a path in each entry is accepted"
_FIELDS = {"folder": ("folder", "path", "clip", "clip_path", "video_path", "video", "dir")}
_LAYOUT = "a folder with images, poses and, if there are any, faces (folders of pictures, or videos) is accepted"


@dataclass(frozen=True)
class AnimationClip:
    """Where a clip's frames, skeletons and face masks are: folders or video files; `faces` is None without masks.

    embedding: file of the embedding of its face, or None: it has to be looked for.
    keypoints: file of the person's joints (see `data.keypoints`), or None.
    """

    images: Path
    poses: Path
    faces: Path | None = None
    embedding: Path | None = None
    keypoints: Path | None = None


def find_animation_clips(path_list: str | os.PathLike, root: str | os.PathLike | None = None) -> list[AnimationClip]:
    """The clips of a path list.

    Args:
        path_list: text file with the folder of a clip in each line, absolute or relative to `root`; or the same as
            JSON, JSON lines or CSV; or a folder of clips.
        root: folder; the path list's own if left out.

    Returns:
        A list of `AnimationClip`. Lines whose clip has no frames or no skeletons are passed over, with a notice of how
        many they are.

    Raises:
        MissingFileError, InputError: there is no such list, or no clip in it.
    """
    folders = clip_folders(path_list, root)
    found = [find_clip(folder) for folder in folders]
    clips = [clip for clip in found if clip is not None]
    if not clips:
        raise InputError(f"none of the {len(folders)} folders of {path_list} is a clip; {_LAYOUT}")
    if len(clips) < len(folders):
        missing = folders[found.index(None)]
        logger.warning("without images or poses, and passed over: %s of the %d of %s, such as %s",
                       counted(len(folders) - len(clips), "clip"), len(folders), path_list, missing)  # fmt: skip
    return clips


def clip_folders(path_list: str | os.PathLike, root: str | os.PathLike | None = None) -> list[Path]:
    """The folders that a path list names (see `find_animation_clips`), whatever is in them."""
    path_list = check_name(path_list, "training data", _LISTS)
    if not os.path.exists(path_list):
        raise MissingFileError(f"training data {path_list} do not exist; {_LISTS}")
    if path_list.is_dir():
        check_folder(path_list, "training data", _LISTS)
        return sorted(path for path in path_list.iterdir() if path.is_dir())
    base = Path(root) if root else path_list.parent
    rows = read_rows(path_list, _FIELDS, "path list", _LISTS, of_lines=True)
    return [find_path(row["folder"], [base]) for row in rows]


def find_clip(folder: Path) -> AnimationClip | None:
    """The `AnimationClip` of a folder, or None where images or poses are missing."""
    images, poses, faces = (_part(folder, name) for name in (_IMAGES, _POSES, _FACES))
    if not images or not poses:
        return None
    files = (folder / name for name in (EMBEDDING, KEYPOINTS))
    return AnimationClip(images, poses, faces, *(file if file.is_file() else None for file in files))


def _part(folder: Path, name: str) -> Path | None:
    """A folder with pictures, or a video, of a name; None where there is neither."""
    if (folder / name).is_dir():
        return folder / name if picture_names(folder / name) else None
    return next((path for ending in VIDEOS if (path := folder / f"{name}{ending}").is_file()), None)


def read_embedding(path: str | os.PathLike) -> np.ndarray:
    """The embedding of a face from a .npy file: (512,) fp32.

    Raises:
        MissingFileError, InputError: no such file, or other contents.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise MissingFileError(f"face embedding {path} does not exist; a .npy file is accepted") from error
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"face embedding {path} cannot be read ({error}); a .npy file is accepted") from error
    if values.shape != (EMBEDDING_SIZE,) or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise InputError(
            f"face embedding {path} is {values.dtype} of shape {values.shape}; {EMBEDDING_SIZE} finite floating-point "
            "numbers are accepted"
        )
    return values.astype(np.float32)


class Frames:
    """Frames of a folder or of a video, in any order.

    Args:
        path: of either.
        background: "white" or "black", over which transparent pixels are laid.

    Attributes:
        names: of each frame, by which those of another folder are found; None for a video, whose frames have numbers.
    """

    def __init__(self, path: str | os.PathLike, background: str = "white") -> None:
        self.path, self._background = Path(path), background
        self._reader = None if self.path.is_dir() else FrameReader(self.path, background)
        self._files = {Path(name).stem: name for name in picture_names(self.path)} if self._reader is None else {}
        self.names = list(self._files) if self._reader is None else None

    def __len__(self) -> int:
        return len(self._files) if self._reader is None else len(self._reader)

    def read(self, indices: Iterable[int], names: Sequence[str] | None = None) -> list[Any]:
        """Frames by their numbers or, in a folder and where these are known, by the names of others.

        Returns:
            A list of PIL RGB pictures, with None for one that is not in the folder.

        Raises:
            InputError: a video has no such number, or a frame cannot be read.
        """
        if self._reader is not None:
            return [Image.fromarray(frame) for frame in self._reader.read(list(indices))]
        names = list(self._files) if names is None else names
        wanted = [names[index] if index < len(names) else None for index in indices]
        paths = [self.path / self._files[name] if name in self._files else None for name in wanted]
        return [path and read_image(path, self._background, self.path) for path in paths]


@dataclass(frozen=True)
class Sample:
    """What is read of a clip: arrays of fp32, and where the reference is from.

    Attributes:
        pixels: (frames, 3, height, width) in [-1, 1].
        poses: the same of skeletons.
        masks: (frames, 1, height, width) in [0, 1].
        joints: (1 + frames, 18, 3), of the reference and the frames: x and y in parts of the picture, and a score; all
            0 where the clip has none.
        reference: (3, height, width) in [-1, 1].
        picture: (height, width, 3) uint8, the reference as it is looked at for a face.
        place: text that names the reference's frame.
    """

    pixels: np.ndarray
    poses: np.ndarray
    masks: np.ndarray
    joints: np.ndarray
    reference: np.ndarray
    picture: np.ndarray
    place: str


def choose_frames(
    rng: np.random.Generator, num_frames: int, count: int, stride: int = 4, reference_frames: int = 0
) -> tuple[list[int], int]:
    """Numbers of `count` frames, `stride` apart or closer in a clip that is shorter, and that of another as reference.

    reference_frames: the reference is one of so many frames at the clip's beginning, and the others come after them;
        0: the reference is any other frame.

    Raises:
        InputError: the clip has no frame beside them.
    """
    after = num_frames - reference_frames
    if after < count:
        needed = f"{count} are needed after the {reference_frames} that the reference is one of"
        raise InputError(f"it has {num_frames} frames; {needed if reference_frames else _needs_reference(count)}")
    for apart in (stride, 2, 1):
        length = min(after, (count - 1) * apart + 1)
        start = reference_frames + int(rng.integers(after - length + 1))
        targets = np.linspace(start, start + length - 1, count).astype(int).tolist()
        others = sorted(set(range(reference_frames or num_frames)) - set(targets))
        if others:
            return targets, others[int(rng.integers(len(others)))]
    raise InputError(f"it has {num_frames} frames; {_needs_reference(count)}")


def _needs_reference(count: int) -> str:
    return f"{count + 1} are needed, one of them for the reference"


def read_sample(
    clip: AnimationClip,
    rng: np.random.Generator,
    width: int,
    height: int,
    count: int,
    stride: int = 4,
    reference_frames: int = 0,
) -> Sample:
    """A `Sample` of an `AnimationClip`.

    Args:
        rng: `np.random.Generator` of the frames that are chosen.
        width, height: pixels, to which all is resized.
        count, stride, reference_frames: of the frames, see `choose_frames`.

    Raises:
        InputError: frames or skeletons that are missing or cannot be read. A mask that is missing is all ones.
    """
    images, poses = Frames(clip.images), Frames(clip.poses, "black")
    targets, reference = choose_frames(rng, len(images), count, stride, reference_frames)
    if (images.names is None or poses.names is None) and len(images) != len(poses):
        raise InputError(f"{clip.poses} has {len(poses)} frames, {clip.images} {len(images)}")
    drawn = poses.read(targets, images.names)
    if None in drawn:
        number = targets[drawn.index(None)]
        raise InputError(f"{clip.poses} lacks the skeleton of {images.names[number] if images.names else number}")
    masks = Frames(clip.faces, "black").read(targets, images.names) if clip.faces is not None else [None] * count
    joints = np.zeros((1 + count, len(JOINTS), 3), np.float32)
    if clip.keypoints is not None:
        joints = read_keypoints(clip.keypoints, len(images))[[reference, *targets]]
    of_size = [picture.resize((width, height)) for picture in images.read([reference, *targets])]
    pixels = _to_pixels(of_size)
    return Sample(
        pixels[1:],
        _to_pixels([picture.resize((width, height)) for picture in drawn]),
        np.stack([_to_mask(mask, width, height) for mask in masks]),
        joints,
        pixels[0],
        np.asarray(of_size[0]),
        f"{clip.images}:{reference if images.names is None else images.names[reference]}",
    )


def _to_pixels(pictures: Sequence[Image.Image]) -> np.ndarray:
    """PIL pictures -> (n, 3, height, width) fp32 in [-1, 1]."""
    return np.stack([np.asarray(picture, np.float32) for picture in pictures]).transpose(0, 3, 1, 2) / 127.5 - 1


def _to_mask(picture: Image.Image | None, width: int, height: int) -> np.ndarray:
    """(1, height, width) fp32 in [0, 1]; ones without a mask."""
    if picture is None:
        return np.ones((1, height, width), np.float32)
    return np.asarray(picture.convert("L").resize((width, height)), np.float32)[np.newaxis] / 255
