"""Write the meta file of a folder of videos and its skeleton videos, for training.

    python -m scripts.extract_meta_info --root_path fashion/video --dataset_name fashion

Writes data/fashion_meta.json: a list of video_path and kps_path, which lies in FOLDER_dwpose under the same name.
Videos without a skeleton video are left out, with a note.
"""

import sys

from ppdiffusers_ext.errors import counted

from .command import ArgumentParser, add_existing, run


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.extract_meta_info", description=__doc__)
    parser.add_argument("--root_path", required=True, metavar="DIR", help="folder of videos")
    parser.add_argument("--dataset_name", required=True, metavar="NAME", help="of the data")
    parser.add_argument("--meta_info_name", metavar="NAME", help="of the file (default: the data's)")
    parser.add_argument("--output", metavar="FILE", help="default: data/NAME_meta.json")
    return add_existing(parser)


def work(options):
    """Find the pairs and write them."""
    from pathlib import Path

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


def _found_from(path, meta):
    """A path as it was given where it is found from the meta file's place, else the absolute one."""
    folders = list(meta.resolve().parents)[:3]
    return str(path) if any((folder / path).exists() for folder in folders) else str(path.resolve())


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
