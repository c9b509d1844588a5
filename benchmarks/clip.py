"""Seconds of a whole animation with a full-size network, for every preset, and what each costs in quality.

    PEER_PYTHON=/path/to/python python -m benchmarks clip --json clip.json

A clip of 16 frames at 256x256, 10 steps, guidance 3.5, with random weights of full size (see `full_size`): picture and
poses in, frames out. Each contestant has a process of its own, and what it needs is exported in an earlier one, whose
seconds and peak memory are in the JSON as `export`. What opening exports takes is not among the seconds (it is
`preparation_seconds`), as little as building the peer is: diffusers' UNetMotionModel and AutoencoderKL in torch,
driven step by step with guidance and without caching, in fp32 and in bf16. It has no reference network, no pose guider
and no CLIP, so it does less. `psnr` compares decoded frames with those of the first preset, exact, in the first dtype.
For what presets do to pictures of people rather than to noise, `--model` takes a configuration of pose2vid, or of
stable_animator, with weights that were trained.

With `--system stable_animator` it is StableAnimator and diffusers' UNetSpatioTemporalConditionModel and
AutoencoderKLTemporalDecoder, which has neither pose net nor face. With `--system easy_animate` it is EasyAnimate V4 at
a quarter of its width, from embedded texts to frames, and the same networks of the same weights in torch: in fp32 both
must make the same video.

It takes 25 GB of disk, and about 40 minutes on two cores without the peer in bf16, which on a processor without such
arithmetic takes hours.
"""

import itertools
import tempfile
from pathlib import Path

from benchmarks import full_size, harness
from benchmarks.contestant import measure_clip
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.memory import RUNGS

PRESETS = ("exact", "balanced", "fast")
# What ours computes in: the argument `dtype` of a pipeline, `weights`, and the precision of a backend for them.
DTYPES = {"fp32": ("fp32", None, "float32"), "bf16": ("bf16", None, "bfloat16"), "int8": ("bf16", "int8", "bfloat16")}
EXPORT_STEPS = 6  # of a clip, in which each function that its steps need is called
PEERS = {"diffusers_torch_fp32": "float32", "diffusers_torch_bf16": "bfloat16"}
# Where the contestants of a system are that write weights, ours and the peer.
MODULES = {
    "animate_anyone": ("full_size", "clip", "clip_peer"),
    "stable_animator": ("svd_clip", "svd_clip", "svd_clip"),
    "easy_animate": ("easy_t2v", "easy_t2v", "easy_t2v"),
}
LEAST_DECIBELS = 60  # between the videos of ours and of a peer that computes the same


def add_arguments(parser):
    parser.add_argument("--system", choices=MODULES, default="animate_anyone", help="default: animate_anyone")
    parser.add_argument("--frames", type=int, default=16, metavar="N", help="frames of the clip (default 16)")
    parser.add_argument("--side", type=int, default=256, metavar="N", help="width and height in pixels (default 256)")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="denoising steps (default 10)")
    parser.add_argument("--guidance", type=float, default=3.5, metavar="X", help="guidance scale (default 3.5)")
    parser.add_argument("--engine", default="openvino", metavar="NAME", help="what ours runs in (default openvino)")
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=DTYPES,
        help="that ours computes in; int8 is int8 and bf16 (default: all that the engine can)",
    )
    parser.add_argument("--memory", choices=RUNGS, default="high", help="what ours keeps in memory (default high)")
    parser.add_argument("--presets", nargs="+", default=PRESETS, metavar="NAME", help="exact first (default: all)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS], metavar="NAME", help="default: all")
    parser.add_argument(
        "--model", metavar="FILE", help="configuration of pose2vid or stable_animator, instead of random weights"
    )
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    dtypes, python = _check(options), harness.peer_python("torch", "diffusers")
    names = ("system", "frames", "side", "steps", "guidance", "engine", "memory", "small")
    settings = {name: getattr(options, name) for name in names}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        model = options.model or str(Path(folder) / "model")
        if not options.model:
            title = "nothing yet: writing weights"
            harness.run_contestant(MODULES[options.system][0], "write", {**settings, "folder": model}, title=title)
        settings |= {"model": model, "cache": str(Path(folder) / "cache")}
        rows = _measure_ours(options, dtypes, settings, folder)
        peers = _measure_peers(options, settings, folder, python, next(iter(rows)))
    first = next(iter(rows))
    fields = harness.result(rows[first], peers, presets=rows, settings=settings)
    fields["preset_ratios"] = {
        preset: {name: peer["seconds"] / row["seconds"] for name, peer in peers.items()}
        for preset, row in rows.items()
    }
    harness.print_table({**rows, **peers}, fields["ratios"])
    for preset, row in rows.items():
        quality = "the same frames" if row["psnr"] is None else f"PSNR {row['psnr']:.1f} dB against {first}"
        faster = ", ".join(
            f"{ratio:.2f} times as fast as {name}" for name, ratio in fields["preset_ratios"][preset].items()
        )
        print(f"{preset}: {quality}{', ' + faster if faster else ''}")
    return fields


def _check(options):
    """The dtypes that ours is measured in. Raises InputError for options that do not fit."""
    from ppdiffusers_ext.engine.backends import BACKENDS
    from ppdiffusers_ext.pipelines.engines import check_engine
    from ppdiffusers_ext.pipelines.presets import read_preset

    check_engine(options.engine)
    for preset in options.presets:
        read_preset(preset, "easy_animate" if options.system == "easy_animate" else "")
    for name, least in (("frames", 1), ("side", 64), ("steps", 1), ("guidance", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)} is too small; {least} or more is accepted")
    if options.system == "easy_animate" and (options.frames % 8 or options.side % 16):
        raise InputError("EasyAnimate takes multiples of 8 as --frames and of 16 as --side; such as 16 and 256")
    if options.model and options.system == "easy_animate":
        raise InputError(
            "--model is a configuration of pose2vid or stable_animator; with their --system it is accepted"
        )
    backend = BACKENDS.get(options.engine)
    able = backend.precisions if backend else ("float32",)
    in_8_bits = bool(backend and backend.quantise)
    return options.dtypes or [
        name for name, (_, weights, precision) in DTYPES.items() if precision in able and (in_8_bits or not weights)
    ]


def _measure_ours(options, dtypes, settings, folder):
    rows = {}
    for dtype, preset in itertools.product(dtypes, options.presets):
        name = preset if dtype == "fp32" else f"{preset}_{dtype}"
        of_dtype = dict(zip(("dtype", "weights"), DTYPES[dtype]))
        given = {**settings, **of_dtype, "preset": preset, "frames_file": f"{folder}/{name}.npy"}
        arguments = MODULES[options.system][1], "ours"
        export = None
        if options.engine != "eager":
            few = {**given, "steps": min(options.steps, EXPORT_STEPS)}
            export = harness.run_contestant(*arguments, few, title=f"{name}: exports")
        rows[name] = {**harness.run_contestant(*arguments, given, title=name), "export": export}
        rows[name]["psnr"] = _psnr(f"{folder}/{next(iter(rows))}.npy", f"{folder}/{name}.npy")
    return rows


def _measure_peers(options, settings, folder, python, first):
    rows = {}
    for name in options.peers:
        if python is None or options.model:
            print(f"{name} is left out: it needs random weights, and PEER_PYTHON with torch and diffusers")
            continue
        given = {**settings, "dtype": PEERS[name], "frames_file": f"{folder}/{name}.npy"}
        rows[name] = harness.run_contestant(MODULES[options.system][2], "peer", given, python, title=name)
        if options.system == "easy_animate":  # whose peer begins with the same, of the same weights
            psnr = rows[name]["psnr"] = _psnr(f"{folder}/{first}.npy", f"{folder}/{name}.npy")
            print(f"{name}: {'the same frames' if psnr is None else f'PSNR {psnr:.1f} dB against {first}'}")
            if (first, PEERS[name]) == ("exact", "float32") and psnr is not None and psnr < LEAST_DECIBELS:
                raise harness.ContestantError(f"{name} makes another video: {psnr:.1f} dB of {LEAST_DECIBELS}")
    return rows


def _psnr(expected, given):
    """In dB; None if all is equal."""
    import numpy as np

    error = np.mean((np.load(expected).astype("float64") - np.load(given)) ** 2)
    return None if error == 0 else float(-10 * np.log10(error))


def ours(settings):
    import paddle

    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
    from ppdiffusers_ext.pipelines.presets import read_preset
    from ppdiffusers_ext.runtime import Runtime

    engine = {"engine_cache": settings["cache"], **{name: settings[name] for name in ("engine", "weights", "memory")}}
    if Path(settings["model"]).is_dir():
        config = Pose2VidConfig(**full_size.configuration(settings["model"]), **engine)
    else:
        config = Pose2VidConfig.load(settings["model"], **engine)
    pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", settings["dtype"]))
    pipeline.set_progress_bar_config(disable=True)
    side, preset = settings["side"], read_preset(settings["preset"])
    picture, poses = _case(config, settings["frames"], side)

    def animate():
        return pipeline(
            picture,
            poses,
            width=side,
            height=side,
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance"],
            generator=paddle.Generator().manual_seed(0),
            output_type="np",
            **preset,
        ).videos

    return measure_clip(pipeline, animate, settings["frames_file"])


def _case(config, frames, side):
    """Picture and poses: those of the configuration's first case, or else drawn blots."""
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.data.images import read_image
    from ppdiffusers_ext.data.video import read_frames

    for picture, (video, *_) in config.test_cases.items():
        return read_image(picture), list(read_frames(video, count=frames))
    random = np.random.default_rng(0)
    picture, *poses = (
        PIL.Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        for _ in range(1 + frames)
    )
    return picture, poses


CONTESTANTS = {"ours": ours}
