"""One clip by two processes, each on one core, against one process on the same two cores; and the bytes they exchange.

A small denoising UNet of random weights animates a clip in context windows. Both use the command line's way: processes
that Paddle's launcher starts, with gloo. The bytes that a rank receives in a step are counted by what exchanges them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness

FRAMES, STEPS, SIDE, WINDOW, OVERLAP = 24, 4, 192, 8, 2


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=3, help="how often, in turn (default: 3)")
    parser.add_argument("--cards", action="store_true", help="print the computed table of several cards alone")


def compete(options):
    if options.cards:
        rows = computed()
        print(table(rows))
        return {"computed": rows}
    runs = {"one process on two cores": (1, 2), "two processes on a core each": (2, 1)}
    times = {name: [] for name in runs}
    for number in range(options.rounds):
        for name, setting in runs.items():
            print(f"measuring {name}, round {number + 1} of {options.rounds} ...", file=sys.stderr, flush=True)
            row = _launch(*setting)
            times[name].append(row["seconds"])
            received = row["received"] or 0
            print(f"  {row['seconds']:.2f} s", file=sys.stderr, flush=True)
    one, two = (statistics.median(each) for each in times.values())
    print(f"{'':32} {'seconds':>9}")
    for name, each in times.items():
        print(f"{name:32} {statistics.median(each):9.2f}")
    print(f"one / two: {one / two:.2f}; received by a rank in a step: {received / STEPS / 1e6:.2f} MB")
    return {"times": times, "ratio": one / two, "received_per_step": received / STEPS}


def _launch(processes, threads):
    """Seconds of the denoising in the first rank, and the bytes that it received."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(processes), "--log_dir", folder]
        command = [sys.executable, *(launch if processes > 1 else []), str(Path(__file__)), str(result)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(harness.ROOT)}
        run = subprocess.run(command, cwd=harness.ROOT, env=environment, capture_output=True, text=True)
        if run.returncode or not result.exists():
            words = " | ".join((run.stdout + run.stderr).strip().splitlines()[-3:])
            raise harness.ContestantError(f"{processes} processes ended with exit code {run.returncode}: {words}")
        return json.loads(result.read_text())


def measure(path):
    """Animate a clip twice, as a rank of a launch or alone, and write of the second time what `_launch` returns."""
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.distributed.ranks import joined, leave
    from ppdiffusers_ext.environment import use_all_cores
    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline

    use_all_cores()
    pipeline = Pose2VideoPipeline.from_pretrained(str(harness.ROOT / "assets" / "demo_model"))
    pipeline.set_progress_bar_config(disable=True)
    drawn = np.random.default_rng(0)
    picture, *poses = (
        PIL.Image.fromarray(drawn.integers(0, 255, (SIDE, SIDE, 3), np.uint8)) for _ in range(FRAMES + 1)
    )
    with joined() as ranks:
        for steps in (1, STEPS):  # the first time is slow
            ranks.meet("a clip")
            before, begun = ranks.received, time.perf_counter()
            pipeline(picture, poses, SIDE, SIDE, num_inference_steps=steps, guidance_scale=3.5, generator=1,
                     output_type="latent", context_frames=WINDOW, context_overlap=OVERLAP)  # fmt: skip
            seconds = time.perf_counter() - begun
        if ranks.is_first:
            Path(path).write_text(json.dumps({"seconds": seconds, "received": ranks.received - before}))
    leave(0)


# Bytes per second of links, and numbers of cards.
LINKS = {"PCIe 4": 25e9, "NVLink": 300e9}
CARDS = (2, 4, 8)


def windows_bytes(cards, windows, frames, height, width):
    """Bytes that a rank receives in a step of the people systems, as ranks count them: predictions but its own, fp32.

    Args:
        cards: ranks.
        windows: of a clip, each with a conditional and an unconditional prediction.
        frames, height, width: of a window, in frames and pixels.
    """
    calls = 2 * windows
    return 4 * 4 * frames * (height // 8) * (width // 8) * (calls - calls // cards)


def halves_bytes(frames, height, width):
    """As `windows_bytes`, of EasyAnimate where two ranks divide the guidance: one prediction of 8 channels, fp32.

    Args:
        frames, height, width: of the latents.
    """
    return 4 * 8 * frames * height * width


def sequence_bytes(cards, rows, frames, height, width, blocks=40, channels=1408, heads=16, size=2):
    """As `windows_bytes`, of EasyAnimate V4 where ranks divide the tokens; see `distributed.sequence`.

    Args:
        cards: ranks.
        rows: texts, 2 with guidance.
        frames, height, width: of the latents.
        blocks, channels, heads: of the transformer.
        size: bytes of a number.
    """
    tokens = frames * (height // 2) * (width // 2)
    of_rank, of_heads = -(-tokens // cards), -(-heads // cards)
    exchanged = blocks * rows * of_rank * of_heads * (channels // heads) * (3 + 1) * (cards - 1)
    return size * (exchanged + rows * (tokens - tokens // cards) * 32)


def computed():
    """Rows of the table in docs: clip, cards, bytes, milliseconds on each link, how many times as fast at most."""
    from ppdiffusers_ext.pipelines.stable_animator.time_tiles import time_tiles
    from ppdiffusers_ext.pipelines.windows import get_schedule

    rows = []
    for frames, (height, width) in ((24, (512, 512)), (144, (768, 512))):
        windows = len(get_schedule("uniform")(frames, 24, 1, 4))
        name = f"Animate Anyone, {width}x{height}, {frames} frames"
        rows += [_row(name, n, windows_bytes(n, windows, 24, height, width), _gain(2 * windows, n)) for n in CARDS]
    for frames, (height, width) in ((16, (512, 512)), (76, (1024, 576))):
        windows = len(time_tiles(frames, 16, 4))
        name = f"StableAnimator, {width}x{height}, {frames} frames"
        rows += [_row(name, n, windows_bytes(n, windows, 16, height, width), _gain(2 * windows, n)) for n in CARDS]
    for height, width in ((384, 672), (576, 1008)):
        size = 36, height // 8, width // 8
        name = f"EasyAnimate V4, {width}x{height}, 144 frames"
        rows += [_row(name, n, halves_bytes(*size) if n == 2 else sequence_bytes(n, 2, *size), n) for n in CARDS]
    return rows


def _gain(calls, cards):
    """How many times as fast so many equal calls are at most."""
    return calls / -(-calls // cards)


def _row(clip, cards, received, gain):
    milliseconds = {name: 1e3 * received / speed for name, speed in LINKS.items()}
    return {"clip": clip, "cards": cards, "bytes": received, "milliseconds": milliseconds, "gain": gain}


def table(rows):
    """The rows as Markdown."""
    lines = ["| clip | cards | MB | PCIe 4, ms | NVLink, ms | at most |", "|---|---|---|---|---|---|"]
    for row in rows:
        times = " | ".join(f"{value:.2f}" for value in row["milliseconds"].values())
        lines.append(f"| {row['clip']} | {row['cards']} | {row['bytes'] / 1e6:.1f} | {times} | {row['gain']:.1f}x |")
    return "\n".join(lines)


if __name__ == "__main__":
    measure(sys.argv[1])
