"""Optimising the face while a clip is denoised: StableAnimator's HJB optimisation.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`inference_op.py`, `animation/pipelines/euler_discrete_pro.py`): between two steps, the latents that the network takes
for the clean ones are moved by a few steps of Adam, so that the faces in the frames that they decode to are more
like the picture's to a recogniser. Frames are decoded, and gradients computed, a chunk at a time, since chunks
do not see each other: what is in memory is one chunk's.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from ppdiffusers.models.resnet import SpatioTemporalResBlock

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.stable_animator.arcface import crop_face
from ppdiffusers_ext.pipelines.stable_animator.options import check_steps

LEARNING_RATE = 0.1  # of the first step; it falls to 0 towards the last


@dataclass
class FaceRefinement:
    """How a clip's faces are optimised, for `StableAnimatorPipeline.__call__`.

    Attributes:
        recognizer: `IResNet`, in evaluation mode.
        reference: (1, features), the embedding of the picture's face (`embed_reference`).
        boxes: for each frame the face's (top, bottom, left, right) in pixels, all of them inside, or None for a frame
            without a face.
        first_step, last_step: steps that are refined, from 0, both included.
        iterations: of Adam at each step.
        history: becomes a list of dicts of step, iteration, loss and cosines (one for each frame, None for one without
            a face), of before each update.
    """

    recognizer: paddle.nn.Layer
    reference: paddle.Tensor
    boxes: list
    first_step: int = 0
    last_step: int = 20
    iterations: int = 3
    history: list = field(default_factory=list)

    def check(self, num_frames: int, num_steps: int, height: int, width: int) -> None:
        """Raises InputError if this does not fit a clip."""
        check_steps(self.first_step, self.last_step, self.iterations, num_steps)
        if len(self.boxes) != num_frames:
            raise InputError(f"there are {len(self.boxes)} boxes of faces for {num_frames} frames; one each is needed")
        if not any(self.boxes):
            raise InputError("no frame has a face to optimise; at least one is needed")
        for frame, box in enumerate(self.boxes):
            if box is not None and not (0 <= box[0] <= box[1] < height and 0 <= box[2] <= box[3] < width):
                raise InputError(f"the face {tuple(box)} of frame {frame} is not within {width}x{height} pixels")

    def applies(self, step: int) -> bool:
        """Whether a step is refined."""
        return self.first_step <= step <= self.last_step

    def refine(
        self,
        latents: paddle.Tensor,
        vae: Any,
        step: int,
        num_steps: int,
        chunk_size: int,
        report: Callable[[dict[str, Any]], object] | None = None,
    ) -> paddle.Tensor:
        """Move clean latents so that the faces are more like the picture's.

        Args:
            latents: (1, frames, 4, h, w), what the network takes for the clean latents.
            vae: ppdiffusers' `AutoencoderKLTemporalDecoder`.
            step, num_steps: the number of the denoising step, from 0, and how many there are.
            chunk_size: frames that are decoded together.
            report: called with each entry of `history`.

        Returns:
            As the latents.
        """
        with paddle.enable_grad(), _frozen(vae, self.recognizer), _recomputed(vae.decoder):
            clean = paddle.create_parameter(latents.shape, latents.dtype)
            clean.set_value(latents)
            rate = LEARNING_RATE * (1 - step / num_steps)
            optimizer = paddle.optimizer.Adam(rate, parameters=[clean])
            for iteration in range(self.iterations):
                cosines = self.backward(clean, vae, chunk_size)
                optimizer.step()
                optimizer.clear_grad()
                seen = [cosine for cosine in cosines if cosine is not None]
                loss = sum(abs(1 - cosine) for cosine in seen) / len(seen)
                entry = {"step": step, "iteration": iteration, "loss": loss, "cosines": cosines}
                self.history.append(entry)
                if report is not None:
                    report(entry)
        return clean.detach()

    def backward(self, clean: paddle.Tensor, vae: Any, chunk_size: int) -> list[float | None]:
        """Add the gradient of the mean of |1 - cosine| over the frames with a face to that of the latents.

        Args:
            clean: (1, frames, 4, h, w), with `stop_gradient` False.
            vae, chunk_size: see `refine`.

        Returns:
            For each frame the cosine between its face's embedding and the picture's, None for one without a face.
        """
        cosines: list[float | None] = []
        count = sum(box is not None for box in self.boxes)
        for start in range(0, len(self.boxes), chunk_size):
            boxes = self.boxes[start : start + chunk_size]
            if not any(boxes):
                cosines += [None] * len(boxes)
                continue
            chunk = clean[0, start : start + len(boxes)] / vae.config.scaling_factor  # (n, 4, h, w)
            frames = vae.decode(chunk, num_frames=len(boxes)).sample  # (n, 3, height, width)
            pixels = (frames / 2 + 0.5).clip(0, 1) * 2 - 1
            faces = [crop_face(pixels[i : i + 1], box) for i, box in enumerate(boxes) if box is not None]
            embeddings = self.recognizer(paddle.concat(faces))  # (faces, features)
            likeness = F.cosine_similarity(embeddings, self.reference.expand(embeddings.shape), axis=-1)  # (faces,)
            ((1 - likeness).abs().sum() / count).backward()
            values = iter(likeness.numpy().tolist())
            cosines += [None if box is None else next(values) for box in boxes]
        return cosines


def clean_latents(prediction: paddle.Tensor, latents: paddle.Tensor, sigma: float) -> paddle.Tensor:
    """What a velocity, which the network predicts of latents with noise, takes for the clean latents."""
    return latents / (sigma**2 + 1) - prediction * (sigma / (sigma**2 + 1) ** 0.5)


def velocity(clean: paddle.Tensor, latents: paddle.Tensor, sigma: float) -> paddle.Tensor:
    """The velocity by which latents with noise come to these clean ones."""
    return (latents / (sigma**2 + 1) - clean) * ((sigma**2 + 1) ** 0.5 / sigma)


@paddle.no_grad()
def embed_reference(recognizer: nn.Layer, picture: np.ndarray, box: tuple[int, int, int, int]) -> paddle.Tensor:
    """The embedding of a picture's face.

    Args:
        recognizer: `IResNet`, in evaluation mode.
        picture: (H, W, 3) uint8 RGB.
        box: (top, bottom, left, right) in pixels.

    Returns:
        (1, features).
    """
    pixels = paddle.to_tensor(picture.astype("float32").transpose(2, 0, 1)[None]) / 127.5 - 1
    return recognizer(crop_face(pixels, box))


@contextlib.contextmanager
def _frozen(*models: nn.Layer) -> Iterator[None]:
    """No gradients for weights, which would take as much time and memory again."""
    learning = [parameter for model in models for parameter in model.parameters() if not parameter.stop_gradient]
    for parameter in learning:
        parameter.stop_gradient = True
    try:
        yield
    finally:
        for parameter in learning:
            parameter.stop_gradient = False


@contextlib.contextmanager
def _recomputed(decoder: nn.Layer) -> Iterator[None]:
    """Within, residual blocks keep nothing for the gradient but their input, and are computed again."""
    blocks = [layer for layer in decoder.sublayers() if isinstance(layer, SpatioTemporalResBlock)]
    for block in blocks:
        block.forward = functools.partial(recompute, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
