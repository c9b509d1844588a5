"""EasyAnimate: a video, or a picture, from a text.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/pipeline/pipeline_easyanimate.py`).
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

import paddle
from ppdiffusers.utils import BaseOutput
from ppdiffusers.utils.paddle_utils import randn_tensor

from ppdiffusers_ext.data.easy_animate.buckets import round_frames
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError, check_keys
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.models.strict import dtype_name, local_folder
from ppdiffusers_ext.options import check_options
from ppdiffusers_ext.pipelines.base import SHORT_DTYPES, NetworkPipeline
from ppdiffusers_ext.pipelines.caching import BlockCaching
from ppdiffusers_ext.pipelines.calls import CALLBACK_TENSORS, check_call, chunks_without_gradients
from ppdiffusers_ext.pipelines.easy_animate import video_coding
from ppdiffusers_ext.pipelines.easy_animate.compiled_vae import make_coder
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text, TransformerCall, size_multiple
from ppdiffusers_ext.pipelines.easy_animate.folder import PARTS
from ppdiffusers_ext.pipelines.easy_animate.loading import check_files, describe_run, read_components
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig, names
from ppdiffusers_ext.pipelines.easy_animate.prompts import encode
from ppdiffusers_ext.pipelines.guidance import Guidance, guide
from ppdiffusers_ext.pipelines.model_index import read_index
from ppdiffusers_ext.pipelines.schedulers import set_steps
from ppdiffusers_ext.runtime import Runtime

logger = logging.getLogger(__name__)

_ENCODERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


@dataclass
class EasyAnimatePipelineOutput(BaseOutput):
    """frames: as `output_type` says, see `EasyAnimatePipeline.__call__`."""

    frames: object


class EasyAnimatePipeline(NetworkPipeline):
    """
    Args:
        vae: `AutoencoderKLMagvit`, or `AutoencoderKL` (V1).
        text_encoder, text_encoder_2: paddlenlp's `BertModel` and `T5EncoderModel`, before V4 a `T5EncoderModel` and
            None; or None where embedded texts are given.
        tokenizer, tokenizer_2: of these, `prompts.Tokenizer`, or None.
        transformer: `HunyuanTransformer3D`, or `PixArtTransformer3D` with its one text.
        scheduler: any of ppdiffusers'.
    """

    network_names = ("vae", "transformer")
    folder_parts = PARTS

    def __init__(self, vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, transformer, scheduler):
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            transformer=transformer,
            scheduler=scheduler,
        )

    @classmethod
    def from_pretrained(  # type: ignore[override]  # what else is given are options of a configuration
        cls, folder, device="auto", dtype=None, paddle_dtype=None, **options
    ):
        """The pipeline of a folder of checkpoints, in the original's form or in ours.

        Args:
            folder: with transformer, vae, text_encoder, tokenizer, scheduler and so on.
            device, dtype, paddle_dtype: see `NetworkPipeline.from_pretrained`.
            options: more fields of `EasyAnimateConfig`: sampler, memory, weights, engine, loras, ...

        Raises:
            InputError, MissingFileError: files that are missing, damaged or of another model; unknown options.
        """
        own = ["device", "dtype", "paddle_dtype"]
        check_keys(options, [*own, *(name for name in names() if name != "model")], "option")
        folder = local_folder(folder, accepted="a folder of checkpoints of EasyAnimate is needed")
        dtype = SHORT_DTYPES[dtype_name(dtype, paddle_dtype)]
        config = EasyAnimateConfig(str(folder), device=device, dtype=dtype, **options)
        check_options(config)
        read_index(folder, cls, is_needed=False)
        check_files(config)
        return cls.open(config, Runtime.choose(device, dtype))

    def save_pretrained(self, save_directory, **options):  # type: ignore[override]  # refuses all
        """Raises InputError: tokenizers keep no files, and those of the folder are converted instead."""
        raise InputError(
            f"a {type(self).__name__} is not saved, since its tokenizers keep no files; `python -m "
            "scripts.convert_weights --system easy_animate --to paddle` converts the folder that it is made of"
        )

    @classmethod
    def open(cls, config, runtime, parts=None):
        """That of an `EasyAnimateConfig`, whose networks are loaded when they are needed. As `from_pretrained`.

        Args:
            config, runtime: see `describe_run`.
            parts: what that returns; it is called if they are left out.
        """
        parts = describe_run(config, runtime) if parts is None else parts
        components = read_components(config, parts)
        known = option_names(cls)
        pipeline = cls(**{name: components.get(name) for name in known})
        pipeline.use_networks({name: part for name, part in parts.items() if name in known})
        pipeline.use_engine(config.engine, config.engine_cache or None, runtime.dtype)
        pipeline.use_memory(config.memory)
        return pipeline

    @paddle.no_grad()
    def __call__(
        self,
        text,
        negative=None,
        height=384,
        width=672,
        num_frames=144,
        num_inference_steps=25,
        guidance_scale=7.0,
        guidance_rescale=0.0,
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
        """Make a video, or a picture of one frame.

        Args:
            text: prompt or list of prompts of what is wanted, or what `embed` makes of them.
            negative: as many of what is not wanted, or one for all; nothing if left out. With an embedded text and
                guidance it must be embedded as well.
            height, width: pixels, multiples of 16.
            num_frames: 1, or a multiple of what the autoencoder takes at a time (V4 and V3: 8, V2: 9, V1: 1).
            num_inference_steps: denoising steps.
            guidance_scale: 1 and below is without guidance, in half the time.
            guidance_rescale: from 0 to 1, how far the guided prediction is brought to the spread of the other.
            generator: `paddle.Generator` of the noise.
            latents: initial noise of unit variance, (batch, 4, frames of latents, height / 8, width / 8).
            output_type: "pd" or "np" for (batch, 3, frames, height, width) in [0, 1], "pil" for a list of pictures
                for each video, "latent" for the latents, which `decode` turns into frames a few at a time.
            return_dict: return an `EasyAnimatePipelineOutput` instead of a tuple.
            callback_on_step_end: called as `(pipeline, step, timestep, {"latents": ...})` after every step; the dict
                that it returns may replace the latents.
            callback_on_step_end_tensor_inputs: what the callback's dict has; "latents" is all there is.
            sequential_guidance: call the transformer for one text after the other, with half the memory.
            guidance_interval: part of the steps that are guided, see `Guidance`; the others take half the time.
            block_cache_threshold: how much may change before all blocks run again, see `BlockCaching`; 0 is nothing.

        Raises:
            InputError: sizes or numbers that do not fit.
            NonFiniteError: the latents are not finite after a step.
        """
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        check_call(output_type, *callback)
        self.check_size(height, width, num_frames, num_inference_steps)
        text, negative = self.embed_both(text, negative)
        guidance = Guidance(guidance_scale, sequential_guidance, guidance_interval)
        caching = BlockCaching(block_cache_threshold)
        set_steps(self.scheduler, num_inference_steps)
        timesteps = self.scheduler.timesteps
        shape = self.latents_shape(text.states.shape[0], num_frames, height, width)
        latents = self.draw(shape, generator, latents) * self.scheduler.init_noise_sigma
        call = self._make_call(text, negative, shape, len(timesteps), guidance, caching)
        latents = self._denoise_guided(latents, timesteps, call, guidance_scale, guidance_rescale, callback)
        return self._output(latents, output_type, return_dict)

    @paddle.no_grad()
    def embed(self, prompts):
        """What the transformer sees of a prompt, or of a list of them: a `Text`.

        The encoders leave the memory after it, where they can be read again.

        Raises:
            InputError: there is no encoder, or something is no text.
        """
        texts, parts = [prompts] if isinstance(prompts, str) else list(prompts), []
        for encoder, tokenizer in _ENCODERS.items():
            if getattr(self, encoder) is None or getattr(self, tokenizer) is None:
                continue
            network = self._network(encoder)
            parts += encode(getattr(self, tokenizer), network.load(), texts)
            network.release()
        if not parts:
            raise InputError("the pipeline has no text encoder; embedded texts are accepted")
        return_freed_memory()
        return replace(Text(*parts), loras=self._loras_of_text())

    def _loras_of_text(self):
        """(path, weight) of the LoRA files with layers of the text encoders."""
        networks = [self._networks[name] for name in _ENCODERS if name in self._networks]
        return tuple(dict.fromkeys((str(path), weight) for network in networks for path, weight in network.loras))

    def embed_both(self, text, negative=None):
        """The `Text` of what is wanted and that of what is not, see the call; embedded ones stay as they are.

        A note tells where these were embedded without a LoRA that the text encoders have.
        """
        if isinstance(text, Text):
            given = [each for each in (text, negative) if isinstance(each, Text)]
            without = [lora for lora in self._loras_of_text() if any(lora not in each.loras for each in given)]
            if without:
                logger.warning(
                    "the layers of text encoders in %s have no effect: the texts are embedded already, without them",
                    ", ".join(dict.fromkeys(path for path, _ in without)),
                )
            return text, negative
        wanted = [text] if isinstance(text, str) else list(text)
        unwanted = [negative or ""] * len(wanted) if negative is None or isinstance(negative, str) else list(negative)
        if len(unwanted) != len(wanted):
            raise InputError(
                f"{len(wanted)} prompts have {len(unwanted)} negative ones; as many, or one, are accepted"
            )
        both = self.embed([*wanted, *unwanted])
        return both.rows(0, len(wanted)), both.rows(len(wanted), 2 * len(wanted))

    def _make_call(self, text, negative, shape, num_steps, guidance, caching):
        if guidance.scale > 1 and negative is None:
            raise InputError("guidance needs a text of what is not wanted, which may be empty; or a scale of 1")
        texts = negative if guidance.scale > 1 else None, text
        size = shape[2:]
        pixels = [side * video_coding.spatial_scale(self.vae) for side in size[1:]]
        network = self._network("transformer")
        return TransformerCall(self._engine, network, texts, size, pixels, num_steps, guidance, caching)

    def _denoise_guided(self, latents, timesteps, call, guidance_scale, guidance_rescale, callback, keep=None):
        """As `_denoise`, by a `TransformerCall`."""

        def predict(scaled, timestep, step, *_):
            predictions = call(scaled, timestep, step)  # each (batch, 4, frames, h, w)
            if len(predictions) == 1:
                return predictions[0]
            return rescale_guidance(predictions[0], predictions[1], guidance_scale, guidance_rescale)

        latents = self._denoise(latents, predict, callback, timesteps, calls=0, keep=keep)
        self._done_with("transformer")
        return latents

    def _output(self, latents, output_type, return_dict):
        frames: Any = latents if output_type == "latent" else paddle.concat(list(self.decode(latents)), axis=2)
        if output_type in ("np", "pil"):
            frames = frames.numpy()
        if output_type == "pil":
            frames = [self.numpy_to_pil(video.transpose(1, 2, 3, 0)) for video in frames]  # (frames, height, width, 3)
        return EasyAnimatePipelineOutput(frames=frames) if return_dict else (frames,)

    def latents_shape(self, batch, num_frames, height, width):
        """Of the latents, (batch, channels, frames, h, w)."""
        return video_coding.latents_shape(self.vae, batch, num_frames, height, width)

    def draw(self, shape, generator, latents=None):
        """Noise of unit variance: what is given, or new. Raises InputError where it has another shape."""
        if latents is None:
            return randn_tensor(shape, generator=generator, dtype=paddle.float32)
        if list(latents.shape) != list(shape):
            raise InputError(f"latents of shape {list(latents.shape)} were given; {list(shape)} is needed")
        return latents

    @chunks_without_gradients
    def decode(self, latents):
        """Latents -> chunks of the video, (batch, 3, frames, height, width) in [0, 1], one after the other."""
        yield from video_coding.decode(self.vae, latents, self._make_coder(latents.shape[2]))
        self._done_with("vae")

    def _make_coder(self, num_frames):
        return make_coder(self._engine, self._network("vae"), num_frames)

    def check_size(self, height, width, num_frames, steps):
        """Raises InputError for sizes and numbers that no video has."""
        side = size_multiple(self.transformer)
        if min(height, width) < side or height % side or width % side:
            raise InputError(f"the size {width}x{height} does not fit; multiples of {side} are accepted")
        multiple = video_coding.frames_multiple(self.vae)
        if num_frames < 1 or num_frames != round_frames(num_frames, multiple):
            raise InputError(f"{num_frames} frames do not fit; 1, or a multiple of {multiple}, is accepted")
        if steps < 1:
            raise InputError(f"num_inference_steps {steps} is too small; 1 or more is accepted")


def rescale_guidance(negative, positive, scale, rescale):
    """The guided prediction, brought to the spread of the wanted one (Lin et al. 2023, arXiv:2305.08891)."""
    guided = guide(negative, positive, scale)
    if not rescale:
        return guided
    axes = list(range(1, guided.ndim))
    ratio = positive.std(axis=axes, keepdim=True) / guided.std(axis=axes, keepdim=True)
    return rescale * guided * ratio + (1 - rescale) * guided
