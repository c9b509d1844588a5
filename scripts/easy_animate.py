"""What the commands of EasyAnimate share: their options, which are keys of the YAML files, and the work."""

import sys

from .command import ArgumentParser, no_command

# option strings, field of the configuration, type, help
_MODEL = (
    (("--model",), "model", str, "folder of the checkpoint"),
    (("--transformer-path",), "transformer_path", str, "file of a transformer's weights instead of the folder's"),
    (("--motion-module-path",), "motion_module_path", str, "file of V1's motion module"),
    (("--vae-path",), "vae_path", str, "file of an autoencoder's weights instead of the folder's"),
)
_VIDEO = (
    (("--prompt",), "prompt", str, "what is wanted, in English or, from V4 on, in Chinese"),
    (("--negative-prompt",), "negative_prompt", str, "what is not wanted"),
    (("--output",), "output", str, "file to write: .mp4, or .png for one frame"),
    (("-W", "--width"), "width", int, "pixels, rounded down to a multiple of 16 (default: 672)"),
    (("-H", "--height"), "height", int, "pixels, rounded down to a multiple of 16 (default: 384)"),
    (("--base",), "base", int, "instead: the nearest bucket of so many pixels a side, 512 to 1280"),
    (("-L", "--frames"), "frames", int, "frames, rounded down to a multiple of 8; 1 is a picture (default: 144)"),
    (("--fps",), "fps", float, "frames per second (default: 24)"),
    (("--steps",), "steps", int, "denoising steps (default: 25)"),
    (("--guidance-scale",), "guidance_scale", float, "1 is without guidance, in half the time (default: 7)"),
    (("--guidance-rescale",), "guidance_rescale", float, "0 to 1: how far guidance keeps the spread (default: 0)"),
    (("--sampler",), "sampler", str, "Euler, Euler A, DPM++, PNDM, DDIM or any of ppdiffusers (default: Euler)"),
    (("--seed",), "seed", int, "of the noise; -1 draws one (default: 43)"),
    (("--clip-apply-ratio",), "clip_apply_ratio", float, "part of the steps that see the picture (default: 0.4)"),
)
_LONG = (
    (("--segment",), "segment", int, "frames of the parts that a long video is made in (default: one part)"),
    (("--overlap",), "overlap", int, "frames that parts share (default: 4)"),
)
_RESIZE = ((("--resize",), "resize", str, "of pictures of another shape: fit, crop or pad (default: crop)"),)
_PICTURES = (
    (("--start-image",), "start_image", str, "picture that the video begins with"),
    (("--end-image",), "end_image", str, "picture that the video ends with"),
)
_REDRAWN = (
    (("--video",), "video", str, "video to make anew, or a folder of pictures"),
    (("--mask",), "mask", str, "picture or video, white where it is made anew (default: all of it)"),
    (("--strength",), "strength", float, "part of the steps that are taken from it on (default: 0.7, 1 with a mask)"),
)
_HOW = (
    (("--device",), "device", str, "auto, cpu, gpu or gpu:N (default: auto)"),
    (("--dtype",), "dtype", str, "fp32, bf16 or fp16 (default: fp32)"),
    (("--weights",), "weights", str, "int8 or fp8: keep the transformer's weights in 8 bits (default: as --dtype)"),
    (("--engine",), "engine", str, "auto, eager, onnx or openvino: what runs the networks (default: eager)"),
    (("--engine-cache",), "engine_cache", str, "folder of exports (default: the user's cache folder)"),
    (("--preset",), "preset", str, "exact, balanced, fast or a YAML file: what speed may cost (default: exact)"),
    (("--block-cache-threshold",), "block_cache_threshold", float, "how much may change unseen (default: preset)"),
    (("--memory",), "memory", str, "high, medium, low or minimal: what is kept in memory (default: high)"),
)
OF_TASK = {
    "text": (*_VIDEO, *_LONG),
    "pictures": (*_VIDEO, *_LONG, *_RESIZE, *_PICTURES),
    "video": (*_VIDEO, *_RESIZE, *_REDRAWN),
}


def make_parser(prog, description, task):
    """The parser of a command.

    Args:
        prog, description: of the command.
        task: one of `easy_configuration.TASKS`.
    """
    parser = ArgumentParser(prog=prog, description=description, reads_checkpoints=True)
    parser.add_argument("--config", metavar="FILE", default=CONFIG, help=f"YAML file (default: {CONFIG})")
    for options, field, kind, text in (*OF_TASK[task], *_MODEL, *_HOW):
        name = "FILE" if field.endswith(("_path", "_image")) else {int: "N", float: "X", str: "TEXT"}[kind]
        parser.add_argument(*options, dest=field, type=kind, metavar=name, help=text)
    parser.add_argument(
        "--lora",
        dest="loras",
        nargs=2,
        action="append",
        metavar=("FILE", "WEIGHT"),
        help="add a LoRA file, so many times as strong; may be repeated",
    )
    parser.add_argument(
        "--guidance-interval", nargs=2, type=float, metavar=("FROM", "TO"), help="part of the steps with guidance"
    )
    parser.add_argument(
        "--transformer", nargs=2, action="append", metavar=("OPTION", "VALUE"), help="an option of the network"
    )
    parser.add_argument("--vae-tiling", choices=("true", "false"), help="decode in tiles (default: as --memory says)")
    parser.add_argument("--ignore-memory", action="store_true", default=None, help="begin even if it will not do")
    if task == "video":
        parser.add_argument("--no-audio", dest="audio", action="store_false", default=None, help="copy no sound")
    return parser


CONFIG = "configs/inference/easy_animate/v4.yaml"


def make_work(task):
    """What a command does with its options."""

    def work(options):
        from ppdiffusers_ext.pipelines.easy_animate.run import make

        result = make(read_config(options), task)
        print(f"{'picture' if result.num_frames == 1 else 'video'}    {result.video}")
        print(f"preview  {result.contact_sheet}")

    return work


def read_config(options):
    """The `EasyAnimateConfig` that the options of `make_parser` ask for."""
    from ppdiffusers_ext.options import check_values, merge
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig, names

    given = {name: value for name, value in vars(options).items() if name in names()}
    given["loras"] = [[file, _weight(weight)] for file, weight in options.loras] if options.loras else None
    given["vae_tiling"] = None if options.vae_tiling is None else options.vae_tiling == "true"
    given["transformer"] = dict(map(_network_option, options.transformer)) if options.transformer else None
    check_values(EasyAnimateConfig, merge(given), names={name: f"--{name.replace('_', '-')}" for name in given})
    return EasyAnimateConfig.load(options.config, **given)


def _network_option(pair):
    from ppdiffusers_ext.errors import shown
    from ppdiffusers_ext.files import parse_yaml

    name, text = pair
    return name, parse_yaml(
        text, f"--transformer {shown(name)}", "a number, a text, or a list or mapping in brackets is accepted"
    )


def _weight(text):
    from ppdiffusers_ext.errors import InputError, shown

    try:
        return float(text)
    except ValueError:
        raise InputError(f"--lora has the weight {shown(text)}; a number, such as 0.6, is accepted") from None


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.predict_t2v", "scripts.predict_i2v", "scripts.predict_v2v")))
