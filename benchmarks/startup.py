"""Seconds from the start of the process to the first denoising step, with and without exports at hand.

    python -m benchmarks startup --json startup.json

Animates one clip of two steps with a full-size model of random weights (see `full_size`) in a new process: once with
an empty cache of exports, once with what that left, and once in Paddle without an engine. The first step starts where
the second one's duration before the first one's end is, so what an engine does at its first call belongs to the start.
Beside it stands how long it takes to read the files of the weights once; they are in the system's cache.
"""

import tempfile
import time
from pathlib import Path

from benchmarks import full_size, harness
from benchmarks.contestant import peak_bytes, timed, versions

SIDE, FRAMES = 256, 8


def add_arguments(parser):
    parser.add_argument("--engine", default="openvino", metavar="NAME", help="a compiled engine (default openvino)")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="it computes in (default fp32)")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    from ppdiffusers_ext.pipelines.engines import check_engine

    check_engine(options.engine)
    rows = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = {"folder": f"{folder}/model", "small": options.small, "cache": f"{folder}/cache"}
        written = harness.run_contestant("full_size", "write", settings, title="nothing yet: writing weights")
        for title, engine in (("cold", options.engine), ("warm", options.engine), ("eager", "eager")):
            of_row = {**settings, "engine": engine, "dtype": options.dtype, "started": time.time()}
            rows[title] = harness.run_contestant("startup", "start", of_row, title=title)
    harness.print_table(rows, {})
    beyond = rows["warm"]["seconds"] - rows["warm"]["reading_seconds"]
    print(f"warm: {beyond:.1f} s more than reading the weights once ({rows['warm']['reading_seconds']:.1f} s)")
    peers = {title: rows[title] for title in ("cold", "eager")}
    settings = {"engine": options.engine, "dtype": options.dtype, "side": SIDE, "frames": FRAMES}
    settings["weight_bytes"] = written["bytes"]
    return harness.result(rows["warm"], peers, seconds_beyond_reading=beyond, settings=settings)


def start(settings):
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
    from ppdiffusers_ext.runtime import Runtime

    engine = {"engine": settings["engine"], "engine_cache": settings["cache"]}
    config = Pose2VidConfig(**full_size.configuration(settings["folder"]), **engine)
    pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", settings["dtype"]))
    pipeline.set_progress_bar_config(disable=True)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(pixels).resize((SIDE, SIDE))
    ends = []
    pipeline(
        picture,
        [picture] * FRAMES,
        width=SIDE,
        height=SIDE,
        num_inference_steps=2,
        output_type="latent",
        callback_on_step_end=lambda *_: ends.append(time.time()),
    )
    first, second = ends
    return {
        "seconds": first - (second - first) - settings["started"],
        "step_seconds": second - first,
        "reading_seconds": timed(lambda: _read(settings["folder"])),
        "peak_bytes": peak_bytes(),
        "versions": versions("paddlepaddle", "ppdiffusers"),
    }


def _read(folder):
    for path in Path(folder).rglob("*.safetensors"):
        with open(path, "rb") as file:
            while file.read(2**24):
                pass


CONTESTANTS = {"start": start}
