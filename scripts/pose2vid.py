"""Animate pictures of people with Animate Anyone.

    python -m scripts.pose2vid --config configs/inference/animation.yaml -W 600 -H 784 -L 120
    python -m scripts.pose2vid --config configs/inference/animation.yaml \\
        --reference-image person.png --pose-video dance_kps.mp4 --output dance.mp4

The YAML file names the model and, under test_cases, the pictures and their pose videos. Options given here override
keys of the file. For each pair, three files are written: the video, the same beside picture and poses, and a contact
sheet. A pose picture instead of a pose video gives a picture.
"""

import sys

from .command import ArgumentParser, run

# option strings, name of the configuration's field, type, help
_OPTIONS = (
    (("-W", "--width"), "width", int, "pixels, rounded down to a multiple of 8 (default: 512)"),
    (("-H", "--height"), "height", int, "pixels, rounded down to a multiple of 8 (default: 784)"),
    (("-L", "--length"), "length", int, "frames, at most those of the pose video (default: all)"),
    (("--seed",), "seed", int, "of the initial noise; -1 draws one (default: 42)"),
    (("--cfg",), "cfg", float, "guidance scale; 1 is without guidance, in half the time (default: 3.5)"),
    (("--steps",), "steps", int, "denoising steps (default: 30)"),
    (("--fps",), "fps", float, "frames per second of the result (default: as the pose video)"),
    (("--scheduler",), "scheduler", str, "DDIM, DPM-Solver++, UniPC, Euler, LCM, or any of ppdiffusers"),
    (("--context-frames",), "context_frames", int, "frames that are denoised together (default: 24)"),
    (("--context-stride",), "context_stride", int, "strides of the windows (default: 1)"),
    (("--context-overlap",), "context_overlap", int, "frames that windows share (default: 4)"),
    (("--context-schedule",), "context_schedule", str, "uniform (wraps round) or sliding (default: uniform)"),
    (("--context-batch-size",), "context_batch_size", int, "windows denoised in one call (default: 1)"),
    (("--decode-chunk-size",), "decode_chunk_size", int, "frames decoded together (default: 4)"),
    (("--vae-tile-size",), "vae_tile_size", int, "pixels: pictures pass the VAE in tiles (default: 0, as a whole)"),
    (("--device",), "device", str, "auto, cpu, gpu or gpu:N (default: auto)"),
    (("--dtype",), "weight_dtype", str, "fp32, bf16 or fp16 (default: the file's weight_dtype)"),
    (("--preset",), "preset", str, "exact, balanced, fast or a YAML file: what speed may cost (default: exact)"),
    (
        ("--memory",),
        "memory",
        str,
        "high, medium, low or minimal: how much is kept and computed at a time (default: high)",
    ),
    (("--step-cache-interval",), "step_cache_interval", int, "the whole network every N-th step (default: 1)"),
    (("--step-cache-depth",), "step_cache_depth", int, "units that run in the other steps (default: 1)"),
    (
        ("--engine",),
        "engine",
        str,
        "auto, eager, inference, onnx or openvino: what runs the networks (default: eager)",
    ),
    (("--engine-cache",), "engine_cache", str, "folder of exports (default: the user's cache folder)"),
    (("--output",), "output", str, "a folder, or the file for a single case (default: a dated folder in output/)"),
)
_FLAGS = (
    ("--sequential-guidance", "sequential_guidance", "guide in two calls instead of a batch of two: less memory"),
    ("--fp16-reference-features", "fp16_reference_features", "round reference features as the original does"),
    ("--ignore-memory", "ignore_memory", "begin even if memory will probably not do"),
)


CONFIG = "configs/inference/demo.yaml"


def make_parser(prog="python -m scripts.pose2vid", description=__doc__):
    parser = ArgumentParser(prog=prog, description=description, reads_checkpoints=True)
    parser.add_argument("--config", default=CONFIG, metavar="FILE", help=f"YAML file (default: the demo's, {CONFIG})")
    parser.add_argument("--reference-image", metavar="FILE", help="picture of the person, instead of test_cases")
    parser.add_argument("--resize", metavar="WAY", help="of other shapes: fit (stretch), crop or pad (default: fit)")
    parser.add_argument("--pose-video", metavar="FILE", help="pose video (or picture), instead of test_cases")
    return add_options(parser)


def add_options(parser):
    """Options of how to animate; gives the parser back."""
    for strings, name, kind, text in _OPTIONS:
        parser.add_argument(*strings, dest=name, type=kind, help=text)
    parser.add_argument(
        "--guidance-interval",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="part of the steps with guidance, such as 0.2 0.8; the others take half the time (default: 0 1)",
    )
    for string, name, text in _FLAGS:
        parser.add_argument(string, dest=name, action="store_true", default=None, help=text)
    return parser


def read_config(options):
    """The `Pose2VidConfig` that the options of `make_parser` ask for."""
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

    overrides = {**read_overrides(options), "resize": options.resize}
    if (options.reference_image is None) != (options.pose_video is None):
        raise InputError("--reference-image and --pose-video belong together; both or neither are accepted")
    if options.reference_image is not None:
        overrides["test_cases"] = {options.reference_image: [options.pose_video]}
    return Pose2VidConfig.load(options.config, **overrides)


def read_overrides(options, system="animate_anyone"):
    """Name of a field of `Pose2VidConfig` -> what `add_options` were given for it, or None.

    Raises InputError for what no configuration has. Other systems than Animate Anyone have bounds of their own.
    """
    from ppdiffusers_ext.options import check_values, merge
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

    names = {name: strings[-1] for strings, name, *_ in _OPTIONS}
    given = {name: getattr(options, name) for name in (*names, *(name for _, name, _ in _FLAGS), "guidance_interval")}
    shared = given if system == "animate_anyone" else {name: given[name] for name in ("length", "fps", "seed")}
    check_values(Pose2VidConfig, merge(shared), names=names)
    return given


def work(options):
    """Load the configuration, animate, and print the files."""
    config = read_config(options)

    from ppdiffusers_ext.pipelines.animate_anyone.run import animate

    for result in animate(config):
        print(f"video         {result.video}")
        print(f"side by side  {result.side_by_side}")
        print(f"preview       {result.contact_sheet}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
