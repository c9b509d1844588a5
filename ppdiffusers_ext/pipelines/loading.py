"""From the paths in a configuration to a `Pose2VideoPipeline`."""

import difflib
import inspect
import logging
from dataclasses import dataclass, fields
from pathlib import Path

from ppdiffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError, check_keys, printable
from ppdiffusers_ext.files import check_all_there, check_file, read_yaml
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.models.layers import use_groups, use_own_layers
from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.options import check_values
from ppdiffusers_ext.pipelines.animate_anyone import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.engines import weights_dtype
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.weights.assignment import (
    create,
    find_weights,
    load_motion_module,
    load_weights,
    read_config,
    release_weights,
)
from ppdiffusers_ext.weights.shards import files_of

logger = logging.getLogger(__name__)

_LIKE = 0.85  # how near an option's name is to one that is probably meant
_LOOKED_AT = 200  # names of unknown options
_REQUIRED = (
    "pretrained_base_model_path",
    "pretrained_vae_path",
    "image_encoder_path",
    "denoising_unet_path",
    "reference_unet_path",
    "pose_guider_path",
    "inference_config",
)
_OPTIONAL = ("denoising_unet_config_path", "motion_module_path")
_NO_WEIGHTS = {
    "inference_config": "a YAML file of the networks' options, such as configs/inference/inference_v2.yaml, is needed",
    "denoising_unet_config_path": "a config.json of the denoising UNet is needed, or none, for the base model's",
}


@dataclass
class _Inference:
    """The keys of an inference configuration."""

    unet_additional_kwargs: dict | None = None
    pose_guider_kwargs: dict | None = None
    noise_scheduler_kwargs: dict | None = None
    sampler: str | None = None


def check_paths(config):
    """Refuse a configuration whose files are not there, before anything is loaded.

    Raises:
        InputError: a path is not given.
        MissingFileError: a path does not exist.
    """
    for key in _REQUIRED:
        if not getattr(config, key):
            raise InputError(f"the configuration has no {key}; the path of a file or folder is needed")
    for key, accepted in _NO_WEIGHTS.items():
        if path := getattr(config, key):
            check_file(path, key, accepted)
    keys = (key for key in (*_REQUIRED, *_OPTIONAL) if key not in _NO_WEIGHTS)
    check_all_there(
        [(key, path) for key in keys if (path := getattr(config, key))],
        "`python scripts/download_weights.py --system animate_anyone` fetches the released weights, docs/weights.md "
        "lists them",
    )
    for folder in (config.pretrained_vae_path, config.image_encoder_path):
        find_weights(folder)


class Part(Network):
    """A part of a pipeline: a model that takes no memory until its weights are loaded, and the files for it.

    Args:
        model: an uninitialised `nn.Layer`.
        paths: of files, or of folders with a file that `find_weights` knows; later ones go over earlier ones.
    """

    def __init__(self, model, paths):
        super().__init__(model)
        self._paths = paths
        self._loaded = False

    @property
    def files(self):
        """The files of the weights. Raises MissingFileError where a folder has none."""
        return [find_weights(path) if Path(path).is_dir() else path for path in self._paths]

    def load(self):
        """As `Network.load`. Raises InputError, MissingFileError for files that do not fit."""
        if not self._loaded:
            self.fill()
            self._loaded = True
        return self.model

    def release(self):
        """As `Network.release`."""
        if self._loaded:
            self.empty()
            self._loaded = False

    def fill(self):
        """Put the weights into the model, which has none; of subclasses that do so in another way."""
        load = load_motion_module if isinstance(self.model, DenoisingUNet3D) else load_weights
        load(self.model, *self.files)

    def empty(self):
        """Take the weights out of the model."""
        release_weights(self.model)

    def _compute_digest(self, cache):
        files = [file for path in self.files for file in files_of(Path(path))]
        return "-".join(cache.digest_of_checkpoint(file) for file in files)


def load_pipeline(config, runtime):
    """The pipeline, with all parts loaded; or with none, where each is loaded when it is needed.

    That is so in a compiled engine, which has weights of its own, and on the lower rungs of the memory ladder.

    Args:
        config: a `Pose2VidConfig`; its paths, its scheduler, its engine and its memory are used.
        runtime: a `Runtime`.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model, or unknown options.
    """
    check_paths(config)
    scheduler = make_configured_scheduler(config)
    rung, dtype = get_rung(config.memory), weights_dtype(config.engine, runtime.dtype)
    if rung.halves and dtype == "float32" and config.engine == "eager":  # engines have weights of their own
        dtype = "bfloat16"
    parts = describe_parts(config, dtype, weights_dtype(config.engine, runtime.encoder_dtype))
    pipeline = Pose2VideoPipeline(**{name: part.model for name, part in parts.items()}, scheduler=scheduler)
    pipeline.use_networks(parts)
    pipeline.use_engine(config.engine, config.engine_cache or None, runtime.dtype)
    pipeline.use_memory(config.memory)
    if pipeline.needs_weights and not rung.releases:
        for part in parts.values():
            part.load()
    return pipeline


def make_configured_scheduler(config):
    """The scheduler that a `Pose2VidConfig` and its inference configuration ask for."""
    inference = read_inference_config(config.inference_config)
    return make_scheduler(
        config.scheduler or inference.get("sampler", "DDIM"), inference.get("noise_scheduler_kwargs")
    )


def read_inference_config(path):
    """What an inference configuration says of networks and noise: a dict of YAML. Raises InputError for other keys."""
    inference = read_yaml(path)
    check_keys(inference, [item.name for item in fields(_Inference)], f"key in {path}")
    check_values(_Inference, inference, path)
    additional, guider = (inference.get(key) or {} for key in ("unet_additional_kwargs", "pose_guider_kwargs"))
    check_keys(additional, option_names(DenoisingUNet3D), f"UNet option in {path}")
    check_keys(guider, option_names(PoseGuider), f"pose guider option in {path}")
    return {**inference, "unet_additional_kwargs": additional, "pose_guider_kwargs": guider}


def describe_parts(config, dtype="float32", encoder_dtype="float32"):
    """name -> `Part` of the pipeline that a `Pose2VidConfig` names: what has to be loaded, and from where."""
    base = read_config(Path(config.pretrained_base_model_path) / "unet")
    denoising = read_config(config.denoising_unet_config_path) if config.denoising_unet_config_path else base
    inference = read_inference_config(config.inference_config)
    own = config.denoising_unet_config_path or config.pretrained_base_model_path
    source = f"{own} with {config.inference_config}"
    denoising_config = {**known_options(DenoisingUNet3D, denoising, own), **inference["unet_additional_kwargs"]}
    denoising_unet = build(DenoisingUNet3D, denoising_config, source, dtype)
    base = known_options(ReferenceUNet, base, config.pretrained_base_model_path)
    reference_unet = build(ReferenceUNet, base, config.pretrained_base_model_path, dtype)
    width = denoising_unet.config.block_out_channels[0]
    guider_config = {"conditioning_embedding_channels": width, **inference["pose_guider_kwargs"]}
    pose_guider = build(PoseGuider, guider_config, config.inference_config, dtype)
    return {
        "vae": describe_vae(config.pretrained_vae_path, encoder_dtype),
        "image_encoder": describe_image_encoder(config.image_encoder_path, encoder_dtype),
        "reference_unet": Part(reference_unet, [config.reference_unet_path]),
        "denoising_unet": Part(
            denoising_unet, [path for path in (config.denoising_unet_path, config.motion_module_path) if path]
        ),
        "pose_guider": Part(pose_guider, [config.pose_guider_path]),
    }


def describe_vae(folder, dtype="float32"):
    """ppdiffusers' `AutoencoderKL` from a folder in ppdiffusers' or diffusers' layout."""
    config = known_options(AutoencoderKL, read_config(folder), folder)
    return Part(use_own_layers(build(AutoencoderKL, config, folder, dtype)), [folder])


def describe_video_vae(folder, dtype="float32"):
    """ppdiffusers' `AutoencoderKLTemporalDecoder` from a folder, as `describe_vae`."""
    config = read_config(folder)
    return Part(built(lambda: make_video_vae(config, folder), folder, dtype), [folder])


def make_video_vae(config, source="the configuration"):
    """An `AutoencoderKLTemporalDecoder`; beside its options, `norm_num_groups` is that of all its group norms (32).

    Raises InputError, which begins with `source`, for options that do not fit.
    """
    rules_of("AutoencoderKLTemporalDecoder").check(config, source)
    known = option_names(AutoencoderKLTemporalDecoder)
    vae = AutoencoderKLTemporalDecoder(**{key: value for key, value in config.items() if key in known})
    groups = config.get("norm_num_groups", 32)
    vae.register_to_config(norm_num_groups=groups)
    return use_own_layers(use_groups(vae, groups))


def describe_image_encoder(folder, dtype="float32"):
    """ppdiffusers' `CLIPVisionModelWithProjection` from a folder in paddlenlp's or transformers' layout."""
    config = read_config(folder)
    # A checkpoint of the whole CLIP has the vision tower's options one level down.
    if "vision_config" in config:
        if not isinstance(config["vision_config"], dict):
            raise InputError(f"{folder}: vision_config is no mapping; the options of CLIP's vision tower are accepted")
        config = {**config, **config["vision_config"]}
    config = known_options(CLIPVisionConfig, config, folder)
    model = built(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**config)), folder, dtype)
    return Part(model, [folder])


def option_names(cls):
    """The options of a class, as its constructor names them."""
    return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]


def known_options(cls, config, source="the configuration"):
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
    rules_of(cls.__name__).check(options, source)
    return options


def build(cls, options, source, dtype="float32"):
    """A network of a class, without weights; options are held against its rules before, as by `known_options`."""
    rules_of(cls.__name__).check(options, source)
    return built(lambda: cls(**options), source, dtype)


def built(make, source, dtype="float32"):
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
