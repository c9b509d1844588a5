"""Check training data: which clips can be read, and whether each fits its pose video.

    python -m scripts.check_dataset ubcNbili_data --meta cleaned_meta.json --sheet clips.png
    python -m scripts.check_dataset --system stable_animator video_path.txt --list cleaned.txt --sheet clips.png

DIR is a folder with meta_data/*.json, or with video/ and video_dwpose/; or a meta file (JSON, JSON lines or CSV of
video_path and kps_path). A line is printed for each.
The cleaned meta file names those without problems, and can be given to training. Exit code 1 if none is left.

With --system stable_animator, DIR is a path list (a clip's folder in each line, or JSON or CSV) or a folder of clips,
each of which has images, poses and, if there are any, faces; --list writes a path list of those without problems.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import FRAMES, ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.animate_anyone.clips import ClipReport
    from ppdiffusers_ext.data.existing import Results
    from ppdiffusers_ext.data.stable_animator.check import AnimationReport


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    source: list = option(help="folder or meta file; may be several", is_positional=True, metavar="DIR")
    system: str = option(
        "animate_anyone", choices=("animate_anyone", "stable_animator"), help="whose clips they are", metavar="NAME"
    )
    meta: str | None = path_option(None, help="write the clips without problems as a meta file")
    list: str | None = path_option(None, help="with stable_animator: write the clips without problems as a path list")
    data_root_path: str | None = path_option(
        None, help="root folder of path lists", unset="the folder of each", metavar="DIR"
    )
    sheet: str | None = path_option(None, help="write a picture of the clips without problems")
    min_frames: int | None = option(
        None, 2, FRAMES[1], help="number of frames that a sample needs", unset="2; of stable_animator 17"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.check_dataset", __doc__, Options)


def work(options: Options) -> int:
    """Check, print, and write what was asked for. Returns 1 if no clip is left."""
    from ppdiffusers_ext.data.animate_anyone.check import check_dataset, write_meta, write_sheet
    from ppdiffusers_ext.data.outputs import check_writable
    from ppdiffusers_ext.errors import InputError

    for path in filter(None, (options.meta, options.list, options.sheet)):
        check_writable(path)
    if options.system == "stable_animator":
        return _check_animation_clips(options)
    if options.list or options.data_root_path:
        raise InputError("--list and --data_root_path are of --system stable_animator; --meta is accepted")
    from ppdiffusers_ext.data.animate_anyone.clips import find_clips

    files = [path for clip in find_clips(options.source) for path in (clip.video, clip.pose)]
    results = _results(options, files, options.meta, options.sheet)
    reports = check_dataset(options.source, options.min_frames or 2, on_report=_print)
    good = [report for report in reports if not report.problems]
    seconds = sum(report.duration or 0 for report in good)
    print(f"can be trained on: {counted(len(good), 'clip')} of {len(reports)}, {seconds / 60:.1f} minutes")
    if not good:
        return 1
    _write(results, reports, {options.meta: write_meta, options.sheet: write_sheet})
    return 0


def _results(options: Options, files: Iterable[Path], *targets: str | None) -> "Results":
    """The `Results` of the files that are to be written: made of so many clips, of these sizes and times.

    Contents count by that alone, because data sets may be too large to be read once more.
    """
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.records import Made, digest_of

    states = [(str(path), os.stat(path)) for path in files if os.path.isfile(path)]
    inputs = {"DIR": digest_of([(name, state.st_size, state.st_mtime_ns) for name, state in states])}
    made = Made("check_dataset", inputs, {"--system": options.system, "--min-frames": options.min_frames})
    given = dict.fromkeys(filter(None, targets), made)
    return check_existing(given, options.overwrite, options.skip_existing)


def _write(results: "Results", reports: list, writers: dict[str | None, Callable[[str, list], object]]) -> None:
    """Write what is missing of the files: path, or None -> function of path and reports."""

    with results.recorded():
        for path, write in writers.items():
            if path and Path(path) in results.missing:
                write(path, reports)
                print(f"wrote {path}")
            elif path:
                print(f"kept {path}")


def _check_animation_clips(options: Options) -> int:
    from ppdiffusers_ext.data.stable_animator.check import check_animation_clips, write_animation_sheet, write_list
    from ppdiffusers_ext.data.stable_animator.clips import clip_folders
    from ppdiffusers_ext.errors import InputError

    if options.meta:
        raise InputError("--meta is of Animate Anyone's clips; --list is accepted")
    folders = [folder for source in options.source for folder in clip_folders(source, options.data_root_path)]
    places = [folder / part for folder in folders for part in (".", "images", "poses", "faces")]
    files = [path for place in places for path in sorted(place.glob("*"))]
    results = _results(options, files, options.list, options.sheet)
    reports = check_animation_clips(
        options.source, options.data_root_path, options.min_frames or 17, on_report=_print_animation
    )
    good = [report for report in reports if not report.problems]
    frames = counted(sum(report.num_frames or 0 for report in good), "frame")
    print(f"can be trained on: {counted(len(good), 'clip')} of {len(reports)}, {frames}")
    if not good:
        return 1
    _write(results, reports, {options.list: write_list, options.sheet: write_animation_sheet})
    return 0


def _print_animation(report: "AnimationReport") -> None:
    from ppdiffusers_ext.errors import printable

    folder = printable(report.folder)
    if report.problems:
        print(f"problem  {folder}: {printable('; '.join(report.problems))}")
    else:
        masks = counted(report.num_masks, "mask") if report.num_masks else "no masks"
        print(
            f"ok       {folder}: {report.width}x{report.height}, {counted(report.num_frames or 0, 'frame')}, {masks}"
        )


def _print(report: "ClipReport") -> None:
    from ppdiffusers_ext.errors import printable

    video = printable(report.files.video)
    if report.problems:
        print(f"problem  {video}: {printable('; '.join(report.problems))}")
    else:
        size = f"{report.width}x{report.height}"
        print(f"ok       {video}: {size}, {counted(report.num_frames or 0, 'frame')}, {report.fps:.2f} a second")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
