"""Parity, speed and memory of the three systems on a GPU: one table in at most ten minutes.

    python -m benchmarks gpu_check
    python -m benchmarks gpu_check --json gpu_check.json

Each system runs on each path that this machine has: Paddle on the GPU (fp32, bf16, fp16) and exports in ONNX Runtime
(fp32, fp16; TensorRT where its package is installed, else CUDA), each in a process of its own.

    seconds     of one denoising call of a full-size network of random weights: the median of the repeats after a
                warm-up, which has the export in it
    peak GB     most memory of the GPU in use during the process, less what was in use before; on a CPU the process's
    dB          signal to noise against Paddle in fp32 on the CPU: of the frames of the small models that ship (Animate
                Anyone, EasyAnimate) and of a call of a small random network (Animate Anyone, StableAnimator)
    ok          whether that is enough: 40 dB in fp32 (convolutions on a GPU may round to TF32), else 30 dB

Exit code 1 if a path fails or is not ok, 2 without a GPU. --device cpu runs the same checks on the CPU.
"""

import functools
import subprocess
import sys
import tempfile
import threading
import time

from benchmarks import dit_step, harness, svd_step
from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError

BOUNDS = {"float32": 40, "bfloat16": 30, "float16": 30}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
SECONDS = 600
INTERVAL = 0.2  # seconds between two looks at the GPU's memory
SMALL_UNET = {"block_out_channels": [32, 32, 64, 64], "norm_num_groups": 8, "motion_max_seq_length": 32}
UNET = {"block_out_channels": [320, 640, 1280, 1280], "norm_num_groups": 32, "motion_max_seq_length": 32}


def add_arguments(parser):
    parser.add_argument("--device", default="gpu:0", metavar="NAME", help="gpu:N or cpu (default gpu:0)")
    parser.add_argument("--systems", nargs="+", choices=tuple(SYSTEMS), default=list(SYSTEMS), help="(default: all)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="timed calls (default 3)")
    parser.add_argument("--small", action="store_true", help="time small networks, to see whether this works")


def compete(options):
    if options.repeats < 1:
        raise InputError(f"--repeats {options.repeats} is too small; 1 or more is accepted")
    paths, told = find_paths(options.device)
    for line in told:
        print(line, file=sys.stderr)
    end, rows = time.monotonic() + SECONDS, []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for system in options.systems:
            rows += _check_system(system, paths, options, folder, end)
    print_rows(rows)
    failed = [f"{row['system']} {row['path']}" for row in rows if not row["ok"]]
    return {"device": _describe(options.device), "rows": rows, "ok": not failed}


def find_paths(device):
    """The paths of a device, (engine, dtype), and lines for what is missing.

    Raises:
        InputError: neither Paddle nor ONNX Runtime can use it.
    """
    from ppdiffusers_ext.engine.bound_sessions import PRECISIONS, check_gpu
    from ppdiffusers_ext.runtime import check_device

    if device == "cpu":
        return [("eager", "float32"), ("eager", "bfloat16"), *(("onnx", dtype) for dtype in PRECISIONS)], []
    paths, told = [], []
    for engine, dtypes, check in (("eager", BOUNDS, check_device), ("onnx", PRECISIONS, check_gpu)):
        try:
            check(device)
            paths += [(engine, dtype) for dtype in dtypes]
        except InputError as error:
            told.append(f"engine {engine} is left out: {error}")
    if not paths:
        raise InputError(f"there is no GPU to check ({'; '.join(told)}); --device cpu is accepted")
    return paths, told


def _check_system(system, paths, options, folder, end):
    """Rows of a system: of each path."""
    settings = {
        "system": system,
        "device": options.device,
        "threads": available_cores(),
        "repeats": options.repeats,
        "cache": f"{folder}/cache",
        **SYSTEMS[system](options.small),
    }
    for which in ("parity", "speed"):
        if which in settings:
            settings[which]["weights"] = f"{folder}/{which}.safetensors"
            title = f"nothing yet: writing weights of {system}"
            of_weights = {**settings, **settings[which], "conditions": f"{folder}/conditions.npz"}
            harness.run_contestant("gpu_networks", "weights", of_weights, title=title)
    reference = {**settings, "device": "cpu", "engine": "eager", "dtype": "float32", "repeats": 0}
    reference["output"] = f"{folder}/reference.npz"
    harness.run_contestant("gpu_networks", "check", reference, title=f"{system} on the CPU")
    rows = []
    for engine, dtype in paths:
        row = {"system": system, "path": f"{'Paddle' if engine == 'eager' else 'ONNX Runtime'} {SHORT[dtype]}"}
        given = {**settings, "engine": engine, "dtype": dtype, "output": f"{folder}/output.npz"}
        rows.append({**row, **_check_path(row, given, reference["output"], end)})
    return rows


def _check_path(row, settings, reference, end):
    """What is found of a path: `ok`, and either the figures or the `error`."""
    if time.monotonic() > end:
        return {"ok": False, "error": f"there was no time left of {SECONDS} seconds"}
    watch = MemoryWatch(settings["device"])
    try:
        with watch:
            found = harness.run_contestant("gpu_networks", "check", settings, title=f"{row['system']}, {row['path']}")
    except harness.ContestantError as error:
        return {"ok": False, "error": str(error)}
    decibels = _decibels(settings["output"], reference)
    peak = found["peak_bytes"] if settings["device"] == "cpu" else watch.peak_bytes
    return {**found, "peak_bytes": peak, "decibels": decibels, "ok": decibels >= BOUNDS[settings["dtype"]]}


def _decibels(output, reference):
    import numpy as np

    from ppdiffusers_ext.engine.decibels import signal_to_noise

    with np.load(output) as found, np.load(reference) as expected:
        lowest = min(signal_to_noise(found[name], expected[name]) for name in found.files)
    return min(lowest, 200.0)  # JSON has no infinity


class MemoryWatch:
    """Looks at a GPU's memory while a process runs, for `with`; on a CPU it does nothing.

    Attributes:
        peak_bytes: most bytes in use, less those at the beginning; None where nvidia-smi tells nothing.
    """

    def __init__(self, device):
        self._read = functools.partial(used_memory, device)
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)
        self._first, self._most = None, None

    @property
    def peak_bytes(self):
        return None if self._first is None else self._most - self._first

    def __enter__(self):
        self._first = self._most = self._read()
        if self._first is not None:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self):
        while not self._ended.wait(INTERVAL):
            self._most = max(self._most, self._read() or 0)


def used_memory(device):
    """Bytes of a GPU's memory that are in use, by whatever process; None where nvidia-smi does not tell."""
    if device == "cpu":
        return None
    told = _ask("memory.used", device)
    return int(told) * 2**20 if told.isdigit() else None


def _ask(what, device):
    """What nvidia-smi says of a GPU, or nothing."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    command += ["-i", device.partition(":")[2] or "0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _describe(device):
    return {"name": device, "model": "" if device == "cpu" else _ask("name,memory.total,driver_version", device)}


def print_rows(rows):
    """One table: a line for each path of each system."""
    print(f"{'system':16} {'path':20} {'seconds':>8} {'peak GB':>8} {'dB':>7}  ok")
    for row in rows:
        line = f"{row['system']:16} {row['path']:20}"
        if "error" in row:
            print(f"{line} failed: {row['error']}")
            continue
        peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f}"
        print(f"{line} {row['seconds']:8.3f} {peak:>8} {row['decibels']:7.1f}  {'yes' if row['ok'] else 'NO'}")


def _of_animate_anyone(small):
    context = {"encoder_hidden_states": [1, 1, 768]}
    parity = {**SMALL_UNET, **context, "latents": [1, 4, 2, 8, 8]}
    speed = dict(parity) if small else {**UNET, **context, "latents": [1, 4, 16, 64, 64]}
    return {"clip": [64, 1, 1] if small else [128, 8, 4], "parity": parity, "speed": speed}


def _of_stable_animator(small):
    parity = {"network": svd_step.SMALL_UNET, "sample": [1, 2, 8, 8, 8]}
    full = {"network": svd_step.UNET, "sample": [1, 16, 8, 64, 64]}
    return {"parity": parity, "speed": dict(parity) if small else full}


def _of_easy_animate(small):
    network = {**(dit_step.SMALL if small else dit_step.QUARTER), "num_layers": 2 if small else 40}
    size = dit_step.SMALL_SIZE if small else dit_step.SIZE
    return {"clip": [64, 8, 1] if small else [64, 16, 8], "speed": {"network": network, "size": size}}


SYSTEMS = {
    "animate_anyone": _of_animate_anyone,
    "stable_animator": _of_stable_animator,
    "easy_animate": _of_easy_animate,
}
