"""From a folder of EasyAnimate's checkpoints, in the original's form or in ours, to the parts of a pipeline.

V4: `transformer`, `vae`, `text_encoder` (BERT), `text_encoder_2` (mT5), `tokenizer`, `tokenizer_2`, `scheduler`, and
`image_encoder` (CLIP) for inpainting. V3 and V2: one text encoder, T5. V1: PixArt-alpha's transformer of pictures, to
which a file adds motion modules, and a VAE of pictures.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle import nn

from ppdiffusers_ext.errors import InputError, MissingFileError, shown
from ppdiffusers_ext.files import check_all_there, check_file, read_yaml
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.easy_animate.checkpoint import OF_PICTURES, options_of
from ppdiffusers_ext.models.easy_animate.pixart import WITH_CLIP
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.options import by_field
from ppdiffusers_ext.pipelines.easy_animate.check import FETCH, check_files, model_folder
from ppdiffusers_ext.pipelines.easy_animate.folder import saved_index
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.easy_animate.pictures import read_picture_processor
from ppdiffusers_ext.pipelines.easy_animate.prompts import Tokenizer, read_tokenizer
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
from ppdiffusers_ext.pipelines.engines import check_weights
from ppdiffusers_ext.pipelines.lean_parts import MergedPart, QuantisedPart, StreamedPart
from ppdiffusers_ext.pipelines.loading import (
    ConfigReader,
    Part,
    build,
    built,
    describe_image_encoder,
    describe_vae,
    models_of,
)
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.options import CONFIGS
from ppdiffusers_ext.pipelines.schedulers import make_scheduler, scheduler_class
from ppdiffusers_ext.weights.folders import find_weights, read_config
from ppdiffusers_ext.weights.lora import Lora
from ppdiffusers_ext.weights.lora_names import T5_ENCODER, TRANSFORMER, known_prefixes
from ppdiffusers_ext.weights.shards import files_of

_TRANSFORMERS = {
    "HunyuanTransformer3DModel": HunyuanTransformer3D,
    "Transformer3DModel": PixArtTransformer3D,
    OF_PICTURES: PixArtTransformer3D,
    # As we save them.
    "HunyuanTransformer3D": HunyuanTransformer3D,
    "PixArtTransformer3D": PixArtTransformer3D,
}
_BLOCKS = {HunyuanTransformer3D: "blocks", PixArtTransformer3D: "transformer_blocks"}
_TEXT_ENCODERS = {"bert": make_bert, "t5": make_t5, "mt5": make_t5}
_SHOWN = {"text_encoder": ("bert",), "text_encoder_2": ("t5", "mt5")}  # of V4
_TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_PIXART_LENGTH = 120  # tokens of T5, as in the training of PixArt-alpha and of V1 to V3
_SCHEDULER = "scheduler"  # the option of that name
MOTION_MODULE = "easyanimate_v1_mm.safetensors"
INFERENCE_CONFIG = "inference.yaml"  # V1's options of motion modules, for which the original's files have no place
RELEASED_V1 = CONFIGS / "easy_animate" / "v1.yaml"


def read_folder(folder: Path, **options: Any) -> EasyAnimateConfig:
    """The `EasyAnimateConfig` of a folder of checkpoints, with `options`; V1's motion module is found.

    A pipeline that was saved has its own sampler, unless the options name another. Raises as `read_yaml`.
    """
    options, _ = by_field(EasyAnimateConfig, options, "option")
    if _SCHEDULER not in options and (saved := saved_index(folder)):
        options[_SCHEDULER] = saved["scheduler"][1]
    places = folder / MOTION_MODULE, folder.parent.parent / "Motion_Module" / MOTION_MODULE
    path = next((path for path in places if path.is_file()), None)
    if path is not None and read_transformer(folder)[1]["_class_name"] == OF_PICTURES:
        options.setdefault("motion_module_path", str(path))
        own = folder / INFERENCE_CONFIG
        options.setdefault("transformer", read_transformer_options(own if own.is_file() else RELEASED_V1))
    return EasyAnimateConfig(model=str(folder), **options)


def recognises(folder: Path) -> tuple[bool, bool]:
    """True if a folder has a transformer of EasyAnimate, and if so, whether it sees known parts of a video."""
    try:
        return True, sees_known(read_transformer(folder)[1])
    except InputError:
        return False, False


def describe_run(config: EasyAnimateConfig, dtype: str, encoder_dtype: str) -> dict[str, Part]:
    """As `describe_parts`, of a run, whose files are checked to be there and whose blocks may be streamed."""
    check_parts(config)
    return describe_parts(config, dtype, encoder_dtype, streams_blocks(config))


def read_components(config: EasyAnimateConfig, parts: Mapping[str, Part]) -> dict[str, Any]:
    """What the pipeline of a configuration is made of.

    Args:
        config: `EasyAnimateConfig`; what it says of files, sampler and memory is used.
        parts: of `describe_run`.

    Returns:
        name -> component: models without weights, tokenizers, the picture processor and the sampler.

    Raises:
        InputError, MissingFileError: files of tokenizers or options that do not fit.
    """
    folder = model_folder(config)
    components: dict[str, Any] = dict(models_of(parts))
    components["vae"].use_tiling = uses_tiles(config)
    if "text_encoder" in components:
        components.update(zip(_TOKENIZERS.values(), read_tokenizers(folder, components["transformer"])))
    if "image_encoder" in components:
        components["image_processor"] = read_picture_processor(folder / "image_encoder")
    components["scheduler"] = make_configured_scheduler(config)
    return components


def streams_blocks(config: EasyAnimateConfig) -> bool:
    """Whether the transformer's blocks are read one by one: on the lowest rung, unless they are kept in 8 bits."""
    return get_rung(config.memory).halves and config.weights is None and config.chosen_engine == "eager"


def uses_tiles(config: EasyAnimateConfig) -> bool:
    """Whether videos are encoded and decoded in tiles."""
    return get_rung(config.memory).tiles if config.vae_tiling is None else config.vae_tiling


def read_tokenizers(folder: str | os.PathLike, transformer: nn.Layer) -> list[Tokenizer]:
    """The `Tokenizer` of each text encoder of a folder.

    Raises:
        InputError, MissingFileError: as `read_tokenizer`, or it gives fewer tokens than V4's transformer knows.
    """
    if not isinstance(transformer, HunyuanTransformer3D):
        return [read_tokenizer(Path(folder) / _TOKENIZERS["text_encoder"], _PIXART_LENGTH)]
    tokenizers, lengths = [], (transformer.config.text_len, transformer.config.text_len_t5)
    for name, length in zip(_TOKENIZERS.values(), lengths):
        tokenizers.append(read_tokenizer(Path(folder) / name, length))
        if tokenizers[-1].length != length:
            raise InputError(
                f"{Path(folder) / name} gives {tokenizers[-1].length} tokens, and the transformer has learned "
                f"{length}; the tokenizer of the same model is needed"
            )
    return tokenizers


def check_parts(config: EasyAnimateConfig) -> None:
    """Raises MissingFileError, before anything is loaded, for files that are not there; what is wrong is told later.

    Args:
        config: `EasyAnimateConfig`.
    """
    folder = check_files(config)
    names = part_names(folder)
    paths = [("", folder / name / "config.json") for name in names]
    paths += [("", folder / "scheduler" / "scheduler_config.json")]
    paths += [("folder", folder / _TOKENIZERS[name]) for name in names if name in _TOKENIZERS]
    paths += [(name, getattr(config, name)) for name in ("transformer_path", "motion_module_path", "vae_path")]
    files = [(what, path) for what, path in paths if path]
    loras = [(f"LoRA {i + 1}", path) for i, (path, _) in enumerate(config.loras or ())]
    if all(Path(path).exists() for _, path in files):  # downloading would not help
        check_all_there(loras, "a file of a LoRA's weights is needed")
    check_all_there([*files, *loras], FETCH)
    absent = []
    for name in names:
        try:
            files_of(find_weights(folder / name))
        except MissingFileError as error:
            absent.append(str(error))
    if absent:
        raise MissingFileError("; ".join(absent))


def part_names(folder: str | os.PathLike, read: ConfigReader = read_config) -> list[str]:
    """The parts that a folder must have. Arguments and errors are those of `read_transformer`."""
    cls, config = read_transformer(folder, read)
    names = ["vae", "transformer", "text_encoder"]
    names += ["text_encoder_2"] if cls is HunyuanTransformer3D else []
    names += ["image_encoder"] if sees_pictures(config) else []
    saved = saved_index(Path(folder))  # of a pipeline that may have been made without some
    return [name for name in names if not saved or saved.get(name) not in (None, [None, None])]


def sees_known(config: Mapping[str, Any]) -> bool:
    """Whether a transformer's options are those of one that sees known parts of the video."""
    channels = config.get("in_channels")
    return type(channels) is int and 2 * channels != (config.get("out_channels") or 2 * channels)


def sees_pictures(config: Mapping[str, Any]) -> bool:
    """Whether they are those of one that sees a picture by CLIP as well."""
    if _TRANSFORMERS.get(str(config.get("_class_name"))) is PixArtTransformer3D:
        return config.get("in_channels") == WITH_CLIP
    return sees_known(config) and config.get("enable_clip_in_inpaint", True)


def read_transformer(folder: str | os.PathLike, read: ConfigReader = read_config) -> tuple[type, dict[str, Any]]:
    """Our class for a folder's transformer, and what its `config.json` says; `read` is that of `describe_parts`.

    Raises:
        InputError, MissingFileError: a class that none of ours stands for, or no such file.
    """
    path = Path(folder) / "transformer"
    config = read(path)
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in _TRANSFORMERS:
        raise InputError(
            f"{path / 'config.json'} is of the class {shown(name)}; {', '.join(_TRANSFORMERS)} are accepted"
        )
    return _TRANSFORMERS[name], config


def describe_parts(
    config: EasyAnimateConfig,
    dtype: str = "float32",
    encoder_dtype: str = "float32",
    streams: bool = False,
    read: ConfigReader = read_config,
) -> dict[str, Part]:
    """name -> `Part` of the pipeline that a configuration names: what has to be loaded, and from where.

    Args:
        config: `EasyAnimateConfig`.
        dtype, encoder_dtype: of the weights; the second of the VAE's and the encoders'.
        streams: whether the weights of the transformer's blocks are read each time that they are needed.
        read: see `pipelines.loading.describe_vae`.

    Raises:
        InputError, MissingFileError: files that are missing or of a class that none of ours stands for; options that
            are not known or not computed; a LoRA of another model.
    """
    folder = model_folder(config)
    names = part_names(folder, read)
    loras = _loras_of_parts(config, names)
    parts = {
        "vae": describe_video_vae(folder / "vae", config.vae_path, encoder_dtype, read),
        "transformer": _describe_transformer(config, dtype, streams, loras["transformer"], read),
    }
    for name in _TOKENIZERS:
        if name in names:
            parts[name] = _describe_text_encoder(config, name, encoder_dtype, loras[name], read)
    if "image_encoder" in names:
        parts["image_encoder"] = describe_image_encoder(folder / "image_encoder", encoder_dtype, read)
    return parts


def describe_video_vae(
    folder: Path, more: str | None = "", dtype: str = "float32", read: ConfigReader = read_config
) -> Part:
    """The `Part` of a VAE of videos, or of pictures (V1).

    Args:
        folder: of the VAE.
        more: file that goes over the folder's, or empty.
        dtype: of the weights.
        read: see `pipelines.loading.describe_vae`.

    Raises:
        InputError: another class, or options that are not computed.
    """
    options = read(folder)
    paths: list[str | os.PathLike] = [folder, *([more] if more else [])]
    name = options.get("_class_name")
    if name == "AutoencoderKL":
        return Part(describe_vae(folder, dtype, read).model, paths)
    if name != AutoencoderKLMagvit.__name__:
        raise InputError(
            f"{folder / 'config.json'} is of the class {shown(name)}; AutoencoderKLMagvit, AutoencoderKL are accepted"
        )
    source = folder / "config.json"
    options = options_of(AutoencoderKLMagvit, options, source)
    return Part(build(AutoencoderKLMagvit, options, source, dtype), paths)


def make_transformer(
    folder: str | os.PathLike,
    more: dict[str, Any] | None = None,
    dtype: str = "float32",
    read: ConfigReader = read_config,
) -> nn.Layer:
    """The uninitialised transformer of a folder.

    Args:
        folder: of all parts.
        more: options that go over those of its `config.json`.
        dtype: of the weights.
        read: see `pipelines.loading.describe_vae`.

    Raises:
        InputError: as `read_transformer` and `options_of`, or options that do not fit each other.
    """
    cls, config = read_transformer(folder, read)
    source = Path(folder) / "transformer" / "config.json"
    return build(cls, options_of(cls, config, source, more), source, dtype)


def _describe_transformer(
    config: EasyAnimateConfig, dtype: str, streams: bool, loras: list[tuple[str, float]], read: ConfigReader
) -> Part:
    folder = model_folder(config)
    cls, options = read_transformer(folder, read)
    if options["_class_name"] == OF_PICTURES and not config.motion_module_path:
        raise InputError(
            f"{folder} is a model of pictures, which EasyAnimate V1 adds motion modules to; motion_module_path, the "
            f"file {MOTION_MODULE}, is needed"
        )
    model = make_transformer(folder, config.transformer, dtype, read)
    more = [path for path in (config.transformer_path, config.motion_module_path) if path]
    paths: list[str | os.PathLike] = [folder / "transformer", *more]
    check_weights(config.weights, config.chosen_engine, is_stored=True)
    if streams and config.chosen_engine != "eager":
        raise InputError(
            f"blocks that are read one by one run in eager mode alone; engine eager is accepted, not {config.engine}"
        )
    if config.weights and streams:
        raise InputError(f"weights in {config.weights} stay in memory; none where blocks are read one by one")
    if config.weights and config.chosen_engine == "eager":
        return QuantisedPart(model, paths, config.weights, _BLOCKS[cls], loras)
    return StreamedPart(model, paths, _BLOCKS[cls], loras) if streams else MergedPart(model, paths, loras)


def _loras_of_parts(config: EasyAnimateConfig, names: list[str]) -> dict[str, list[tuple[str, float]]]:
    """name of a network -> (path, weight) of the LoRA files with layers of it.

    Raises:
        InputError: a file has layers of a network that is none of the `names` of parts.
    """
    loras: dict[str, list] = {name: [] for name in (TRANSFORMER, *_TOKENIZERS)}
    for path, weight in config.loras or ():
        lora = Lora(path)
        lora.note()
        t5 = "text_encoder_2" if "text_encoder_2" in names else "text_encoder"
        for network in sorted({t5 if network == T5_ENCODER else network for network in lora.networks}):
            if network not in names:
                raise InputError(
                    f"{path} has layers of the {network}, which {config.model} has not; known prefixes are "
                    f"{known_prefixes()}"
                )
            loras[network].append((path, _strength_of(path, weight)))
    return loras


def _strength_of(path: str, weight: Any) -> float:
    """The weight of a LoRA file as a number. Raises InputError for any other value, and for what is not finite."""
    try:
        strength = float(weight)
    except (TypeError, ValueError, OverflowError):
        strength = math.nan
    if not math.isfinite(strength):
        raise InputError(f"the LoRA {path} has the weight {shown(weight)}; a finite number, such as 0.6, is accepted")
    return strength


def _describe_text_encoder(
    config: EasyAnimateConfig, name: str, dtype: str, loras: list[tuple[str, float]], read: ConfigReader
) -> Part:
    folder = model_folder(config) / name
    options = read(folder)
    kind, accepted = options.get("model_type"), _SHOWN["text_encoder_2"]
    if read_transformer(model_folder(config), read)[0] is HunyuanTransformer3D:
        accepted = _SHOWN[name]
    if kind not in accepted:
        raise InputError(f"{folder / 'config.json'} is of the kind {shown(kind)}; {' or '.join(accepted)} is accepted")
    source = folder / "config.json"
    model = built(lambda: _TEXT_ENCODERS[kind](options, source), source, dtype)
    return MergedPart(model, [folder], loras, name)


def make_configured_scheduler(config: EasyAnimateConfig) -> Any:
    """The scheduler of an `EasyAnimateConfig`. Raises as `read_scheduler` and `make_scheduler`."""
    return make_scheduler(config.scheduler, read_scheduler(model_folder(config), config.scheduler))


def read_scheduler(folder: str | os.PathLike, sampler: str) -> dict[str, Any]:
    """Options of a sampler from a folder's `scheduler/scheduler_config.json`, for `make_scheduler`.

    The file is of another sampler, as a rule: what this one has not is left out, as the original does.

    Raises:
        InputError, MissingFileError: a sampler that is not known, or no such file.
    """
    path = check_file(Path(folder) / "scheduler" / "scheduler_config.json", "configuration", FETCH)
    known = option_names(scheduler_class(sampler))
    return {name: value for name, value in read_config(path, True).items() if name in known}


def read_transformer_options(path: str | os.PathLike) -> dict[str, Any]:
    """What a YAML file says under `transformer`: a dict. Raises InputError, MissingFileError where it is none."""
    options = read_yaml(path).get("transformer") or {}
    if not isinstance(options, dict):
        raise InputError(f"{path}: transformer is {shown(options)}; options by name are accepted")
    return options
