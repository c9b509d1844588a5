"""Small recogniser of drawn people: an `IResNet` from a picture of a head to an identity vector.

It learns the true identity vectors of `data.synthetic`. It measures the likeness of an animated head, and replaces
ArcFace in the optimisation of faces.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.stable_animator.clips import AnimationClip, Frames, read_embedding
from ppdiffusers_ext.data.stable_animator.face_boxes import box_of_mask
from ppdiffusers_ext.models.stable_animator.arcface import FACE_SIZE, IResNet, crop_face
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.writing import write_safetensors

_SMALL = {"layers": (1, 1, 1, 1), "planes": (8, 16, 32, 8)}
_FRAMES = 4  # of each clip
# How much of a head's height or width is cut off at most, at the top and at the other sides: masks have the hair as
# well, detectors a face alone, and dots of skeletons what is below the brows.
_CUT_ABOVE, _CUT = 0.45, 0.1
_LEARNING_RATE, _NOISE = 2e-3, 0.05


def train_recognizer(
    clips: Sequence[AnimationClip],
    path: str | os.PathLike,
    steps: int,
    batch: int,
    seed: int,
    progress: Callable[[Any], Any] = lambda numbers: numbers,
) -> float:
    """Train the recogniser and write its weights as .safetensors.

    Args:
        clips: list of `AnimationClip` that have masks and embeddings.
        path: file to write.
        steps, batch: number of steps and samples per step.
        seed: of all random numbers.
        progress: function of the iterable of steps that returns an iterable of them, such as tqdm.

    Returns:
        Mean cosine between prediction and truth over the last tenth of the steps.
    """
    rng = np.random.default_rng(seed)
    paddle.seed(seed)
    network = IResNet(**_SMALL)
    faces = [read_heads(clip, rng) for clip in clips]
    embeddings = np.stack([read_embedding(clip.embedding) for clip in clips if clip.embedding is not None])
    identities = paddle.to_tensor(embeddings)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(_LEARNING_RATE, steps)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=network.parameters())
    seen = []
    for step in progress(range(steps)):
        chosen = rng.integers(len(clips), size=batch)
        pictures = np.stack([faces[number][rng.integers(_FRAMES)] for number in chosen])
        recognised = network(_distort(pictures, rng))
        truth = paddle.index_select(identities, paddle.to_tensor(chosen))
        cosines = F.cosine_similarity(recognised, truth)  # (batch,)
        error = (recognised - truth).square().mean()
        ((1 - cosines).mean() + 0.1 * error).backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        if step >= steps - max(1, steps // 10):
            seen.append(float(cosines.mean()))
    with output_file(path) as temporary:
        arrays = {name: to_array(tensor) for name, tensor in network.state_dict().items()}
        write_safetensors(temporary, arrays, {"format": "pd"})
    return float(np.mean(seen))


def read_heads(clip: AnimationClip, rng: np.random.Generator) -> np.ndarray:
    """Heads of some frames of a clip, cut out at random: (frames, 3, 112, 112) uint8."""
    assert clip.faces is not None
    images, masks = Frames(clip.images), Frames(clip.faces, "black")
    chosen = rng.choice(len(images), _FRAMES, replace=False)
    heads = []
    for picture, mask in zip(images.read(chosen), masks.read(chosen, images.names)):
        pixels = paddle.to_tensor(np.asarray(picture, np.float32).transpose(2, 0, 1)[None])
        heads.append(crop_face(pixels, _tightened(box_of_mask(np.asarray(mask.convert("L"))), rng))[0].numpy())
    return np.round(np.stack(heads)).astype(np.uint8)


def _tightened(box: tuple[int, int, int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random box within a head's: (top, bottom, left, right), each in it."""
    top, bottom, left, right = box
    above, below, *sides = rng.uniform(0, (_CUT_ABOVE, _CUT, _CUT, _CUT))
    height, width = bottom - top, right - left
    return (
        top + int(above * height),
        bottom - int(below * height),
        left + int(sides[0] * width),
        right - int(sides[1] * width),
    )


def _distort(pictures: np.ndarray, rng: np.random.Generator) -> paddle.Tensor:
    """(batch, 3, 112, 112) uint8 -> fp32 in [-1, 1]; half of them blurred, as an autoencoder does, and noise."""
    pixels = paddle.to_tensor(pictures.astype(np.float32) / 127.5 - 1)
    blurred = F.interpolate(F.avg_pool2d(pixels, 14, 14), [FACE_SIZE, FACE_SIZE], mode="bilinear")
    part = rng.uniform(0, 1, (len(pictures), 1, 1, 1)) * rng.integers(2, size=(len(pictures), 1, 1, 1))
    mixed = pixels + paddle.to_tensor(part.astype(np.float32)) * (blurred - pixels)
    return mixed + _NOISE * paddle.to_tensor(rng.standard_normal(pictures.shape, np.float32))
