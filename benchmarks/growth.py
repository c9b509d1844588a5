"""Seconds and memory of an animation as it gets longer: 24 to 480 frames.

    python -m benchmarks growth --json growth.json

Runs all of an animation at the demo's size with the demo model, as `clip_memory` does, each length in a process of its
own. A clip is denoised in windows that overlap, so what seconds should be linear in is the number of frames that go
through the network: the table has both. `deviation` is the largest part by which seconds differ from the straight line
nearest to all of them (least squares of relative errors); `growth` is what the longest clip needs more memory than the
shortest, as a part of what that needs.
"""

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

LENGTHS = (24, 48, 120, 240, 480)
SIDE, CONTEXT = 192, 24


def add_arguments(parser):
    parser.add_argument(
        "--frames", type=int, nargs="+", default=LENGTHS, metavar="N", help="lengths, from short to long"
    )
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="denoising steps (default 4)")


def compete(options):
    lengths = options.frames
    if len(lengths) < 2 or sorted(set(lengths)) != list(lengths) or lengths[0] < 1:
        raise InputError(
            f"--frames {' '.join(map(str, lengths))} is no row of lengths; two or more, rising, are accepted"
        )
    if options.steps < 1:
        raise InputError(f"--steps {options.steps} is too small; 1 or more is accepted")
    settings = {"side": SIDE, "steps": options.steps, "context_frames": CONTEXT}
    frames = {}
    for length in lengths:
        row = harness.run_contestant(
            "clip_memory", "animation", {**settings, "frames": length}, title=f"{length} frames"
        )
        frames[str(length)] = {**row, "frames_denoised": _frames_denoised(length)}
    deviation = _deviation([(row["frames_denoised"], row["seconds"]) for row in frames.values()])
    shortest, longest = frames[str(lengths[0])], frames[str(lengths[-1])]
    growth = longest["peak_bytes"] / shortest["peak_bytes"] - 1
    harness.print_table({f"{length} ({row['frames_denoised']} denoised)": row for length, row in frames.items()}, {})
    print(f"deviation from a straight line {deviation:.1%}, growth of memory {growth:.1%}")
    ours = {key: longest[key] for key in ("seconds", "peak_bytes")}
    return harness.result(ours, {}, frames=frames, deviation=deviation, growth=growth, settings=settings)


def _frames_denoised(length):
    """Frames of all windows: those of an overlap count twice."""
    from ppdiffusers_ext.pipelines.windows import get_schedule

    windows = {tuple(window) for window in get_schedule("uniform")(length, CONTEXT, 1, 4)}
    return sum(len(window) for window in windows)


def _deviation(points):
    """Largest relative error of y against the line a + b x whose relative errors have the least squares."""
    import numpy as np

    x, y = np.array(points, dtype=float).T
    columns = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    line = np.linalg.lstsq(columns, np.ones_like(y), rcond=None)[0]
    return float(np.abs(columns @ line - 1).max())
