"""EasyAnimate's autoencoders as functions of tensors, which an engine runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.pipelines.tiling import in_tiles, tile_of, untiled

if TYPE_CHECKING:
    from ppdiffusers_ext.models.easy_animate.vae_layers import Chunk
    from ppdiffusers_ext.pipelines.engines import Engine


class EagerCoder:
    """What an autoencoder makes of chunks of a video, or of pictures, in Paddle as it is.

    Args:
        vae: `AutoencoderKLMagvit`, or `AutoencoderKL` for pictures.

    Attributes:
        fixed_shapes: see `EagerEngine`.
    """

    fixed_shapes = False

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def encode_chunk(self, x: paddle.Tensor, chunk: "Chunk") -> paddle.Tensor:
        """As `AutoencoderKLMagvit.encode_chunk`."""
        return self._vae.encode_chunk(x, chunk)

    def decode_chunk(
        self, z: paddle.Tensor, chunk: "Chunk", before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """As `AutoencoderKLMagvit.decode_chunk`."""
        return self._vae.decode_chunk(z, chunk, before, after)

    def encode_picture(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, 3, height, width) -> the most likely latents, (batch, 4, height / 8, width / 8)."""
        return _encode_in_tiles(self._vae, x, _encoder(self._vae))

    def decode_pictures(self, z: paddle.Tensor) -> paddle.Tensor:
        """(batch, 4, height, width) -> (batch, 3, height * 8, width * 8)."""
        return _decode_in_tiles(self._vae, z, _decoder(self._vae))


class CompiledCoder:
    """As `EagerCoder`, in an engine: all places of chunks, and all shapes of tiles, have exports of their own.

    Args:
        engine: a `CompiledEngine` or an `AutoEngine`.
        network: the `Network` of the autoencoder.
        num_frames: frames, or frames of latents, of the video.
    """

    fixed_shapes = True

    def __init__(self, engine: "Engine", network: Network, num_frames: int) -> None:
        self._engine, self._network, self._vae, self._num_frames = engine, network, network.model, num_frames
        self._eager = EagerCoder(network.model)
        self._last: tuple | None = None

    def encode_chunk(self, x: paddle.Tensor, chunk: "Chunk") -> paddle.Tensor:
        """As `EagerCoder.encode_chunk`."""
        calls = -(-self._num_frames // self._vae.config.mini_batch_encoder)
        function = lambda x: [self._eager.encode_chunk(x, chunk)]  # noqa: E731
        return self._run("encode", function, {"x": x}, calls, place=chunk.place)[0]

    def decode_chunk(
        self, z: paddle.Tensor, chunk: "Chunk", before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """As `EagerCoder.decode_chunk`; what a chunk leaves is in `chunk.kept` by numbers."""
        around = {"before": before, "after": after}
        inputs = {"z": z, **{name: x for name, x in around.items() if x is not None}}
        names = list(inputs)
        inputs |= {f"kept_{i}": chunk.kept[i] for i in range(len(chunk.kept))}

        def function(*tensors: paddle.Tensor) -> list[paddle.Tensor]:
            seen = dict(zip(names, tensors))
            return self._vae.decode_tensors(chunk.place, **seen, kept=tensors[len(seen) :])

        calls = -(-self._num_frames // self._vae.config.mini_batch_decoder)
        *kept, frames = self._run("decode", function, inputs, calls, place=chunk.place)
        chunk.kept.update(enumerate(kept))
        return frames

    def encode_picture(self, x: paddle.Tensor) -> paddle.Tensor:
        """As `EagerCoder.encode_picture`."""
        encode = _encoder(self._vae)
        run = lambda x: self._run("encode", lambda x: [encode(x)], {"x": x}, self._num_frames)[0]  # noqa: E731
        return _encode_in_tiles(self._vae, x, run)

    def decode_pictures(self, z: paddle.Tensor) -> paddle.Tensor:
        """As `EagerCoder.decode_pictures`."""
        calls, decode = -(-self._num_frames // z.shape[0]), _decoder(self._vae)
        run = lambda z: self._run("decode", lambda z: [decode(z)], {"z": z}, calls)[0]  # noqa: E731
        return _decode_in_tiles(self._vae, z, run)

    def _run(
        self,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        # Each export works with gigabytes of its own, which it keeps: they are of one at a time.
        current = what, settings, [x.shape for x in inputs.values()]
        if self._last not in (None, current):
            self._engine.rest(self._network)
        self._last = current
        return self._engine.run(self._network, what, function, inputs, calls, in_8_bits=what == "decode", **settings)


def _encoder(vae: Any) -> Callable[[paddle.Tensor], paddle.Tensor]:
    return untiled(vae, lambda x: vae.encode(x).latent_dist.mode())


def _decoder(vae: Any) -> Callable[[paddle.Tensor], paddle.Tensor]:
    return untiled(vae, lambda z: vae.decode(z).sample)


def _encode_in_tiles(vae: Any, x: paddle.Tensor, encode: Callable[[paddle.Tensor], paddle.Tensor]) -> paddle.Tensor:
    scale = _scale(vae)
    return in_tiles(encode, x, tile_of(vae) // scale, scale_in=scale)


def _decode_in_tiles(vae: Any, z: paddle.Tensor, decode: Callable[[paddle.Tensor], paddle.Tensor]) -> paddle.Tensor:
    scale = _scale(vae)
    return in_tiles(decode, z, tile_of(vae) // scale, scale_out=scale)


def _scale(vae: Any) -> int:
    return 2 ** (len(vae.config.block_out_channels) - 1)


def make_coder(engine: "Engine", network: Network, num_frames: int) -> EagerCoder | CompiledCoder:
    """`EagerCoder` with the network's weights, or `CompiledCoder`, for a video of so many frames."""
    if engine.needs_weights:
        return EagerCoder(network.load())
    return CompiledCoder(engine, network, num_frames)
