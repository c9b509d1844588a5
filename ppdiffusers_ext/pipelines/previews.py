"""A small picture of a clip that is being denoised."""

from typing import Any

import numpy as np
import paddle

_LONGEST = 256  # pixels of the longer side


def preview_of(pipeline: Any, latents: paddle.Tensor) -> np.ndarray:
    """The middle frame of a clip: (height, width, 3) uint8.

    It is decoded at a lower resolution where the decoder is in memory and takes any size. Else it is an outline: the
    direction in which the latents differ most, in grey.

    Args:
        pipeline: a `NetworkPipeline`.
        latents: of one clip, in the shape in which the pipeline denoises them.
    """
    axis = pipeline.frame_axis
    middle = latents.shape[axis] // 2
    frame = latents.slice([axis], [middle], [middle + 1])  # (1, channels, 1, h, w) or (1, 1, channels, h, w)
    if pipeline._releases or pipeline._engine.is_compiled(pipeline._network("vae")):
        return _outline(frame.squeeze([0, axis]).astype("float32").numpy())
    scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    decoded = next(iter(pipeline.decode(_shrink(frame, scale))))
    decoded = decoded[0, :, 0] if decoded.ndim == 5 else decoded[0]  # (3, height, width)
    return (decoded.transpose([1, 2, 0]).astype("float32").numpy() * 255).round().astype(np.uint8)


def _shrink(frame: paddle.Tensor, scale: int) -> paddle.Tensor:
    """Latents of a frame whose picture is not much larger than is shown."""
    *others, height, width = frame.shape
    factor = max(height, width) * scale // _LONGEST
    if factor < 2 or min(height, width) < 2 * factor:
        return frame
    flat = paddle.nn.functional.avg_pool2d(frame.reshape([1, -1, height, width]), factor)
    return flat.reshape([*others, *flat.shape[-2:]])


def _outline(values: np.ndarray) -> np.ndarray:
    """(channels, h, w) -> (h, w, 3) uint8."""
    flat = values.reshape(values.shape[0], -1).T
    flat = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    grey = (flat @ directions[0]).reshape(values.shape[1:])
    lowest, highest = np.percentile(grey, (2, 98))
    grey = ((grey - lowest) / max(highest - lowest, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
