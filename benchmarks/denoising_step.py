"""Seconds and memory of one denoising call of the full-size network, beside those of public networks.

    python -m benchmarks denoising_step
    PEER_PYTHON=/path/to/python python -m benchmarks denoising_step --json denoising_step.json

The network is Stable Diffusion 1.5's UNet with AnimateDiff's motion modules (1.3 G random parameters) on one clip of 8
frames of 32x32 latents (256x256 pixels) and one token of cross attention. Each contestant is built and measured in a
process of its own, one after the other, and with --rounds again and again, since a machine may be faster at one time
than at another. Seconds are the median of the repeats after a warm-up call, without building; memory is the peak of
the whole process. Other work on the machine distorts this: compare within one run on a quiet machine. By estimate it
takes 15 GB of disk and half an hour on two cores.

    ours                         ppdiffusers_ext's DenoisingUNet3D from a checkpoint, fp32, in the first of --engines
    ours_with_reference          the same with features of a reference picture, which double the keys of each spatial
                                 self-attention: what an animation really costs (without guidance, which doubles it)
    ours_ENGINE                  the same as ours in the other engines; eager is Paddle without an engine, and
                                 openvino_bf16 computes in bf16
    ppdiffusers_UNetMotionModel  ppdiffusers' network of the same shape, Paddle eager, with the same threads and MKL
                                 path as ours (ppdiffusers alone would choose slower ones)
    diffusers_UNetMotionModel    diffusers' network of the same shape in torch, if PEER_PYTHON names a Python that has
                                 torch and diffusers; fp32, and as diffusers_UNetMotionModel_bf16 in bf16

An engine exports the network once; that takes place in an earlier process, whose seconds are in the JSON. The peers
have neither reference nor pose features, so the ratios are to ours without them. (Pose features are one addition
behind the first layer, whose cost is not measurable.) What bf16 costs is the ratio of signal to noise of the result,
against that of the same network in fp32, in decibels.
"""

import os
import tempfile

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

PADDLE_PEER = "ppdiffusers_UNetMotionModel"
TORCH_PEERS = ("diffusers_UNetMotionModel", "diffusers_UNetMotionModel_bf16")
MAX_FRAMES = 32  # positions of the motion modules
ENGINES = ("openvino", "openvino_bf16", "onnx", "inference", "eager")
HALF = "_bf16"


def add_arguments(parser):
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="timed calls (default 2)")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="times that all take their turn (default 1)"
    )
    parser.add_argument("--peers", nargs="*", choices=TORCH_PEERS, default=TORCH_PEERS, help="in torch (default: all)")
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
        check_engine(engine.removesuffix(HALF))
    settings = _settings(options)
    python = harness.peer_python("torch", "diffusers")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        of_ours = {**settings, "weights": f"{folder}/unet.safetensors", "cache": f"{folder}/cache"}
        harness.run_contestant("networks", "weights", of_ours, title="nothing yet: writing weights")
        own = _own_contestants(options.engines, of_ours)
        exports = {name: _export(name, *contestant) for name, contestant in own.items()}
        peers = {PADDLE_PEER: ("networks", PADDLE_PEER, settings)}
        for name in options.peers:
            if python:
                peers[name] = ("networks", name, settings, python)
            else:
                print(f"{name} is left out: PEER_PYTHON does not name a Python with torch and diffusers")
        contestants = {
            name: (module, kind, {**given, "output": f"{folder}/{name}.npy"}, *python_of)
            for name, (module, kind, given, *python_of) in {**own, **peers}.items()
        }
        rows = harness.run_in_turn(contestants, options.rounds)
        for half, full in _pairs(rows):
            rows[half]["decibels"] = _decibels(f"{folder}/{half}.npy", f"{folder}/{full}.npy")
    for name, export in exports.items():
        rows[name].update(engine=own[name][2]["engine"], export=export)
    ours = rows["ours"]
    fields = harness.result(
        ours,
        {name: rows[name] for name in peers},
        ours_with_reference=rows["ours_with_reference"],
        engines={name: rows[name] for name in own if name not in ("ours", "ours_with_reference")},
        settings={**settings, "rounds": options.rounds},
    )
    ratios = fields["ratios"] | {name: row["seconds"] / ours["seconds"] for name, row in fields["engines"].items()}
    harness.print_table(rows, ratios)
    for half, full in _pairs(rows):
        print(f"{half} is {rows[half]['decibels']:.1f} dB from {full}")
    return fields


def _pairs(rows):
    """Names of contestants in bf16, each with that of the same network in fp32."""
    for name in rows:
        if name.endswith(HALF):
            full = name.removesuffix(HALF)
            yield name, full if full in rows else "ours"


def _decibels(path, expected):
    import numpy as np

    from ppdiffusers_ext.engine.compiled import signal_to_noise

    return signal_to_noise(np.load(path), np.load(expected))


def _own_contestants(engines, settings):
    """name -> arguments of `run_contestant`: both kinds in the first engine, and one in the others."""
    first, *others = engines
    contestants = {kind: ("networks", kind, _of_engine(first, settings)) for kind in ("ours", "ours_with_reference")}
    return contestants | {f"ours_{name}": ("networks", "ours", _of_engine(name, settings)) for name in others}


def _of_engine(name, settings):
    dtype = "bfloat16" if name.endswith(HALF) else "float32"
    return {**settings, "engine": name.removesuffix(HALF), "dtype": dtype}


def _export(name, module, kind, settings):
    if settings["engine"] == "eager":
        return None
    title = f"{name}: export for {settings['engine']}"
    return harness.run_contestant(module, kind, {**settings, "repeats": 1, "output": os.devnull}, title=title)


def _settings(options):
    for name in ("repeats", "threads", "rounds"):
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
