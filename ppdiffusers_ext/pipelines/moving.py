"""Where the networks of a pipeline are, and in which dtype."""

import logging
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.errors import InputError, check_keys, shown
from ppdiffusers_ext.models.strict import dtype_name
from ppdiffusers_ext.options import DTYPES
from ppdiffusers_ext.pipelines.auto_engine import AutoEngine
from ppdiffusers_ext.runtime import check_device

logger = logging.getLogger(__name__)

# Parts that have half precision where there is arithmetic for it.
ENCODERS = ("vae", "image_encoder", "text_encoder", "text_encoder_2")


class Moving:
    """The part of a `NetworkPipeline` that moves its networks."""

    network_names: tuple[str, ...]
    config: Any
    _engine: Any
    _network: Any
    _releases: bool
    _unhalved: str | None
    use_engine: Any

    def to(self, *places: Any, device: Any = None, dtype: Any = None, paddle_dtype: Any = None, **options: Any) -> Any:
        """Move the networks to a device, or have their weights in another dtype.

        Args:
            places: a device, a dtype, or both, in this order.
            device: "cpu", "gpu" or "gpu:N".
            dtype, paddle_dtype: see `from_pretrained`.

        Returns:
            The pipeline.

        Raises:
            InputError: another device or dtype, or one that is given twice; options that are not known.
        """
        check_keys(options, ("device", "dtype", "paddle_dtype"), "option of to()")
        for place in places:
            is_dtype = isinstance(place, paddle.dtype) or str(place) in (*DTYPES, *DTYPES.values())
            if (dtype if is_dtype else device) is not None or len(places) > 2:
                raise InputError(f"{shown(place)} is given beside another; one device and one dtype are accepted")
            device, dtype = (device, place) if is_dtype else (place, dtype)
        if dtype is not None or paddle_dtype is not None:
            dtype = dtype_name(dtype, paddle_dtype)
        device = None if device is None else check_device(str(device))
        if self._engine.fixed_shapes and (dtype not in (None, "float32") or device not in (None, "cpu")):
            if not isinstance(self._engine, AutoEngine):
                raise InputError("the engine runs fp32 weights on a CPU; use_engine('eager') before to() is accepted")
            self.use_engine("eager")
        networks = [name for name in self.config if isinstance(getattr(self, name, None), nn.Layer)]
        on_cpu = (device or paddle.device.get_device()) == "cpu"
        if dtype == "float16" and on_cpu:
            logger.warning("Paddle has no fp16 arithmetic on a CPU: bf16 weights are used instead of fp16")
            dtype = "bfloat16"
        for name in networks:
            self._move(name, device, dtype)
        if device is not None:
            paddle.set_device(device)  # where inputs are made, and weights loaded
        self._unhalved = None if dtype is not None else self._unhalved
        return self

    @property
    def device(self) -> str:
        """Where the networks run: "cpu" or "gpu:N"."""
        return paddle.device.get_device()

    @property
    def dtype(self) -> paddle.dtype:
        """The dtype of the weights of the pipeline's main networks."""
        name = next(name for name in reversed(self.network_names) if name not in ENCODERS)
        return next(iter(getattr(self, name).parameters())).dtype

    def _move(self, name: str, device: str | None, dtype: Any) -> None:
        network = self._network(name)
        model = network.load()
        if not all(parameter._is_initialized() for parameter in model.parameters()):
            raise InputError(
                f"weights of the {type(model).__name__} are kept in 8 bits or read one by one, and stay as they are; "
                "from_pretrained(..., device=, dtype=) is accepted"
            )
        on_cpu = (device or paddle.device.get_device()) == "cpu"
        if dtype is not None and on_cpu and name in ENCODERS:
            dtype = "float32"  # half precision on a CPU is for networks that compute in fp32 by themselves
        model.to(device=device, dtype=dtype)
        if self._releases:
            network.release()
