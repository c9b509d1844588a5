"""Clips to evaluate, and small features in the place of networks' whose weights are not there."""

import numpy as np

from ppdiffusers_ext.data.images import write_image


class Averages:
    """As `PictureFeatures` and `ClipFeatures` are called: means of colours, which need no weights."""

    size = 3

    def prepare(self, frame):
        return frame.astype(np.float32)

    def of_prepared(self, frames):
        return frames.mean(axis=(0, 1, 2))

    def __call__(self, pictures):
        return np.stack([self.of_prepared(self.prepare(picture)[None]) for picture in pictures])


def noisy(frames, amount, seed=0):
    """Frames with noise of so many levels at most."""
    noise = np.random.default_rng(seed).uniform(-amount, amount, frames.shape)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def moving(seed, count, width=64, height=64):
    """(count, height, width, 3) uint8: a soft pattern that moves."""
    rng = np.random.default_rng(seed)
    phases, speeds = rng.uniform(0, 6, (2, 3)), rng.uniform(0.1, 0.4, 3)
    y, x, t = np.mgrid[:height, :width, :count]
    channels = [np.sin(x / 7 + phases[0, i] + speeds[i] * t) * np.cos(y / 9 + phases[1, i]) for i in range(3)]
    return np.rint(np.stack(channels, -1) * 110 + 128).astype(np.uint8).transpose(2, 0, 1, 3)


def write_frames(folder, frames, ending="png", **settings):
    """A folder of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        write_image(folder / f"{number}.{ending}", frame, **settings)
    return folder
