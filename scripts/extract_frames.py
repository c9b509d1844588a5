"""Write the frames of a video as frame_0.png, frame_1.png and so on.

    python -m scripts.extract_frames dance.mp4 dance/images --frames 0:120

If frames exist, --overwrite replaces them, and --skip-existing goes on with a run that was stopped.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import FPS, ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.data.records import Made


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    video: str = path_option(
        help="video file or animated picture (GIF, WebP, PNG)", is_positional=True, metavar="VIDEO"
    )
    folder: str = path_option(help="folder to write", is_positional=True, metavar="DIR")
    frames: str | None = option(None, help="from frame A up to frame B, left out itself", unset="all", metavar="A:B")
    fps: float | None = option(None, *FPS, help="frames per second to take", unset="all there are")
    background: str = option(
        "white",
        choices=("white", "black"),
        help="what lies behind transparent pixels: white, or black for skeletons",
        metavar="COLOUR",
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.extract_frames", __doc__, Options)


def work(options: Options) -> None:
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


def _made_of(source: "FrameSource", start: int, end: int, options: Options) -> "Made":
    from ppdiffusers_ext.data.records import Made

    # Without a rate, a longer range begins with the frames of a shorter one.
    frames = f"{start}:{end}" if options.fps else f"{start}:"
    how = {"--frames": frames, "--fps": options.fps, "--background": options.background}
    return Made("extract_frames", {"VIDEO": source.digest()}, how)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
