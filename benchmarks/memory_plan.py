"""What `scripts.plan_memory` predicts beside the peak memory of the animation that it predicts.

    python -m benchmarks memory_plan --json memory_plan.json
    python -m benchmarks memory_plan --full-size --rungs medium low --cases 256x256x24

Animates drawn blots, in one step, from files to files as scripts.pose2vid or, with --system stable_animator,
scripts.stable_animator does, each case and rung in a process of its
own. `ratio` is what was predicted divided by the peak of the process. The model is the demo's, or a full-size one of
random weights (see `full_size`), which takes 12 GB of disk; for StableAnimator a small one of random weights (see
`svd_clip`), or a full-size one; for EasyAnimate one of random weights with a quarter of V4's width and all of its
depth, and with --full-size with the autoencoder as it is. An engine makes its exports in an earlier process.
"""

import re
import tempfile

from benchmarks import easy_clip, full_size, harness
from benchmarks.contestant import peak_bytes, timed, versions
from ppdiffusers_ext.errors import InputError

CASES = ("192x192x24", "256x256x24", "384x512x8")
GUIDANCE = 3.5


def add_arguments(parser):
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="WxHxL", help=f"default: {' '.join(CASES)}")
    parser.add_argument("--rungs", nargs="+", metavar="NAME", help="of the memory ladder (default: all)")
    parser.add_argument("--system", choices=ANIMATE, default="animate_anyone", help="default: animate_anyone")
    parser.add_argument("--optimize-face", action="store_true", help="with stable_animator")
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
        names = ("system", "full_size", "engine", "optimize_face")
        settings = {"folder": folder, **{name: getattr(options, name) for name in names}}
        writer = WRITERS[options.system]
        if options.full_size or options.system != "animate_anyone":
            written = {"folder": f"{folder}/model", "small": not options.full_size}
            harness.run_contestant(writer, "write", written, title="nothing yet: writing weights")
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

    from ppdiffusers_ext.data.video_writer import VideoWriter

    width, height, length = map(int, settings["case"].split("x"))
    with tempfile.TemporaryDirectory(dir=settings["folder"]) as folder:
        random = np.random.default_rng(0)
        blots = (random.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(1 + length))
        picture, *poses = (np.asarray(PIL.Image.fromarray(x).resize((width, height))) for x in blots)
        PIL.Image.fromarray(picture).save(f"{folder}/picture.png")
        with VideoWriter(f"{folder}/poses.mp4", 8, width, height) as writer:
            for pose in poses:
                writer.write(pose)
        plan, seconds = ANIMATE[settings["system"]](settings, folder, width, height, length)
    return {
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        "predicted_bytes": plan.host,
        "stage": plan.stage,
        "versions": versions("paddlepaddle", "ppdiffusers"),
    }


def _animate_anyone(settings, folder, width, height, length):
    """The plan, and the seconds."""
    from ppdiffusers_ext.pipelines.animate_anyone import run as pose2vid
    from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts
    from ppdiffusers_ext.pipelines.animate_anyone.memory import plan_memory
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig, rung_options
    from ppdiffusers_ext.pipelines.loading import models_of
    from ppdiffusers_ext.runtime import Runtime

    values = {
        "test_cases": {f"{folder}/picture.png": [f"{folder}/poses.mp4"]},
        "output": f"{folder}/output",
        "width": width,
        "height": height,
        "num_frames": length,
        "num_inference_steps": 1,
        "guidance_scale": GUIDANCE,
        "memory": settings["rung"],
        **rung_options(settings["rung"]),
        "engine": settings["engine"],
        "engine_cache": f"{settings['folder']}/cache",
        "ignore_memory": True,
        "overwrite": True,
    }
    if settings["full_size"]:
        config = Pose2VidConfig(**{**full_size.configuration(f"{settings['folder']}/model"), **values})
    else:
        config = Pose2VidConfig.load("configs/inference/demo.yaml", **values)
    models = models_of(describe_parts(config))
    (plan,) = plan_memory(models, config, Runtime.choose(config.device, config.dtype, config.engine), [config.memory])
    return plan, timed(lambda: pose2vid.animate(config, show_progress=False))


def _stable_animator(settings, folder, width, height, length):
    """The same."""
    import numpy as np
    import paddle

    from benchmarks.svd_clip import make_config
    from ppdiffusers_ext.data.images import write_image
    from ppdiffusers_ext.models.stable_animator.arcface import IResNet
    from ppdiffusers_ext.pipelines.loading import models_of
    from ppdiffusers_ext.pipelines.stable_animator.loading import describe_parts
    from ppdiffusers_ext.pipelines.stable_animator.memory import plan_memory
    from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig
    from ppdiffusers_ext.pipelines.stable_animator.run import animate
    from ppdiffusers_ext.runtime import Runtime
    from ppdiffusers_ext.weights.writing import write_safetensors

    refinement = None
    if settings["optimize_face"]:
        arrays = {name: np.asarray(tensor) for name, tensor in IResNet().state_dict().items()}
        write_safetensors(f"{folder}/recognizer.safetensors", arrays, {"format": "pd"})
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 2, width // 4 : width // 2] = 255
        for i in range(length):
            write_image(f"{folder}/masks/{i}.png", mask)
        masks = f"{folder}/masks/0.png", f"{folder}/masks"
        refinement = RefinementConfig(f"{folder}/recognizer.safetensors", *masks, iterations=1)
        del arrays
    paddle.set_device("cpu")
    config = make_config(
        f"{settings['folder']}/model",
        reference_image=f"{folder}/picture.png",
        pose_video=f"{folder}/poses.mp4",
        output=f"{folder}/output",
        width=width,
        height=height,
        num_inference_steps=1,
        memory=settings["rung"],
        engine=settings["engine"],
        engine_cache=f"{settings['folder']}/cache",
        refinement=refinement,
        ignore_memory=True,
        overwrite=True,
    )
    models = models_of(describe_parts(config))
    (plan,) = plan_memory(models, config, length, Runtime.choose("cpu", "fp32"), [config.memory])
    return plan, timed(lambda: animate(config, show_progress=False))


ANIMATE = {
    "animate_anyone": _animate_anyone,
    "stable_animator": _stable_animator,
    "easy_animate": easy_clip.animate,
}
WRITERS = {"animate_anyone": "full_size", "stable_animator": "svd_clip", "easy_animate": "easy_clip"}
CONTESTANTS = {"animate": animate}
