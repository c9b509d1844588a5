"""Write the meta file of a folder of videos and its skeleton videos, for training.

    python -m scripts.extract_meta_info --root_path fashion/video --dataset_name fashion

Writes data/fashion_meta.json: a list of video_path and kps_path, which lies in FOLDER_dwpose under the same name.
Videos without a skeleton video are left out, with a note.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    root_path: str = path_option(help="folder of videos", metavar="DIR")
    dataset_name: str = option(help="name of the data", metavar="NAME")
    meta_info_name: str | None = option(None, help="name of the file", unset="the data's", metavar="NAME")
    output: str | None = path_option(None, help="file to write", unset="data/NAME_meta.json")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.extract_meta_info", __doc__, Options)


def work(options: Options) -> None:
    """Find the pairs and write them."""

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.meta_files import can_be_listed, write_rows
    from ppdiffusers_ext.data.records import Made, digest_of
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.preprocess.videos import find_videos

    root = Path(options.root_path)
    poses = Path(f"{root}_dwpose")
    target = Path(options.output or f"data/{options.meta_info_name or options.dataset_name}_meta.json")
    entries, without, unfit = [], 0, 0
    for video in find_videos(root):
        pose = poses / video.relative_to(root).with_suffix(".mp4")
        if not pose.exists():
            without += 1
        elif not can_be_listed(pose):
            unfit += 1
        else:
            entries.append({"video_path": _found_from(video, target), "kps_path": _found_from(pose, target)})
    if not entries:
        raise InputError(
            f"{poses} has no skeleton video of a video in {root}; "
            "`python -m scripts.extract_dwpose_from_vid --video_root` makes them"
        )
    made = Made("extract_meta_info", {"--root_path": digest_of(entries)})
    results = check_existing({target: made}, options.overwrite, options.skip_existing)
    with results.recorded():
        for path in results.missing:
            write_rows(path, entries)
    if without:
        print(f"note: left out without a skeleton video in {poses}: {counted(without, 'video')}", file=sys.stderr)
    if unfit:
        print(f"note: left out with a name that is not text in UTF-8: {counted(unfit, 'video')}", file=sys.stderr)
    print(f"{'wrote' if results.missing else 'kept'} {target}: {counted(len(entries), 'clip')}")


def _found_from(path: Path, meta: Path) -> str:
    """A path as it was given where it is found from the meta file's place, else the absolute one."""
    folders = list(meta.resolve().parents)[:3]
    return str(path) if any((folder / path).exists() for folder in folders) else str(path.resolve())


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
