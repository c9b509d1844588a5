"""Convert a folder of checkpoints from the original's form to that of `from_pretrained`, or back.

    python -m scripts.convert_weights pretrained_weights/patrolli/AnimateAnyone animate_anyone \\
        --system animate_anyone --to paddle --vae pretrained_weights/sd-vae-ft-mse \\
        --image-encoder pretrained_weights/image_encoder --base-model pretrained_weights/stable-diffusion-v1-5
    python -m scripts.convert_weights animate_anyone original --system animate_anyone --to torch
    python -m scripts.convert_weights pretrained_weights/stable_animator stable --system stable_animator --to paddle

Tensors keep their bits unless --dtype is given. Names and shapes must be exactly those of the networks.
"""

import sys
from pathlib import Path

from scripts.command import ArgumentParser, run

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "inference" / "inference_v2.yaml"


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.convert_weights", description=__doc__)
    parser.add_argument("source", metavar="IN", help="folder to read")
    parser.add_argument("target", metavar="OUT", help="folder to write, new or empty")
    parser.add_argument(
        "--system", required=True, choices=["animate_anyone", "stable_animator"], help="whose checkpoints they are"
    )
    parser.add_argument("--to", required=True, choices=["paddle", "torch"], help="from_pretrained, or the original's")
    parser.add_argument("--dtype", choices=["fp32", "fp16", "bf16"], help="of the result (default: as it is)")
    title = "with animate_anyone --to paddle, where the rest lies if not in IN under the original's names"
    group = parser.add_argument_group(title)
    group.add_argument("--vae", metavar="DIR", help="folder of the VAE (IN/sd-vae-ft-mse)")
    group.add_argument("--image-encoder", metavar="DIR", help="folder of the CLIP image encoder (IN/image_encoder)")
    group.add_argument("--base-model", metavar="DIR", help="folder with unet/config.json (IN/stable-diffusion-v1-5)")
    group.add_argument("--config", metavar="FILE", help="YAML of networks and schedule (the released models')")
    return parser


def work(options):
    """Convert, and print what became of each part."""
    from ppdiffusers_ext.errors import InputError

    if options.system == "animate_anyone":
        from ppdiffusers_ext.pipelines.conversion import to_paddle, to_torch
    else:
        from ppdiffusers_ext.pipelines.stable_conversion import to_paddle, to_torch

    extra = {name: getattr(options, name) for name in ("vae", "image_encoder", "base_model", "config")}
    unused = [f"--{name.replace('_', '-')}" for name, value in extra.items() if value]
    if unused and (options.to == "torch" or options.system != "animate_anyone"):
        what = "--to torch" if options.to == "torch" else f"--system {options.system}"
        raise InputError(f"{', '.join(unused)} cannot be used with {what}; all is read from IN")
    if options.to == "torch":
        reports = to_torch(options.source, options.target, dtype=options.dtype)
    elif options.system == "animate_anyone":
        extra["inference_config"] = extra.pop("config") or CONFIG
        reports = to_paddle(options.source, options.target, dtype=options.dtype, **extra)
    else:
        reports = to_paddle(options.source, options.target, dtype=options.dtype)
    for report in reports:
        written = ", ".join(f"{count} in {file}" for file, count in report.files.items())
        print(f"{report.part:16} {report.read} tensors read, written {written}")
        if report.left_out:
            print(f"{'':16} left out, for the network has no use for them: {', '.join(report.left_out)}")
    print(f"wrote {options.target}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
