"""EasyAnimate: a video of which something is known: its first or last pictures, a part of it, or another video.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/pipeline/pipeline_easyanimate_inpaint.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import paddle
import paddle.nn.functional as F

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.pipelines.calls import CALLBACK_TENSORS, check_call, pipeline_call
from ppdiffusers_ext.pipelines.easy_animate import trained, video_coding
from ppdiffusers_ext.pipelines.easy_animate.conditions import KnownTensors, read_known
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline, Start
from ppdiffusers_ext.pipelines.inputs import to_picture

_UNKNOWN = -1.0  # what unknown pixels are
_HALF = 0.5  # from which on a mask is 1


class EasyAnimateInpaintPipeline(EasyAnimatePipeline):
    """
    Args:
        image_encoder: CLIP's, or None.
        image_processor: `pictures.PictureProcessor`, or None.
        others: see `EasyAnimatePipeline`. A transformer for inpainting sees what is known; of one for texts alone,
            the known part of the latents is replaced after each step.
    """

    _optional_components = ["image_encoder", "image_processor"]

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        text_encoder_2: Any,
        tokenizer: Any,
        tokenizer_2: Any,
        transformer: Any,
        scheduler: Any,
        image_encoder: Any = None,
        image_processor: Any = None,
    ) -> None:
        super().__init__(vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, transformer, scheduler)
        self.register_modules(image_encoder=image_encoder, image_processor=image_processor)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return trained.recognises(folder) == (True, True)

    @pipeline_call
    def __call__(
        self,
        prompt: Any,
        negative_prompt: Any = None,
        video: Any = None,
        mask: Any = None,
        clip_tokens: paddle.Tensor | None = None,
        height: int = 384,
        width: int = 672,
        num_frames: int = 144,
        num_inference_steps: int = 25,
        guidance_scale: float = 7.0,
        guidance_rescale: float = 0.0,
        strength: float = 1.0,
        clip_apply_ratio: float = 0.4,
        generator: Any = None,
        latents: paddle.Tensor | None = None,
        output_type: str = "pd",
        return_dict: bool = True,
        callback_on_step_end: Any = None,
        callback_on_step_end_tensor_inputs: Any = CALLBACK_TENSORS,
        sequential_guidance: bool | None = None,
        guidance_interval: Any = (0.0, 1.0),
        block_cache_threshold: float = 0.0,
        start_image: Any = None,
        end_image: Any = None,
    ) -> Any:
        """Make a video.

        Args:
            video: what is known, (batch, 3, frames, height, width) in [0, 1], or as `to_pictures` takes it: pictures,
                or the name of a video; or None for nothing.
            mask: (batch, 1, frames, height, width), 1 where the video is to be made and 0 where it is known; or as
                `to_pictures` takes it, one for all frames or each its own, white where the video is to be made.
            clip_tokens: what CLIP sees of a picture, which `embed_picture` gives, or None for that of `start_image`.
            strength: part of the steps that are taken, from the video on; 1 begins from noise.
            clip_apply_ratio: part of the steps, the last ones, in which CLIP's tokens are seen.
            start_image, end_image: pictures that the video begins and ends with, as `to_picture` takes them, instead
                of `video` and `mask`. What is too much of another shape is cut off.
            others: see `EasyAnimatePipeline`.

        Raises:
            InputError, NonFiniteError: as there.
        """
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        check_call(output_type, *callback)
        size = height, width, num_frames
        self.check_size(*size, num_inference_steps)
        _check_parts(strength, clip_apply_ratio, num_inference_steps, video)
        known = read_known(size, video, mask, start_image, end_image)
        guidance = guidance_scale, sequential_guidance, guidance_interval, guidance_rescale, block_cache_threshold
        start = self._start(prompt, negative_prompt, size, num_inference_steps, guidance, generator, latents)
        latents, timesteps, clean = self._begin(start, known, num_inference_steps, strength)
        call = self._make_call(start, len(timesteps))
        if self._is_inpainting:
            seen = self.embed_picture(known.picture) if clip_tokens is None and known.has_picture else clip_tokens
            tensors = self._known(known.video, known.mask, start.shape)
            call.see(tensors, seen, len(timesteps) * (1 - clip_apply_ratio))
        self._done_with("vae")
        keep = None
        if clean is not None and known.mask is not None and self._replaces(known.video, known.mask):
            keep = self._keep(clean, start.noise, known.mask)
        latents = self._denoise_guided(latents, timesteps, call, start, callback, keep)
        return self._output(latents, output_type, return_dict)

    def _begin(
        self, start: Start, known: KnownTensors, steps: int, strength: float
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor | None]:
        """The latents to begin with, the timesteps to take, and the known video's latents (None where not needed)."""
        timesteps, clean, video = self.scheduler.timesteps, None, known.video
        if video is not None and (strength < 1 or self._replaces(video, known.mask)):
            clean = self._encode(video * 2 - 1)
        if strength == 1:
            return start.noise * self.scheduler.init_noise_sigma, timesteps, clean
        # Of steps with a warm-up there are more than were asked for.
        timesteps = timesteps[(steps - int(steps * strength)) * self.scheduler.order :]
        return self.scheduler.add_noise(clean, start.noise, timesteps[:1].expand([start.shape[0]])), timesteps, clean

    def embed_picture(self, picture: Any) -> paddle.Tensor | None:
        """What CLIP sees of a picture.

        Args:
            picture: as `to_picture` takes it, or pixels as CLIP's processor makes them, (batch, 3, size, size).

        Returns:
            (1, tokens, channels) for V4, (1, channels) before it; None where the transformer has no use for it.
        """
        if not getattr(self.transformer, "has_clip", False):
            return None
        is_made = isinstance(picture, paddle.Tensor) and picture.ndim == 4
        pixels = picture if is_made else self.image_processor(to_picture(picture))
        network = self._network("image_encoder")
        seen = network.load()(pixels)
        network.release()
        tokens = isinstance(self.transformer, HunyuanTransformer3D)
        return seen.last_hidden_state[:, 1:] if tokens else seen.image_embeds

    @property
    def _is_inpainting(self) -> bool:
        return self.transformer.config.in_channels != self.vae.config.latent_channels

    def _replaces(self, video: paddle.Tensor | None, mask: paddle.Tensor | None) -> bool:
        """Whether the known part of the latents is replaced after each step."""
        is_known = video is not None and mask is not None and not bool((mask >= _HALF).all())
        return is_known and not self._is_inpainting

    def _keep(
        self, clean: paddle.Tensor, noise: paddle.Tensor, mask: paddle.Tensor
    ) -> Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]:
        """What puts the known part into latents, given the timestep to come."""
        mask = (mask >= _HALF).astype("float32")  # (batch, 1, frames, height, width)
        mask = F.interpolate(mask, clean.shape[2:], mode="trilinear", align_corners=True, data_format="NCDHW")

        def keep(latents: paddle.Tensor, timestep: paddle.Tensor) -> paddle.Tensor:
            known = clean
            if timestep.shape[0]:
                known = self.scheduler.add_noise(clean, noise, timestep.expand([clean.shape[0]]))
            return (1 - mask) * known + mask * latents

        return keep

    def _known(self, video: paddle.Tensor | None, mask: paddle.Tensor | None, shape: list[int]) -> paddle.Tensor:
        """Mask and known parts as latents, (batch, 8, frames, h, w), and of V1, which sees the mask itself, (batch, 5,
        frames, h, w); zeros where nothing is known.
        """
        if mask is None or video is None or bool((mask >= _HALF).all()):
            return paddle.zeros([shape[0], self.transformer.config.in_channels - shape[1], *shape[2:]])
        mask = (mask >= _HALF).astype("float32")
        masked = paddle.where(mask.expand(video.shape) > 0, paddle.full_like(video, _UNKNOWN), video * 2 - 1)
        if isinstance(self.vae, AutoencoderKLMagvit):
            seen = self._encode(mask.expand(video.shape))
        else:
            seen = video_coding.shrink_masks(self.vae, mask)
        return paddle.concat([seen, self._encode(masked)], axis=1)

    def _encode(self, pixels: paddle.Tensor) -> paddle.Tensor:
        return video_coding.encode(self.vae, pixels, self._make_coder(pixels.shape[2]))


def _check_parts(strength: float, clip_apply_ratio: float, steps: int, video: Any) -> None:
    if not 0 < strength <= 1 or not int(steps * strength):
        raise InputError(
            f"a strength of {strength} is no part of {steps} steps; above 0 up to 1, for one step or more, is accepted"
        )
    if not 0 <= clip_apply_ratio <= 1:
        raise InputError(f"clip_apply_ratio {clip_apply_ratio} is no part of the steps; 0 to 1 is accepted")
    if strength < 1 and video is None:
        raise InputError(f"a strength of {strength} needs a video to begin with; a video, or 1, is accepted")
