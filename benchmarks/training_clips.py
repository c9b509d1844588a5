"""Reading the frames of training clips: this project's reader beside decord, where it is installed.

    python -m benchmarks training_clips --json training_clips.json

Each call opens a clip as a trainer does for a sample, and reads a reference frame and 16 frames of a random stretch,
on one thread. The clips are figures drawn by the project, 512x512, 240 frames: one with a keyframe each 250 frames,
as x264 makes them, and one with a keyframe each 12. decord's pixels must be the same, or nothing is reported.
"""

import importlib.util
import tempfile
from pathlib import Path

from benchmarks import harness
from benchmarks.contestant import measure, peak_bytes, versions
from ppdiffusers_ext.errors import InputError

SIDE, LENGTH, STRIDE, CALLS = 512, 240, 4, 8
GROUPS = {"few keyframes": 250, "many keyframes": 12}


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each (default: 3)")
    parser.add_argument("--small", action="store_true", help="small clips, to try the benchmark itself")


def compete(options):
    if importlib.util.find_spec("decord") is None:
        raise InputError("the package decord is needed beside this project's own reader: pip install decord")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        side, length = (64, 80) if options.small else (SIDE, LENGTH)
        clips = _write_clips(Path(folder), side, length)
        contestants = {
            f"{reader}, {name}": ("training_clips", reader, {"clip": str(clip), "length": length})
            for name, clip in clips.items()
            for reader in ("ours", "decord")
        }
        rows = harness.run_in_turn(contestants, options.rounds)
    for name in clips:
        if rows[f"ours, {name}"]["digest"] != rows[f"decord, {name}"]["digest"]:
            raise harness.ContestantError(f"decord gives other pixels of the clip with {name}")
    first = next(iter(clips))
    ours = rows.pop(f"ours, {first}")
    fields = harness.result(ours, rows, settings={"side": side, "length": length})
    harness.print_table({f"ours, {first}": ours, **rows}, fields["ratios"])
    return fields


def _write_clips(folder, side, length):
    import av

    from ppdiffusers_ext.data.synthetic import synthetic_clip

    frames, clips = synthetic_clip(0, length, side, side).target, {}
    for name, group in GROUPS.items():
        clips[name] = folder / f"{group}.mp4"
        with av.open(str(clips[name]), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            stream.options = {"g": str(group), "crf": "18"}
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return clips


def _choices(length):
    """Numbers of the frames of each call, the same for all contestants."""
    import numpy as np

    rng = np.random.default_rng(0)
    starts = rng.integers(0, length - 16 * STRIDE + 1, CALLS)
    return [[int(rng.integers(length)), *range(start, start + 16 * STRIDE, STRIDE)] for start in starts.tolist()]


def _read(settings, open_clip, package):
    """Seconds of a call, of many; and a digest of all pixels."""
    import hashlib

    choices, digest = _choices(settings["length"]), hashlib.sha256()
    for choice in choices:
        digest.update(open_clip(settings["clip"], choice).tobytes())
    row = measure(lambda: [open_clip(settings["clip"], choice) for choice in choices], repeats=3)
    row["times"] = [time / CALLS for time in row["times"]]
    row["seconds"] /= CALLS
    return {**row, "digest": digest.hexdigest(), "peak_bytes": peak_bytes(), "versions": versions(package)}


def read_ours(settings):
    from ppdiffusers_ext.data.random_access import FrameReader

    return _read(settings, lambda clip, choice: FrameReader(clip).read(choice), "av")


def read_decord(settings):
    import decord

    def open_clip(clip, choice):
        return decord.VideoReader(clip, num_threads=1).get_batch(choice).asnumpy()

    return _read(settings, open_clip, "decord")


CONTESTANTS = {"ours": read_ours, "decord": read_decord}
