"""The way from a video to its skeleton video apart from the networks: each stage, and the whole beside the originals'.

    python -m benchmarks preprocess --json preprocess.json

A drawn video of 1080p passes through both ways: decoding, what the networks are given (letterbox, crop), what is made
of their output (SimCC), drawing as StableAnimator does, encoding. The networks' outputs are made up, alike for both.
The originals write every frame to a PNG file and read it again, draw on a fresh canvas whose shorter side is 2160,
multiply all of it, and write PNG files that become a video; ours streams. Both must draw the same pixels. Ours runs
on a ten times longer video too, to see whether its memory grows. Then scripts.extract_dwpose_from_vid makes skeleton
videos of several copies of the video with one worker and with two; its networks are replaced by such as give made-up
outputs at once. At last the networks that ship estimate the drawn woman of assets/reference.png, who walks through a
video of the same size: the time of each frame beside decoding, the least of several passes.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

WIDTH, HEIGHT = 1920, 1080
CROP = (384, 288)


def add_arguments(parser):
    parser.add_argument("--frames", type=int, default=60, metavar="N", help="of the video (default 60)")
    parser.add_argument("--copies", type=int, default=16, metavar="N", help="of it, for the workers (default 16)")
    parser.add_argument("--small", action="store_true", help="240x136 pixels, to try the benchmark itself")


def compete(options):
    if options.frames < 2:
        raise InputError(f"--frames {options.frames} is too small; 2 or more is accepted")
    if options.copies < 2:
        raise InputError(f"--copies {options.copies} is too small; 2 or more is accepted")
    width, height = (240, 136) if options.small else (WIDTH, HEIGHT)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = {"folder": folder, "width": width, "height": height, "frames": options.frames}
        long = {**settings, "frames": 10 * options.frames}
        for of_video in (settings, long):
            harness.run_contestant("preprocess", "write", of_video, title="nothing yet: writing a video")
        ours = harness.run_contestant("preprocess", "ours", settings)
        originals = harness.run_contestant("preprocess", "originals", settings)
        longer = harness.run_contestant("preprocess", "ours", long, title="ours, ten times as long")
        copies = {**settings, "copies": options.copies}
        workers = {
            jobs: harness.run_contestant("preprocess", "workers", {**copies, "jobs": jobs}, title=f"{jobs} workers")
            for jobs in (1, 2)
        }
        walks = {
            count: harness.run_contestant(
                "preprocess", "estimate", {**settings, "frames": count}, title=f"{count} frames"
            )
            for count in (options.frames, 10 * options.frames)
        }
    if ours["digest"] != originals["digest"]:
        raise RuntimeError("the two ways draw different pixels")
    stages = {name: options.frames / seconds for name, seconds in ours["stages"].items()}
    drawing = originals["stages"]["draw"] / ours["stages"]["draw"]
    growth = longer["peak_bytes"] / ours["peak_bytes"] - 1
    fields = harness.result(ours, {"originals": originals}, frames_per_second=stages, drawing_ratio=drawing)
    harness.print_table({"ours": ours, "originals": originals}, fields["ratios"])
    for name, rate in stages.items():
        print(f"{name:32} {rate:9.1f} frames per second (originals {options.frames / originals['stages'][name]:.1f})")
    speedup = workers[1]["seconds"] / workers[2]["seconds"]
    print(f"drawing {drawing:.1f} times as fast; ten times the frames take {growth:+.1%} memory")
    print(f"two workers are {speedup:.2f} times as fast as one ({workers[1]['seconds']:.1f} s)")
    estimation = _estimation(*walks.values())
    print(
        f"estimation takes {estimation['milliseconds']:.1f} ms a frame ({estimation['runtimes']}); "
        f"ten times the frames take {estimation['growth']:+.1%} memory"
    )
    measured = {"width": width, "height": height, "frames": options.frames, "copies": options.copies}
    fields["estimation"] = estimation
    return {**fields, "growth": growth, "workers": workers, "workers_ratio": speedup, "settings": measured}


def _estimation(short, long):
    """What the report says of the networks that ship."""
    return {
        "milliseconds": 1000 * short["seconds"] / short["frames"],
        "growth": long["peak_bytes"] / short["peak_bytes"] - 1,
        "peak_bytes": long["peak_bytes"],
        "runtimes": " and ".join(
            f"{name} {version}" for name, version in short["versions"].items() if name != "python"
        ),
    }


class _Clock:
    """Sums the seconds of stages, also of those that run inside an iterator."""

    def __init__(self):
        self.seconds = {}

    def __call__(self, name, function, *arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - start

    def each(self, name, iterable):
        iterator = iter(iterable)
        while (item := self(name, next, iterator, None)) is not None:
            yield item


def _video(settings):
    return Path(settings["folder"]) / f"{settings['frames']}.mp4"


def _poses(frames):
    """What the estimator would give for each frame: SimCC scores of a person who moves."""
    import numpy as np

    random = np.random.default_rng(0)
    places = random.uniform(0.2, 0.8, (133, 2))
    for i in range(frames):
        moved = places + 0.1 * np.sin(0.1 * i + np.arange(133))[:, None]
        scores = []
        for axis, side in enumerate((CROP[1], CROP[0])):
            row = np.full((1, 133, 2 * side), 0.01, np.float32)
            row[0, np.arange(133), (moved[:, axis] * 2 * side).astype(int)] = 0.9
            scores.append(row)
        yield scores


def write(settings):
    """The video: a moving pattern with noise, as a camera's."""
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.data.video_writer import VideoWriter

    random, size = np.random.default_rng(0), (settings["width"], settings["height"])
    noise = random.integers(0, 12, (size[1], size[0], 3), dtype=np.uint8)
    blots = PIL.Image.fromarray(random.integers(0, 240, (18, 32, 3), dtype=np.uint8)).resize(size)
    start = time.perf_counter()
    with VideoWriter(_video(settings), 30, *size) as writer:
        for i in range(settings["frames"]):
            writer.write(np.roll(np.asarray(blots), 8 * i, axis=1) + np.roll(noise, 31 * i, axis=0))
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}


def _estimate(clock, frame, scores):
    """A `Pose` from a frame, as `PoseEstimator` does it, with made-up outputs."""
    from ppdiffusers_ext.preprocess import detection, pose

    clock("letterbox", detection.letterbox, frame, (640, 640))
    _, center, sides = clock("crop", pose.crop, frame, pose.whole_frame(frame)[0], CROP)
    points, certainty = clock("simcc", pose.decode, *scores)
    points = points / (CROP[1], CROP[0]) * sides + center - sides / 2
    return pose.to_pose(points, certainty, frame.shape[:2])


def ours(settings):
    import hashlib

    from ppdiffusers_ext.data.skeletons import WEIGHTED, SkeletonPainter
    from ppdiffusers_ext.data.video import read_frames
    from ppdiffusers_ext.data.video_writer import VideoWriter

    clock, digest = _Clock(), hashlib.sha256()
    size = settings["width"], settings["height"]
    start = time.perf_counter()
    paint = SkeletonPainter(size[1], size[0], WEIGHTED)
    with VideoWriter(_video(settings).with_suffix(".out.mp4"), 30, *size) as writer:
        frames = clock.each("decode", read_frames(_video(settings)))
        for frame, scores in zip(frames, _poses(settings["frames"])):
            drawn = clock("draw", paint, _estimate(clock, frame, scores))
            clock("encode", writer.write, drawn)
            digest.update(drawn.tobytes())
    return _row(start, clock, digest)


def originals(settings):
    import hashlib

    import cv2

    from ppdiffusers_ext.data.video import read_frames
    from ppdiffusers_ext.data.video_writer import VideoWriter

    clock, digest, folder = _Clock(), hashlib.sha256(), Path(settings["folder"])
    size = settings["width"], settings["height"]
    start = time.perf_counter()
    for kind in ("images", "poses"):
        (folder / kind).mkdir()
    for i, frame in enumerate(clock.each("decode", read_frames(_video(settings)))):
        clock("decode", cv2.imwrite, str(folder / f"images/frame_{i}.png"), frame[..., ::-1])
    for i, scores in enumerate(_poses(settings["frames"])):
        frame = clock("decode", cv2.imread, str(folder / f"images/frame_{i}.png"))[..., ::-1].copy()
        drawn = clock("draw", _draw_as_originals, _estimate(clock, frame, scores), *size)
        digest.update(drawn.tobytes())
        clock("encode", cv2.imwrite, str(folder / f"poses/frame_{i}.png"), drawn[..., ::-1])
    with VideoWriter(folder / "originals.mp4", 30, *size) as writer:
        for i in range(settings["frames"]):
            frame = clock("encode", cv2.imread, str(folder / f"poses/frame_{i}.png"))
            clock("encode", writer.write, frame[..., ::-1])
    return _row(start, clock, digest)


def _draw_as_originals(pose, width, height):
    """The same drawing, with a fresh canvas for each frame, and a pass over all of it that dims the limbs."""
    import cv2
    import numpy as np

    from ppdiffusers_ext.data.skeletons import WEIGHTED, SkeletonPainter

    class Painter(SkeletonPainter):
        def _draw_bodies(self, pose):
            super()._draw_bodies(pose)
            (self._canvas * 0.6).astype(np.uint8)  # ours has drawn dimmed limbs already

    drawn = Painter(height, width, WEIGHTED)(pose)
    return cv2.cvtColor(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), cv2.COLOR_BGR2RGB)


def _row(start, clock, digest):
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_bytes(),
        "stages": clock.seconds,
        "digest": digest.hexdigest(),
        "versions": versions("opencv-python", "av"),
    }


def workers(settings):
    from scripts import extract_dwpose_from_vid
    from scripts.command import run

    folder = Path(settings["folder"])
    for i in range(settings["copies"]):
        copy = folder / "videos" / f"{i}.mp4"
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            copy.symlink_to(_video(settings))
    arguments = {
        "--video_root": folder / "videos",
        "--save_dir": folder / f"skeletons-{settings['jobs']}",
        "--dwpose": _write_networks(folder / "DWPose"),
        "-j": settings["jobs"],
    }
    start = time.perf_counter()
    words = [str(word) for pair in arguments.items() for word in pair]
    with contextlib.redirect_stdout(sys.stderr):  # the result alone goes to stdout
        code = run(extract_dwpose_from_vid.make_parser(), extract_dwpose_from_vid.work, words)
    if code:
        raise RuntimeError(f"extract_dwpose_from_vid ended with exit code {code}")
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}


def _write_networks(folder):
    """Files as DWPose's, whose outputs are always the same: nobody is found, and then one person in all of it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    from ppdiffusers_ext.preprocess.pose import DETECTOR, ESTIMATOR

    (scores_x, scores_y) = next(_poses(1))
    outputs = {
        DETECTOR: ([1, 3, 640, 640], {"output": np.zeros((1, 8400, 85), np.float32)}),
        ESTIMATOR: (["n", 3, *CROP], {"simcc_x": scores_x, "simcc_y": scores_y}),
    }
    folder.mkdir(exist_ok=True)
    for name, (shape, arrays) in outputs.items():
        # One number of each picture times zero, so that there is an output for each.
        nodes = [
            helper.make_node("Slice", ["input", "zeros", "ones", "axes"], ["corner"]),
            helper.make_node("Squeeze", ["corner", "last"], ["number"]),
            helper.make_node("Mul", ["number", "zero"], ["nothing"]),
            *(helper.make_node("Add", ["nothing", f"value_{output}"], [output]) for output in arrays),
        ]
        constants = {"zeros": [0, 0, 0], "ones": [1, 1, 1], "axes": [1, 2, 3], "last": [3]}
        constants = {key: np.array(value) for key, value in constants.items()}
        constants |= {"zero": np.zeros((), np.float32), **{f"value_{key}": value for key, value in arrays.items()}}
        graph = helper.make_graph(
            nodes,
            "made_up",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info(key, TensorProto.FLOAT, [shape[0], *value.shape[1:]])
                for key, value in arrays.items()
            ],
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(folder / name))
    return folder


PASSES = 3  # of which the fastest counts, where the video is short


def estimate(settings):
    """The networks that ship, on a woman who walks; each frame is made when it is asked for, and is not counted."""
    from ppdiffusers_ext.preprocess.estimators import open_estimator

    estimator, passes = open_estimator("embedded"), PASSES if settings["frames"] <= 100 else 1
    seconds = []
    for _ in range(passes):
        clock, found = _Clock(), 0
        poses = estimator(_walk(settings, clock))
        for _ in range(settings["frames"]):
            found += len(clock("all", next, poses))
        if found < 0.9 * settings["frames"]:
            raise RuntimeError(f"the woman is found in {found} frames of {settings['frames']}")
        seconds.append(clock.seconds["all"] - clock.seconds["frames"])
    return {
        "seconds": min(seconds),
        "frames": settings["frames"],
        "peak_bytes": peak_bytes(),
        "versions": versions("onnxruntime", "openvino"),
    }


def _walk(settings, clock):
    """Frames of the woman, as high as the video, who goes there and back."""
    import cv2
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.packaged import FOLDER

    height, width = settings["height"], settings["width"]
    picture = np.asarray(PIL.Image.open(FOLDER / "assets" / "reference.png").convert("RGB"))
    woman = cv2.resize(picture, (height, height))
    blank = np.full((height, width, 3), woman[0, 0], np.uint8)

    def frame(number):
        drawn, left = blank.copy(), round((width - height) * (0.5 + 0.5 * np.sin(0.05 * number)))
        drawn[:, left : left + height] = woman
        return drawn

    for number in range(settings["frames"]):
        yield clock("frames", frame, number)


CONTESTANTS = {"write": write, "ours": ours, "originals": originals, "workers": workers, "estimate": estimate}
