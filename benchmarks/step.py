"""What the benchmarks of a single call share: engines, peers, and the quality of what half precision gives."""

import os
import tempfile

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

ENGINES = ("openvino", "openvino_bf16", "openvino_int8", "onnx", "inference", "eager")
HALF, INT8 = "_bf16", "_int8"
TOLERANCE = 1e-3  # of the largest number, which networks of the same weights may differ by in fp32


def add_arguments(parser, peers, max_frames):
    """Options of a call of a UNet; `peers` are names of those in torch."""
    add_common_arguments(parser, peers, ENGINES)
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames of the clip (default 8)")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="side of the latents (default 32)")
    parser.set_defaults(max_frames=max_frames)


def add_common_arguments(parser, peers, engines):
    """Options that all benchmarks of a call have; `engines` are those of ours unless the user says otherwise."""
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="timed calls (default 2)")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="times that all take their turn (default 1)"
    )
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers, help="in torch (default: all)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each contestant (default 2)")
    parser.add_argument(
        "--engines",
        nargs="+",
        default=engines,
        metavar="NAME",
        help=f"what ours runs in, the first of which is what peers are compared with (default: {' '.join(engines)})",
    )
    parser.add_argument("--small", action="store_true", help="a tiny network, to try the benchmark itself")


def check(options):
    """Raises InputError for options of `add_arguments` that do not fit."""
    check_common(options)
    if not 1 <= options.frames <= options.max_frames:
        raise InputError(f"--frames {options.frames} does not fit the network; 1 to {options.max_frames} is accepted")
    if options.size < 8 or options.size % 8:
        raise InputError(f"--size {options.size} cannot be halved three times; a multiple of 8 is accepted")


def check_common(options):
    """Raises InputError for options of `add_common_arguments` that do not fit."""
    from ppdiffusers_ext.pipelines.engines import check_engine  # Paddle, which other benchmarks need not import

    for engine in options.engines:
        check_engine(_engine(engine))
    for name in ("repeats", "threads", "rounds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")


def compete(options, settings, module, kinds, paddle_peers=(), same_weights=False, packages=("torch", "diffusers")):
    """Measure ours in all engines, and the peers.

    Args:
        options: of `add_arguments`, checked.
        settings: of the contestants.
        module: in which they are; `weights` writes the file that ours loads.
        kinds: names of our contestants, the first of which peers are compared with, in all engines.
        paddle_peers: names of peers in Paddle.
        same_weights: whether peers load the file, too, and must compute what ours does in fp32.
        packages: that peers in torch import.

    Returns:
        The fields of the result.

    Raises:
        ContestantError: a peer of the same weights computes something else.
    """
    python = harness.peer_python(*packages)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        files = {"weights": f"{folder}/weights.safetensors", "conditions": f"{folder}/conditions.npz"}
        of_ours = {**settings, **files, "cache": f"{folder}/cache"}
        harness.run_contestant(module, "weights", of_ours, title="nothing yet: writing weights")
        own = _own_contestants(module, kinds, options.engines, of_ours)
        exports = {name: _export(name, *contestant) for name, contestant in own.items()}
        peers = {name: (module, name, settings) for name in paddle_peers}
        for name in options.peers:
            if python:
                peers[name] = (module, name, of_ours if same_weights else settings, python)
            else:
                print(f"{name} is left out: PEER_PYTHON does not name a Python with {' and '.join(packages)}")
        contestants = {
            name: (module, kind, {**given, "output": f"{folder}/{name}.npy"}, *python_of)
            for name, (module, kind, given, *python_of) in {**own, **peers}.items()
        }
        rows = harness.run_in_turn(contestants, options.rounds)
        if same_weights:
            _check_same([name for name in rows if _is_exact(name, own)], folder)
        for half, full in _pairs(rows, own):
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
    for half, full in _pairs(rows, own):
        print(f"{half} is {rows[half]['decibels']:.1f} dB from {full}")
    return fields


def _is_exact(name, own):
    """Whether a contestant computes in fp32."""
    return own[name][2]["dtype"] == "float32" if name in own else not name.endswith(HALF)


def _check_same(names, folder):
    import numpy as np

    arrays = [np.load(f"{folder}/{name}.npy") for name in names]
    for name, array in zip(names[1:], arrays[1:]):
        error = float(np.abs(array - arrays[0]).max() / np.abs(arrays[0]).max())
        if not error <= TOLERANCE:
            raise harness.ContestantError(f"{name} differs from {names[0]} by {error:.3g} of the largest number")
        print(f"{name} differs from {names[0]} by {error:.1e} of the largest number")


def _pairs(rows, own):
    """Names of contestants in bf16 or int8, each with one of the same network in fp32."""
    exact = [name for name in rows if _is_exact(name, own)]
    for name in rows:
        same = [other for other in own if name in own and own[other][1] == own[name][1]]  # in other engines
        full = [other for other in (_engine(name), *same) if other in exact]
        if name not in exact and full:
            yield name, full[0]


def _decibels(path, expected):
    import numpy as np

    from ppdiffusers_ext.engine.decibels import signal_to_noise

    return signal_to_noise(np.load(path), np.load(expected))


def _own_contestants(module, kinds, engines, settings):
    """name -> arguments of `run_contestant`: all kinds in the first engine, and the first in the others."""
    first, *others = engines
    contestants = {kind: (module, kind, _of_engine(first, settings)) for kind in kinds}
    return contestants | {f"{kinds[0]}_{name}": (module, kinds[0], _of_engine(name, settings)) for name in others}


def _engine(name):
    """A name without what it says of precision."""
    return name.removesuffix(HALF).removesuffix(INT8)


def _of_engine(name, settings):
    dtype = "float32" if name == _engine(name) else "bfloat16"
    return {**settings, "engine": _engine(name), "dtype": dtype, "in_8_bits": "int8" if name.endswith(INT8) else None}


def _export(name, module, kind, settings):
    if settings["engine"] == "eager":
        return None
    title = f"{name}: export for {settings['engine']}"
    return harness.run_contestant(module, kind, {**settings, "repeats": 1, "output": os.devnull}, title=title)
