"""Write the frames of a video as frame_0.png, frame_1.png and so on.

    python -m scripts.extract_frames dance.mp4 dance/images --frames 0:120

If frames exist, --overwrite replaces them, and --skip-existing goes on with a run that was stopped.
"""

import sys

from ppdiffusers_ext.errors import counted

from .command import ArgumentParser, add_existing, real, run


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.extract_frames", description=__doc__)
    parser.add_argument("video", metavar="VIDEO", help="video file or animated picture (GIF, WebP, PNG)")
    parser.add_argument("folder", metavar="DIR", help="to write")
    parser.add_argument("--frames", metavar="A:B", help="from frame A up to frame B, left out itself (default: all)")
    parser.add_argument(
        "--fps", type=real(0.1, 240), metavar="N", help="frames per second to take (default: all there are)"
    )
    parser.add_argument(
        "--background",
        choices=("white", "black"),
        default="white",
        help="what lies behind transparent pixels; black for skeletons (default: white)",
    )
    return add_existing(parser)


def work(options):
    """Write the frames that are missing."""
    from pathlib import Path

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import FRAME_NAMES, frame_name, open_frames, parse_range
    from ppdiffusers_ext.data.images import write_image
    from ppdiffusers_ext.data.outputs import check_outputs

    source = open_frames(options.video, background=options.background)
    start, end = parse_range(options.frames, source)
    count = source.resampled_count(options.fps, start, end) if options.fps else end - start
    targets = [Path(options.folder) / frame_name(i) for i in range(count)]
    check_outputs(targets[:1], [options.video])
    made = dict.fromkeys(targets, lambda: _made_of(source, start, end, options))
    results = check_existing(made, options.overwrite, options.skip_existing, FRAME_NAMES)
    if results.missing:
        frames = source.resampled(options.fps, start, end) if options.fps else source.read(start, end)
        missing = set(results.missing)
        with results.recorded():
            for target, frame in zip(targets, frames):
                if target in missing:
                    write_image(target, frame)
    print(f"wrote {options.folder}: {counted(len(results.missing), 'frame')} made, kept: {results.kept}")


def _made_of(source, start, end, options):
    from ppdiffusers_ext.data.records import Made

    # Without a rate, a longer range begins with the frames of a shorter one.
    frames = f"{start}:{end}" if options.fps else f"{start}:"
    how = {"--frames": frames, "--fps": options.fps, "--background": options.background}
    return Made("extract_frames", {"VIDEO": source.digest()}, how)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
