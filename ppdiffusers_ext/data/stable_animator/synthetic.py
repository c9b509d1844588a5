"""Drawn clips in the form of StableAnimator's training data."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.keypoints import keypoints_of
from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.data.skeletons import PLAIN, WEIGHTED
from ppdiffusers_ext.data.stable_animator.clips import EMBEDDING, KEYPOINTS
from ppdiffusers_ext.data.synthetic import SIMPLE, synthetic_clip


def write_animation_clips(
    folder: str | os.PathLike,
    seed: int,
    numbers: Iterable[int],
    num_frames: int,
    side: int,
    entrance: int = 0,
    figures: str = SIMPLE,
    still: float = 0.0,
    close: bool = True,
    weighted: bool = True,
) -> None:
    """Write drawn clips: NUMBER/{images,poses,faces}/frame_N.png, NUMBER/face.npy and, of detailed figures,
    NUMBER/keypoints.npy (see `data.keypoints`). Those there are kept.

    Args:
        folder, seed, numbers, num_frames, side, entrance, figures, still, close, weighted: see
            `data.synthetic.write_clips`; the files are as large as the drawings.
    """
    for number in numbers:
        path = Path(folder) / f"{number:05d}"
        if path.exists():
            continue
        style = WEIGHTED if weighted else PLAIN
        clip = synthetic_clip((seed, number), num_frames, side, side, entrance, close, figures, style, still)
        with output_folder(path) as temporary:
            for name, frames in (("images", clip.target), ("poses", clip.pose), ("faces", clip.face)):
                for index, frame in enumerate(frames):
                    write_image(Path(temporary) / name / f"frame_{index}.png", frame)
            np.save(Path(temporary) / EMBEDDING, clip.identity)
            if clip.skeletons:
                np.save(Path(temporary) / KEYPOINTS, keypoints_of(clip.skeletons))
