"""Features of pictures and clips, of which distances of distributions are made: FID, FVD and FID-VID.

Every picture and clip goes through its network alone, so that features are the same bits whatever it is called with.
Preparations are those of the evaluations that papers use, by name: "disco" of Wangt-CN/DisCo (tool/metrics), whose
pictures are resized as floats by Pillow, and "styleganv" of StyleGAN-V
(JunyaoHu/common_metrics_on_video_quality, fvd/styleganv).
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.metrics.frames import check_picture
from ppdiffusers_ext.metrics.networks import OpenedNetwork

_MEAN = (114.7748, 107.7354, 99.4750)  # R, G and B of the levels that the 3-D ResNet was trained on
_I3D_SIDE, _RESNET_SIDE, _RESNET_FRAMES = 224, 112, 16

Preparation = Callable[[np.ndarray], np.ndarray]


class PictureFeatures:
    """Features of pictures by FID's Inception, as pytorch-fid has them.

    Args:
        network: the opened "inception_fid".

    Attributes:
        name, size: of the network, and of its features.

    Raises:
        InputError: another network.
    """

    def __init__(self, network: OpenedNetwork) -> None:
        _check_network(network, ("inception_fid",), "pictures")
        self.name, self.size, self._network = network.name, network.size, network

    def __call__(self, pictures: np.ndarray | Iterable[np.ndarray]) -> np.ndarray:
        """Features.

        Args:
            pictures: (N, H, W, 3) uint8 RGB, or N pictures of any sizes.

        Returns:
            (N, 2048) float32

        Raises:
            ValueError: what is no such picture.
        """
        rows = [self._network.run("features", x=self.prepare(picture)[None])[0][0] for picture in pictures]
        return np.stack(rows) if rows else np.zeros((0, self.size), np.float32)

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (3, 299, 299) float32 from -1 to 1."""
        import paddle

        check_picture(picture, "picture")
        with paddle.no_grad():
            tensor = paddle.to_tensor(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / np.float32(255))
            return self._network.model.resize(tensor[None])[0].numpy()


class ClipFeatures:
    """Features of clips by I3D (FVD) or the 3-D ResNet (FID-VID).

    Args:
        network: the opened "i3d_fvd", "i3d_videogpt" or "resnet3d_fidvid".
        preparation: of frames, "disco", or for I3D "styleganv".

    Attributes:
        name, size, preparation: of the network, of its features, and as given.

    Raises:
        InputError: another network or preparation.
    """

    def __init__(self, network: OpenedNetwork, preparation: str = "disco") -> None:
        _check_network(network, tuple(_PREPARATIONS), "clips")
        known = _PREPARATIONS[network.name]
        if preparation not in known:
            raise InputError(
                f"preparation {shown(preparation)} of {network.name} is not known; {' or '.join(known)} is accepted"
            )
        self.name, self.size, self.preparation = network.name, network.size, preparation
        self._network, self._prepare = network, known[preparation]

    def __call__(self, clips: np.ndarray | Iterable[np.ndarray]) -> np.ndarray:
        """Features.

        Args:
            clips: (N, T, H, W, 3) uint8 RGB, or N clips of any sizes and lengths.

        Returns:
            (N, size) float32

        Raises:
            ValueError: what is no such clip.
            InputError: fewer frames than the network takes.
        """
        rows = [self.of_prepared(np.stack([self.prepare(frame) for frame in clip])) for clip in clips]
        return np.stack(rows) if rows else np.zeros((0, self.size), np.float32)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (3, side, side) float32: clips that overlap need it once for each frame."""
        check_picture(frame)
        return self._prepare(frame)

    def of_prepared(self, frames: np.ndarray) -> np.ndarray:
        """Features of a clip of prepared frames: (T, 3, side, side) -> (size,) float32.

        The 3-D ResNet takes segments of 16 frames and averages their features; the last frame fills the last one.
        """
        parts = [frames] if self.name != "resnet3d_fidvid" else list(_segments(frames, _RESNET_FRAMES))
        rows = [self._network.run("forward", clips=part.swapaxes(0, 1)[None])[0][0] for part in parts]
        return rows[0] if len(rows) == 1 else np.mean(rows, axis=0, dtype=np.float64).astype(np.float32)


def _segments(frames: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for start in range(0, len(frames), length):
        part = frames[start : start + length]
        yield np.concatenate([part, np.repeat(part[-1:], length - len(part), axis=0)])


def resize_bicubic(frame: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (3, side, side) float32 levels, neither rounded nor cut off: Pillow's bicubic of floats.

    The ratio of the sides is not kept.
    """
    channels = (Image.fromarray(frame[:, :, i].astype(np.float32)) for i in range(3))
    return np.stack([np.asarray(x.resize((side, side), Image.Resampling.BICUBIC)) for x in channels])


def _disco_i3d(frame: np.ndarray) -> np.ndarray:
    return resize_bicubic(frame, _I3D_SIDE) / np.float32(127.5) - np.float32(1)


def _disco_resnet(frame: np.ndarray) -> np.ndarray:
    return resize_bicubic(frame, _RESNET_SIDE) - np.array(_MEAN, np.float32)[:, None, None]


def _styleganv(frame: np.ndarray) -> np.ndarray:
    """The shorter side becomes 224 pixels, bilinear and not smoothed, and the middle square is taken."""
    import paddle
    import paddle.nn.functional as F

    height, width = frame.shape[:2]
    scale = _I3D_SIDE / min(height, width)
    size = [_I3D_SIDE, math.ceil(width * scale)] if height < width else [math.ceil(height * scale), _I3D_SIDE]
    top, left = ((side - _I3D_SIDE) // 2 for side in size)
    with paddle.no_grad():
        pixels = paddle.to_tensor(np.ascontiguousarray(frame.transpose(2, 0, 1), np.float32) / np.float32(255))
        resized = F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)[0].numpy()
    square = resized[:, top : top + _I3D_SIDE, left : left + _I3D_SIDE]
    return (square - np.float32(0.5)) * np.float32(2)


_OF_I3D: dict[str, Preparation] = {"disco": _disco_i3d, "styleganv": _styleganv}
_PREPARATIONS: dict[str, dict[str, Preparation]] = {
    "i3d_fvd": _OF_I3D,
    "i3d_videogpt": _OF_I3D,
    "resnet3d_fidvid": {"disco": _disco_resnet},
}


def _check_network(network: OpenedNetwork, names: tuple[str, ...], what: str) -> None:
    if network.name not in names:
        raise InputError(f"{network.name} has no features of {what}; {' or '.join(names)} is accepted")
