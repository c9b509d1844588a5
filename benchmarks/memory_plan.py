"""What `scripts.plan_memory` predicts beside the peak memory of the animation that it predicts.

    python -m benchmarks memory_plan --json memory_plan.json
    python -m benchmarks memory_plan --full-size --rungs medium low --cases 256x256x24

Animates drawn blots, in one step, from files to files as scripts.pose2vid does, each case and rung in a process of its
own. `ratio` is what was predicted divided by the peak of the process. The model is the demo's, or a full-size one of
random weights (see `full_size`), which takes 12 GB of disk. An engine makes its exports in an earlier process.
"""

import re
import tempfile
import time

from benchmarks import full_size, harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

CASES = ("128x128x24", "256x256x24", "384x512x8")
GUIDANCE = 3.5


def add_arguments(parser):
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="WxHxL", help=f"default: {' '.join(CASES)}")
    parser.add_argument("--rungs", nargs="+", metavar="NAME", help="of the memory ladder (default: all)")
    parser.add_argument("--engine", default="eager", metavar="NAME", help="what runs the networks (default eager)")
    parser.add_argument("--full-size", action="store_true", help="a full-size model instead of the demo's")


def compete(options):
    from ppdiffusers_ext.pipelines.engines import check_engine
    from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung

    check_engine(options.engine)
    for case in options.cases:
        if not re.fullmatch(r"\d+x\d+x\d+", case):
            raise InputError(f"--cases {case} is no size; such as 256x256x24 (width, height, frames) is accepted")
    rungs = [name for name in options.rungs or RUNGS if get_rung(name)]
    rows = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = {"folder": folder, "full_size": options.full_size, "engine": options.engine}
        if options.full_size:
            written = {"folder": f"{folder}/model", "small": False}
            harness.run_contestant("full_size", "write", written, title="nothing yet: writing weights")
        for case in options.cases:
            for rung in rungs:
                of_row, title = {**settings, "case": case, "rung": rung}, f"{case} {rung}"
                if options.engine != "eager":
                    harness.run_contestant("memory_plan", "animate", of_row, title=f"{title}: exports")
                rows[title] = harness.run_contestant("memory_plan", "animate", of_row, title=title)
    ratios = {name: row["predicted_bytes"] / row["peak_bytes"] for name, row in rows.items()}
    harness.print_table(rows, ratios, "predicted / peak")
    largest = max(rows, key=lambda name: rows[name]["seconds"])
    ours = {key: rows[largest][key] for key in ("seconds", "peak_bytes")}
    return {**harness.result(ours, {}, cases=rows, settings={"engine": options.engine}), "ratios": ratios}


def animate(settings):
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.data.video import VideoWriter
    from ppdiffusers_ext.pipelines import pose2vid
    from ppdiffusers_ext.pipelines.configuration import Pose2VidConfig
    from ppdiffusers_ext.pipelines.memory import get_rung
    from ppdiffusers_ext.pipelines.memory_plan import plan_memory
    from ppdiffusers_ext.runtime import Runtime

    width, height, length = map(int, settings["case"].split("x"))
    with tempfile.TemporaryDirectory(dir=settings["folder"]) as folder:
        random = np.random.default_rng(0)
        blots = (random.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(1 + length))
        picture, *poses = (np.asarray(PIL.Image.fromarray(x).resize((width, height))) for x in blots)
        PIL.Image.fromarray(picture).save(f"{folder}/picture.png")
        with VideoWriter(f"{folder}/poses.mp4", 8, width, height) as writer:
            for pose in poses:
                writer.write(pose)
        values = {
            "test_cases": {f"{folder}/picture.png": [f"{folder}/poses.mp4"]},
            "output": f"{folder}/output",
            "width": width,
            "height": height,
            "length": length,
            "steps": 1,
            "cfg": GUIDANCE,
            "memory": settings["rung"],
            **get_rung(settings["rung"]).options,
            "engine": settings["engine"],
            "engine_cache": f"{settings['folder']}/cache",
            "ignore_memory": True,
        }
        if settings["full_size"]:
            config = Pose2VidConfig(**{**full_size.configuration(f"{settings['folder']}/model"), **values})
        else:
            config = Pose2VidConfig.load("configs/inference/demo.yaml", **values)
        (plan,) = plan_memory(config, Runtime.choose(config.device, config.weight_dtype), [config.memory])
        start = time.perf_counter()
        pose2vid.animate(config, show_progress=False)
        return {
            "seconds": time.perf_counter() - start,
            "peak_bytes": peak_bytes(),
            "predicted_bytes": plan.host,
            "stage": plan.stage,
            "versions": versions("paddlepaddle", "ppdiffusers"),
        }


CONTESTANTS = {"animate": animate}
