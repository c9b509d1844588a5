"""What the benchmarks of a single call share: engines, peers, and the quality of what half precision gives."""

import os
import tempfile

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

ENGINES = ("openvino", "openvino_bf16", "onnx", "inference", "eager")
HALF = "_bf16"


def add_arguments(parser, peers, max_frames):
    """Options that all benchmarks of a call have; `peers` are names of those in torch."""
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="timed calls (default 2)")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="times that all take their turn (default 1)"
    )
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers, help="in torch (default: all)")
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
    parser.set_defaults(max_frames=max_frames)


def check(options):
    """Raises InputError for options of `add_arguments` that do not fit."""
    from ppdiffusers_ext.pipelines.engines import check_engine  # Paddle, which other benchmarks need not import

    for engine in options.engines:
        check_engine(engine.removesuffix(HALF))
    for name in ("repeats", "threads", "rounds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")
    if not 1 <= options.frames <= options.max_frames:
        raise InputError(f"--frames {options.frames} does not fit the network; 1 to {options.max_frames} is accepted")
    if options.size < 8 or options.size % 8:
        raise InputError(f"--size {options.size} cannot be halved three times; a multiple of 8 is accepted")


def compete(options, settings, module, kinds, paddle_peers=()):
    """Measure ours in all engines, and the peers.

    Args:
        options: of `add_arguments`, checked.
        settings: of the contestants.
        module: in which they are; `weights` writes the file that ours loads.
        kinds: names of our contestants, the first of which peers are compared with, in all engines.
        paddle_peers: names of peers in Paddle.

    Returns:
        The fields of the result.
    """
    python = harness.peer_python("torch", "diffusers")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        of_ours = {**settings, "weights": f"{folder}/unet.safetensors", "cache": f"{folder}/cache"}
        harness.run_contestant(module, "weights", of_ours, title="nothing yet: writing weights")
        own = _own_contestants(module, kinds, options.engines, of_ours)
        exports = {name: _export(name, *contestant) for name, contestant in own.items()}
        peers = {name: (module, name, settings) for name in paddle_peers}
        for name in options.peers:
            if python:
                peers[name] = (module, name, settings, python)
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
    first, *others = kinds
    ours = rows[first]
    fields = harness.result(
        ours,
        {name: rows[name] for name in peers},
        **{name: rows[name] for name in others},
        engines={name: rows[name] for name in own if name not in kinds},
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


def _own_contestants(module, kinds, engines, settings):
    """name -> arguments of `run_contestant`: all kinds in the first engine, and the first in the others."""
    first, *others = engines
    contestants = {kind: (module, kind, _of_engine(first, settings)) for kind in kinds}
    return contestants | {f"{kinds[0]}_{name}": (module, kinds[0], _of_engine(name, settings)) for name in others}


def _of_engine(name, settings):
    dtype = "bfloat16" if name.endswith(HALF) else "float32"
    return {**settings, "engine": name.removesuffix(HALF), "dtype": dtype}


def _export(name, module, kind, settings):
    if settings["engine"] == "eager":
        return None
    title = f"{name}: export for {settings['engine']}"
    return harness.run_contestant(module, kind, {**settings, "repeats": 1, "output": os.devnull}, title=title)
