"""What the pipelines share that animate a picture by pictures of poses."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import paddle
import PIL.Image

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.base import NetworkPipeline
from ppdiffusers_ext.pipelines.calls import PipelineOutput, to_output

POSE_CHUNK = 8  # frames whose poses are encoded at a time: the first layers are as large as the picture


class PosedPipeline(NetworkPipeline):
    """A pipeline that is given a picture and pictures of poses.

    Attributes:
        output_class: of what a call returns.
        pose_kind: what the pictures of poses are called in messages.
        vae_scale_factor: how many times smaller the latents are than the pictures.
    """

    output_class: type[PipelineOutput]
    pose_kind = "pose"
    vae_scale_factor: int

    def _encode_poses(
        self,
        poses: Iterable,
        to_pixels: Callable[[list[PIL.Image.Image]], paddle.Tensor],
        encode: Callable[[paddle.Tensor], paddle.Tensor],
        axis: int,
    ) -> paddle.Tensor:
        """Features of the poses of all frames, a few of which are taken and encoded at a time.

        Args:
            poses: PIL pictures or (H, W, 3) uint8 arrays.
            to_pixels: pictures -> tensor (frames, 3, height, width).
            encode: such a tensor -> features.
            axis: of the frames in the features.

        Raises:
            InputError: there are no poses.
        """
        features: list[paddle.Tensor] = []
        poses = iter(poses)
        while chunk := list(itertools.islice(poses, POSE_CHUNK)):
            pictures = [pose if isinstance(pose, PIL.Image.Image) else PIL.Image.fromarray(pose) for pose in chunk]
            pixels = self._fill(to_pixels(pictures), POSE_CHUNK, is_first=not features)
            features.append(encode(pixels).slice([axis], [0], [len(chunk)]))
        if not features:
            raise InputError(f"there are no {self.pose_kind} pictures; at least one is needed")
        return paddle.concat(features, axis=axis)

    def _result(
        self, latents: paddle.Tensor, frames: Iterable[paddle.Tensor], output_type: str, return_dict: bool
    ) -> Any:
        """What a call returns.

        Args:
            latents: after denoising.
            frames: of `decode`, from which nothing is taken for the output type "latent".
            output_type, return_dict: see the call.
        """
        result = latents if output_type == "latent" else to_output(frames, output_type)
        return self.output_class(frames=result) if return_dict else (result,)
