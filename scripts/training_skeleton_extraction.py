"""Draw the skeletons of training pictures, as StableAnimator needs them.

    python -m scripts.training_skeleton_extraction --root_path animation_data --name rec --start 1 --end 500

For each of ROOT/NAME/00001 to 00500: the skeletons of the pictures in images/ go to poses/, under the same names. What
is there already is passed over, and so is a folder that is missing, with a note.
"""

import sys

from ppdiffusers_ext.errors import counted

from . import poses
from .command import describe, run, whole


def make_parser():
    parser = poses.make_parser("python -m scripts.training_skeleton_extraction", __doc__)
    parser.add_argument("--root_path", required=True, metavar="DIR", help="of the data")
    parser.add_argument("--name", required=True, metavar="NAME", help="folder below it, such as rec or vec")
    parser.add_argument(
        "--start", type=whole(0, 99_999), required=True, metavar="N", help="number of the first folder"
    )
    parser.add_argument("--end", type=whole(0, 99_999), required=True, metavar="N", help="number of the last folder")
    return parser


def work(options):
    """Draw what is missing. Returns 1 if a folder failed."""
    from pathlib import Path

    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.preprocess.videos import write_training_skeletons

    folders = [Path(options.root_path) / options.name / f"{i:05d}" for i in range(options.start, options.end + 1)]
    there = [folder for folder in folders if (folder / "images").is_dir()]
    if not there:
        raise InputError(
            f"{Path(options.root_path) / options.name} has no folders {options.start:05d} to {options.end:05d} with "
            "images/ in them; --start and --end of folders that are there are accepted"
        )
    estimator, style = poses.make_estimator(options, "rgb"), poses.style_of(options, "stable_animator")
    failed = 0
    for folder in there:
        try:
            images, target = folder / "images", folder / "poses"
            made = write_training_skeletons(images, target, estimator, style, poses.progress(folder.name))
            print(f"{target}: {made} made")
        except Exception as error:  # whatever is wrong with one folder is no matter of the others
            failed += 1
            where = "" if isinstance(error, InputError) else f"{folder}: "
            print(f"error: {where}{describe(error)}", file=sys.stderr)
    if missing := len(folders) - len(there):
        print(f"note: without images/: {counted(missing, 'folder')} of {len(folders)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
