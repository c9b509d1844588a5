"""Samples of training clips, the same whoever asks: sample n of a run follows from the seed and n alone.

So a run that is stopped and goes on sees what it would have seen, with any number of workers. Which frames are taken
and how they are cropped is the original's way (Moore-AnimateAnyone, `src/dataset/dance_image.py`, `dance_video.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppdiffusers_ext.data.keypoints import read_keypoints
from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.retrying import RetryingClips
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles


@dataclass(frozen=True)
class FrameChoice:
    """Frames of a clip: the reference's index, and those of the targets."""

    reference: int
    targets: tuple


def choose_image(rng: np.random.Generator, num_frames: int, margin: int, reference_frames: int = 0) -> Any:
    """Stage 1: a reference and one target at least `margin` frames away, where the clip is long enough.

    reference_frames: the reference is one of so many frames at the clip's beginning; 0: of all.
    """
    margin = min(margin, num_frames)
    reference = _choose_reference(rng, num_frames, reference_frames)
    if reference + margin < num_frames:
        target = rng.integers(reference + margin, num_frames)
    elif reference - margin > 0:
        target = rng.integers(0, reference - margin + 1)
    else:
        target = rng.integers(num_frames)
    return FrameChoice(reference, (int(target),))


def choose_video(rng: np.random.Generator, num_frames: int, count: int, stride: int, reference_frames: int = 0) -> Any:
    """Stage 2: `count` frames `stride` apart, closer in a clip that is shorter, and a reference.

    reference_frames: see `choose_image`.
    """
    length = min(num_frames, (count - 1) * stride + 1)
    start = int(rng.integers(num_frames - length + 1))
    targets = np.linspace(start, start + length - 1, count).astype(int)
    return FrameChoice(_choose_reference(rng, num_frames, reference_frames), tuple(targets.tolist()))


def _choose_reference(rng: np.random.Generator, num_frames: int, first: int) -> int:
    return int(rng.integers(min(first or num_frames, num_frames)))


def choose_crop(
    rng: np.random.Generator,
    width: int,
    height: int,
    scale: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (0.9, 1.0),
) -> tuple[float, float, float, float]:
    """A box (left, top, right, bottom): a part `scale` of the area, of a `ratio` of width to height.

    Where none fits in ten tries, the largest one in the middle whose ratio is within the bounds (as torchvision does).
    """
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        of_box = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width, box_height = round(math.sqrt(area * of_box)), round(math.sqrt(area / of_box))
        if 0 < box_width <= width and 0 < box_height <= height:
            left, top = int(rng.integers(width - box_width + 1)), int(rng.integers(height - box_height + 1))
            return left, top, left + box_width, top + box_height
    box_width, box_height = width, height
    if width / height < ratio[0]:
        box_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        box_width = round(height * ratio[1])
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height


class TrainingClips(RetryingClips):
    """A dataset of samples, each a dict of

    pixel_values: (3, frames, height, width), fp32 in [-1, 1], the targets.
    pose_pixel_values: the same of their poses, in [0, 1].
    reference_pixel_values: (3, height, width) in [-1, 1].
    reference_image: (H, W, 3) uint8, the whole reference frame.
    joints: (1 + frames, 18, 3) fp32, of reference and targets: x and y in parts of the sample, and a score; all 0
        where the clip has none.
    clip: the video's path.
    index, failures: see `RetryingClips`.

    Args:
        clips: list of `ClipFiles`.
        length, seed: see `RetryingClips`.
        width, height: pixels of the samples.
        choose: called with (rng, number of frames of a clip); gives a `FrameChoice`.
        scale, ratio: bounds of the random crop, see `choose_crop`. Reference, targets and poses share it.

    Attributes:
        clips, seed, size (width, height), choose, scale, ratio: as given.
    """

    def __init__(
        self,
        clips: Sequence[Any],
        length: int,
        seed: int,
        width: int,
        height: int,
        choose: Callable,
        scale: tuple[float, float] = (1.0, 1.0),
        ratio: tuple[float, float] = (0.9, 1.0),
    ) -> None:
        super().__init__(length, seed)
        self.clips, self.seed, self.size = list(clips), seed, (width, height)
        self.choose, self.scale, self.ratio = choose, scale, ratio

    @property
    def num_clips(self) -> int:
        return len(self.clips)

    def _clips_of(self, index: int) -> "Sequence[ClipFiles]":
        return self.clips

    def _path_of(self, files: "ClipFiles") -> Path:
        return files.video

    def _read(self, files: "ClipFiles", rng: np.random.Generator, index: int) -> dict[str, Any]:
        video, poses = FrameReader(files.video), FrameReader(files.pose, "black")
        self._check_lengths(files, len(video), len(poses))
        chosen = self.choose(rng, len(video))
        frames = video.read([chosen.reference, *chosen.targets])  # (1 + frames, H, W, 3)
        drawn = poses.read(chosen.targets)  # (frames, H, W, 3)
        box = choose_crop(rng, frames.shape[2], frames.shape[1], self.scale, self.ratio)
        # The pose video may be of another size than the video, as long as it is of its shape.
        ratios = drawn.shape[2] / frames.shape[2], drawn.shape[1] / frames.shape[1]
        pose_box = tuple(side * ratios[index % 2] for index, side in enumerate(box))
        pixels = self.resized(frames, box) * 2 - 1
        return {
            "pixel_values": pixels[:, 1:],
            "pose_pixel_values": self.resized(drawn, pose_box),
            "reference_pixel_values": pixels[:, 0],
            "reference_image": frames[0],
            "joints": self._joints(files, len(video), chosen, np.array(box) / (frames.shape[2:0:-1] * 2)),
            "clip": str(files.video),
        }

    @staticmethod
    def _joints(files: "ClipFiles", num_frames: int, chosen: FrameChoice, box: np.ndarray) -> np.ndarray:
        """Of the chosen frames, (1 + frames, 18, 3). box: (left, top, right, bottom) in parts of the frame."""
        frames = [chosen.reference, *chosen.targets]
        if files.keypoints is None:
            return np.zeros((len(frames), len(KEYPOINTS), 3), np.float32)
        joints = read_keypoints(files.keypoints, num_frames)[frames]
        joints[..., :2] = (joints[..., :2] - box[:2]) / (box[2:] - box[:2])
        return joints

    @staticmethod
    def _check_lengths(files: "ClipFiles", video: int, poses: int | None = None) -> None:
        if poses not in (None, video):
            raise InputError(f"{files.pose} has {poses} frames, the video {video}")
        if video < 2:
            raise InputError(f"{files.video} has {video} frames; 2 are needed")

    def resized(self, frames: np.ndarray, box: Any) -> np.ndarray:
        """(n, H, W, 3) uint8 -> (3, n, height, width) fp32 in [0, 1]: the box of each."""
        images = [
            np.asarray(Image.fromarray(frame).resize(self.size, Image.Resampling.BILINEAR, box=box))
            for frame in frames
        ]
        return np.stack(images).astype(np.float32).transpose(3, 0, 1, 2) / 255


class TrainingPictures(TrainingClips):
    """The same samples with `pixel_values` and `clip` alone, for trainings that look at nothing else.

    References and poses are neither read nor decoded.
    """

    def _read(self, files: "ClipFiles", rng: np.random.Generator, index: int) -> dict[str, Any]:
        video = FrameReader(files.video)
        self._check_lengths(files, len(video))
        frames = video.read(self.choose(rng, len(video)).targets)  # (frames, H, W, 3)
        box = choose_crop(rng, frames.shape[2], frames.shape[1], self.scale, self.ratio)
        return {"pixel_values": self.resized(frames, box) * 2 - 1, "clip": str(files.video)}
