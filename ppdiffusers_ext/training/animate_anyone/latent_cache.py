"""What Animate Anyone's frozen networks make of training clips, computed once and kept in files.

A clip has one file: mean and deviation of the latents of all its frames, so that training draws them anew each time,
and the image encoder's embedding of each frame, for any of them may be the reference. Frames of a clip share one
random crop. Files are named by digests of the video, the size and bounds of the crop, the seed and the networks, so
that none that is stale is read; making them goes on where it was stopped.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_crop
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.records import digest_of
from ppdiffusers_ext.errors import InputError, counted, printable
from ppdiffusers_ext.training.kept_arrays import Arrays, contents_of, keep
from ppdiffusers_ext.training.latents import ENCODED_AT_ONCE
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.loading import load_arrays

logger = logging.getLogger(__name__)

_EVERY = 100  # clips from one line of the log to the next


class LatentCache:
    """The files of a folder.

    Args:
        folder: made where it is missing.
        samples: `TrainingClips` whose clips, size and crops these are.
        networks: name -> digest of the files of each frozen network.

    Raises:
        MissingFileError, InputError: a video is missing or cannot be read, or what was found cannot be kept.
    """

    def __init__(self, folder: str | Path, samples: TrainingClips, networks: Mapping[str, str]) -> None:
        self._folder = Path(folder)
        self._of_all = digest_of([sorted(networks.items()), samples.size, samples.scale, samples.ratio, samples.seed])
        self._contents = contents_of([files.video for files in samples.clips], self._folder)

    def path_of(self, files: ClipFiles) -> Path:
        name = digest_of([self._of_all, self._contents[str(files.video)]])
        return self._folder / "clips" / name[:2] / f"{name}.safetensors"

    def read(self, files: ClipFiles) -> Arrays:
        """What was kept of a clip: see `encode_clip`.

        Raises:
            InputError: there is nothing, or a damaged file.
        """
        path = self.path_of(files)
        if not path.is_file():
            raise InputError(f"its latents are not in {self._folder}")
        return load_arrays(path)


def fill(
    cache: LatentCache,
    samples: TrainingClips,
    encode: Callable[[np.ndarray], Arrays],
    embed: Callable[[np.ndarray], np.ndarray],
    part: tuple[int, int] = (0, 1),
) -> None:
    """Make the files that a cache lacks. Clips that cannot be read are told, and left out.

    Args:
        samples: of the cache.
        encode: of pixels (n, 3, height, width) in [-1, 1]: `mean` and `deviation`, each (n, channels, h / 8, w / 8).
        embed: of whole frames (n, H, W, 3) uint8: (n, dim).
        part: (number, count): of several processes, which one this is.

    Raises:
        InputError: a file cannot be written.
    """
    number, count = part
    clips = samples.clips[number::count]
    for done, files in enumerate(clips, 1):
        try:
            keep(cache.path_of(files), lambda files=files: encode_clip(files, samples, encode, embed))  # type: ignore[misc]
        except _UnreadableError as error:
            logger.warning("%s cannot be read and is left out: %s", printable(files.video), printable(error, 200))
        if number == 0 and (done % _EVERY == 0 or done == len(clips)):
            told = min(done * count, len(samples.clips))
            logger.info("latents of about %d of %s are kept", told, counted(len(samples.clips), "clip"))


class _UnreadableError(Exception):
    """A clip cannot be read."""


def encode_clip(
    files: ClipFiles,
    samples: TrainingClips,
    encode: Callable[[np.ndarray], Arrays],
    embed: Callable[[np.ndarray], np.ndarray],
) -> Arrays:
    """What is kept of a clip of n frames:

    mean, deviation: (n, channels, height / 8, width / 8), of the latents' distribution, not scaled.
    embedding: (n, dim), of the whole frames.
    box: (4,), left, top, right and bottom of the crop as parts of the width and height.

    Arguments are those of `fill`.
    """
    parts, embeddings, box = [], [], None
    try:
        for frames in _in_parts(FrameReader(files.video)):  # (some, H, W, 3)
            height, width = frames.shape[1:3]
            if box is None:
                rng = np.random.default_rng([samples.seed, *files.video.name.encode()])
                box = choose_crop(rng, width, height, samples.scale, samples.ratio)
            parts.append(encode(samples.resized(frames, box).transpose(1, 0, 2, 3) * 2 - 1))
            embeddings.append(embed(frames))
    except (InputError, OSError) as error:
        raise _UnreadableError(" ".join(str(error).split())) from error
    return {
        **{name: np.concatenate([part[name] for part in parts]) for name in ("mean", "deviation")},
        "embedding": np.concatenate(embeddings),
        "box": np.array(box, np.float64) / [width, height, width, height],
    }


def _in_parts(video: FrameReader) -> Iterator[np.ndarray]:
    """All frames of a video, a few at a time, for a clip may be longer than memory."""
    frames: list[np.ndarray] = []
    for number, frame in video.stream(range(len(video))):
        frames.append(frame)
        if len(frames) == ENCODED_AT_ONCE or number == len(video) - 1:
            yield np.stack(frames)
            frames = []


class CachedClips(TrainingClips):
    """As `TrainingClips`, with what a cache has in the place of the video's pixels:

    latent_mean, latent_deviation: (1 + frames, channels, height / 8, width / 8), of the reference, then the targets.
    embedding: (dim,), of the reference.
    pose_pixel_values, joints, clip, index, failures: see `TrainingClips`.

    Args:
        cache: `LatentCache`.
        samples: `TrainingClips` that these are the samples of.
    """

    def __init__(self, cache: LatentCache, samples: TrainingClips) -> None:
        width, height = samples.size
        of_samples = (samples.clips, len(samples), samples.seed, width, height, samples.choose)
        super().__init__(*of_samples, samples.scale, samples.ratio)
        self._cache = cache

    def _read(self, files: ClipFiles, rng: np.random.Generator, index: int) -> dict[str, Any]:
        kept = self._cache.read(files)
        poses = FrameReader(files.pose, "black")
        self._check_lengths(files, len(kept["mean"]), len(poses))
        chosen = self.choose(rng, len(poses))
        drawn = poses.read(chosen.targets)  # (frames, H, W, 3)
        height, width = drawn.shape[1:3]
        frames = [chosen.reference, *chosen.targets]
        return {
            "latent_mean": np.array(kept["mean"][frames]),
            "latent_deviation": np.array(kept["deviation"][frames]),
            "embedding": np.array(kept["embedding"][chosen.reference]),
            "pose_pixel_values": self.resized(drawn, tuple(kept["box"] * [width, height, width, height])),
            "joints": self._joints(files, len(poses), chosen, kept["box"]),
            "clip": str(files.video),
        }


@paddle.no_grad()
def latents_of(vae: Any, pixels: np.ndarray) -> Arrays:
    """`mean` and `deviation` of the latents of pictures: see `fill`."""
    posterior = vae.encode(paddle.to_tensor(pixels)).latent_dist
    return {"mean": _kept(posterior.mean), "deviation": _kept(posterior.std)}


@paddle.no_grad()
def embedding_of(image_encoder: Any, processed: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings (n, dim) of pictures as the image processor gives them, each (3, 224, 224)."""
    return _kept(image_encoder(paddle.to_tensor(np.stack(processed))).image_embeds)


def _kept(tensor: paddle.Tensor) -> np.ndarray:
    return to_array(tensor.astype("float32"))
