"""Clips per second of the data chain on 1080p videos, beside the original's way of the same steps.

    python -m benchmarks data_chain --ffmpeg /usr/bin/ffmpeg --json data_chain.json

Rendered videos with cuts go through cuts, split, sharpness, motion, text, people and fingerprints, with one worker and
with two. The original's way (aigc-apps/EasyAnimate, easyanimate/video_caption) is a pass over all files for each step,
two at a time, each of which decodes its files anew: PySceneDetect with PyAV, FFmpeg started once for each clip, OpenCV
that reads all frames of a clip for the motion, decord for the frames of the other scores. What is computed of the
frames is the same code in both. Ours runs once with the original's settings (motion in pixels, x264's veryfast), and
once with those of the default configuration. Without FFmpeg the original's clips are cut by PyAV with the same
settings. Each measure is timed alone, too, its decoding included. At last made-up rows, 1,000 and ten times as many,
go through a run, whose memory must not grow.
"""

import contextlib
import functools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.contestant import peak_bytes, versions
from ppdiffusers_ext.errors import InputError

MEASURES = ("sharpness", "motion", "text", "people", "fingerprint")
FPS, SECONDS = 24, 4  # of a scene
ROWS_OF_VIDEO = 10  # made-up clips of each made-up video


def add_arguments(parser):
    parser.add_argument("--videos", type=int, default=4, metavar="N", help="number of videos (default 4)")
    parser.add_argument("--scenes", type=int, default=3, metavar="N", help="scenes of each, of 4 seconds (default 3)")
    parser.add_argument(
        "--rows", type=int, default=1000, metavar="N", help="made-up rows (default 1000), and 10 times"
    )
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="how often each is measured (default 1)")
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=MEASURES, help="scores (default: all)")
    parser.add_argument("--ffmpeg", metavar="FILE", help="FFmpeg's program (default: that of PATH, else PyAV)")
    parser.add_argument("--small", action="store_true", help="320x180 pixels, to try the benchmark itself")


def compete(options):
    for name in ("videos", "scenes", "rows", "rounds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")
    ffmpeg, cutter = _ffmpeg(options.ffmpeg)
    width, height = (320, 180) if options.small else (1920, 1080)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = {"folder": folder, "width": width, "height": height, "ffmpeg": ffmpeg}
        settings |= {"videos": options.videos, "scenes": options.scenes, "measures": list(options.measures)}
        harness.run_contestant("data_chain", "write", settings, title="nothing yet: writing videos")
        kinds = {
            "1 worker": ("ours", {"workers": 1, "in_pixels": False}),
            "2 workers": ("ours", {"workers": 2, "in_pixels": False}),
            "2 workers, motion in pixels": ("ours", {"workers": 2, "in_pixels": True}),
            "original's way": ("originals", {}),
        }
        rows = harness.run_in_turn(
            {name: ("data_chain", kind, settings | more) for name, (kind, more) in kinds.items()}, options.rounds
        )
        alone = harness.run_contestant("data_chain", "alone", settings, title="each measure alone")
        counts = (options.rows, 10 * options.rows)
        made_up = {count: harness.run_contestant("data_chain", "made_up", {"rows": count}) for count in counts}
    return _tell(rows, alone, made_up, cutter, settings)


def _ffmpeg(given):
    """FFmpeg's program, or None, and words for it."""
    path = given or shutil.which("ffmpeg")
    if path is None:
        return None, "PyAV (there is no FFmpeg)"
    try:
        said = subprocess.run([path, "-version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"--ffmpeg {path} does not run ({error}); FFmpeg's program is accepted") from error
    return path, f"{path}: {said.splitlines()[0]}"


def _tell(rows, alone, made_up, cutter, settings):
    """Print the result, and its fields."""
    ours, pixels, original = rows["2 workers"], rows["2 workers, motion in pixels"], rows["original's way"]
    fields = harness.result(ours, {"original's way": original})
    harness.print_table(rows, fields["ratios"])
    clips = ours["clips"]
    for name, row in rows.items():
        stages = ", ".join(f"{step} {clips / seconds:.2f}" for step, seconds in row["stages"].items() if seconds)
        print(f"clips per second, {name}: {clips / row['seconds']:.2f} ({stages})")
    print("clips per second, alone: " + ", ".join(f"{k} {clips / v:.2f}" for k, v in alone["stages"].items()))
    workers = rows["1 worker"]["seconds"] / ours["seconds"]
    same = original["seconds"] / pixels["seconds"]
    processor = [statistics.median(row["processor_times"]) for row in (original, pixels, ours)]
    growth = [row["peak_bytes"] for row in made_up.values()]
    growth = growth[1] / growth[0] - 1
    print(f"two workers are {workers:.2f} times as fast as one; {clips} clips")
    print(f"the original's way takes {same:.2f} times as long with motion in pixels in both (clips cut by {cutter})")
    print(
        f"processor seconds, imports included: the original's way {processor[0]:.1f}, ours with motion in pixels "
        f"{processor[1]:.1f} ({processor[0] / processor[1]:.2f} times), as configured {processor[2]:.1f} "
        f"({processor[0] / processor[2]:.2f} times)"
    )
    print(f"ten times the rows take {growth:+.1%} memory ({', '.join(f'{count:,}' for count in made_up)} rows)")
    fields["processor_ratios"] = {"pixels": processor[0] / processor[1], "configured": processor[0] / processor[2]}
    found = {"workers_ratio": workers, "same_motion_ratio": same, "growth": growth, "cutter": cutter, "clips": clips}
    return {**fields, **found, "all": rows, "alone": alone, "made_up": made_up, "settings": settings}


def write(settings):
    """The videos: in each scene a drawn woman before blots of another colour, past which the camera moves."""
    import cv2
    import numpy as np

    from ppdiffusers_ext.data.video_writer import VideoWriter

    start, (width, height) = time.perf_counter(), (settings["width"], settings["height"])
    woman, mask = _woman(height)
    noise = np.random.default_rng(0).integers(0, 4, (height + 64, width, 3), dtype=np.uint8)
    for number in range(settings["videos"]):
        rng, path = np.random.default_rng(number), Path(settings["folder"]) / "videos" / f"{number}.mp4"
        with VideoWriter(path, FPS, width, height, preset="superfast") as writer:
            for _ in range(settings["scenes"]):
                colours = rng.integers(0, 120, (9, 20, 3)) + rng.integers(0, 120, (1, 1, 3))
                wall = cv2.resize(colours.astype(np.uint8), (width * 5 // 4, height), interpolation=cv2.INTER_CUBIC)
                for i in range(FPS * SECONDS):
                    frame = wall[:, (moved := i * width // 400) : moved + width].copy()
                    left = (width - woman.shape[1]) // 3 + moved
                    np.copyto(frame[:, left : left + woman.shape[1]], woman, where=mask)
                    writer.write(frame + noise[31 * i % 64 :][:height])
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}


def _woman(height):
    """The woman of assets/reference.png as high as a frame, and where she is: not what looks like the left edge."""
    import cv2
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.packaged import FOLDER

    picture = np.asarray(PIL.Image.open(FOLDER / "assets" / "reference.png").convert("RGB"))
    mask = (np.abs(picture.astype(int) - picture[:, :1]) > 14).any(axis=2)[:, 40:138].astype(np.uint8)
    size = 98 * height // 256, height
    return cv2.resize(picture[:, 40:138], size), cv2.resize(mask, size)[..., None] > 0


def ours(settings):
    """All steps by `prepare_videos`, into a new folder."""
    from ppdiffusers_ext.data.chain.run import prepare_videos

    marks = []

    def progress(title, total):
        marks.append((title, time.perf_counter()))
        return lambda count: None

    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=settings["folder"]) as folder:
        options = _options(settings, folder)
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):  # the result alone goes to stdout
            summary = prepare_videos(options, progress)
        marks.append(("", time.perf_counter()))
    stages = {title: end - begin for (title, begin), (_, end) in zip(marks, marks[1:])}
    seconds = marks[-1][1] - start
    return _row(seconds, {"before": marks[0][1] - start, **stages}) | {"clips": summary.clips}


def _options(settings, folder):
    from ppdiffusers_ext.data.chain.options import ChainOptions

    config = Path(folder) / "config.yaml"
    is_original = settings.get("in_pixels", False)
    motion = f"{{in_pixels: {str(is_original).lower()}}}"
    split = f"{{min_pixels: 1, {'preset: veryfast, crf: 22' if is_original else 'preset: superfast, crf: 20'}}}"
    config.write_text(f"motion: {{settings: {motion}}}\nsplit: {{settings: {split}}}\n")
    return ChainOptions(
        source=str(Path(settings["folder"]) / "videos"),
        output=str(Path(folder) / "set"),
        system="easy_animate",
        steps=",".join(["probe", "cuts", "split", *settings["measures"]]),
        config=str(config),
        workers=settings.get("workers", 0),
    )


def originals(settings):
    """A pass over all files for each step, two files at a time."""
    from multiprocessing import get_context

    videos, stages = sorted((Path(settings["folder"]) / "videos").glob("*.mp4")), {}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=settings["folder"]) as folder:

        def each(name, work, items):
            start = time.perf_counter()
            with get_context("fork").Pool(2) as pool:
                found = pool.starmap(work, items, chunksize=1)
            stages[name] = time.perf_counter() - start
            return found

        scenes = each("cuts", _cuts, [(path,) for path in videos])
        pieces = [(path, *piece) for path, found in zip(videos, scenes) for piece in _pieces(path, found, folder)]
        each("split", _cut_out, [(settings["ffmpeg"], *piece) for piece in pieces])
        clips = [target for *_, target in pieces]
        for name in settings["measures"]:
            each(name, _measure, [(name, clip) for clip in clips])
    return _row(time.perf_counter() - begun, stages) | {"clips": len(clips)}


def _cuts(path):
    """As `cutscene_detect.py`."""
    from scenedetect import ContentDetector, SceneManager, open_video

    video, manager = open_video(str(path), backend="pyav"), SceneManager()
    manager.add_detector(ContentDetector(threshold=27, min_scene_len=15))
    manager.detect_scenes(video)
    return [(start.seconds, end.seconds) for start, end in manager.get_scene_list()]


def _pieces(path, scenes, folder):
    """(start, seconds, target) of each clip, as `video_splitting.py` plans them."""
    from ppdiffusers_ext.data.chain.pieces import plan_pieces
    from ppdiffusers_ext.data.video import probe_video

    pieces = plan_pieces(scenes, probe_video(path).duration)
    return [(piece.start, piece.seconds, Path(folder) / f"{path.stem}_{piece.number}.mp4") for piece in pieces]


def _cut_out(ffmpeg, path, start, seconds, target):
    """As `video_splitting.py`."""
    if ffmpeg is not None:
        command = [ffmpeg, "-v", "error", "-y", "-ss", start, "-i", path, "-t", seconds, "-c:v", "libx264"]
        command += ["-preset", "veryfast", "-crf", 22, "-c:a", "aac", "-sn", target]
        subprocess.run(list(map(str, command)), check=True)
        return
    import av

    with av.open(str(path)) as source, av.open(str(target), "w") as clip:
        shown = source.streams.video[0]
        source.seek(round(start / shown.time_base), stream=shown)
        stream = clip.add_stream("libx264", rate=shown.average_rate)
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "22"}
        for frame in source.decode(shown):
            if frame.time >= start + seconds:
                break
            if frame.time >= start:
                frame.pts = None
                clip.mux(stream.encode(frame))
        clip.mux(stream.encode())


def _measure(name, clip):
    """One score of one clip, which is opened for it; OpenCV reads all frames for the motion, as the original does."""
    step, facts = _opened(name), _facts(clip)
    watcher, chosen = step.watch({"key": clip.name}, facts), list(step.choose(facts))
    for index, frame in _all_frames(clip, chosen) if name == "motion" else _chosen_frames(clip, chosen):
        watcher.see(index, frame)
    return watcher.columns()


@functools.cache
def _opened(name):
    """A measure; its networks are loaded once in each process, as the original's are."""
    from ppdiffusers_ext.data.chain import catalogue
    from ppdiffusers_ext.data.chain.motion import Motion
    from ppdiffusers_ext.data.chain.steps import Place

    step = Motion(in_pixels=True) if name == "motion" else catalogue.STEPS[name](None)
    step.open(Place(Path(), Path()))
    return step


def _facts(clip):
    import cv2

    from ppdiffusers_ext.data.chain.steps import ClipFacts

    video = cv2.VideoCapture(str(clip))
    count, fps, *size = (
        video.get(getattr(cv2, f"CAP_PROP_{name}"))
        for name in ("FRAME_COUNT", "FPS", "FRAME_WIDTH", "FRAME_HEIGHT")  # fmt: skip
    )
    return ClipFacts(int(count), fps, *map(int, size))


def _all_frames(clip, chosen):
    import cv2

    cv2.setNumThreads(1)
    video, wanted = cv2.VideoCapture(str(clip)), set(chosen)
    for index in range(chosen[-1] + 1):
        frame = video.read()[1]
        if index in wanted:
            yield index, frame[..., ::-1]


def _chosen_frames(clip, chosen):
    import decord

    reader = decord.VideoReader(str(clip), num_threads=1)
    yield from zip(chosen, reader.get_batch(chosen).asnumpy())


def alone(settings):
    """Each measure on its own, its decoding included, in one process."""
    from ppdiffusers_ext.data.chain.look import look
    from ppdiffusers_ext.data.chain.run import prepare_videos

    stages = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=settings["folder"]) as folder:
        with contextlib.redirect_stdout(sys.stderr):
            options = _options(settings, folder)
            prepare_videos(_with_steps(options, "probe,cuts,split"))
        clips = sorted((Path(folder) / "set" / "clips").rglob("*.mp4"))
        names = settings["measures"]
        for name in [*(["motion in pixels"] if "motion" in names else []), *names]:
            step = _measure_of(name)
            start = time.perf_counter()
            for clip in clips:
                look(clip, {"key": clip.name}, [step])
            stages[name] = time.perf_counter() - start
    return _row(sum(stages.values()), stages)


def _with_steps(options, steps):
    import dataclasses

    return dataclasses.replace(options, steps=steps)


def _measure_of(name):
    import dataclasses

    step = _opened(name.split()[0])
    return dataclasses.replace(step, in_pixels=name != "motion") if name.startswith("motion") else step


def made_up(settings):
    """Rows without videos through a run, from the listing to the report."""
    from benchmarks.made_up_chain import run_rows

    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        start = time.perf_counter()
        kept = run_rows(Path(folder), settings["rows"], ROWS_OF_VIDEO)
        return _row(time.perf_counter() - start, {}) | {"rows": settings["rows"], "kept": kept}


def _processor_seconds():
    """Of this process and of all that it started and that have ended."""
    import os

    return sum(os.times()[:4])


def _row(seconds, stages):
    return {
        "seconds": seconds,
        "times": [seconds],
        "processor_times": [_processor_seconds()],
        "peak_bytes": peak_bytes(),
        "stages": stages,
        "versions": versions("av", "opencv-python", "scenedetect", "decord"),
    }


CONTESTANTS = {"write": write, "ours": ours, "originals": originals, "alone": alone, "made_up": made_up}
