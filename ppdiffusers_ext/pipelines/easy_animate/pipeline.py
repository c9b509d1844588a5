"""EasyAnimate: a video, or a picture, from a text.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/pipeline/pipeline_easyanimate.py`).
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paddle

from ppdiffusers_ext.data.easy_animate.buckets import round_frames
from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.options import check_options, is_number, key_names
from ppdiffusers_ext.pipelines.base import NetworkPipeline
from ppdiffusers_ext.pipelines.calls import (
    CALLBACK_TENSORS,
    PipelineOutput,
    as_generator,
    check_call,
    chunks_without_gradients,
    pipeline_call,
)
from ppdiffusers_ext.pipelines.easy_animate import loading, trained, video_coding
from ppdiffusers_ext.pipelines.easy_animate.compiled_vae import CompiledCoder, EagerCoder, make_coder
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text, TransformerCall, size_multiple
from ppdiffusers_ext.pipelines.easy_animate.folder import PARTS
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import encode
from ppdiffusers_ext.pipelines.model_index import read_index
from ppdiffusers_ext.pipelines.resuming import current_state
from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance, guide

logger = logging.getLogger(__name__)

_ENCODERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
# Fields of the options that are arguments of `from_pretrained` in their own right.
_OWN = ("model", "device", "dtype", "memory", "engine", "engine_cache", "weights")


@dataclass
class EasyAnimatePipelineOutput(PipelineOutput):
    """`frames`: what `output_type` asked for; see `EasyAnimatePipeline.__call__`."""


@dataclass(frozen=True)
class Start:
    """What denoising begins with.

    Attributes:
        texts: what is not wanted (None without guidance by one) and what is, each a `Text`.
        guidance, caching: `Guidance` and `BlockCaching`.
        rescale: see `rescale_guidance`.
        shape: of the latents, (batch, channels, frames, h, w).
        noise: of this shape and unit variance.
    """

    texts: tuple[Text | None, Text]
    guidance: Guidance
    caching: BlockCaching
    rescale: float
    shape: list[int]
    noise: paddle.Tensor


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
    options_class, loading = EasyAnimateConfig, loading
    folder_options = tuple(name for name, field in key_names(EasyAnimateConfig).items() if field not in _OWN)
    stores_8_bits = True
    loads_ahead = halves = (
        False  # text encoders leave the memory after use, and blocks of the transformer are streamed
    )

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        text_encoder_2: Any,
        tokenizer: Any,
        tokenizer_2: Any,
        transformer: Any,
        scheduler: Any,
    ) -> None:
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
    def _read_folder(cls, folder: Path, options: dict) -> Any:
        config = trained.read_folder(folder, options)
        check_options(config)
        read_index(folder, cls, is_needed=False)
        return config

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return trained.recognises(folder) == (True, False)

    @classmethod
    def _read_others(cls, config: Any, parts: dict) -> dict[str, Any]:
        components = loading.read_components(config, parts)
        return {name: components.get(name) for name in option_names(cls) if name not in parts}

    def folder_of(self, name: str) -> str:
        """As `NetworkPipeline.folder_of`; options of pictures are in the folder of their encoder."""
        return "image_encoder" if name == "image_processor" else name

    @pipeline_call
    def __call__(
        self,
        prompt: Any,
        negative_prompt: Any = None,
        height: int = 384,
        width: int = 672,
        num_frames: int = 144,
        num_inference_steps: int = 25,
        guidance_scale: float = 7.0,
        guidance_rescale: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | None = None,
        output_type: str = "pd",
        return_dict: bool = True,
        callback_on_step_end: Any = None,
        callback_on_step_end_tensor_inputs: Any = CALLBACK_TENSORS,
        sequential_guidance: bool | None = None,
        guidance_interval: Any = (0.0, 1.0),
        block_cache_threshold: float = 0.0,
    ) -> Any:
        """Make a video, or a picture of one frame.

        Args:
            prompt: text or list of texts of what is wanted, or what `embed` makes of them.
            negative_prompt: as many of what is not wanted, or one for all; nothing if left out. With an embedded
                prompt and guidance it must be embedded as well.
            height, width: pixels, multiples of 16.
            num_frames: 1, or a multiple of what the autoencoder takes at a time (V4 and V3: 8, V2: 9, V1: 1).
            num_inference_steps: denoising steps.
            guidance_scale: 1 and below is without guidance, in half the time.
            guidance_rescale: from 0 to 1, how far the guided prediction is brought to the spread of the other.
            generator: `paddle.Generator` of the noise, or its seed.
            latents: initial noise of unit variance, (batch, 4, frames of latents, height / 8, width / 8).
            output_type: "pd" or "np" for (batch, 3, frames, height, width) in [0, 1], "pil" for a list of pictures
                for each video, "latent" for the latents, which `decode` turns into frames a few at a time.
            return_dict: return an `EasyAnimatePipelineOutput` instead of a tuple.
            callback_on_step_end: called as `(pipeline, step, timestep, {"latents": ...})` after every step; the dict
                that it returns may replace the latents.
            callback_on_step_end_tensor_inputs: what the callback's dict has; "latents" is all there is.
            sequential_guidance: call the transformer for one text after the other, with half the memory; as the rung
                of the memory ladder (`use_memory`) says if left out.
            guidance_interval: part of the steps that are guided, see `Guidance`; the others take half the time.
            block_cache_threshold: how much may change before all blocks run again, see `BlockCaching`; 0 is nothing.

        Raises:
            InputError: sizes or numbers that do not fit.
            NonFiniteError: the latents are not finite after a step.
        """
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        check_call(output_type, *callback)
        guidance = guidance_scale, sequential_guidance, guidance_interval, guidance_rescale, block_cache_threshold
        size = height, width, num_frames
        start = self._start(prompt, negative_prompt, size, num_inference_steps, guidance, generator, latents)
        timesteps = self.scheduler.timesteps
        latents = start.noise * self.scheduler.init_noise_sigma
        call = self._make_call(start, len(timesteps))
        return self._output(self._denoise_guided(latents, timesteps, call, start, callback), output_type, return_dict)

    def _start(
        self,
        prompt: Any,
        negative_prompt: Any,
        size: tuple[int, int, int],
        steps: int,
        guidance: tuple[Any, ...],
        generator: Any,
        latents: paddle.Tensor | None,
    ) -> Start:
        """The `Start` of a call's arguments, and the timesteps of the scheduler.

        Args:
            size: height, width and number of frames.
            guidance: arguments of the call: guidance_scale, sequential_guidance, guidance_interval, guidance_rescale,
                block_cache_threshold.
            others: see the call.
        """
        height, width, num_frames = size
        self.check_size(height, width, num_frames, steps)
        scale, sequential, interval, rescale, threshold = guidance
        (sequential,) = self._by_rung(sequential_guidance=sequential)
        guided, caching = Guidance(scale, sequential, interval), BlockCaching(threshold)
        generator = as_generator(generator)
        wanted, unwanted = self.embed_both(prompt, negative_prompt)
        if scale > 1 and unwanted is None:
            raise InputError("guidance needs a text of what is not wanted, which may be empty; or a scale of 1")
        shape = self.latents_shape(wanted.states.shape[0], num_frames, height, width)
        noise = self._draw(shape, steps, generator, latents)
        return Start((unwanted if scale > 1 else None, wanted), guided, caching, rescale, shape, noise)

    @paddle.no_grad()
    def embed(self, prompts: str | list[str]) -> Text:
        """What the transformer sees of a prompt, or of a list of them: a `Text`.

        The encoders leave the memory after it, where they can be read again.

        Raises:
            InputError: there is no encoder, or something is no text.
        """
        texts: list[str] = _texts("prompts", prompts)
        parts: list = []
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

    def _loras_of_text(self) -> tuple[tuple[str, float], ...]:
        """(path, weight) of the LoRA files with layers of the text encoders."""
        networks = [self._networks[name] for name in _ENCODERS if name in self._networks]
        return tuple(dict.fromkeys((str(path), weight) for network in networks for path, weight in network.loras))

    def embed_both(self, prompt: Any, negative_prompt: Any = None) -> tuple[Text, Text | None]:
        """The `Text` of what is wanted and that of what is not, see the call; embedded ones stay as they are.

        A note tells where these were embedded without a LoRA that the text encoders have.
        """
        if isinstance(prompt, Text):
            given = [each for each in (prompt, negative_prompt) if isinstance(each, Text)]
            if negative_prompt is not None and len(given) < 2:
                raise InputError(
                    f"negative_prompt is {shown(negative_prompt)} beside an embedded prompt; one that embed() made is"
                    " accepted"
                )
            without = [lora for lora in self._loras_of_text() if any(lora not in each.loras for each in given)]
            if without:
                logger.warning(
                    "the layers of text encoders in %s have no effect: the texts are embedded already, without them",
                    ", ".join(dict.fromkeys(path for path, _ in without)),
                )
            return prompt, negative_prompt
        wanted, unwanted = _texts("prompt", prompt), _texts("negative_prompt", negative_prompt or "")
        unwanted = unwanted * len(wanted) if isinstance(negative_prompt or "", str) else unwanted
        if len(unwanted) != len(wanted):
            raise InputError(
                f"{len(wanted)} prompts have {len(unwanted)} negative ones; as many, or one, are accepted"
            )
        both = self.embed([*wanted, *unwanted])
        return both.rows(0, len(wanted)), both.rows(len(wanted), 2 * len(wanted))

    def _make_call(self, start: Start, num_steps: int) -> TransformerCall:
        size = start.shape[2:]
        pixels = [side * video_coding.spatial_scale(self.vae) for side in size[1:]]
        network = self._network("transformer")
        return TransformerCall(
            self._engine, network, start.texts, size, pixels, num_steps, start.guidance, start.caching
        )

    def _denoise_guided(
        self,
        latents: paddle.Tensor,
        timesteps: paddle.Tensor,
        call: TransformerCall,
        start: Start,
        callback: tuple[Any, Any],
        keep: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor] | None = None,
    ) -> paddle.Tensor:
        """As `_denoise`, by a `TransformerCall` that was made of a `Start`."""

        def predict(scaled: paddle.Tensor, timestep: paddle.Tensor, step: int, *_: Any) -> paddle.Tensor:
            predictions = call(scaled, timestep, step)  # each (batch, 4, frames, h, w)
            if len(predictions) == 1:
                return predictions[0]
            return rescale_guidance(predictions[0], predictions[1], start.guidance.scale, start.rescale)

        if (state := current_state()) is not None:
            state.carry(call.kept)
        # What block caching keeps for the next step is on the rank that computes it.
        is_kept = not start.caching.threshold or current_ranks().count == 1
        latents = self._denoise(
            latents, predict, callback, timesteps, calls=0, keep=keep, begins_at=lambda step: is_kept
        )
        self._done_with("transformer")
        return latents

    def _output(self, latents: paddle.Tensor, output_type: str, return_dict: bool) -> Any:
        frames: Any = latents if output_type == "latent" else paddle.concat(list(self.decode(latents)), axis=2)
        if output_type in ("np", "pil"):
            frames = frames.numpy()
        if output_type == "pil":
            frames = [self.numpy_to_pil(video.transpose(1, 2, 3, 0)) for video in frames]  # (frames, height, width, 3)
        return EasyAnimatePipelineOutput(frames=frames) if return_dict else (frames,)

    def latents_shape(self, batch: int, num_frames: int, height: int, width: int) -> list[int]:
        """Of the latents, (batch, channels, frames, h, w)."""
        return video_coding.latents_shape(self.vae, batch, num_frames, height, width)

    @chunks_without_gradients
    def decode(self, latents: paddle.Tensor) -> Iterator[paddle.Tensor]:
        """Latents -> chunks of the video, (batch, 3, frames, height, width) in [0, 1], one after the other."""
        yield from video_coding.decode(self.vae, latents, self._make_coder(latents.shape[2]))
        self._done_with("vae")

    def _make_coder(self, num_frames: int) -> EagerCoder | CompiledCoder:
        return make_coder(self._engine, self._network("vae"), num_frames)

    def check_size(self, height: Any, width: Any, num_frames: Any, steps: Any) -> None:
        """Raises InputError for sizes and numbers that no video has."""
        for name, value in {"height": height, "width": width, "num_frames": num_frames, "steps": steps}.items():
            if not is_number(value, is_whole=True):
                raise InputError(f"{name} is {shown(value)}; a whole number is accepted")
        side = size_multiple(self.transformer)
        if min(height, width) < side or height % side or width % side:
            raise InputError(f"the size {width}x{height} does not fit; multiples of {side} are accepted")
        multiple = video_coding.frames_multiple(self.vae)
        if num_frames < 1 or num_frames != round_frames(num_frames, multiple):
            raise InputError(f"{num_frames} frames do not fit; 1, or a multiple of {multiple}, is accepted")
        if steps < 1:
            raise InputError(f"num_inference_steps {steps} is too small; 1 or more is accepted")


def _texts(name: str, texts: Any) -> list:
    """A list of str of one or several. Raises InputError for anything else; what is in a list is looked at later."""
    if not isinstance(texts, (str, list, tuple)) or not (isinstance(texts, str) or texts):
        raise InputError(
            f"{name} is {shown(texts)}; a text, a list of texts, or what embed() makes of them is accepted"
        )
    return [texts] if isinstance(texts, str) else list(texts)


def rescale_guidance(negative: paddle.Tensor, positive: paddle.Tensor, scale: float, rescale: float) -> paddle.Tensor:
    """The guided prediction, brought to the spread of the wanted one (Lin et al. 2023, arXiv:2305.08891)."""
    guided = guide(negative, positive, scale)
    if not rescale:
        return guided
    axes = list(range(1, guided.ndim))
    ratio = positive.std(axis=axes, keepdim=True) / guided.std(axis=axes, keepdim=True)
    return rescale * guided * ratio + (1 - rescale) * guided
