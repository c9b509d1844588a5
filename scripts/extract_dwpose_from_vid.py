"""Make the skeleton videos of all videos below a folder, for training.

    python -m scripts.extract_dwpose_from_vid --video_root fashion/video -j 2

Writes FOLDER_dwpose with files of the same names. If some of them exist, --skip-existing goes on with the others, as
after a run that was stopped. A video that cannot be read does not stop the others (exit code 1 then).
"""

import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import ExistingOptions, option, path_option

from . import poses
from .command import ArgumentParser, describe, run, tell_error
from .signals import stopped_by_signals

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from ppdiffusers_ext.data.records import Made


@dataclass(frozen=True, kw_only=True)
class Options(poses.TrackedOptions, ExistingOptions):
    video_root: str = path_option(help="folder of videos", metavar="DIR")
    save_dir: str | None = path_option(
        None, help="folder to write", unset="the folder's name with _dwpose", metavar="DIR"
    )
    jobs: int = option(1, 1, 256, help="number of videos at a time", flags=("-j",))


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.extract_dwpose_from_vid", __doc__, Options)


def work(options: Options) -> int:
    """Make what is missing. Returns 1 if a video failed."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from dataclasses import replace
    from functools import partial
    from multiprocessing import get_context

    from tqdm import tqdm

    from ppdiffusers_ext.data.existing import check_distinct, check_existing
    from ppdiffusers_ext.data.records import digest
    from ppdiffusers_ext.preprocess.videos import find_videos

    root = Path(options.video_root)
    save = Path(options.save_dir or f"{str(root).rstrip('/')}_dwpose")
    jobs = {video: save / video.relative_to(root).with_suffix(".mp4") for video in find_videos(root)}
    check_distinct(jobs)
    poses.track_options(options)
    shared = poses.made_of("extract_dwpose_from_vid", options)

    def made_of(video: Path) -> "Made":
        return replace(shared, inputs={"its video": digest(video), **shared.inputs})

    made = {target: partial(made_of, video) for video, target in jobs.items()}
    results = check_existing(made, options.overwrite, options.skip_existing)
    poses.make_estimator(options, "bgr", options.device)  # what is wrong with it is told once, and here
    missing = {video: target for video, target in jobs.items() if target in set(results.missing)}
    failed = 0
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), _start, (options,)) as pool:
        waiting = {pool.submit(_make, video, target, results.made[target]): video for video, target in missing.items()}
        try:
            for future in tqdm(as_completed(waiting), total=len(waiting), unit="video", disable=None):
                error = f"{waiting[future]}: {lost}" if (lost := future.exception()) else future.result()
                if error:
                    failed += 1
                    tell_error(error)
        except KeyboardInterrupt:
            _stop(pool)
            raise
    count = counted(len(missing) - failed, "video")
    print(f"{count} made, kept: {results.kept}, failed: {failed}: {save}")
    return 1 if failed else 0


def _stop(pool: "ProcessPoolExecutor") -> None:
    """End what is waiting and what is running; a worker removes what it has not finished."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        process.terminate()


def _start(options: Options) -> None:
    """In a worker: the estimator stays for all of its videos, and the workers share the processors."""
    from ppdiffusers_ext.environment import available_cores

    threads = max(1, available_cores() // options.jobs)
    estimator = poses.make_estimator(options, "bgr", options.device, threads, is_told=False)
    _worker["options"], _worker["estimator"] = options, estimator


_worker: dict = {}


def _make(video: Path, target: Path, made: "Made") -> str | None:
    """In a worker: one video. Returns what was wrong, or None."""
    from ppdiffusers_ext.data.existing import Results
    from ppdiffusers_ext.data.outputs import moved_by
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.preprocess.videos import write_skeleton_video

    options = _worker["options"]
    style, track = poses.style_of(options, "animate_anyone"), poses.track_options(options)
    try:
        with stopped_by_signals(), moved_by("--save_dir"), Results({target: made}).recorded():
            write_skeleton_video(video, target, _worker["estimator"], style, track)
    except Exception as error:  # whatever is wrong with one video is no matter of the others
        return str(error) if isinstance(error, InputError) else f"{video}: {describe(error)}"
    return None


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
