"""Draw the skeletons of training pictures, as StableAnimator needs them.

    python -m scripts.training_skeleton_extraction --root_path animation_data --name rec --start 1 --end 500

For each of ROOT/NAME/00001 to 00500: the skeletons of the pictures in images/ go to poses/, under the same names. If
some of them exist, --skip-existing goes on with the others, as after a run that was stopped. A folder that is missing
is passed over, with a note.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import ExistingOptions, option, path_option

from . import poses
from .command import ArgumentParser, describe, run, tell_error

if TYPE_CHECKING:
    from ppdiffusers_ext.data.existing import Results
    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.data.records import Made
    from ppdiffusers_ext.data.skeletons import Style
    from ppdiffusers_ext.preprocess.estimators import Estimator


@dataclass(frozen=True, kw_only=True)
class Options(poses.EstimatorOptions, ExistingOptions):
    root_path: str = path_option(help="folder of the data", metavar="DIR")
    name: str = option(help="folder below it, such as rec or vec", metavar="NAME")
    start: int = option(lower=0, upper=99_999, help="number of the first folder")
    end: int = option(lower=0, upper=99_999, help="number of the last folder")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.training_skeleton_extraction", __doc__, Options)


def work(options: Options) -> int:
    """Draw what is missing. Returns 1 if a folder failed."""

    from ppdiffusers_ext.errors import InputError

    folders = [Path(options.root_path) / options.name / f"{i:05d}" for i in range(options.start, options.end + 1)]
    there = [folder for folder in folders if (folder / "images").is_dir()]
    if not there:
        raise InputError(
            f"{Path(options.root_path) / options.name} has no folders {options.start:05d} to {options.end:05d} with "
            "images/ in them; --start and --end of folders that are there are accepted"
        )
    opened, failed = _open(there, options)
    estimator, style = poses.make_estimator(options, "rgb", options.device), poses.style_of(options, "stable_animator")
    for folder, (source, results) in opened.items():
        try:
            _draw(folder, source, results, estimator, style)
        except Exception as error:  # whatever is wrong with one folder is no matter of the others
            failed += 1
            _tell(folder, error)
    if missing := len(folders) - len(there):
        print(f"note: without images/: {counted(missing, 'folder')} of {len(folders)}", file=sys.stderr)
    return 1 if failed else 0


def _open(folders: list[Path], options: Options) -> "tuple[dict[Path, tuple[FrameSource, Results]], int]":
    """Folder -> its pictures and `Results`, and the number of folders whose pictures cannot be opened.

    Raises:
        ExistsError: skeletons exist that are neither to be replaced nor kept.
    """
    from dataclasses import replace
    from functools import partial

    from ppdiffusers_ext.data.existing import ExistsError, check_existing
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.data.records import digest

    shared, opened, failed = poses.made_of("training_skeleton_extraction", options), {}, 0

    def made_of(picture: Path) -> "Made":
        return replace(shared, inputs={"its picture": digest(picture), **shared.inputs})

    for folder in folders:
        try:
            source = open_frames(folder / "images")
            made = {folder / "poses" / name: partial(made_of, source.path / name) for name in source.names}
            results = check_existing(made, options.overwrite, options.skip_existing, pattern=r".+")
        except ExistsError:
            raise
        except Exception as error:
            failed += 1
            _tell(folder, error)
        else:
            opened[folder] = source, results
    return opened, failed


def _draw(folder: Path, source: "FrameSource", results: "Results", estimator: "Estimator", style: "Style") -> None:
    from ppdiffusers_ext.preprocess.videos import write_training_skeletons

    names, target = {path.name for path in results.missing}, folder / "poses"
    with results.recorded():
        write_training_skeletons(source, target, estimator, style, names, poses.progress(folder.name))
    print(f"{target}: {len(names)} made, kept: {results.kept}")


def _tell(folder: Path, error: Exception) -> None:
    from ppdiffusers_ext.errors import InputError

    where = "" if isinstance(error, InputError) else f"{folder}: "
    tell_error(f"{where}{describe(error)}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
