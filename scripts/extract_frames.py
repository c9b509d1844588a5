"""Write the frames of a video as frame_0.png, frame_1.png and so on.

    python -m scripts.extract_frames dance.mp4 dance/images --frames 0:120

What is there already is passed over, so that the same command goes on where it was stopped.
"""

import sys

from ppdiffusers_ext.errors import counted

from .command import ArgumentParser, real, run


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.extract_frames", description=__doc__)
    parser.add_argument("video", metavar="VIDEO", help="video file or animated picture (GIF, WebP, PNG)")
    parser.add_argument("folder", metavar="DIR", help="to write")
    parser.add_argument("--frames", metavar="A:B", help="from frame A up to frame B, left out itself (default: all)")
    parser.add_argument(
        "--fps", type=real(0.1, 240), metavar="N", help="frames per second to take (default: all there are)"
    )
    return parser


def work(options):
    """Write the frames that are missing."""
    from pathlib import Path

    from ppdiffusers_ext.data.frames import FolderWriter, open_frames, parse_range
    from ppdiffusers_ext.data.outputs import check_outputs

    source = open_frames(options.video)
    start, end = parse_range(options.frames, source)
    check_outputs([Path(options.folder) / "frame_0.png"], [options.video])
    writer = FolderWriter(options.folder)
    frames = source.resampled(options.fps, start, end) if options.fps else source.read(start, end)
    made = sum(map(writer.write, frames))
    print(f"wrote {options.folder}: {counted(made, 'frame')} made, there already: {writer.num_frames - made}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
