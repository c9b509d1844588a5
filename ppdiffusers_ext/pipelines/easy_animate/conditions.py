"""Conditioning frames and mask of EasyAnimate: the first and last pictures of a video, or another video and a mask.

From aigc-apps/EasyAnimate (`easyanimate/utils/utils.py`).
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers_ext.data.easy_animate.buckets import round_frames
from ppdiffusers_ext.data.frames import FrameSource, resize
from ppdiffusers_ext.errors import InputError, counted
from ppdiffusers_ext.pipelines.inputs import tell_shape, to_frames, to_picture

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig


logger = logging.getLogger(__name__)

_WHITE = 240  # from which on a mask's grey is white


@dataclass(frozen=True)
class Known:
    """
    Attributes:
        video: (frames, height, width, 3) uint8.
        mask: (frames, height, width) bool, True where the video is to be made.
        picture: (height, width, 3) uint8 that CLIP sees, or None.
    """

    video: np.ndarray
    mask: np.ndarray
    picture: np.ndarray | None = None

    def tensors(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(1, 3, frames, height, width) in [0, 1], and (1, 1, frames, height, width) of 0 and 1."""
        video = paddle.to_tensor(np.ascontiguousarray(self.video.transpose(3, 0, 1, 2))[None]).astype("float32") / 255
        return video, paddle.to_tensor(self.mask[None, None]).astype("float32")


def know_pictures(frames: int, start: Sequence[np.ndarray], end: Sequence[np.ndarray] = ()) -> Known:
    """The `Known` of a video that begins and ends with pictures.

    Args:
        frames: of the video.
        start, end: lists of (height, width, 3) uint8; the first has one at least.

    Raises:
        InputError: more pictures than frames.
    """
    if len(start) + len(end) > frames:
        raise InputError(
            f"{len(start)} pictures at the start and {len(end)} at the end are no part of {frames} frames; "
            f"{len(start) + len(end)} frames or more are accepted"
        )
    video = np.repeat(start[0][None], frames, axis=0)  # what is not known is not looked at
    mask = np.ones(video.shape[:3], bool)
    for position, picture in [*enumerate(start), *zip(range(frames - len(end), frames), end)]:
        video[position], mask[position] = picture, False
    return Known(video, mask, start[0])


@dataclass(frozen=True)
class KnownTensors:
    """What a call of the pipeline knows of a video.

    Attributes:
        video: (batch, 3, frames, height, width) in [0, 1], or None.
        mask: (batch, 1, frames, height, width), 1 where the video is to be made, or None.
        picture: what CLIP sees, or None.
    """

    video: paddle.Tensor | None = None
    mask: paddle.Tensor | None = None
    picture: Any = None

    @property
    def has_picture(self) -> bool:
        return self.picture is not None


def read_known(
    size: tuple[int, int, int], video: Any = None, mask: Any = None, start_image: Any = None, end_image: Any = None
) -> KnownTensors:
    """The `KnownTensors` of the arguments of a call of `EasyAnimateInpaintPipeline`.

    Args:
        size: height, width and number of frames of the video to be made.
        others: see the call.

    Raises:
        InputError, MissingFileError: something that is no picture, no video, or not of this size; pictures beside a
            video.
    """
    height, width, frames = size
    if start_image is not None or end_image is not None:
        if start_image is None or video is not None or mask is not None:
            raise InputError("start_image, or start_image and end_image, are accepted, without video and mask")
        given = [("start_image", start_image), *([("end_image", end_image)] if end_image is not None else [])]
        pictures = [resize(np.asarray(to_picture(value, name)), width, height, "crop") for name, value in given]
        known = know_pictures(frames, pictures[:1], pictures[1:])
        of_video, of_mask = known.tensors()
        return KnownTensors(of_video, of_mask, known.picture)
    if mask is not None and video is None:
        raise InputError("a mask is given without a video; a video and a mask, or a video alone, are accepted")
    if video is None:
        return KnownTensors()
    if not _is_batch(video):
        shown_frames = to_frames(video, height, width, "video")
        video = paddle.to_tensor(shown_frames.transpose(3, 0, 1, 2)[None].copy()).astype("float32") / 255
    if mask is not None and not _is_batch(mask):
        white = to_frames(mask, height, width, "mask").mean(axis=3) >= _WHITE
        white = white.repeat(frames, axis=0) if len(white) == 1 else white
        mask = paddle.to_tensor(white[None, None]).astype("float32")
    for name, channels, tensor in (("video", 3, video), ("mask", 1, mask)):
        if tensor is not None and list(tensor.shape[1:]) != [channels, frames, height, width]:
            needed = [1, channels, frames, height, width]
            raise InputError(f"{name} has the shape {list(tensor.shape)}; {needed} is accepted")
    return KnownTensors(video, mask)


def _is_batch(value: object) -> bool:
    return isinstance(value, paddle.Tensor) and value.ndim == 5


def fit(picture: np.ndarray, config: "EasyAnimateConfig", path: str | None = None) -> np.ndarray:
    """(H, W, 3) uint8 in the size and in the way of an `EasyAnimateConfig`; says so where the shape is another."""
    height, width = picture.shape[:2]
    if path is not None:
        tell_shape(path, width, height, config, "; --base chooses a size of its shape")
    if (height, width) == (config.height, config.width):
        return picture
    if config.resize == "stretch":  # as the original does
        size = (config.width, config.height)
        return np.asarray(PIL.Image.fromarray(picture).resize(size, PIL.Image.Resampling.BICUBIC))
    return resize(picture, config.width, config.height, config.resize)


def count_frames(config: "EasyAnimateConfig", source: FrameSource, multiple: int) -> int:
    """Frames that a video made of another one has.

    Args:
        config: `EasyAnimateConfig`.
        source: a `FrameSource` of that video.
        multiple: of which there can be a whole number.

    Raises:
        InputError: the video has fewer than that.
    """
    available = source.resampled_count(config.fps)
    frames = round_frames(min(config.num_frames, available), multiple)
    if not frames:
        raise InputError(
            f"{config.video} has {available} frames at {config.fps:g} frames a second; {multiple} or more, or a "
            "higher fps, are accepted"
        )
    if frames != config.num_frames:
        logger.warning("%s has %s at %g frames a second: the result has %d", config.video, counted(available, "frame"),
                       config.fps, frames)  # fmt: skip
    return frames


def know_video(config: "EasyAnimateConfig", source: FrameSource, masks: FrameSource | None = None) -> Known:
    """The `Known` of a video that is to be made anew, as a whole or where a mask is white; CLIP sees nothing.

    Args:
        config: `EasyAnimateConfig`, whose frames the video has.
        source, masks: `FrameSource`s of the video, and of where it is made anew; all of it if left out.

    Raises:
        InputError, MissingFileError: files that cannot be read.
    """
    frames = itertools.islice(source.resampled(config.fps), config.num_frames)
    paths = itertools.chain([config.video], itertools.repeat(None))  # a notice for the first frame alone
    video = np.stack([fit(frame, config, path) for frame, path in zip(frames, paths)])
    return Known(video, _mask(config, masks, video.shape[:3]))


def _mask(config: "EasyAnimateConfig", source: FrameSource | None, shape: tuple[int, ...]) -> np.ndarray:
    if source is None:
        return np.ones(shape, bool)
    frames = itertools.islice(source.resampled(config.fps), shape[0]) if source.num_frames > 1 else source
    masks = [fit(frame, config).mean(axis=2) >= _WHITE for frame in frames]
    if len(masks) not in (1, shape[0]):
        raise InputError(
            f"{config.mask} has {len(masks)} frames at {config.fps:g} frames a second, and the video {shape[0]}; as "
            "many, or one picture, are accepted"
        )
    return np.broadcast_to(np.stack(masks), shape)
