"""Seconds and memory of one denoising call of the full-size network, beside those of public networks.

    python -m benchmarks denoising_step
    PEER_PYTHON=/path/to/python python -m benchmarks denoising_step --json denoising_step.json

The network is Stable Diffusion 1.5's UNet with AnimateDiff's motion modules (1.3 G random parameters) on one clip of 8
frames of 32x32 latents (256x256 pixels) and one token of cross attention. Each contestant is built and measured in a
process of its own, one after the other. Seconds are the median of the repeats after a warm-up call, without building;
memory is the peak of the whole process. Other work on the machine distorts this: compare within one run on a quiet
machine. By estimate it takes 15 GB of disk and half an hour on two cores.

    ours                         ppdiffusers_ext's DenoisingUNet3D from a checkpoint, fp32, in the first of --engines
    ours_with_reference          the same with features of a reference picture, which double the keys of each spatial
                                 self-attention: what an animation really costs (without guidance, which doubles it)
    ours_ENGINE                  the same as ours in the other engines; eager is Paddle without an engine
    ppdiffusers_UNetMotionModel  ppdiffusers' network of the same shape, Paddle eager, with the same threads and MKL
                                 path as ours (ppdiffusers alone would choose slower ones)
    diffusers_UNetMotionModel    diffusers' network of the same shape in torch, if PEER_PYTHON names a Python that has
                                 torch and diffusers; fp32, and as diffusers_UNetMotionModel_bf16 in bf16

An engine exports the network once; that takes place in an earlier process, whose seconds are in the JSON. The peers
have neither reference nor pose features, so the ratios are to ours without them. (Pose features are one addition
behind the first layer, whose cost is not measurable.)
"""

import tempfile
from pathlib import Path

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

PADDLE_PEER = "ppdiffusers_UNetMotionModel"
TORCH_PEERS = ("diffusers_UNetMotionModel", "diffusers_UNetMotionModel_bf16")
MAX_FRAMES = 32  # positions of the motion modules
ENGINES = ("openvino", "onnx", "inference", "eager")


def add_arguments(parser):
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="timed calls (default 2)")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames of the clip (default 8)")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="side of the latents (default 32)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each contestant (default 2)")
    parser.add_argument(
        "--engines",
        nargs="+",
        default=ENGINES,
        metavar="NAME",
        help="what ours runs in, the first of which is what peers are compared with (default: all, OpenVINO first)",
    )
    parser.add_argument("--small", action="store_true", help="a tiny network, to try the benchmark itself")


def compete(options):
    from ppdiffusers_ext.pipelines.engines import check_engine  # Paddle, which other benchmarks need not import

    for engine in options.engines:
        check_engine(engine)
    settings = _settings(options)
    python = harness.peer_python("torch", "diffusers")
    first, *others = options.engines
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        paths = {"weights": str(Path(folder) / "unet.safetensors"), "cache": str(Path(folder) / "cache")}
        harness.run_contestant("networks", "weights", {**settings, **paths}, title="nothing yet: writing weights")
        ours = _in_engine("ours", first, {**settings, **paths})
        with_reference = _in_engine("ours_with_reference", first, {**settings, **paths})
        engines = {f"ours_{engine}": _in_engine("ours", engine, {**settings, **paths}) for engine in others}
    peers = {PADDLE_PEER: harness.run_contestant("networks", PADDLE_PEER, settings)}
    for name in TORCH_PEERS:
        if python:
            peers[name] = harness.run_contestant("networks", name, settings, python)
        else:
            print(f"{name} is left out: PEER_PYTHON does not name a Python with torch and diffusers")
    fields = harness.result(ours, peers, ours_with_reference=with_reference, engines=engines, settings=settings)
    ratios = fields["ratios"] | {name: row["seconds"] / ours["seconds"] for name, row in engines.items()}
    harness.print_table({"ours": ours, "ours_with_reference": with_reference, **engines, **peers}, ratios)
    return fields


def _in_engine(name, engine, settings):
    settings, export = {**settings, "engine": engine}, None
    if engine != "eager":
        export = harness.run_contestant(
            "networks", name, {**settings, "repeats": 1}, title=f"{name}: export for {engine}"
        )
    row = harness.run_contestant("networks", name, settings, title=f"{name} in {engine}")
    return {**row, "engine": engine, "export": export}


def _settings(options):
    for name in ("repeats", "threads"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")
    if not 1 <= options.frames <= MAX_FRAMES:
        raise InputError(f"--frames {options.frames} does not fit the motion modules; 1 to {MAX_FRAMES} is accepted")
    if options.size < 8 or options.size % 8:
        raise InputError(f"--size {options.size} cannot be halved three times; a multiple of 8 is accepted")
    return {
        "repeats": options.repeats,
        "threads": options.threads,
        "latents": [1, 4, options.frames, options.size, options.size],
        "encoder_hidden_states": [1, 1, 768],
        "dtype": "float32",
        "block_out_channels": [32, 32, 64, 64] if options.small else [320, 640, 1280, 1280],
        "norm_num_groups": 8 if options.small else 32,
        "motion_max_seq_length": MAX_FRAMES,
    }
