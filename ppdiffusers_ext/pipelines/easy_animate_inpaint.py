"""EasyAnimate: a video of which something is known: its first or last pictures, a part of it, or another video.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/pipeline/pipeline_easyanimate_inpaint.py`).
"""

import paddle
from ppdiffusers.utils.paddle_utils import randn_tensor

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.caching import BlockCaching
from ppdiffusers_ext.pipelines.easy_animate import EasyAnimatePipeline, check_size
from ppdiffusers_ext.pipelines.guidance import Guidance

_UNKNOWN = -1.0  # what unknown pixels are


class EasyAnimateInpaintPipeline(EasyAnimatePipeline):
    """
    Args:
        image_encoder: CLIP's, or None.
        others: as of `EasyAnimatePipeline`; the transformer is one for inpainting.
    """

    def __init__(
        self, vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, transformer, scheduler, image_encoder=None
    ):
        super().__init__(vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, transformer, scheduler)
        self.register_modules(image_encoder=image_encoder)

    @paddle.no_grad()
    def __call__(
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
        noise=None,
        output_type="pd",
        callback_on_step_end=None,
        sequential_guidance=False,
        guidance_interval=(0.0, 1.0),
        block_cache_threshold=0.0,
    ):
        """Make a video.

        Args:
            video: what is known, (batch, 3, frames, height, width) in [0, 1], or None for nothing.
            mask: (batch, 1, frames, height, width), 1 where the video is to be made and 0 where it is known.
            clip_tokens: what CLIP sees of a picture, `embed_picture`, or None.
            strength: part of the steps that are taken, from the video on; 1 begins from noise.
            clip_apply_ratio: part of the steps, the last ones, in which CLIP's tokens are seen.
            noise: of unit variance, which is added to the video where the strength is below 1, instead of drawn noise.
            others: as of `EasyAnimatePipeline`.

        Raises:
            InputError, NonFiniteError: as there.
        """
        check_size(height, width, num_frames, num_inference_steps)
        _check_parts(strength, clip_apply_ratio, video)
        guidance = Guidance(guidance_scale, sequential_guidance, tuple(guidance_interval))
        caching = BlockCaching(block_cache_threshold)
        self.scheduler.set_timesteps(num_inference_steps)
        timesteps, batch = self.scheduler.timesteps, text.states.shape[0]
        shape = self.latents_shape(batch, num_frames, height, width)
        if strength < 1:
            kept = int(num_inference_steps * strength)
            timesteps = timesteps[len(timesteps) - kept :]
            latents = self._noisy(video, noise, generator, shape, timesteps[:1])
        else:
            latents = self.initial_latents(shape, generator, latents)
        call = self._make_call(text, negative, shape, len(timesteps), guidance, caching)
        call.see(self._known(video, mask, shape), clip_tokens, len(timesteps) * (1 - clip_apply_ratio))
        latents = self._denoise(latents, timesteps, call, guidance_scale, guidance_rescale, callback_on_step_end)
        return self._output(latents, output_type)

    def embed_picture(self, pixels):
        """CLIP's view of pictures, (batch, 3, size, size) as its processor makes them -> (batch, tokens, channels)."""
        return self.image_encoder(pixels).last_hidden_state[:, 1:]

    def _noisy(self, video, noise, generator, shape, timestep):
        if noise is None:
            noise = randn_tensor(shape, generator=generator, dtype=paddle.float32)
        return self.scheduler.add_noise(self._encode(video * 2 - 1), noise, timestep.expand([shape[0]]))

    def _known(self, video, mask, shape):
        """Mask and known parts as latents, (batch, 8, frames, h, w); zeros where nothing is known."""
        if mask is None or video is None or bool((mask >= 0.5).all()):
            return paddle.zeros([shape[0], 2 * shape[1], *shape[2:]])
        mask = (mask >= 0.5).astype("float32")
        masked = paddle.where(mask.expand(video.shape) > 0, paddle.full_like(video, _UNKNOWN), video * 2 - 1)
        return paddle.concat([self._encode(mask.expand(video.shape)), self._encode(masked)], axis=1)

    def _encode(self, pixels):
        return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor


def _check_parts(strength, clip_apply_ratio, video):
    if not 0 < strength <= 1:
        raise InputError(f"a strength of {strength} is no part of the steps; above 0 up to 1 is accepted")
    if not 0 <= clip_apply_ratio <= 1:
        raise InputError(f"clip_apply_ratio {clip_apply_ratio} is no part of the steps; 0 to 1 is accepted")
    if strength < 1 and video is None:
        raise InputError(f"a strength of {strength} needs a video to begin with; a video, or 1, is accepted")
