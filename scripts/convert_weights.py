"""Convert a folder of checkpoints from the original's form to that of `from_pretrained`, or back.

    python -m scripts.convert_weights pretrained_weights/patrolli/AnimateAnyone animate_anyone \\
        --system animate_anyone --to paddle --vae pretrained_weights/sd-vae-ft-mse \\
        --image-encoder pretrained_weights/image_encoder --base-model pretrained_weights/stable-diffusion-v1-5
    python -m scripts.convert_weights animate_anyone original --system animate_anyone --to torch
    python -m scripts.convert_weights pretrained_weights/stable_animator stable --system stable_animator --to paddle
    python -m scripts.convert_weights pretrained_weights/Diffusion_Transformer/EasyAnimateV4-XL-2-InP easy \\
        --system easy_animate --to paddle
    python -m scripts.convert_weights easy merged --system easy_animate --to torch --lora style.safetensors 0.8

Tensors keep their bits unless --dtype is given. Names and shapes must be exactly those of the networks.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import DTYPES, ExistingOptions, option, path_option
from ppdiffusers_ext.pipelines.easy_animate.options import lora_option

from .command import ArgumentParser, run
from .options import CheckpointOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made

# The options that are of one system, on the way to Paddle.
OPTIONS = {
    "animate_anyone": ("vae", "image_encoder", "base_model", "config"),
    "stable_animator": (),
    "easy_animate": ("config", "motion_module"),
}
_REST = "with animate_anyone --to paddle, where the rest lies if not in IN under the original's names"


@dataclass(frozen=True, kw_only=True)
class Options(CheckpointOptions, ExistingOptions):
    source: str = path_option(help="folder to read", is_positional=True, metavar="IN")
    target: str = path_option(help="folder to write", is_positional=True, metavar="OUT")
    system: str = option(choices=tuple(OPTIONS), help="whose checkpoints they are", metavar="NAME")
    to: str = option(choices=("paddle", "torch"), help="paddle, for from_pretrained, or torch, the original's form")
    dtype: str | None = option(None, choices=tuple(DTYPES), help="precision of the result", unset="as it is")
    vae: str | None = path_option(None, help="folder of the VAE", unset="IN/sd-vae-ft-mse", group=_REST, metavar="DIR")
    image_encoder: str | None = path_option(
        None, help="folder of the CLIP image encoder", unset="IN/image_encoder", group=_REST, metavar="DIR"
    )
    base_model: str | None = path_option(
        None, help="folder with unet/config.json", unset="IN/stable-diffusion-v1-5", group=_REST, metavar="DIR"
    )
    config: str | None = path_option(
        None,
        help="with --to paddle: of animate_anyone, YAML of networks and schedule (default: IN/inference.yaml, which "
        "--to torch writes, else the released models'); of easy_animate, YAML whose key transformer has options that "
        "go over those of the transformer's config.json (default: IN/inference.yaml, if it is there)",
    )
    motion_module: str | None = path_option(
        None,
        help="with easy_animate --to paddle: V1's motion modules",
        unset="IN/easyanimate_v1_mm.safetensors",
    )
    loras: list = lora_option("with easy_animate: LoRA file to merge, and its weight; may be repeated")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.convert_weights", __doc__, Options)


def work(options: Options) -> None:
    """Convert, and print what became of each part."""
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.animate_anyone import conversion
    from ppdiffusers_ext.pipelines.easy_animate import conversion as easy_conversion
    from ppdiffusers_ext.pipelines.stable_animator import conversion as stable_conversion

    systems = {"animate_anyone": conversion, "stable_animator": stable_conversion, "easy_animate": easy_conversion}
    system, extra = systems[options.system], {}
    for name in dict.fromkeys(name for names in OPTIONS.values() for name in names):
        value = getattr(options, name)
        if value and (options.to == "torch" or name not in OPTIONS[options.system]):
            what = "--to torch" if options.to == "torch" else f"--system {options.system}"
            raise InputError(f"--{name.replace('_', '-')} cannot be used with {what}; all is read from IN")
        if name in OPTIONS[options.system]:
            extra[name] = value
    if options.loras and options.system != "easy_animate":
        raise InputError(f"--lora cannot be used with --system {options.system}; easy_animate is accepted")
    if options.system == "animate_anyone":
        extra["inference_config"] = extra.pop("config")  # or the folder's, or the released models'
    elif options.system == "easy_animate":
        config = extra.pop("config")
        extra["transformer"] = easy_conversion.read_transformer_options(config) if config else None
    loras = {"loras": options.loras} if options.loras else {}
    _check_apart(options)
    results = check_existing({options.target: lambda: _made_of(options)}, options.overwrite, options.skip_existing)
    if not results.missing:
        print(f"kept {options.target}")
        return
    with results.recorded():
        if options.to == "torch":
            reports = system.to_torch(options.source, options.target, dtype=options.dtype, **loras)
        else:
            reports = system.to_paddle(options.source, options.target, dtype=options.dtype, **extra, **loras)
    for report in reports:
        written = ", ".join(f"{count:,} in {file}" for file, count in report.files.items())
        print(f"{report.part:16} {counted(report.read, 'tensor')} read, written {written}")
        if report.left_out:
            print(f"{'':16} left out, for the network has no use for them: {', '.join(report.left_out)}")
    print(f"wrote {options.target}")


def _inputs(options: Options) -> dict[str, str]:
    """Name of each file or folder that is given, as a message has it -> its path."""
    names = {"IN": "source", "--vae": "vae", "--image-encoder": "image_encoder", "--base-model": "base_model"}
    names |= {"--config": "config", "--motion-module": "motion_module"}
    loras = {f"--lora {number}": path for number, (path, _) in enumerate(options.loras, 1)}
    return {name: path for name, field in names.items() if (path := getattr(options, field))} | loras


def _check_apart(options: Options) -> None:
    """Refuse to replace what is read."""
    from ppdiffusers_ext.errors import InputError

    target = Path(os.path.realpath(options.target))
    for name, path in _inputs(options).items():
        real = Path(os.path.realpath(path))
        if options.overwrite and (target == real or target in real.parents):
            raise InputError(f"OUT {options.target}: it would replace {name}; another folder is accepted")


def _made_of(options: Options) -> "Made":
    """The `Made` of the folder: of the contents of all that is given and is there."""
    from ppdiffusers_ext.data.records import Made, digest

    inputs = {name: digest(path) for name, path in _inputs(options).items() if os.path.exists(path)}
    how = {"--system": options.system, "--to": options.to, "--dtype": options.dtype}
    how |= {f"weight of --lora {number}": weight for number, (_, weight) in enumerate(options.loras, 1)}
    return Made("convert_weights", inputs, {**how, "--checkpoint-key": options.checkpoint_key})


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
