"""Parts of pipelines: networks without weights, and the files that these come from."""

import difflib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle
from paddle import nn
from ppdiffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError, MissingFileError, printable
from ppdiffusers_ext.models.borrowed import use_groups, use_own_layers
from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.weights.assignment import create, load_weights, release_weights
from ppdiffusers_ext.weights.folders import find_weights, read_config
from ppdiffusers_ext.weights.loading import SUFFIXES
from ppdiffusers_ext.weights.shards import files_of

if TYPE_CHECKING:
    from ppdiffusers_ext.engine.cache import ExportCache


logger = logging.getLogger(__name__)

ConfigReader = Callable[[str | os.PathLike], dict[str, Any]]  # of a `config.json`, see `describe_vae`

_LIKE = 0.85  # how near an option's name is to one that is probably meant
_LOOKED_AT = 200  # names of unknown options


class Part(Network):
    """A part of a pipeline: a model that takes no memory until its weights are loaded, and the files for it.

    Args:
        model: an uninitialised `nn.Layer`.
        paths: of files, or of folders with a file that `find_weights` knows; later ones go over earlier ones.
        read: what puts the tensors of files into the model, called with both.

    Attributes:
        keeps_weights_elsewhere: True if a loaded model has not all weights as its own parameters.
    """

    keeps_weights_elsewhere = False

    def __init__(
        self, model: nn.Layer, paths: Sequence[str | os.PathLike], read: Callable[..., object] = load_weights
    ) -> None:
        super().__init__(model)
        self._paths, self._read = paths, read
        self._loaded = False

    @property
    def files(self) -> list[str | os.PathLike]:
        """The files of the weights. Raises MissingFileError where a folder has none."""
        return [find_weights(path) if Path(path).is_dir() else path for path in map(located, self._paths)]

    def changes(self) -> Callable[[str, paddle.Tensor], paddle.Tensor] | None:
        """What makes of a weight's name and its tensor in the files the one that is loaded; None if it is the same."""
        return None

    def load(self) -> nn.Layer:
        """As `Network.load`. Raises InputError, MissingFileError for files that do not fit."""
        if not self._loaded:
            self.fill()
            self._loaded = True
        return self.model

    def release(self) -> None:
        """As `Network.release`."""
        if self._loaded:
            self.empty()
            self._loaded = False

    def whole(self, dtype: str | None = None) -> nn.Layer:
        """As `Network.whole`. A model of another dtype than `dtype`, or with weights elsewhere, is read anew."""
        own = str(next(iter(self.model.parameters())).dtype).removeprefix("paddle.")
        if (dtype or own) == own and not self.keeps_weights_elsewhere:
            return self.load()
        options = {name: value for name, value in self.model.config.items() if not name.startswith("_")}
        model = create(lambda: type(self.model)(**options), dtype or own)
        self._plain(model).fill()
        return model

    def _plain(self, model: nn.Layer) -> "Part":
        """A `Part` of the same files for another model."""
        return Part(model, self._paths, self._read)

    def fill(self) -> None:
        """Put the weights into the model, which has none; of subclasses that do so in another way."""
        self._read(self.model, *self.files)

    def empty(self) -> None:
        """Take the weights out of the model."""
        release_weights(self.model)

    def has_exports(self, cache: "ExportCache") -> bool:
        """As `Network.has_exports`."""
        return all(map(cache.is_noted, self._each_file())) and cache.has_weights(self._compute_digest(cache))

    def _compute_digest(self, cache: "ExportCache") -> str:
        return "-".join(map(cache.digest_of_checkpoint, self._each_file()))

    def _each_file(self) -> list[Path]:
        return [Path(file) for path in self.files for file in files_of(Path(path))]


def describe_vae(folder: str | os.PathLike, dtype: str = "float32", read: ConfigReader = read_config) -> Part:
    """The `Part` of ppdiffusers' `AutoencoderKL`.

    Args:
        folder: in ppdiffusers' or diffusers' layout.
        dtype: of the weights.
        read: what reads its `config.json`, given the folder; `architectures.planning_reader` makes another one.
    """
    config = known_options(AutoencoderKL, read(folder), folder)
    return Part(use_own_layers(build(AutoencoderKL, config, folder, dtype)), [folder])


def describe_video_vae(folder: str | os.PathLike, dtype: str = "float32", read: ConfigReader = read_config) -> Part:
    """As `describe_vae`, of ppdiffusers' `AutoencoderKLTemporalDecoder`."""
    config = read(folder)
    return Part(built(lambda: make_video_vae(config, folder), folder, dtype), [folder])


def make_video_vae(config: dict[str, Any], source: str | os.PathLike = "the configuration") -> nn.Layer:
    """An `AutoencoderKLTemporalDecoder`; beside its options, `norm_num_groups` is that of all its group norms (32).

    Raises InputError, which begins with `source`, for options that do not fit.
    """
    rules_of(AutoencoderKLTemporalDecoder).check(config, source)
    known = option_names(AutoencoderKLTemporalDecoder)
    vae = AutoencoderKLTemporalDecoder(**{key: value for key, value in config.items() if key in known})
    groups = config.get("norm_num_groups", 32)
    vae.register_to_config(norm_num_groups=groups)
    return use_own_layers(use_groups(vae, groups))


def describe_image_encoder(
    folder: str | os.PathLike, dtype: str = "float32", read: ConfigReader = read_config
) -> Part:
    """As `describe_vae`, of ppdiffusers' `CLIPVisionModelWithProjection` in paddlenlp's or transformers' layout."""
    config = read(folder)
    # A checkpoint of the whole CLIP has the vision tower's options one level down.
    if "vision_config" in config:
        if not isinstance(config["vision_config"], dict):
            raise InputError(f"{folder}: vision_config is no mapping; the options of CLIP's vision tower are accepted")
        config = {**config, **config["vision_config"]}
    config = known_options(CLIPVisionConfig, config, folder)
    model = built(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**config)), folder, dtype)
    return Part(model, [folder])


def models_of(parts: Mapping[str, Network]) -> dict[str, nn.Layer]:
    """name -> network, of name -> `Part`."""
    return {name: part.model for name, part in parts.items()}


def known_options(
    cls: type, config: Mapping[str, Any], source: str | os.PathLike = "the configuration"
) -> dict[str, Any]:
    """Those options of a `config.json` that a class has, held against its rules.

    Files carry notes of the library that wrote them (_class_name, ...), and options of others, which are left out. One
    whose name is almost that of an option is told in the log.

    Raises:
        InputError: a value that does not fit; the message begins with `source`.
    """
    known = option_names(cls)
    for key in [key for key in config if key not in known][:_LOOKED_AT]:
        near = difflib.get_close_matches(key[:100], known, n=1, cutoff=_LIKE)
        if near and near[0] not in config:
            key = printable(key, 100)
            logger.warning("%s: %s is not known, and has no effect; was %s meant?", source, key, near[0])
    options = {key: value for key, value in config.items() if key in known}
    rules_of(cls).check(options, source)
    return options


def build(cls: type, options: dict[str, Any], source: str | os.PathLike, dtype: str = "float32") -> Any:
    """A network of a class, without weights; options are held against its rules before, as by `known_options`."""
    rules_of(cls).check(options, source)
    return built(lambda: cls(**options), source, dtype)


def built(make: Callable[[], Any], source: str | os.PathLike, dtype: str = "float32") -> Any:
    """What `make` makes, without weights.

    Raises:
        InputError: whatever was raised meanwhile, as it is for options that do not fit each other.
    """
    try:
        return create(make, dtype)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # libraries answer options that do not fit with exceptions of a dozen kinds
        what = printable(" ".join(str(error).split()) or type(error).__name__, 300)
        message = f"{source}: its options do not fit each other ({what}); those of one network are accepted"
        raise InputError(message) from error


def find_file(folder: Path, *stems: str, optional: bool = False) -> str:
    """The one file of a stem, with any ending of a checkpoint: its path, or "" for an optional one that is not there.

    Raises:
        InputError, MissingFileError: there are two, or none.
    """
    paths = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    found = [str(path) for path in paths if path.is_file()]
    if len(found) > 1:
        raise InputError(f"{' and '.join(found)} are both there; one of them is accepted")
    if not found and not optional:
        raise MissingFileError(f"there is no {stems[0]} in {folder}; one that ends in {', '.join(SUFFIXES)} is needed")
    return found[0] if found else ""


def has_file(folder: Path, stem: str) -> bool:
    """True if a folder has a checkpoint of this stem."""
    return any((folder / f"{stem}{suffix}").is_file() for suffix in SUFFIXES)
