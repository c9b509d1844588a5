"""Animate Anyone: a picture of a person and a pose video go in, a video of that person in those poses comes out.

From Animate Anyone (Hu et al. 2023, arXiv:2311.17117) in the form of MooreThreads/Moore-AnimateAnyone
(`src/pipelines/pipeline_pose2vid_long.py`, `pipeline_pose2img.py`). What differs from the original, each a bug there:
overlapped frames are divided by their coverage without guidance too; a window that holds a frame twice counts both
places; windows can be batched; the callback is told the right step; the reference features are handed over in the
precision of the run (`fp16_reference_features=True` rounds them as the original does).
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import paddle
import PIL.Image
from paddle import nn
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.transformers import CLIPImageProcessor

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceFeatures, ReferenceUNet
from ppdiffusers_ext.models.borrowed import use_own_layers
from ppdiffusers_ext.models.layers import compute_dtype
from ppdiffusers_ext.options import STEPS, check_number
from ppdiffusers_ext.pipelines.animate_anyone import loading
from ppdiffusers_ext.pipelines.animate_anyone.compiled_unet import make_unet
from ppdiffusers_ext.pipelines.animate_anyone.denoise import WindowPredictor
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig, rung_options
from ppdiffusers_ext.pipelines.calls import (
    CALLBACK_TENSORS,
    PipelineOutput,
    as_generator,
    check_call,
    chunks_without_gradients,
    pipeline_call,
)
from ppdiffusers_ext.pipelines.inputs import to_picture, to_pictures
from ppdiffusers_ext.pipelines.model_index import CLIP, PICTURE_VAE, SCHEDULER, own
from ppdiffusers_ext.pipelines.options import check_tile_size
from ppdiffusers_ext.pipelines.posed import POSE_CHUNK, PosedPipeline
from ppdiffusers_ext.pipelines.steps import Guidance, StepCaching
from ppdiffusers_ext.pipelines.tiling import in_tiles, tile_of, tile_starts, untiled
from ppdiffusers_ext.pipelines.windows import get_schedule

CLIP_SIZE = 224


def check_window(num_frames: int, limit: int | None) -> None:
    """Raise an InputError for a context window of more frames than a denoising UNet's `max_frames` (None for any)."""
    if limit is not None and num_frames > limit:
        raise InputError(
            f"a context window of {num_frames} frames is longer than the motion module's position table of {limit}; "
            f"context_frames of at most {limit} is accepted"
        )


@dataclass
class Pose2VideoPipelineOutput(PipelineOutput):
    """`frames`: what `output_type` asked for; see `Pose2VideoPipeline.__call__`. `videos` is its older name."""

    @property
    def videos(self) -> Any:
        return self.frames

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__("frames" if key == "videos" else key)


class Pose2VideoPipeline(PosedPipeline):
    """Pose to video, and pose to image (a single pose picture).

    Args:
        vae: ppdiffusers `AutoencoderKL`.
        image_encoder: ppdiffusers `CLIPVisionModelWithProjection`.
        reference_unet: `ReferenceUNet`.
        denoising_unet: `DenoisingUNet3D`.
        pose_guider: `PoseGuider`.
        scheduler: any scheduler of ppdiffusers with `set_timesteps`, `scale_model_input` and `step`.
    """

    network_names = ("vae", "image_encoder", "reference_unet", "denoising_unet", "pose_guider")
    folder_parts = {
        "vae": PICTURE_VAE,
        "image_encoder": CLIP,
        "reference_unet": own(ReferenceUNet),
        "denoising_unet": own(DenoisingUNet3D),
        "pose_guider": own(PoseGuider),
        "scheduler": SCHEDULER,
    }
    other_folders = {"reference_unet": ("unet",)}  # as in the folder of a base model
    options_class, output_class, loading = Pose2VidConfig, Pose2VideoPipelineOutput, loading
    rung_options = staticmethod(rung_options)

    def __init__(
        self, vae: Any, image_encoder: Any, reference_unet: Any, denoising_unet: Any, pose_guider: Any, scheduler: Any
    ) -> None:
        super().__init__()
        for encoder in (vae, image_encoder):
            parameter = next(iter(encoder.parameters()))
            if compute_dtype(parameter) != parameter.dtype:
                encoder.to(dtype="float32")  # not made of layers that compute in fp32 by themselves
        self.register_modules(
            vae=use_own_layers(vae),
            image_encoder=image_encoder,
            reference_unet=reference_unet,
            denoising_unet=denoising_unet,
            pose_guider=pose_guider,
            scheduler=scheduler,
        )
        self.vae_scale_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.clip_image_processor = CLIPImageProcessor()
        self.reference_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor, do_convert_rgb=True)
        self.pose_processor = VaeImageProcessor(
            vae_scale_factor=self.vae_scale_factor, do_convert_rgb=True, do_normalize=False
        )

    def encode_clip(self, image: PIL.Image.Image) -> paddle.Tensor:
        """PIL picture -> CLIP embedding (1, 1, projection_dim). The picture is squashed to a square, as originally."""
        pixels = self.clip_image_processor.preprocess(image.resize((CLIP_SIZE, CLIP_SIZE)), return_tensors="pd")
        pixels = pixels.pixel_values.astype(_dtype(self.image_encoder))  # (1, 3, 224, 224)
        embedding = self._run("image_encoder", "encode", lambda x: self.image_encoder(x).image_embeds, pixels)
        return embedding.unsqueeze(1).astype("float32")

    def encode_reference(self, image: PIL.Image.Image, height: int, width: int, tile_size: int = 0) -> paddle.Tensor:
        """PIL picture -> VAE latent (1, 4, height / 8, width / 8), the mean of the posterior.

        `tile_size` is as for `decode`.
        """
        pixels = self.reference_processor.preprocess(image, height=height, width=width)  # (1, 3, height, width)
        encode = untiled(self.vae, lambda x: self.vae.encode(x).latent_dist.mean)
        run = lambda x: self._run("vae", "encode", encode, x)  # noqa: E731
        scale = self.vae_scale_factor
        tile = (tile_size or tile_of(self.vae)) // scale
        latent = in_tiles(run, pixels.astype(_dtype(self.vae)), tile, scale_in=scale)
        return latent.astype("float32") * self.vae.config.scaling_factor

    def encode_features(self, latent: paddle.Tensor, embedding: paddle.Tensor) -> ReferenceFeatures:
        """Latent (1, 4, h, w) and CLIP embedding (1, 1, projection_dim) of the picture -> `ReferenceFeatures`."""
        tensors = self._engine.run(
            self._network("reference_unet"),
            "encode",
            lambda latent, embedding: list(self.reference_unet(latent, 0, embedding).values()),
            {"latent": latent, "embedding": embedding},
        )  # each (1, tokens, channels)
        return ReferenceFeatures(zip(self.reference_unet.transformers, tensors))

    def encode_poses(
        self, pose_images: Iterable, height: int, width: int, num_frames: int = POSE_CHUNK
    ) -> paddle.Tensor:
        """Iterable of PIL pictures or (H, W, 3) uint8 arrays -> pose features (1, C, frames, height / 8, width / 8).

        Frames are taken from the iterable and encoded a few at a time, so a long clip need never be in memory;
        `num_frames` is how many there will be, if it is known.
        """
        calls = math.ceil(num_frames / POSE_CHUNK)
        guide = lambda x: self.pose_guider(x.transpose([1, 0, 2, 3]).unsqueeze(0))  # noqa: E731
        return self._encode_poses(
            pose_images,
            lambda images: self.pose_processor.preprocess(images, height=height, width=width),
            lambda pixels: self._run("pose_guider", "encode", guide, pixels, calls),  # (1, C, frames, h, w)
            axis=2,
        )

    @chunks_without_gradients
    def decode(self, latents: paddle.Tensor, chunk_size: int = 4, tile_size: int = 0) -> Iterator[paddle.Tensor]:
        """Decode a clip a few frames at a time.

        Args:
            latents: (1, 4, frames, height / 8, width / 8).
            chunk_size: frames that are decoded together.
            tile_size: side of the tiles, in pixels, in which frames are decoded; 0 for whole frames, or for tiles of
                the VAE's own size after `enable_vae_tiling`.

        Yields:
            (n, 3, height, width) fp32 tensors with values in [0, 1], n up to `chunk_size`.
        """
        frames = latents[0].transpose([1, 0, 2, 3]) / self.vae.config.scaling_factor  # (frames, 4, h, w)
        scale = self.vae_scale_factor
        tile = (tile_size or tile_of(self.vae)) // scale
        tiles = math.prod(len(tile_starts(side, tile)) for side in frames.shape[2:])
        calls = tiles * math.ceil(frames.shape[0] / chunk_size)
        decode = untiled(self.vae, lambda x: self.vae.decode(x).sample)
        run = lambda x: self._run("vae", "decode", decode, x, calls, in_8_bits=True)  # noqa: E731

        def decode_chunk(start: int) -> paddle.Tensor:
            chunk = frames[start : start + chunk_size].astype(_dtype(self.vae))
            filled = self._fill(chunk, chunk_size, is_first=not start)
            decoded = in_tiles(run, filled, tile, scale_out=scale)[: chunk.shape[0]]
            return (decoded.astype("float32") / 2 + 0.5).clip(0, 1)

        starts = range(0, frames.shape[0], chunk_size)
        yield from current_ranks().stream([functools.partial(decode_chunk, start) for start in starts])
        self._done_with("vae")

    @pipeline_call
    def __call__(
        self,
        ref_image: Any,
        pose_images: Any,
        width: int,
        height: int,
        video_length: int | None = None,
        num_inference_steps: int = 30,
        guidance_scale: float = 3.5,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | None = None,
        output_type: str = "pd",
        return_dict: bool = True,
        callback_on_step_end: Any = None,
        callback_on_step_end_tensor_inputs: Any = CALLBACK_TENSORS,
        context_schedule: str = "uniform",
        context_frames: int = 24,
        context_stride: int = 1,
        context_overlap: int = 4,
        context_batch_size: int | None = None,
        sequential_guidance: bool | None = None,
        guidance_interval: Any = (0.0, 1.0),
        step_cache_interval: int = 1,
        step_cache_depth: int = 1,
        fp16_reference_features: bool = False,
        decode_chunk_size: int | None = None,
        vae_tile_size: int | None = None,
    ) -> Any:
        """Animate one picture.

        Args:
            ref_image: picture of the person, as `to_picture` takes it: PIL, array, tensor or name of a file.
            pose_images: the poses, one for each frame and of any size, as `to_pictures` takes them: an iterable of
                pictures, or the name of a video or of a folder. A single picture makes a single image.
            width, height: size of the video in pixels; rounded down to multiples of 8.
            video_length: number of frames, at most that of the poses; all of them by default.
            num_inference_steps: denoising steps.
            guidance_scale: 1 and below is without guidance, which takes half the time.
            eta: DDIM's eta, for schedulers that have it.
            generator: `paddle.Generator` of the initial noise (and of schedulers that draw noise), or its seed.
            latents: initial noise of unit variance, (1, 4, frames, height / 8, width / 8), instead of drawn noise.
            output_type: "pd" or "np" for (1, 3, frames, height, width) in [0, 1], "pil" for a list of pictures,
                "latent" for the latents, which `decode` turns into frames a few at a time.
            return_dict: return a `Pose2VideoPipelineOutput` instead of a tuple.
            callback_on_step_end: called as `(pipeline, step, timestep, {"latents": ...})` after every step; the dict
                that it returns may replace the latents.
            callback_on_step_end_tensor_inputs: what the callback's dict has; "latents" is all there is.
            context_schedule, context_frames, context_stride, context_overlap: see `pipelines.windows`.
            context_batch_size: windows that are denoised in one call.
            sequential_guidance: one call for the unconditional and one for the conditional prediction, instead of a
                batch of both: half the memory, the same numbers.
            guidance_interval: the part of the steps with guidance, from and to; outside, steps take half the time.
            step_cache_interval: every how many steps the whole network runs; in the others only its last units do, and
                the rest is taken from the step before. 1 is the original's.
            step_cache_depth: how many units these are, 1 to 3 in Stable Diffusion's UNet.
            fp16_reference_features: round the reference features to fp16 as the original does.
            decode_chunk_size: frames that are decoded together.
            vae_tile_size: side of the tiles, in pixels, in which picture and frames pass the VAE; 0 as for `decode`.
                This, decode_chunk_size, context_batch_size and sequential_guidance are those of the rung of the memory
                ladder (`use_memory`) if left out.

        Raises:
            InputError: sizes, frame counts or options that do not fit.
            NonFiniteError: the latents are not finite after a step.
        """
        width, height = self._round("width", width), self._round("height", height)
        context_batch_size, sequential_guidance, decode_chunk_size, vae_tile_size = self._by_rung(
            context_batch_size=context_batch_size, sequential_guidance=sequential_guidance,
            decode_chunk_size=decode_chunk_size, vae_tile_size=vae_tile_size,
        )  # fmt: skip
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        check_call(output_type, *callback)
        _check_counts(num_inference_steps, context_batch_size, decode_chunk_size, video_length)
        check_tile_size(vae_tile_size)
        ref_image, generator = to_picture(ref_image, "ref_image"), as_generator(generator)
        guidance = Guidance(guidance_scale, sequential_guidance, guidance_interval)
        caching = StepCaching(step_cache_interval, step_cache_depth)
        caching.check(self.denoising_unet.max_depth)
        context = (context_schedule, context_frames, context_stride, context_overlap)
        poses, windows = self._poses_and_windows(pose_images, video_length, height, width, context)
        embedding, reference = self._encode_person(ref_image, height, width, vae_tile_size)
        if fp16_reference_features:
            reference = reference.rounded_to_fp16()
        options = self.denoising_unet.config  # poses have a position for each patch of latents
        shape = [1, options.in_channels, poses.shape[2], *(options.patch_size * side for side in poses.shape[3:])]
        noise = self._draw(shape, num_inference_steps, generator, latents)
        num_steps = len(self.scheduler.timesteps)
        unet = make_unet(self._engine, self._network("denoising_unet"), num_inference_steps, len(windows))
        predictor = WindowPredictor(unet, embedding, poses, reference, windows, guidance, context_batch_size, caching)

        def predict(
            scaled: paddle.Tensor, timestep: paddle.Tensor, step: int, _: paddle.Tensor, progress: Any
        ) -> paddle.Tensor:
            return predictor(scaled, timestep, step, num_steps, progress.update)  # (1, 4, frames, h, w)

        latents = self._denoise(
            noise * self.scheduler.init_noise_sigma, predict, callback,
            calls=len(predictor.batches), begins_at=lambda step: caching.runs_whole(step, num_steps),
            eta=eta, generator=generator,
        )  # fmt: skip
        self._done_with("denoising_unet")
        frames = self.decode(latents, decode_chunk_size, vae_tile_size)
        return self._result(latents, frames, output_type, return_dict)

    def _round(self, name: str, side: Any) -> int:
        """A side, rounded down to what there can be."""
        if int(side) < self.vae_scale_factor:
            raise InputError(f"{name} {side} is too small; {self.vae_scale_factor} pixels or more are needed")
        return int(side) // self.vae_scale_factor * self.vae_scale_factor

    def _encode_person(
        self, image: PIL.Image.Image, height: int, width: int, tile_size: int
    ) -> tuple[paddle.Tensor, ReferenceFeatures]:
        """CLIP's embedding (1, 1, projection_dim) and the `ReferenceFeatures` of the picture."""
        embedding = self.encode_clip(image)
        self._done_with("image_encoder")
        latent = self.encode_reference(image, height, width, tile_size)  # (1, 4, h, w)
        self._done_with("vae")
        features = self.encode_features(latent, embedding)
        self._done_with("reference_unet")
        return embedding, features

    def _poses_and_windows(
        self, pose_images: Any, video_length: int | None, height: int, width: int, context: tuple[Any, int, int, int]
    ) -> tuple[paddle.Tensor, list[list[int]]]:
        """Pose features (1, C, frames, h, w) and the context windows on them."""
        pose_images, count = to_pictures(pose_images)
        video_length = count if video_length is None else video_length
        if video_length:
            self._windows(video_length, *context)  # refuses what does not fit before any work
        pose_images = itertools.islice(pose_images, video_length)
        features = self.encode_poses(pose_images, height, width, video_length or POSE_CHUNK)
        self._done_with("pose_guider")
        num_frames = features.shape[2]
        if video_length is not None and num_frames < video_length:
            raise InputError(f"{video_length} frames are asked for, but there are only {num_frames} pose pictures")
        return features, self._windows(num_frames, *context)

    def _windows(self, num_frames: int, schedule: Any, size: int, stride: int, overlap: int) -> list[list[int]]:
        windows = get_schedule(schedule)(num_frames, size, stride, overlap)
        check_window(max(len(window) for window in windows), self.denoising_unet.max_frames)
        return windows


def _dtype(layer: nn.Layer) -> Any:
    return next(iter(layer.parameters())).dtype


def _check_counts(
    num_inference_steps: Any, context_batch_size: Any, decode_chunk_size: Any, video_length: Any
) -> None:
    check_number("num_inference_steps", num_inference_steps, *STEPS, is_whole=True)
    counts = {"context_batch_size": context_batch_size, "decode_chunk_size": decode_chunk_size}
    for name, count in {**counts, "video_length": 1 if video_length is None else video_length}.items():
        check_number(name, count, 1, is_whole=True)
