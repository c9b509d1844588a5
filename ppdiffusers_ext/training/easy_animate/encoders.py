"""What EasyAnimate's transformers learn from, by networks that stay frozen: latents, texts and CLIP's view."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import encode
from ppdiffusers_ext.pipelines.easy_animate.video_coding import shrink_masks
from ppdiffusers_ext.training.easy_animate.model import encode_video, hide
from ppdiffusers_ext.training.latents import hold

# Tensors of `Encoders.view` that have an axis of time, and which axis it is of one sample's.
ALONG_TIME = {"moments": 1, "mask_moments": 1, "known_moments": 1, "small_masks": 1}


@dataclass(frozen=True)
class Encoders:
    """The frozen networks of a training.

    Attributes:
        vae: `AutoencoderKLMagvit`, or `AutoencoderKL` (V1).
        text: (`Tokenizer`, text encoder) pairs: BERT and mT5 for V4, T5 before it.
        image_encoder, image_processor: CLIP's network and `PictureProcessor`; None without inpainting.
        has_tokens: True if the transformer sees CLIP's tokens (V4), not its embedding.
        at_once: videos that are encoded together.
        is_guest: True if networks are on a GPU only while they compute.
        learning: the text encoder that a LoRA is trained of, so that texts have gradients; None for none.
    """

    vae: Any
    text: Sequence[tuple[Any, Any]]
    image_encoder: Any = None
    image_processor: Any = None
    has_tokens: bool = True
    at_once: int = 1
    is_guest: bool = False
    learning: Any = None

    def __post_init__(self) -> None:
        networks = [self.vae, *(network for _, network in self.text)]
        hold(*networks, *([self.image_encoder] if self.image_encoder is not None else []))

    @classmethod
    def of_components(
        cls, components: Mapping[str, Any], at_once: int, is_guest: bool, learning: Any = None
    ) -> "Encoders":
        """Those of a pipeline's components by name. Captions that are cut are not told, as there may be many."""
        names = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
        text = [(components[tokenizer], components[name]) for tokenizer, name in names if components.get(name)]
        for tokenizer, _ in text:
            tokenizer.tells = False
        return cls(
            components["vae"],
            text,
            components.get("image_encoder"),
            components.get("image_processor"),
            isinstance(components["transformer"], HunyuanTransformer3D),
            at_once,
            is_guest and paddle.is_compiled_with_cuda(),
            learning,
        )

    @contextlib.contextmanager
    def visiting(self, *networks: nn.Layer) -> Iterator[None]:
        """Context in which networks are where they compute."""
        if not self.is_guest:
            yield
            return
        place = paddle.get_device()
        for network in networks:
            network.to(place)
        try:
            yield
        finally:
            for network in networks:
                network.to("cpu")
            paddle.device.cuda.empty_cache()

    @property
    def scaling_factor(self) -> float:
        """Of the latents."""
        return self.vae.config.scaling_factor

    @paddle.no_grad()
    def view(self, batch: Mapping[str, Any]) -> dict[str, paddle.Tensor]:
        """What the networks make of the videos and masks of a batch, in which nothing is drawn.

        Args:
            batch: of `CaptionedCollate`.

        Returns:
            a dict of tensors, of which one row is of one sample:
            moments: mean and standard deviation of the latents, (batch, 2 * channels, frames, h, w), not scaled.
            pixels: (batch, 2) int64, height and width of the videos.
            mask_moments, known_moments: the same as `moments`, of masks and of what they leave; with masks only.
            small_masks: in the place of mask_moments for an autoencoder of pictures (V1): masks in the size of the
                latents, (batch, 1, frames, h, w).
            is_whole: (batch,), 1 where all of a video is to be generated, else 0; with masks only.
            clip: what CLIP sees, (batch, tokens, channels) for V4 and (batch, channels) before it; with masks and an
                image encoder only.
        """
        videos = batch["pixel_values"].transpose([0, 2, 1, 3, 4])  # (batch, 3, frames, height, width)
        seen = {"pixels": paddle.to_tensor([videos.shape[3:]] * videos.shape[0], dtype="int64")}
        with self.visiting(self.vae):
            seen["moments"] = encode_video(self.vae, videos, self.at_once)
            if "masks" in batch:
                masks = batch["masks"].transpose([0, 2, 1, 3, 4])  # (batch, 1, frames, height, width)
                seen["is_whole"] = masks.min(axis=[1, 2, 3, 4])
                if isinstance(self.vae, AutoencoderKLMagvit):
                    seen["mask_moments"] = encode_video(self.vae, masks.expand(videos.shape), self.at_once)
                else:
                    seen["small_masks"] = shrink_masks(self.vae, masks)
                seen["known_moments"] = encode_video(self.vae, hide(videos, masks), self.at_once)
        if "clip_pixels" in batch and self.image_encoder is not None:
            seen["clip"] = self.embed_pictures(batch["clip_pixels"])
        return seen

    def embed_texts(self, texts: Sequence[str]) -> Text:
        """What the transformer sees of texts: a `Text`, with gradients if a text encoder learns."""
        parts: list = []
        for tokenizer, network in self.text:
            # One that learns stays where it is until its gradients are computed.
            visitors = () if network is self.learning else (network,)
            with self.visiting(*visitors):
                parts += encode(tokenizer, network, texts)
        return Text(*parts)

    @paddle.no_grad()
    def embed_pictures(self, pictures: Any) -> paddle.Tensor:
        """What CLIP sees: (batch, tokens, channels) for V4, (batch, channels) before it.

        pictures: (batch, height, width, 3), values from 0 to 255.
        """
        arrays = np.asarray(pictures.numpy() if isinstance(pictures, paddle.Tensor) else pictures)
        arrays = np.rint(arrays).clip(0, 255).astype(np.uint8)
        seen = self.image_encoder(paddle.concat([self.image_processor(array) for array in arrays]))
        return seen.last_hidden_state[:, 1:] if self.has_tokens else seen.image_embeds
