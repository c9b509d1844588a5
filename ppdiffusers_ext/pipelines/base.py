"""What pipelines share: their networks run in an engine, and are in memory only when they have to be."""

import inspect
import logging
import os

import paddle
from paddle import nn
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError, NonFiniteError, check_keys, shown
from ppdiffusers_ext.models.strict import LocalConfigMixin, dtype_name, local_folder
from ppdiffusers_ext.options import DTYPES
from ppdiffusers_ext.pipelines.calls import CALLBACK_TENSORS, after_step
from ppdiffusers_ext.pipelines.engines import make_engine, weights_dtype
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.model_index import check_given, describe_folder
from ppdiffusers_ext.runtime import Runtime, check_device

logger = logging.getLogger(__name__)

# Parts that have half precision where there is arithmetic for it.
_ENCODERS = ("vae", "image_encoder", "text_encoder", "text_encoder_2")
SHORT_DTYPES = {name: short for short, name in DTYPES.items()}


class NetworkPipeline(LocalConfigMixin, DiffusionPipeline):
    """A pipeline whose networks run through `_run`.

    Attributes:
        network_names: of the modules that are networks.
        folder_parts: what a folder's model_index.json may name as each part; see `pipelines.model_index`.
    """

    network_names: tuple[str, ...] = ()
    folder_parts: dict = {}
    _callback_tensor_inputs = list(CALLBACK_TENSORS)

    def __init__(self):
        super().__init__()
        self.use_networks({})
        self._engine, self._interrupt = make_engine("eager"), False
        self.use_memory()

    @classmethod
    def from_pretrained(
        cls,
        folder,
        device="auto",
        dtype=None,
        paddle_dtype=None,
        memory="high",
        engine="eager",
        engine_cache=None,
        **parts,
    ):
        """The pipeline of a folder that `save_pretrained` or `scripts.convert_weights` wrote.

        Args:
            folder: on this computer; nothing is downloaded.
            device: see `Runtime.choose`.
            dtype, paddle_dtype: "fp32", "bf16" or "fp16", or Paddle's dtype; either name. fp32 if left out.
            memory: rung of the memory ladder, see `use_memory`.
            engine, engine_cache: see `use_engine`.
            parts: networks or a scheduler by name, instead of the folder's.

        Raises:
            MissingFileError: there is no such folder, or not all files in it.
            InputError: options that are not known; files that are damaged or of another class.
        """
        own = ["device", "dtype", "paddle_dtype", "memory", "engine", "engine_cache"]
        check_keys(parts, [*own, *cls.network_names, "scheduler"], f"option of {cls.__name__}.from_pretrained")
        check_given(parts)
        rung, folder = get_rung(memory), local_folder(folder)
        runtime = Runtime.choose(device, SHORT_DTYPES[dtype_name(dtype, paddle_dtype)])
        dtypes = [weights_dtype(engine, name) for name in (runtime.dtype, runtime.encoder_dtype)]
        if rung.halves and dtypes[0] == "float32" and engine == "eager":  # engines have weights of their own
            dtypes[0] = "bfloat16"
        networks, scheduler = describe_folder(folder, cls, dtypes[0], dtypes[1], given=parts)
        models = {name: network.model for name, network in networks.items()}
        pipeline = cls(**{"scheduler": scheduler, **models, **parts})
        pipeline.use_networks(networks)
        pipeline.use_engine(engine, engine_cache, runtime.dtype)
        pipeline.use_memory(memory)
        if pipeline.needs_weights and not rung.releases:
            for network in networks.values():
                network.load()
        return pipeline

    @classmethod
    def download(cls, *_, **__):
        """Raises InputError: ppdiffusers fetches models here, and `scripts/download_weights.py` does so safely."""
        raise InputError(
            "pipelines fetch nothing; `python scripts/download_weights.py` does, and from_pretrained takes its folders"
        )

    def save_pretrained(
        self,
        save_directory,
        safe_serialization=True,
        variant=None,
        max_shard_size="10GB",
        to_diffusers=None,
        **options,
    ):
        """As ppdiffusers', into a folder of this computer; networks whose weights are in files are loaded before.

        Raises:
            InputError: options that are not known; weights that are missing or damaged.
        """
        given = {
            "safe_serialization": safe_serialization,
            "variant": variant,
            "max_shard_size": max_shard_size,
            "to_diffusers": to_diffusers,
        }
        check_keys(options, ["save_directory", *given], "option of save_pretrained")
        for name in self.network_names:
            self._network(name).load()
        super().save_pretrained(os.fspath(save_directory), **given)

    def to(self, *places, device=None, dtype=None, paddle_dtype=None, **options):
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
            raise InputError("the engine runs fp32 weights on a CPU; use_engine('eager') before to() is accepted")
        networks = [name for name in self.config if isinstance(getattr(self, name, None), nn.Layer)]
        for name in networks:
            self._move(name, device, dtype)
        if device is not None:
            paddle.set_device(device)  # where inputs are made, and weights loaded
        return self

    def _move(self, name, device, dtype):
        network = self._network(name)
        model = network.load()
        if not all(parameter._is_initialized() for parameter in model.parameters()):
            raise InputError(
                f"weights of the {type(model).__name__} are kept in 8 bits or read one by one, and stay as they are; "
                "from_pretrained(..., device=, dtype=) is accepted"
            )
        on_cpu = (device or paddle.device.get_device()) == "cpu"
        if dtype is not None and on_cpu and name in _ENCODERS:
            dtype = "float32"  # half precision on a CPU is for networks that compute in fp32 by themselves
        model.to(device=device, dtype=dtype)
        if self._releases:
            network.release()

    def register_modules(self, **modules):
        super().register_modules(**modules)
        # Our classes by the package alone, so that a saved pipeline outlives a change of module names.
        own = {name: part for name, part in modules.items() if type(part).__module__.startswith("ppdiffusers_ext.")}
        self.register_to_config(**{name: ("ppdiffusers_ext", type(part).__name__) for name, part in own.items()})

    def use_networks(self, networks):
        """Have weights come from somewhere, for models that were made without.

        Args:
            networks: name of each of the pipeline's models -> `Network` of it.
        """
        self._networks = dict(networks)

    def use_engine(self, engine="eager", cache_folder=None, precision="float32"):
        """Have the networks run in a compiled engine.

        Args:
            engine: "eager", "inference" (Paddle Inference), "onnx" (ONNX Runtime), "openvino", or "auto" for the
                fastest of them if it pays for the clip, its export included. Each new set of shapes is exported
                once, compared, and kept on the disk.
            cache_folder: where; the user's cache folder if left out.
            precision: what a compiled engine computes in. In "float32" numbers are those of Paddle to 1e-3 of the
                largest; "bfloat16", for "openvino", is faster on a processor that has such arithmetic, has
                weights of half the size, and is refused if its signal is not 30 dB above its noise.

        Raises:
            InputError: no such engine, it is not installed, or it cannot run these networks or in this precision.
        """
        engine = make_engine(engine, cache_folder, precision=precision)
        for name in self.network_names:
            engine.check(self._network(name))
        self._engine = engine

    def use_memory(self, rung="high"):
        """Choose what is kept in memory: "high", "medium", "low" or "minimal"; see `pipelines.memory`.

        The rung's options are arguments of the call; here it is decided whether networks leave the memory when they
        have done their part. Only those that come from files (`use_networks`) can.
        """
        self._releases = get_rung(rung).releases

    def _done_with(self, name):
        """A network has done its part: it leaves the memory if the rung says so, what it worked with does anyway."""
        leave = self._engine.release if self._releases else self._engine.rest
        leave(self._network(name))
        return_freed_memory()

    def _network(self, name):
        model = getattr(self, name)
        if name not in self._networks or self._networks[name].model is not model:  # the user may have replaced it
            self._networks[name] = Network(model)
        return self._networks[name]

    @property
    def needs_weights(self):
        """Whether the networks' weights are needed in any case; a compiled engine may have what it needs."""
        return self._engine.needs_weights

    @property
    def preparation_seconds(self):
        """What a compiled engine has taken so far to make, check and open exports; 0 without one."""
        return self._engine.preparation_seconds

    @property
    def interrupt(self):
        """Whether the call that runs ends after the step that it is in: set `_interrupt`, as in a callback."""
        return self._interrupt

    def _denoise(self, latents, predict, callback, timesteps=None, calls=1, keep=None, **options):
        """The latents after all steps of the scheduler.

        Args:
            latents: scaled noise, any shape, fp32.
            predict: called as `(scaled latents, timestep, number of the step, latents, progress bar)`, gives the
                prediction, of the latents' shape.
            callback: a callback and the names of its tensors, as `check_call` accepts them.
            timesteps: the scheduler's if left out.
            calls: how often `predict` updates the progress bar in a step; 0 where it does not, and steps are counted.
            keep: called with the latents after a step and the timestep to come (none after the last), gives others.
            options: of the scheduler's step; those that it does not have are left out.

        Raises:
            NonFiniteError: the latents are not finite after a step.
        """
        known = inspect.signature(self.scheduler.step).parameters
        options = {name: value for name, value in options.items() if name in known}
        timesteps, self._interrupt = self.scheduler.timesteps if timesteps is None else timesteps, False
        count = len(timesteps)
        with self.progress_bar(total=count * (calls or 1)) as progress:
            for i, timestep in enumerate(timesteps):
                progress.set_description(f"step {i + 1}/{count}")
                prediction = predict(
                    self.scheduler.scale_model_input(latents, timestep), timestep, i, latents, progress
                )
                latents = self.scheduler.step(prediction, timestep, latents, **options).prev_sample.astype("float32")
                if keep is not None:
                    latents = keep(latents, timesteps[i + 1 : i + 2])
                if not bool(paddle.isfinite(latents).all()):
                    raise NonFiniteError(
                        f"the latents are not finite after step {i + 1} of {count}; weights that are intact, "
                        "or a dtype with a larger range (bf16 or fp32) are needed"
                    )
                latents = after_step(self, callback[0], callback[1], i, timestep, latents)
                if not calls:
                    progress.update()
                if self._interrupt:
                    break
        return latents

    def _run(self, name, what, function, tensor, calls=1):
        """What a function of one of the networks makes of a tensor, in the engine."""
        (result,) = self._engine.run(self._network(name), what, lambda x: [function(x)], {"x": tensor}, calls)
        return result

    def _fill(self, rows, size, is_first):
        """The last few rows of many: as they are, or as many as before if other shapes cost the engine time."""
        missing = size - rows.shape[0]
        if is_first or not missing or not self._engine.fixed_shapes:
            return rows
        return paddle.concat([rows, rows[-1:].expand([missing, *rows.shape[1:]])])

    def enable_vae_tiling(self):
        """Encode and decode in overlapping tiles, in any engine; see `pipelines.tiling`.

        Raises:
            InputError: the pipeline's VAE knows no tiles.
        """
        self._switch_tiling(True)

    def disable_vae_tiling(self):
        """Undo `enable_vae_tiling`."""
        self._switch_tiling(False)

    def _switch_tiling(self, value):
        if not hasattr(self.vae, "use_tiling"):
            raise InputError(
                f"a {type(self.vae).__name__} has no tiles; fewer frames at a time (decode_chunk_size) are accepted, "
                "or use_memory"
            )
        self.vae.use_tiling = value

    def enable_vae_slicing(self):
        """Changes nothing: pictures pass the VAE a few at a time (decode_chunk_size, or what the VAE's chunks are)."""
        self._leave("the VAE's slices")

    def disable_vae_slicing(self):
        """Changes nothing: see `enable_vae_slicing`."""

    def set_attention_slice(self, slice_size):
        """Changes nothing: attention takes little memory as it is."""
        if slice_size is not None:
            self._leave("attention")

    def set_use_memory_efficient_attention_xformers(self, valid, attention_op=None):
        """Changes nothing: attention is computed by Paddle's kernels, or the engine's."""
        if valid:
            self._leave("attention")

    @staticmethod
    def _leave(what):
        logger.warning("%s cannot be changed, and take little memory as they are; use_memory saves more", what)

    def enable_freeu(self, *_, **__):
        """Raises InputError: no network here has FreeU."""
        raise InputError("none of the networks knows FreeU; a pipeline without it is accepted")

    def disable_freeu(self):
        """Does nothing: see `enable_freeu`."""
