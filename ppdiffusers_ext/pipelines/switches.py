"""Switches of pipelines, under the names that they have in diffusers: `enable_...` and `disable_...`."""

import logging
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.runtime import check_device

logger = logging.getLogger(__name__)


class OffloadedNetwork(Network):
    """A network that is on a GPU while it runs, and in the host's memory otherwise.

    Args:
        network: a `Network`, which knows where the weights come from.
        device: "gpu:N".
    """

    def __init__(self, network: Network, device: str) -> None:
        super().__init__(network.model)
        self.network, self._gpu, self.loras = network, device, network.loras

    def load(self) -> nn.Layer:
        """As `Network.load`, on the GPU."""
        model = self.network.load()
        model.to(device=self._gpu)
        return model

    def release(self) -> None:
        """Move the weights to the host's memory."""
        if all(parameter._is_initialized() for parameter in self.model.parameters()):
            self.model.to(device="cpu")
            paddle.device.cuda.empty_cache()

    def whole(self, dtype: str | None = None) -> nn.Layer:
        """As `Network.whole`."""
        return self.network.whole(dtype)

    def _compute_digest(self, cache: Any) -> str:
        return self.network._compute_digest(cache)


class Switches:
    """What a user can switch on and off of a pipeline, before or after `use_engine`."""

    vae: Any
    network_names: tuple[str, ...]
    _networks: dict
    _releases: bool

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: str | None = None) -> None:
        """Keep networks in the host's memory, and on the GPU only while they run, for GPUs that do not hold all.

        On a CPU it changes nothing. `use_memory("low")` saves the host's memory as well.

        Args:
            gpu_id: number of the GPU.
            device: "gpu" or "gpu:N", instead; the current device if both are left out.

        Raises:
            InputError: no such device.
        """
        current = paddle.device.get_device() if gpu_id is None else f"gpu:{gpu_id}"
        place = check_device(str(device or current))
        if place == "cpu":
            logger.warning('networks are in the memory of the CPU as it is; use_memory("low") unloads them after use')
            return
        paddle.set_device(place)
        for name in self.components:  # type: ignore[attr-defined]  # of DiffusionPipeline
            if isinstance(getattr(self, name), nn.Layer):
                network = self._network(name)  # type: ignore[attr-defined]  # of NetworkPipeline
                if not isinstance(network, OffloadedNetwork):
                    self._networks[name] = OffloadedNetwork(network, place)
                self._networks[name].release()
        self._releases = True
        return_freed_memory()

    def enable_vae_tiling(self) -> None:
        """Encode and decode in overlapping tiles, in any engine; see `pipelines.tiling`.

        Raises:
            InputError: the pipeline's VAE knows no tiles.
        """
        self._switch_tiling(True)

    def disable_vae_tiling(self) -> None:
        """Undo `enable_vae_tiling`."""
        self._switch_tiling(False)

    def _switch_tiling(self, value: bool) -> None:
        if not hasattr(self.vae, "use_tiling"):
            raise InputError(
                f"a {type(self.vae).__name__} has no tiles; fewer frames at a time (decode_chunk_size) are accepted, "
                "or use_memory"
            )
        self.vae.use_tiling = value

    def enable_vae_slicing(self) -> None:
        """Changes nothing: pictures pass the VAE a few at a time (decode_chunk_size, or what the VAE's chunks are)."""
        self._leave("the VAE's slices")

    def disable_vae_slicing(self) -> None:
        """Changes nothing: see `enable_vae_slicing`."""

    def set_attention_slice(self, slice_size: Any) -> None:
        """Changes nothing: attention takes little memory as it is."""
        if slice_size is not None:
            self._leave("attention")

    def set_use_memory_efficient_attention_xformers(self, valid: bool, attention_op: Any = None) -> None:
        """Changes nothing: attention is computed by Paddle's kernels, or the engine's."""
        if valid:
            self._leave("attention")

    @staticmethod
    def _leave(what: str) -> None:
        logger.warning("%s cannot be changed, and take little memory as they are; use_memory saves more", what)

    def enable_freeu(self, *_: Any, **__: Any) -> None:
        """Raises InputError: no network here has FreeU."""
        raise InputError("none of the networks knows FreeU; a pipeline without it is accepted")

    def disable_freeu(self) -> None:
        """Does nothing: see `enable_freeu`."""
