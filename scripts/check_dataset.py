"""Check training data: which clips can be read, and whether each is what training needs.

    python -m scripts.check_dataset ubcNbili_data --meta cleaned_meta.json --sheet clips.png
    python -m scripts.check_dataset --system stable_animator video_path.txt --list cleaned.txt --sheet clips.png
    python -m scripts.check_dataset --system easy_animate meta.json --data-dir D --meta cleaned.json --sheet clips.png

DIR is a folder with meta_data/*.json, or with video/ and video_dwpose/; or a meta file (JSON, JSON lines or CSV of
video_path and kps_path). A line is printed for each.
The cleaned meta file names those without problems, and can be given to training. Exit code 1 if none is left.

With --system stable_animator, DIR is a path list (a clip's folder in each line, or JSON or CSV) or a folder of clips,
each of which has images, poses and, if there are any, faces; --list writes a path list of those without problems.

With --system easy_animate, DIR is a meta file (JSON, JSON lines or CSV of file_path, text, type, width and height).
The cleaned one has all sizes, so that training need not read them. The sizes of batches that the clips come to are
printed as well.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import FRAMES, ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.dataset_check import DatasetCheck
    from ppdiffusers_ext.data.existing import Results

# Module with the `DatasetCheck` of each system.
SYSTEMS = {
    name: f"ppdiffusers_ext.data.{name}.check" for name in ("animate_anyone", "stable_animator", "easy_animate")
}
_OWN = ("meta", "list", "data_root_path", "data_dir")  # options that not all systems have


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    source: list = option(help="folder or meta file; may be several", is_positional=True, metavar="DIR")
    system: str = option("animate_anyone", choices=tuple(SYSTEMS), help="whose clips they are", metavar="NAME")
    meta: str | None = path_option(None, help="write the clips without problems as a meta file")
    list: str | None = path_option(None, help="with stable_animator: write the clips without problems as a path list")
    data_root_path: str | None = path_option(
        None, help="root folder of path lists", unset="the folder of each", metavar="DIR"
    )
    data_dir: str | None = path_option(
        None,
        help="with easy_animate: folder at which paths in the meta file begin",
        unset="the working folder, or the meta file's",
        metavar="DIR",
    )
    sheet: str | None = path_option(None, help="write a picture of the clips without problems")
    min_frames: int | None = option(
        None, 2, FRAMES[1], help="number of frames that a sample needs", unset="2, 17 or 10, by the system"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.check_dataset", __doc__, Options)


def work(options: Options) -> int:
    """Check, print, and write what was asked for. Returns 1 if no clip is left."""
    from ppdiffusers_ext.data.outputs import check_writable
    from ppdiffusers_ext.errors import InputError, counted

    check: DatasetCheck = importlib.import_module(SYSTEMS[options.system]).CHECK
    for name in _OWN:
        if getattr(options, name) is not None and name not in (check.listing, check.root_option):
            accepted = f"--{check.listing} is accepted"
            raise InputError(f"--{name} is not an option of --system {options.system}; {accepted}")
    target, sheet = getattr(options, check.listing), options.sheet
    root = getattr(options, check.root_option) if check.root_option else None
    for path in filter(None, (target, sheet)):
        check_writable(path)
    results = _results(options, check.files(options.source, root), target, sheet)
    min_frames = options.min_frames or check.min_frames
    reports = check.check(options.source, root, min_frames, lambda report: _print(check, report))
    good = [report for report in reports if not report.problems]
    print(f"can be trained on: {counted(len(good), 'clip')} of {len(reports)}, {check.amount(good)}")
    for note in check.notes(good):
        print(note)
    if not good:
        return 1
    _write(results, reports, {target: check.write_list, sheet: check.write_sheet})
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


def _print(check: "DatasetCheck", report: Any) -> None:
    from ppdiffusers_ext.errors import printable

    name = printable(check.name_of(report))
    if report.problems:
        print(f"problem  {name}: {printable('; '.join(report.problems))}")
    else:
        print(f"ok       {name}: {check.describe(report)}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
