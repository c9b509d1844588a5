"""The pipeline of StableAnimator: a picture, skeleton pictures and a face's embedding go in, a video comes out.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/pipelines/inference_pipeline_animation.py`), whose numbers it has: the clip's first frame in every window,
noise that repeats after a window, predictions blended before guidance. What depends on the clip alone is computed
once, pose features included.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import PIL.Image
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
from ppdiffusers.utils.paddle_utils import randn_tensor

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.models.stable_animator.residual import use_video_blocks
from ppdiffusers_ext.options import STEPS, check_number
from ppdiffusers_ext.pipelines.calls import (
    CALLBACK_TENSORS,
    PipelineOutput,
    as_generator,
    check_call,
    chunks_without_gradients,
    pipeline_call,
)
from ppdiffusers_ext.pipelines.inputs import to_picture, to_pictures
from ppdiffusers_ext.pipelines.model_index import CLIP, SCHEDULER, VIDEO_VAE, own
from ppdiffusers_ext.pipelines.posed import PosedPipeline
from ppdiffusers_ext.pipelines.stable_animator import loading
from ppdiffusers_ext.pipelines.stable_animator.denoise import Clip, TilePredictor, UNetCalls
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig, check_size
from ppdiffusers_ext.pipelines.stable_animator.refinement import FaceRefinement, clean_latents, velocity
from ppdiffusers_ext.pipelines.stable_animator.time_tiles import time_tiles
from ppdiffusers_ext.pipelines.steps import Guidance, StepCaching
from ppdiffusers_ext.pipelines.tiling import in_tiles, tile_of

CLIP_SIZE = 224  # pixels
TILE_SIZE = 512  # pixels, after `enable_vae_tiling`
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's


@dataclass
class StableAnimatorPipelineOutput(PipelineOutput):
    """`frames`: what `output_type` asked for; see `StableAnimatorPipeline.__call__`."""


class StableAnimatorPipeline(PosedPipeline):
    """
    Args:
        vae: ppdiffusers' `AutoencoderKLTemporalDecoder`.
        image_encoder: ppdiffusers' `CLIPVisionModelWithProjection`.
        unet, pose_net, face_encoder: `AnimationUNet`, `PoseNet`, `FusionFaceId`.
        scheduler: ppdiffusers' `EulerDiscreteScheduler` with Stable Video Diffusion's configuration.
    """

    network_names = ("vae", "image_encoder", "unet", "pose_net", "face_encoder")
    folder_parts = {
        "vae": VIDEO_VAE,
        "image_encoder": CLIP,
        "unet": own(AnimationUNet),
        "pose_net": own(PoseNet),
        "face_encoder": own(FusionFaceId),
        "scheduler": SCHEDULER,
    }
    pose_kind = "skeleton"
    frame_axis = 1
    model_cpu_offload_seq = "image_encoder->face_encoder->pose_net->unet->vae"
    options_class, output_class, loading = StableAnimationConfig, StableAnimatorPipelineOutput, loading

    def __init__(
        self, vae: Any, image_encoder: Any, unet: Any, pose_net: Any, face_encoder: Any, scheduler: Any
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=use_own_layers(use_video_blocks(vae)),
            image_encoder=image_encoder,
            unet=unet,
            pose_net=pose_net,
            face_encoder=face_encoder,
            scheduler=scheduler,
        )
        if not hasattr(self.vae, "use_tiling"):  # ppdiffusers' has no tiles of its own; `in_tiles` makes them
            self.vae.use_tiling, self.vae.tile_sample_min_size = False, TILE_SIZE
        self.vae_scale_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor, do_convert_rgb=True)

    def encode_clip(self, image: PIL.Image.Image) -> paddle.Tensor:
        """PIL picture, at its own size -> CLIP embedding (1, projection_dim)."""
        array = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 127.5 - 1
        pixels = for_clip(paddle.to_tensor(array[None]))
        return self._run("image_encoder", "encode", lambda x: self.image_encoder(x).image_embeds, pixels)

    def encode_face(self, embedding: Any, clip_embedding: paddle.Tensor) -> paddle.Tensor:
        """A face's embedding (512,), zeros or None for no face, and CLIP's -> tokens (1, 4, cross_attention_dim)."""
        size = self.face_encoder.config.id_embeddings_dim
        embedding = np.zeros(size, np.float32) if embedding is None else np.asarray(embedding, np.float32).reshape(-1)
        if embedding.shape != (size,):
            raise InputError(f"a face embedding of {embedding.size} numbers was given; one of {size} is accepted")
        inputs = {"face": paddle.to_tensor(embedding[None]), "clip": clip_embedding.unsqueeze(1)}
        function = lambda face, clip: [self.face_encoder(face, clip)]  # noqa: E731
        (tokens,) = self._engine.run(self._network("face_encoder"), "encode", function, inputs)
        return tokens

    def encode_picture(
        self, image: PIL.Image.Image, height: int, width: int, noise: paddle.Tensor, strength: float
    ) -> paddle.Tensor:
        """PIL picture -> latents (1, 4, height / 8, width / 8), not scaled, of the picture with some noise."""
        pixels = self.image_processor.preprocess(image, height=height, width=width) + strength * noise
        run = lambda x: self._run("vae", "encode", lambda x: self.vae.encode(x).latent_dist.mode(), x)  # noqa: E731
        return in_tiles(run, pixels, self._tile, scale_in=self.vae_scale_factor)

    def encode_poses(self, pose_images: Iterable, height: int, width: int) -> paddle.Tensor:
        """Iterable of PIL pictures or (H, W, 3) uint8 arrays -> features (frames, channels, height / 8, width / 8)."""

        def to_pixels(images: list[PIL.Image.Image]) -> paddle.Tensor:
            pixels = np.stack([np.asarray(image.convert("RGB").resize((width, height))) for image in images])
            return paddle.to_tensor(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)

        encode = lambda pixels: self._run("pose_net", "encode", self.pose_net, pixels)  # noqa: E731
        return self._encode_poses(pose_images, to_pixels, encode, axis=0)

    @chunks_without_gradients
    def decode(
        self, latents: paddle.Tensor, chunk_size: int = 4, device: str | None = None
    ) -> Iterator[paddle.Tensor]:
        """Decode a clip a few frames at a time; frames of other chunks are not seen.

        Args:
            latents: (1, frames, 4, height / 8, width / 8).
            chunk_size: frames that are decoded together.
            device: where, such as "cpu" while the other networks are on a GPU; the current device if left out.

        Yields:
            (n, 3, height, width) fp32 tensors with values in [0, 1].
        """
        frames = latents[0] / self.vae.config.scaling_factor  # (frames, 4, h, w)
        if device is not None and device != (before := paddle.device.get_device()):
            yield from self._decode_on(device, before, frames, chunk_size)
            return
        yield from self._decode(frames, chunk_size)

    def _decode_on(self, device: str, before: str, frames: paddle.Tensor, chunk_size: int) -> Iterator[paddle.Tensor]:
        network = self._network("vae").load()
        paddle.set_device(device)
        try:
            network.to(device=device)
            yield from self._decode(frames.to(device), chunk_size)
        finally:
            paddle.set_device(before)
            network.to(device=before)

    def _decode(self, frames: paddle.Tensor, chunk_size: int) -> Iterator[paddle.Tensor]:
        decode = lambda x: self.vae.decode(x, num_frames=x.shape[0]).sample  # noqa: E731
        run = lambda x: self._run("vae", "decode", decode, x, in_8_bits=True)  # noqa: E731

        def decode_chunk(start: int) -> paddle.Tensor:
            chunk = frames[start : start + chunk_size]
            return (in_tiles(run, chunk, self._tile, scale_out=self.vae_scale_factor) / 2 + 0.5).clip(0, 1)

        starts = range(0, frames.shape[0], chunk_size)
        yield from current_ranks().stream([functools.partial(decode_chunk, start) for start in starts])
        self._done_with("vae")

    @property
    def _tile(self) -> int:
        """Side of the tiles in which pictures pass the VAE, in latents; 0 for none."""
        return tile_of(self.vae) // self.vae_scale_factor

    @pipeline_call
    def __call__(
        self,
        image: Any,
        pose_images: Any,
        face_embedding: Any = None,
        width: int = 512,
        height: int = 512,
        num_inference_steps: int = 25,
        min_guidance_scale: float = 3.0,
        max_guidance_scale: float = 3.0,
        fps: float = 7,
        motion_bucket_id: int = 127,
        noise_aug_strength: float = 0.02,
        tile_size: int = 16,
        tile_overlap: int = 4,
        decode_chunk_size: int = 4,
        generator: Any = None,
        latents: paddle.Tensor | None = None,
        image_noise: paddle.Tensor | None = None,
        guidance_interval: Any = (0.0, 1.0),
        step_cache_interval: int = 1,
        step_cache_depth: int = 1,
        anchored: bool = True,
        repeats_noise: bool = True,
        refinement: Any = None,
        output_type: str = "pd",
        return_dict: bool = True,
        callback_on_step_end: Any = None,
        callback_on_step_end_tensor_inputs: Any = CALLBACK_TENSORS,
    ) -> Any:
        """Animate one picture.

        Args:
            image: picture of the person, as `to_picture` takes it: PIL, array, tensor or name of a file.
            pose_images: skeletons, one for each frame, as `to_pictures` takes them: an iterable of pictures, or the
                name of a video or of a folder.
            face_embedding: (512,) of the picture's face (`FaceAnalyzer.embed`); None for no face.
            width, height: of the video in pixels, multiples of 64.
            num_inference_steps: denoising steps.
            min_guidance_scale, max_guidance_scale: of the first and the last frame; 1 and below is without guidance.
            fps, motion_bucket_id: what the motion is to be like, as Stable Video Diffusion takes it.
            noise_aug_strength: of the noise that is added to the picture.
            tile_size, tile_overlap: frames of a window, see `time_tiles`.
            decode_chunk_size: frames that are decoded together.
            generator: `paddle.Generator` of the picture's noise and then of the initial noise, or its seed.
            latents: initial noise of unit variance, (1, frames of a window, 4, height / 8, width / 8), instead of
                drawn noise.
            image_noise: (1, 3, height, width), instead of drawn noise.
            guidance_interval: part of the steps that are guided, see `Guidance`; the others take half the time.
            step_cache_interval, step_cache_depth: the whole network runs in every so many steps, so many of its units
                in the others, see `StepCaching`.
            anchored: whether each window begins with the clip's first frame, which released weights expect; else its
                frames are all in a row.
            repeats_noise: whether the noise of one window is that of all, which released weights expect; else each
                frame has its own, and `latents` are of all frames.
            refinement: a `FaceRefinement`: the face is optimised while the clip is denoised; not if left out.
            output_type: "pd" or "np" for (1, 3, frames, height, width) in [0, 1], "pil" for a list of pictures,
                "latent" for the latents, which `decode` turns into frames a few at a time.
            return_dict: return a `StableAnimatorPipelineOutput` instead of a tuple.
            callback_on_step_end: called as `(pipeline, step, timestep, {"latents": ...})` after every step; the dict
                that it returns may replace the latents.
            callback_on_step_end_tensor_inputs: what the callback's dict has; "latents" is all there is.

        Raises:
            InputError: sizes, frame counts or options that do not fit.
            NonFiniteError: the latents are not finite after a step.
        """
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        check_call(output_type, *callback)
        check_options(width, height, num_inference_steps, decode_chunk_size)
        caching = StepCaching(step_cache_interval, step_cache_depth)
        caching.check(self.unet.max_depth)
        Guidance(interval=guidance_interval)  # refuses what is none
        image, generator = to_picture(image), as_generator(generator)
        poses = self.encode_poses(to_pictures(pose_images)[0], height, width)  # (frames, channels, h, w)
        self._done_with("pose_net")
        frames = poses.shape[0]
        windows = time_tiles(frames, tile_size, tile_overlap, anchored)
        if refinement is not None:
            refinement.check(frames, num_inference_steps, height, width)
        if image_noise is None:
            image_noise = randn_tensor([1, 3, height, width], generator=generator, dtype=paddle.float32)
        context, picture = self._encode_person(image, face_embedding, height, width, image_noise, noise_aug_strength)
        steps = np.linspace(min_guidance_scale, max_guidance_scale, frames, dtype=np.float32)
        guidance = Guidance(float(max(steps)), interval=guidance_interval)
        motion = paddle.to_tensor([[fps - 1, motion_bucket_id, noise_aug_strength]], dtype="float32")
        scales = paddle.to_tensor(steps).reshape([1, frames, 1, 1, 1])
        clip = Clip(picture, context, poses, motion, scales, guidance, caching)
        # The noise of one window, again and again, or that of all frames.
        count = min(tile_size, frames) if repeats_noise else frames
        shape = [1, count, self.vae.config.latent_channels, *poses.shape[2:]]
        noise = self._draw(shape, num_inference_steps, generator, latents)
        noise = paddle.concat([noise] * -(-frames // count), axis=1)[:, :frames]
        predict = self._predictor(clip, windows, refinement, decode_chunk_size)
        num_steps = len(self.scheduler.timesteps)
        latents = self._denoise(
            noise * self.scheduler.init_noise_sigma, predict, callback,
            calls=len(windows), begins_at=lambda step: caching.runs_whole(step, num_steps),
        )  # fmt: skip
        self._done_with("unet")
        return self._result(latents, self.decode(latents, decode_chunk_size), output_type, return_dict)

    def _predictor(
        self, clip: Clip, windows: list[list[int]], refinement: FaceRefinement | None, chunk_size: int
    ) -> Callable[[paddle.Tensor, paddle.Tensor, int, paddle.Tensor, Any], paddle.Tensor]:
        """What predicts a step of a `Clip` in windows, as `_denoise` calls it."""
        num_steps = len(self.scheduler.timesteps)
        unet = UNetCalls(self._engine, self._network("unet"), num_steps, len(windows))
        predictor = TilePredictor(unet, clip, windows, num_steps)

        def predict(
            scaled: paddle.Tensor, timestep: paddle.Tensor, step: int, latents: paddle.Tensor, progress: Any
        ) -> paddle.Tensor:
            prediction = predictor(scaled, timestep, step, progress.update)  # (1, frames, 4, h, w)
            if refinement is None or not refinement.applies(step):
                return prediction
            refine = functools.partial(self._refine, refinement, chunk_size, prediction, latents, step, progress)
            return current_ranks().divide([refine])[0]

        return predict

    def _encode_person(
        self,
        image: PIL.Image.Image,
        face_embedding: Any,
        height: int,
        width: int,
        noise: paddle.Tensor,
        strength: float,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The context (1, 5, channels) and the picture's latents (1, 1, 4, h, w)."""
        clip_embedding = self.encode_clip(image)  # (1, projection_dim)
        self._done_with("image_encoder")
        face = self.encode_face(face_embedding, clip_embedding)  # (1, 4, channels)
        self._done_with("face_encoder")
        picture = self.encode_picture(image, height, width, noise, strength)  # (1, 4, h, w)
        self._done_with("vae")
        return paddle.concat([clip_embedding.unsqueeze(1), face], axis=1), picture.unsqueeze(1)

    def _refine(
        self,
        refinement: FaceRefinement,
        chunk_size: int,
        prediction: paddle.Tensor,
        latents: paddle.Tensor,
        step: int,
        progress: Any,
    ) -> paddle.Tensor:
        """The prediction whose clean latents show the picture's face better."""

        def report(entry: dict[str, Any]) -> None:
            seen = [cosine for cosine in entry["cosines"] if cosine is not None]
            progress.set_postfix(loss=f"{entry['loss']:.4f}", cosine=f"{sum(seen) / len(seen):.4f}")

        sigma, vae = float(self.scheduler.sigmas[step]), self._network("vae").load()
        clean = clean_latents(prediction, latents, sigma)
        clean = refinement.refine(clean, vae, step, len(self.scheduler.timesteps), chunk_size, report)
        return velocity(clean, latents, sigma)


def for_clip(pixels: paddle.Tensor) -> paddle.Tensor:
    """Pictures, (batch, 3, H, W) in [-1, 1], as CLIP takes them: (batch, 3, 224, 224)."""
    pixels = _resize_with_antialiasing(pixels, (CLIP_SIZE, CLIP_SIZE))
    mean, deviation = (paddle.to_tensor(values).reshape([1, 3, 1, 1]) for values in (_MEAN, _DEVIATION))
    return ((pixels + 1) / 2 - mean) / deviation


def check_options(width: Any, height: Any, steps: Any, chunk_size: Any) -> None:
    """Raises InputError for options of `StableAnimatorPipeline.__call__` that do not fit."""
    check_size(width, height)
    check_number("num_inference_steps", steps, *STEPS, is_whole=True)
    check_number("decode_chunk_size", chunk_size, 1, is_whole=True)
