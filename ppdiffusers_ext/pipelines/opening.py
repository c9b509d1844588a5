"""Ways to a pipeline: from folders of this computer, from the options of a run, and from what training wrote."""

import os
from pathlib import Path
from typing import Any

from paddle import nn

from ppdiffusers_ext.errors import InputError, check_keys
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.models.strict import dtype_name, local_folder
from ppdiffusers_ext.options import DTYPES
from ppdiffusers_ext.pipelines.engines import check_weights, weights_dtype
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.model_index import check_given, describe_folder
from ppdiffusers_ext.pipelines.options import choose_engine
from ppdiffusers_ext.pipelines.run_options import read_config_of_run
from ppdiffusers_ext.runtime import Runtime

SHORT_DTYPES = {name: short for short, name in DTYPES.items()}


class Opening:
    """The part of a `NetworkPipeline` that makes it of files.

    Attributes:
        network_names: of the modules that are networks.
        folder_parts: what a folder's model_index.json may name as each part; see `pipelines.model_index`.
        other_folders: part -> names of folders in which it may be, where there is none of its own name.
        options_class: the class of the system's options, which `from_options` reads.
        folder_options: names of options that `from_pretrained` takes beside its own.
        loads_ahead: True if networks are loaded as soon as the pipeline is made, where they may stay in memory.
        stores_8_bits: True if eager mode can keep weights in 8 bits.
        halves: True if the lowest rung of the memory ladder keeps the weights of most networks in half precision.
    """

    network_names: tuple[str, ...] = ()
    folder_parts: dict = {}
    other_folders: dict[str, tuple[str, ...]] = {}
    options_class: Any = None
    folder_options: tuple[str, ...] = ()
    loads_ahead = halves = True
    stores_8_bits = False

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike,
        device: str = "auto",
        dtype: Any = None,
        paddle_dtype: Any = None,
        memory: str = "high",
        engine: str = "auto",
        engine_cache: str | os.PathLike | None = None,
        weights: str | None = None,
        **more: Any,
    ) -> Any:
        """The pipeline of a folder on this computer; nothing is downloaded.

        Args:
            folder: what `save_pretrained` or `scripts.convert_weights` wrote, the original's published files, the
                output folder of training, or a checkpoint in it.
            device: see `Runtime.choose`.
            dtype, paddle_dtype: "fp32", "bf16" or "fp16", or Paddle's dtype; either name. fp32 if left out.
            memory: rung of the memory ladder, see `use_memory`.
            engine, engine_cache, weights: see `use_engine`; where `stores_8_bits`, engine "eager" keeps weights in 8
                bits, "int8" or "fp8", to save memory.
            more: networks or a scheduler by name, instead of the folder's; the options in `folder_options`.

        Raises:
            MissingFileError: there is no such folder, or not all files in it.
            InputError: options that are not known; files that are damaged or of another class.
        """
        own = ["device", "dtype", "paddle_dtype", "memory", "engine", "engine_cache", "weights"]
        known = dict.fromkeys([*own, *cls.folder_options, *cls.network_names, "scheduler"])
        check_keys(more, list(known), f"option of {cls.__name__}.from_pretrained")
        more, options = _split(more, cls.folder_options)
        check_given(more)
        get_rung(memory)
        path = local_folder(folder)
        runtime = Runtime.choose(device, SHORT_DTYPES[dtype_name(dtype, paddle_dtype)], engine)
        weights_dtype(engine, runtime.dtype, runtime.place)
        chosen = choose_engine(engine, get_rung(memory).halves or (cls.stores_8_bits and weights is not None), weights)
        check_weights(weights, chosen, cls.stores_8_bits)
        options = {"memory": memory, "engine": engine, "engine_cache": engine_cache, "weights": weights, **options}
        config = cls._read_folder(path, options)
        if config is not None:
            return cls.open(config, runtime, **more)
        dtypes = cls._choose_dtypes(runtime, memory, chosen)
        networks, scheduler = describe_folder(path, cls, *dtypes, given=more)
        others = {} if scheduler is None else {"scheduler": scheduler}
        return cls._assemble(networks, {**others, **more}, runtime, memory, chosen, engine_cache, weights)

    @classmethod
    def from_options(
        cls,
        options: Any,
        device: str | None = None,
        dtype: Any = None,
        paddle_dtype: Any = None,
        memory: str | None = None,
        engine: str | None = None,
        engine_cache: str | os.PathLike | None = None,
        weights: str | None = None,
        **more: Any,
    ) -> Any:
        """The pipeline of a run's options: those that name files, networks, memory and engine count.

        Args:
            options: name of a YAML file, as the commands take it, or an instance of `options_class`.
            device, dtype, paddle_dtype, memory, engine, engine_cache, weights: see `from_pretrained`; the options' if
                left out.
            more: other options by name, which go before those of the file; None leaves them.

        Raises:
            MissingFileError, InputError: as `from_pretrained`; keys or values that are not accepted.
        """
        name = None if dtype is None and paddle_dtype is None else SHORT_DTYPES[dtype_name(dtype, paddle_dtype)]
        given = {"device": device, "memory": memory, "engine": engine, "engine_cache": engine_cache, **more}
        given["weights"] = weights
        config = read_config_of_run(cls.options_class, options, given, ("dtype", "paddle_dtype"), cls.__name__)
        return cls.open(config, Runtime.choose(config.device, name or config.dtype, config.engine))

    @classmethod
    def describe(cls, config: Any, runtime: Runtime) -> dict[str, Any]:
        """name -> `Part` of each network of a configuration, as a run on a `Runtime` has it; nothing is loaded.

        Raises:
            InputError, MissingFileError: files that are missing, damaged or of another model, or unknown options.
        """
        check_weights(config.weights, config.chosen_engine, cls.stores_8_bits)
        return cls._describe_networks(config, *cls._choose_dtypes(runtime, config.memory, config.chosen_engine))

    @classmethod
    def open(cls, config: Any, runtime: Runtime, parts: dict | None = None, **given: Any) -> Any:
        """The pipeline of a configuration, each of whose networks is loaded when it is needed.

        Where networks may stay in memory (`loads_ahead`), all are loaded now, unless a compiled engine has weights of
        its own.

        Args:
            config: an instance of `options_class`, of which what names files, engine and memory is used.
            runtime: a `Runtime`.
            parts: of `describe`, which is called if they are left out.
            given: networks or a scheduler by name, instead of the files'.

        Raises:
            InputError, MissingFileError: files that are missing, damaged or of another model, or unknown options.
        """
        parts = cls.describe(config, runtime) if parts is None else parts
        others = cls._read_others(config, parts)
        names = option_names(cls)
        networks = {name: part for name, part in parts.items() if name in names and name not in given}
        cache = config.engine_cache or None
        own = (config.memory, config.chosen_engine, cache, config.weights)
        return cls._assemble(networks, {**others, **given}, runtime, *own)

    @classmethod
    def _read_folder(cls, folder: Path, options: dict) -> Any:
        """The configuration of a folder without a model_index.json of ours, with `options`; None where it has one."""
        raise NotImplementedError

    @classmethod
    def _describe_networks(cls, config: Any, dtype: str, encoder_dtype: str) -> dict[str, Any]:
        """name -> `Part` of each network of a configuration."""
        raise NotImplementedError

    @classmethod
    def _read_others(cls, config: Any, parts: dict) -> dict[str, Any]:
        """What a pipeline is made of beside the networks, of which `parts` are `Part`s, by name."""
        raise NotImplementedError

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """True if a folder without a model_index.json holds files of this pipeline."""
        raise NotImplementedError

    @classmethod
    def _choose_dtypes(cls, runtime: Runtime, memory: str, engine: str) -> tuple[str, str]:
        """What weights are loaded in: of the networks, and of the encoders."""
        dtypes = runtime.dtype, runtime.encoder_dtype
        dtype, encoder_dtype = (weights_dtype(engine, name, runtime.place) for name in dtypes)
        if cls.halves and get_rung(memory).halves and dtype == "float32" and engine == "eager":
            dtype = "bfloat16"  # engines have weights of their own
        return dtype, encoder_dtype

    @classmethod
    def _assemble(
        cls: Any,
        networks: dict,
        others: dict,
        runtime: Runtime,
        memory: str,
        engine: str,
        cache: Any,
        weights: str | None = None,
    ) -> Any:
        models = {name: network.model for name, network in networks.items()}
        pipeline = cls(**{**models, **others})
        pipeline.use_networks({name: part for name, part in networks.items() if hasattr(pipeline, name)})
        weights = None if engine == "eager" else weights
        pipeline.use_engine(engine, cache, runtime.dtype, runtime.exports_on, weights)
        pipeline.use_memory(memory)
        if cls._choose_dtypes(runtime, memory, engine)[0] != weights_dtype(engine, runtime.dtype, runtime.place):
            pipeline._unhalved = runtime.dtype
        if cls.loads_ahead and not pipeline._releases:
            for network in networks.values():
                if pipeline._engine.loads_ahead(network):
                    network.load()
        return pipeline

    @classmethod
    def download(cls, *_: Any, **__: Any) -> None:
        """Raises InputError: ppdiffusers fetches models here, and `scripts/download_weights.py` does so safely."""
        raise InputError(
            "pipelines fetch nothing; `python scripts/download_weights.py` does, and from_pretrained takes its folders"
        )


def _split(given: dict[str, Any], names: Any) -> list[dict[str, Any]]:
    """Parts of a pipeline, and options: some names are of both, such as that of a transformer."""
    parts = {name for name, value in given.items() if isinstance(value, nn.Layer) or hasattr(value, "set_timesteps")}
    options = {name for name in given if name in names and name not in parts}
    return [{name: given[name] for name in given if (name in options) == are} for are in (False, True)]
