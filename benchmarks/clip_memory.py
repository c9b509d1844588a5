"""How much more memory a clip of 240 frames needs than one of 24.

    python -m benchmarks clip_memory --json clip_memory.json

Runs all of an animation at 256x256 with the demo model: pose frames from a generator, two denoising steps in windows
of 24 frames, decoding a few frames at a time. Each length has a process of its own, and memory is the peak of the
whole process. Growth is what the longer clip needs more, as a part of what the shorter one needs: what is kept for the
clip instead of the window. Beside it stands what each process had in RAM before it animated, most of which is Paddle.
There are no peers; `seconds` are of one run, without a warm-up. It takes a few minutes on two cores.
"""

import time

from benchmarks import harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

SIDE = 256  # pixels


def add_arguments(parser):
    parser.add_argument("--frames", type=int, nargs=2, default=(24, 240), metavar="N", help="both lengths (24 240)")
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="denoising steps (default 2)")


def compete(options):
    short, long = options.frames
    if not 1 <= short < long:
        raise InputError(f"--frames {short} {long} cannot be compared; a shorter and a longer length are accepted")
    if options.steps < 1:
        raise InputError(f"--steps {options.steps} is too small; 1 or more is accepted")
    settings = {"side": SIDE, "steps": options.steps, "context_frames": 24}
    frames = {}
    for length in (short, long):
        of_length = {**settings, "frames": length}
        frames[str(length)] = harness.run_contestant("clip_memory", "animation", of_length, title=f"{length} frames")
    growth = frames[str(long)]["peak_bytes"] / frames[str(short)]["peak_bytes"] - 1
    harness.print_table({f"{length} frames": row for length, row in frames.items()}, {})
    print(f"growth {growth:.1%}")
    ours = {key: frames[str(long)][key] for key in ("seconds", "peak_bytes")}
    return harness.result(ours, {}, frames=frames, growth=growth, settings=settings)


def demo_pipeline():
    """The pipeline of `make demo`, on the CPU."""
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
    from ppdiffusers_ext.runtime import Runtime

    pipeline = Pose2VideoPipeline.open(
        Pose2VidConfig.load("configs/inference/demo.yaml"), Runtime.choose("cpu", "fp32")
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _poses(frames, side):
    """Pose frames, made when they are asked for."""
    import numpy as np

    random = np.random.default_rng(0)
    for _ in range(frames):
        yield random.integers(0, 255, (side, side, 3), dtype=np.uint8)


def animation(settings):
    import paddle
    import PIL.Image

    pipeline = demo_pipeline()
    before, start = peak_bytes(), time.perf_counter()
    frames, side = settings["frames"], settings["side"]
    latents = pipeline(
        PIL.Image.new("RGB", (side, side), "gray"),
        _poses(frames, side),
        width=side,
        height=side,
        video_length=frames,
        num_inference_steps=settings["steps"],
        generator=paddle.Generator().manual_seed(0),
        output_type="latent",
        context_frames=settings["context_frames"],
    ).videos
    # As the command does: a few frames at a time, as bytes, and on to the video writer.
    decoded = sum((chunk * 255).round().astype("uint8").shape[0] for chunk in pipeline.decode(latents))
    if decoded != frames:
        raise RuntimeError(f"{decoded} frames came out instead of {frames}")
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_bytes(),
        "before_bytes": before,
        "versions": versions("paddlepaddle", "ppdiffusers"),
    }


CONTESTANTS = {"animation": animation}
