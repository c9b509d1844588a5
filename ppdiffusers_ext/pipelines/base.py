"""What pipelines share: their networks run in an engine, and are in memory only when they have to be."""

import inspect
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import paddle
from paddle import nn
from ppdiffusers import DiffusionPipeline
from ppdiffusers.utils.paddle_utils import randn_tensor

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError, NonFiniteError, check_keys
from ppdiffusers_ext.models.strict import LocalConfigMixin
from ppdiffusers_ext.pipelines.auto_engine import AutoEngine
from ppdiffusers_ext.pipelines.calibrating import rehearsal
from ppdiffusers_ext.pipelines.calls import CALLBACK_TENSORS, after_step
from ppdiffusers_ext.pipelines.engine_words import tell_engine
from ppdiffusers_ext.pipelines.engines import check_engine, make_engine
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.model_index import INDEX
from ppdiffusers_ext.pipelines.moving import ENCODERS, Moving
from ppdiffusers_ext.pipelines.opening import Opening
from ppdiffusers_ext.pipelines.presets import tell_preset
from ppdiffusers_ext.pipelines.resuming import current_state
from ppdiffusers_ext.pipelines.saving import save_pipeline
from ppdiffusers_ext.pipelines.schedulers import check_scheduler, set_steps
from ppdiffusers_ext.pipelines.switches import Switches
from ppdiffusers_ext.pipelines.together import check_same
from ppdiffusers_ext.pipelines.warm import described, opened
from ppdiffusers_ext.pipelines.watching import LOADING, WatchedBar, current_watch
from ppdiffusers_ext.runtime import Runtime

logger = logging.getLogger(__name__)


class NetworkPipeline(Opening, Moving, Switches, LocalConfigMixin, DiffusionPipeline):
    """A pipeline whose networks run through `_run`.

    Attributes:
        network_names: of the modules that are networks.
        loading: the system's module of this name: what makes its parts of files.
        frame_axis: of the frames in the latents that are denoised.
    """

    loading: ModuleType
    frame_axis = 2
    _callback_tensor_inputs = list(CALLBACK_TENSORS)

    def __init__(self) -> None:
        super().__init__()
        self.use_networks({})
        self._engine, self._interrupt = make_engine("eager"), False
        self._unhalved: str | None = None  # what the halved weights are in on the disk
        self.use_memory()

    @classmethod
    def _read_folder(cls, folder: Path, options: dict) -> Any:
        if (folder / INDEX).exists() or not cls.recognises(folder):
            return None  # of the second, the index is missed
        return cls.loading.read_folder(folder, **options)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return cls.loading.recognises(folder)

    @classmethod
    def _describe_networks(cls, config: Any, dtype: str, encoder_dtype: str) -> dict[str, Any]:
        return cls.loading.describe_run(config, dtype, encoder_dtype)

    @classmethod
    def _read_others(cls, config: Any, parts: dict) -> dict[str, Any]:
        return {"scheduler": cls.loading.make_configured_scheduler(config)}

    @classmethod
    def describe_run(cls, config: Any, runtime: Runtime) -> dict[str, Any]:
        """As `describe`, for a run from files to files, whose engine and steps are checked, too."""
        check_engine(config.engine)
        parts = described(cls, config, runtime, lambda: cls.describe(config, runtime))
        check_scheduler(cls.loading.make_configured_scheduler(config), config.num_inference_steps)
        return parts

    @classmethod
    def open_run(
        cls, config: Any, runtime: Runtime, parts: dict[str, Any], show_progress: bool, unit: str = "window"
    ) -> Any:
        """As `open`, for a run from files to files, which tells its seed and where it runs.

        Args:
            config, runtime, parts: see `open`.
            show_progress: a progress bar on stderr.
            unit: what it counts.
        """
        check_same(config, {name: part.files for name, part in parts.items()})
        current_watch().stage(LOADING, 1)
        pipeline = opened(cls, config, runtime, parts, lambda: cls.open(config, runtime, parts))
        current_watch().advance()
        pipeline.set_progress_bar_config(disable=not (show_progress and current_ranks().is_first), unit=unit)
        words = tell_preset(config.preset, config.presets_of) + tell_engine(config, runtime.dtype)
        logger.warning("seed %d on %s in %s%s", config.seed, runtime.place, runtime.dtype, words)
        return pipeline

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        to_diffusers: bool | None = None,
        **options: Any,
    ) -> None:
        """As ppdiffusers', into a folder of this computer, which `from_pretrained` reads.

        The folder is complete or as it was. Weights that are in files are read again for it; weights that are kept in
        8 bits, or halved by the lowest rung of the memory ladder, are saved as they are in the files.

        Raises:
            InputError: options that are not known; weights that are missing or damaged; a folder that cannot be
                written.
        """
        given = {
            "safe_serialization": safe_serialization,
            "variant": variant,
            "max_shard_size": max_shard_size,
            "to_diffusers": to_diffusers,
        }
        check_keys(options, ["save_directory", *given], "option of save_pretrained")
        save_pipeline(self, save_directory, given)

    def folder_of(self, name: str) -> str:
        """The folder, in a pipeline's folder, in which a part is saved."""
        return name

    def network_to_save(self, name: str) -> tuple[Network, nn.Layer]:
        """The `Network` of a part, and the model with all of its weights in memory, in the dtype to save."""
        network = self._network(name)
        return network, network.whole(None if name in ENCODERS else self._unhalved)

    def register_modules(self, **modules: Any) -> None:
        super().register_modules(**modules)
        # Our classes by the package alone, so that a saved pipeline outlives a change of module names.
        own = {name: part for name, part in modules.items() if type(part).__module__.startswith("ppdiffusers_ext.")}
        self.register_to_config(**{name: ("ppdiffusers_ext", type(part).__name__) for name, part in own.items()})

    def use_networks(self, networks: dict) -> None:
        """Have weights come from somewhere, for models that were made without.

        Args:
            networks: name of each of the pipeline's models -> `Network` of it.
        """
        self._networks = dict(networks)

    def use_engine(
        self,
        engine: str = "eager",
        cache_folder: str | os.PathLike | None = None,
        precision: str = "float32",
        device: str = "cpu",
        weights: str | None = None,
    ) -> None:
        """Have the networks run in a compiled engine.

        Args:
            engine: "eager", "inference" (Paddle Inference), "onnx" (ONNX Runtime), "openvino", or "auto" for the
                fastest of them if it pays for the clip, its export included. Each new set of shapes is exported
                once, compared, and kept on the disk.
            cache_folder: where; the user's cache folder if left out.
            precision: what a compiled engine computes in. In "float32" numbers are those of Paddle to 1e-3 of the
                largest; "bfloat16", for "openvino", is faster on a processor that has such arithmetic, has
                weights of half the size, and is refused if its signal is not 30 dB above its noise; so is
                "float16", for "onnx" on a GPU.
            device: "cpu" or "gpu:N", on which a compiled engine computes; Paddle's tensors are on the CPU.
            weights: "int8", for "openvino": denoising networks and decoders compute in 8 bits.

        Raises:
            InputError: no such engine, it is not installed, or it cannot run these networks or in this precision.
        """
        made: Any = make_engine(engine, cache_folder, precision=precision, device=device, weights=weights)
        for name in self.network_names:
            made.check(self._network(name))
        self._engine = made

    def use_memory(self, rung: str = "high") -> None:
        """Choose what is kept in memory: "high", "medium", "low" or "minimal"; see `pipelines.memory`.

        Networks then leave the memory, or stay, when they have done their part (only those that come from files,
        `use_networks`, can leave it), and the rung's options are what calls do unless their arguments say otherwise.
        """
        self._releases, self._memory = get_rung(rung).releases, rung

    def _by_rung(self, **given: Any) -> tuple:
        """Arguments of a call, in which what was left out (None) is what the rung of the memory ladder says."""
        options = self.rung_options(self._memory)
        return tuple(options[name] if value is None else value for name, value in given.items())

    @staticmethod
    def rung_options(memory: str) -> dict[str, Any]:
        """What a rung of the memory ladder says of arguments of a call: name -> value."""
        return {"sequential_guidance": get_rung(memory).computes_singly}

    def _done_with(self, name: str) -> None:
        """A network has done its part: it leaves the memory if the rung says so, what it worked with does anyway."""
        leave = self._engine.release if self._releases else self._engine.rest
        leave(self._network(name))
        return_freed_memory()

    def _network(self, name: str) -> Network:
        model = getattr(self, name)
        if name not in self._networks or self._networks[name].model is not model:  # the user may have replaced it
            self._networks[name] = Network(model)
        return self._networks[name]

    @property
    def needs_weights(self) -> bool:
        """Whether the networks' weights are needed in any case; a compiled engine may have what it needs."""
        return self._engine.needs_weights

    @property
    def runs_in(self) -> str:
        """What runs the networks: an engine's name, "eager", or both where that is chosen on the way."""
        return self._engine.name

    @property
    def collected(self) -> dict[str, list]:
        """Name -> list of what is decided on the way, which a run that goes on has to know."""
        return {"engine": self._engine.chosen} if isinstance(self._engine, AutoEngine) else {}

    @property
    def preparation_seconds(self) -> float:
        """What a compiled engine has taken so far to make, check and open exports; 0 without one."""
        return self._engine.preparation_seconds

    @property
    def interrupt(self) -> bool:
        """True if the call that runs ends after the step that it is in. A callback, or another thread, may set it."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = bool(value)

    def _draw(
        self, shape: list[int], steps: int, generator: Any, latents: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """Set the scheduler's timesteps. Returns noise of unit variance, fp32: what is given as latents, or new."""
        set_steps(self.scheduler, steps)
        if latents is None:
            return randn_tensor(shape, generator=generator, dtype=paddle.float32)
        if list(latents.shape) != list(shape):
            raise InputError(f"latents of shape {list(latents.shape)} were given; {list(shape)} is needed")
        return latents.astype("float32")

    def _denoise(
        self,
        latents: paddle.Tensor,
        predict: Callable[[paddle.Tensor, paddle.Tensor, int, paddle.Tensor, Any], paddle.Tensor],
        callback: tuple[Any, Any],
        timesteps: paddle.Tensor | None = None,
        calls: int = 1,
        keep: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor] | None = None,
        begins_at: Callable[[int], bool] | None = None,
        **options: Any,
    ) -> paddle.Tensor:
        """The latents after all steps of the scheduler; a run that was stopped goes on, see `resuming`.

        Args:
            latents: scaled noise, any shape, fp32.
            predict: called as `(scaled latents, timestep, number of the step, latents, progress bar)`, gives the
                prediction, of the latents' shape.
            callback: a callback and the names of its tensors, as `check_call` accepts them.
            timesteps: the scheduler's if left out.
            calls: how often `predict` updates the progress bar in a step; 0 where it does not, and steps are counted.
            keep: called with the latents after a step and the timestep to come (none after the last), gives others.
            begins_at: whether a step needs nothing that `predict` keeps of those before; if left out each is so.
            options: of the scheduler's step; those that it does not have are left out.

        Raises:
            NonFiniteError: the latents are not finite after a step.
        """
        known = inspect.signature(self.scheduler.step).parameters
        options = {name: value for name, value in options.items() if name in known}
        timesteps, self._interrupt = self.scheduler.timesteps if timesteps is None else timesteps, False
        return self._engine.calibrated(
            lambda: self._take_steps(latents, predict, callback, timesteps, calls, keep, begins_at, options),
            lambda: rehearsal(self, latents, predict, timesteps, keep, options),
        )

    def _take_steps(
        self,
        latents: paddle.Tensor,
        predict: Callable[[paddle.Tensor, paddle.Tensor, int, paddle.Tensor, Any], paddle.Tensor],
        callback: tuple[Any, Any],
        timesteps: paddle.Tensor,
        calls: int,
        keep: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor] | None,
        begins_at: Callable[[int], bool] | None,
        options: dict[str, Any],
    ) -> paddle.Tensor:
        count, state, done = len(timesteps), current_state(), 0
        if state is not None:
            done, latents = state.begin(self.scheduler, latents, count)
        total = count * (calls or 1)
        with WatchedBar(self.progress_bar(total=total), total) as progress:
            progress.update(done * (calls or 1))
            for i, timestep in list(enumerate(timesteps))[done:]:
                progress.set_description(f"step {i + 1}/{count}")
                prediction = predict(
                    self.scheduler.scale_model_input(latents, timestep), timestep, i, latents, progress
                )
                stepped = self.scheduler.step(prediction, timestep, latents, **options)
                latents = stepped.prev_sample.astype("float32")
                if keep is not None:
                    latents = keep(latents, timesteps[i + 1 : i + 2])
                if not bool(paddle.isfinite(latents).all()):
                    raise NonFiniteError(
                        f"the latents are not finite after step {i + 1} of {count}; weights that are intact, "
                        "or a dtype with a larger range (bf16 or fp32) are needed"
                    )
                latents = after_step(self, callback[0], callback[1], i, timestep, latents)
                clean = getattr(stepped, "pred_original_sample", None)
                current_watch().after_step(self, latents if clean is None else clean, i + 1, count)
                if not calls:
                    progress.update()
                if self._interrupt:
                    break
                if state is not None and (begins_at is None or begins_at(i + 1)):
                    state.after_step(latents, i + 1, count)
        return latents

    def _run(
        self,
        name: str,
        what: str,
        function: Callable[[paddle.Tensor], paddle.Tensor],
        tensor: paddle.Tensor,
        calls: int = 1,
        in_8_bits: bool = False,
    ) -> paddle.Tensor:
        """What a function of one of the networks makes of a tensor, in the engine."""
        network, inputs = self._network(name), {"x": tensor}
        return self._engine.run(network, what, lambda x: [function(x)], inputs, calls, in_8_bits)[0]

    def _fill(self, rows: paddle.Tensor, size: int, is_first: bool) -> paddle.Tensor:
        """The last few rows of many: as they are, or as many as before if other shapes cost the engine time."""
        missing = size - rows.shape[0]
        if is_first or not missing or not self._engine.fixed_shapes:
            return rows
        return paddle.concat([rows, rows[-1:].expand([missing, *rows.shape[1:]])])
