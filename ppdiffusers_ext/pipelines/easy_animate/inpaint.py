"""EasyAnimate: a video of which something is known: its first or last pictures, a part of it, or another video.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/pipeline/pipeline_easyanimate_inpaint.py`).
"""

import paddle
import paddle.nn.functional as F

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
from ppdiffusers_ext.pipelines.caching import BlockCaching
from ppdiffusers_ext.pipelines.calls import CALLBACK_TENSORS, check_call
from ppdiffusers_ext.pipelines.easy_animate import video_coding
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.guidance import Guidance
from ppdiffusers_ext.pipelines.schedulers import set_steps

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

    def __init__(
        self,
        vae,
        text_encoder,
        text_encoder_2,
        tokenizer,
        tokenizer_2,
        transformer,
        scheduler,
        image_encoder=None,
        image_processor=None,
    ):
        super().__init__(vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, transformer, scheduler)
        self.register_modules(image_encoder=image_encoder, image_processor=image_processor)

    @paddle.no_grad()
    def __call__(  # type: ignore[override]  # takes more between the texts and the size
        self,
        text,
        negative=None,
        video=None,
        mask=None,
        clip_tokens=None,
        height=384,
        width=672,
        num_frames=144,
        num_inference_steps=25,
        guidance_scale=7.0,
        guidance_rescale=0.0,
        strength=1.0,
        clip_apply_ratio=0.4,
        generator=None,
        latents=None,
        output_type="pd",
        return_dict=True,
        callback_on_step_end=None,
        callback_on_step_end_tensor_inputs=CALLBACK_TENSORS,
        sequential_guidance=False,
        guidance_interval=(0.0, 1.0),
        block_cache_threshold=0.0,
    ):
        """Make a video.

        Args:
            video: what is known, (batch, 3, frames, height, width) in [0, 1], or None for nothing.
            mask: (batch, 1, frames, height, width), 1 where the video is to be made and 0 where it is known.
            clip_tokens: what CLIP sees of a picture, which `embed_picture` gives, or None.
            strength: part of the steps that are taken, from the video on; 1 begins from noise.
            clip_apply_ratio: part of the steps, the last ones, in which CLIP's tokens are seen.
            others: see `EasyAnimatePipeline`.

        Raises:
            InputError, NonFiniteError: as there.
        """
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        check_call(output_type, *callback)
        self.check_size(height, width, num_frames, num_inference_steps)
        _check_parts(strength, clip_apply_ratio, num_inference_steps, video)
        text, negative = self.embed_both(text, negative)
        guidance = Guidance(guidance_scale, sequential_guidance, guidance_interval)
        caching = BlockCaching(block_cache_threshold)
        set_steps(self.scheduler, num_inference_steps)
        timesteps, batch = self.scheduler.timesteps, text.states.shape[0]
        shape = self.latents_shape(batch, num_frames, height, width)
        noise = self.draw(shape, generator, latents)
        clean = self._encode(video * 2 - 1) if strength < 1 or self._replaces(video, mask) else None
        if strength < 1:  # of steps with a warm-up there are more than were asked for
            first = (num_inference_steps - int(num_inference_steps * strength)) * self.scheduler.order
            timesteps = timesteps[first:]
            latents = self.scheduler.add_noise(clean, noise, timesteps[:1].expand([batch]))
        else:
            latents = noise * self.scheduler.init_noise_sigma
        call = self._make_call(text, negative, shape, len(timesteps), guidance, caching)
        if self._is_inpainting:
            known = self._known(video, mask, shape)
            call.see(known, clip_tokens, len(timesteps) * (1 - clip_apply_ratio))
        self._done_with("vae")
        keep = self._keep(clean, noise, mask) if self._replaces(video, mask) else None
        latents = self._denoise_guided(latents, timesteps, call, guidance_scale, guidance_rescale, callback, keep)
        return self._output(latents, output_type, return_dict)

    def embed_picture(self, picture):
        """What CLIP sees of a picture.

        Args:
            picture: (height, width, 3) uint8, or pixels as CLIP's processor makes them, (batch, 3, size, size).

        Returns:
            (1, tokens, channels) for V4, (1, channels) before it; None where the transformer has no use for it.
        """
        if not getattr(self.transformer, "has_clip", False):
            return None
        pixels = picture if isinstance(picture, paddle.Tensor) else self.image_processor(picture)
        network = self._network("image_encoder")
        seen = network.load()(pixels)
        network.release()
        tokens = isinstance(self.transformer, HunyuanTransformer3D)
        return seen.last_hidden_state[:, 1:] if tokens else seen.image_embeds

    @property
    def _is_inpainting(self):
        return self.transformer.config.in_channels != self.vae.config.latent_channels

    def _replaces(self, video, mask):
        """Whether the known part of the latents is replaced after each step."""
        is_known = video is not None and mask is not None and not bool((mask >= _HALF).all())
        return is_known and not self._is_inpainting

    def _keep(self, clean, noise, mask):
        """What puts the known part into latents, given the timestep to come."""
        mask = (mask >= _HALF).astype("float32")  # (batch, 1, frames, height, width)
        mask = F.interpolate(mask, clean.shape[2:], mode="trilinear", align_corners=True, data_format="NCDHW")

        def keep(latents, timestep):
            known = clean
            if timestep.shape[0]:
                known = self.scheduler.add_noise(clean, noise, timestep.expand([clean.shape[0]]))
            return (1 - mask) * known + mask * latents

        return keep

    def _known(self, video, mask, shape):
        """Mask and known parts as latents, (batch, 8, frames, h, w); zeros where nothing is known."""
        if mask is None or video is None or bool((mask >= _HALF).all()):
            return paddle.zeros([shape[0], 2 * shape[1], *shape[2:]])
        mask = (mask >= _HALF).astype("float32")
        masked = paddle.where(mask.expand(video.shape) > 0, paddle.full_like(video, _UNKNOWN), video * 2 - 1)
        return paddle.concat([self._encode(mask.expand(video.shape)), self._encode(masked)], axis=1)

    def _encode(self, pixels):
        return video_coding.encode(self.vae, pixels, self._make_coder(pixels.shape[2]))


def _check_parts(strength, clip_apply_ratio, steps, video):
    if not 0 < strength <= 1 or not int(steps * strength):
        raise InputError(
            f"a strength of {strength} is no part of {steps} steps; above 0 up to 1, for one step or more, is accepted"
        )
    if not 0 <= clip_apply_ratio <= 1:
        raise InputError(f"clip_apply_ratio {clip_apply_ratio} is no part of the steps; 0 to 1 is accepted")
    if strength < 1 and video is None:
        raise InputError(f"a strength of {strength} needs a video to begin with; a video, or 1, is accepted")
