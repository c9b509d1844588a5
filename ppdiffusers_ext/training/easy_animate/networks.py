"""The networks that a training of EasyAnimate starts from, described once for all that is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.pipelines.easy_animate import loading
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.training.easy_animate.latent_cache import LatentCache, networks_of
from ppdiffusers_ext.training.easy_animate.options import NEW, EasyDataArguments, EasyModelArguments

_LEARNING = "transformer"


@dataclass(frozen=True)
class Networks:
    """Networks and their files.

    Attributes:
        config: the options by which inference reads the same ones. What is new is named `NEW`.
        parts: name -> `Part`, see `loading.describe_parts`.
        dtype: of the frozen ones.
    """

    config: EasyAnimateConfig
    parts: Mapping[str, Any]
    dtype: str

    @classmethod
    def of(cls, options: EasyModelArguments, arguments: Any) -> "Networks":
        """What a training's options name.

        Args:
            arguments: `TrainingArguments`, by which the frozen networks are in halves.

        Raises:
            InputError, MissingFileError: see `loading.describe_parts`.
        """
        names = ("transformer_path", "motion_module_path", "vae_path")
        given = {name: value for name in names if (value := getattr(options, name))}
        if options.config_path or options.motion_module_path == NEW:
            given["transformer"] = loading.read_transformer_options(options.config_path or loading.RELEASED_V1)
        config = loading.read_folder(Path(options.pretrained_model_name_or_path), **given)
        is_half = arguments.bf16 and not str(arguments.device).startswith("cpu")
        dtype = "bfloat16" if is_half else "float32"
        return cls(config, loading.describe_parts(config, encoder_dtype=dtype), dtype)

    def load(self) -> dict[str, Any]:
        """What a pipeline is made of, by name, see `loading.read_components`; all but the transformer have weights.

        Raises:
            InputError, MissingFileError: files that are damaged or of another model.
        """
        components = loading.read_components(self.config, self.parts)
        return components | {name: part.load() for name, part in self.parts.items() if name != _LEARNING}

    def open_cache(self, data: EasyDataArguments, settings: SampleSettings, seed: int) -> LatentCache:
        """The `LatentCache` of --latent_cache, of what the frozen networks make of samples.

        Args:
            settings: `SampleSettings`.
            seed: of the training.

        Raises:
            InputError: see `LatentCache`.
        """
        assert data.latent_cache is not None
        files = {name: [Path(path) for path in part.files] for name, part in self.parts.items() if name != _LEARNING}
        for paths in files.values():
            paths += [path for folder in {path.parent for path in paths} if (path := folder / "config.json").is_file()]
        folders = sorted(path for path in Path(self.config.model).glob("tokenizer*") if path.is_dir())
        networks = {**networks_of(files), **{path.name: digest(path) for path in folders}, "dtype": self.dtype}
        return LatentCache(data.latent_cache, settings, networks, seed, data.latent_variants)
