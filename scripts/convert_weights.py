"""Convert a folder of checkpoints from the original's form to that of `from_pretrained`, or back.

    python -m scripts.convert_weights pretrained_weights/patrolli/AnimateAnyone animate_anyone \\
        --system animate_anyone --to paddle --vae pretrained_weights/sd-vae-ft-mse \\
        --image-encoder pretrained_weights/image_encoder --base-model pretrained_weights/stable-diffusion-v1-5
    python -m scripts.convert_weights animate_anyone original --system animate_anyone --to torch
    python -m scripts.convert_weights pretrained_weights/stable_animator stable --system stable_animator --to paddle
    python -m scripts.convert_weights pretrained_weights/Diffusion_Transformer/EasyAnimateV4-XL-2-InP easy \\
        --system easy_animate --to paddle

Tensors keep their bits unless --dtype is given. Names and shapes must be exactly those of the networks.
"""

import os
import sys
from pathlib import Path

from ppdiffusers_ext.errors import counted

from .command import ArgumentParser, add_existing, run

# The options that are of one system, on the way to Paddle.
OPTIONS = {
    "animate_anyone": ("vae", "image_encoder", "base_model", "config"),
    "stable_animator": (),
    "easy_animate": ("config", "motion_module"),
}


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.convert_weights", description=__doc__, reads_checkpoints=True)
    parser.add_argument("source", metavar="IN", help="folder to read")
    parser.add_argument("target", metavar="OUT", help="folder to write")
    parser.add_argument("--system", required=True, choices=list(OPTIONS), help="whose checkpoints they are")
    parser.add_argument("--to", required=True, choices=["paddle", "torch"], help="from_pretrained, or the original's")
    parser.add_argument("--dtype", choices=["fp32", "fp16", "bf16"], help="of the result (default: as it is)")
    title = "with animate_anyone --to paddle, where the rest lies if not in IN under the original's names"
    group = parser.add_argument_group(title)
    group.add_argument("--vae", metavar="DIR", help="folder of the VAE (IN/sd-vae-ft-mse)")
    group.add_argument("--image-encoder", metavar="DIR", help="folder of the CLIP image encoder (IN/image_encoder)")
    group.add_argument("--base-model", metavar="DIR", help="folder with unet/config.json (IN/stable-diffusion-v1-5)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="with --to paddle: of animate_anyone, YAML of networks and schedule (default: IN/inference.yaml, which "
        "--to torch writes, else the released models'); of easy_animate, YAML whose key transformer has options that "
        "go over those of the transformer's config.json (default: IN/inference.yaml, if it is there)",
    )
    parser.add_argument(
        "--motion-module",
        metavar="FILE",
        help="with easy_animate --to paddle: V1's motion modules (IN/easyanimate_v1_mm.safetensors)",
    )
    return add_existing(parser)


def work(options):
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
    if options.system == "animate_anyone":
        extra["inference_config"] = extra.pop("config")  # or the folder's, or the released models'
    elif options.system == "easy_animate":
        config = extra.pop("config")
        extra["transformer"] = easy_conversion.read_transformer_options(config) if config else None
    _check_apart(options)
    results = check_existing({options.target: lambda: _made_of(options)}, options.overwrite, options.skip_existing)
    if not results.missing:
        print(f"kept {options.target}")
        return
    with results.recorded():
        if options.to == "torch":
            reports = system.to_torch(options.source, options.target, dtype=options.dtype)
        else:
            reports = system.to_paddle(options.source, options.target, dtype=options.dtype, **extra)
    for report in reports:
        written = ", ".join(f"{count:,} in {file}" for file, count in report.files.items())
        print(f"{report.part:16} {counted(report.read, 'tensor')} read, written {written}")
        if report.left_out:
            print(f"{'':16} left out, for the network has no use for them: {', '.join(report.left_out)}")
    print(f"wrote {options.target}")


def _inputs(options):
    """Name of each file or folder that is given, as a message has it -> its path."""
    names = {"IN": "source", "--vae": "vae", "--image-encoder": "image_encoder", "--base-model": "base_model"}
    names |= {"--config": "config", "--motion-module": "motion_module"}
    return {name: path for name, field in names.items() if (path := getattr(options, field))}


def _check_apart(options):
    """Refuse to replace what is read."""
    from ppdiffusers_ext.errors import InputError

    target = Path(os.path.realpath(options.target))
    for name, path in _inputs(options).items():
        real = Path(os.path.realpath(path))
        if options.overwrite and (target == real or target in real.parents):
            raise InputError(f"OUT {options.target}: it would replace {name}; another folder is accepted")


def _made_of(options):
    """The `Made` of the folder: of the contents of all that is given and is there."""
    from ppdiffusers_ext.data.records import Made, digest

    inputs = {name: digest(path) for name, path in _inputs(options).items() if os.path.exists(path)}
    how = {"--system": options.system, "--to": options.to, "--dtype": options.dtype}
    return Made("convert_weights", inputs, {**how, "--checkpoint-key": options.checkpoint_key})


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
