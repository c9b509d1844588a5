"""Small captioned videos and pictures, whose frames can be told apart, and meta files of them."""

import json
from fractions import Fraction

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.video_writer import VideoWriter

STEP = 5  # brightness from one frame to the next


def write_video(path, num_frames=40, width=64, height=48):
    """A grey video, each frame `STEP` levels brighter than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, Fraction(8), width, height) as writer:
        for index in range(num_frames):
            writer.write(np.full((height, width, 3), 20 + STEP * index, np.uint8))
    return path


def write_picture(path, width=64, height=48, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return path


def write_meta(path, entries):
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def numbers_of(pixels):
    """The numbers in the file of frames of `write_video`, from (frames, 3, height, width) in [-1, 1]."""
    levels = (pixels.mean(axis=(1, 2, 3)) + 1) * 127.5
    return np.round((levels - 20) / STEP).astype(int).tolist()
