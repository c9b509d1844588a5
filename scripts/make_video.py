"""Make a video of a folder of pictures, ordered by the numbers in their names, or of another video at another rate.

    python -m scripts.make_video animated_images result.mp4 --fps 8 --audio dance.mp4

A file that exists is refused: --overwrite replaces it, --skip-existing keeps it.
"""

import sys
from dataclasses import dataclass

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import FPS, ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    folder: str = path_option(help="folder of pictures of one size, or a video", is_positional=True, metavar="DIR")
    video: str = path_option(help="MP4 file to write", is_positional=True, metavar="FILE")
    fps: float = option(25, *FPS, help="frames per second")
    crf: int = option(18, 0, 51, help="constant rate factor; 0 is best, 51 is smallest")
    audio: str | None = path_option(None, help="video whose sound is put beside the pictures")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.make_video", __doc__, Options)


def work(options: Options) -> None:
    """Write the video."""
    from tqdm import tqdm

    from ppdiffusers_ext.data.audio import Audio
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.data.outputs import check_outputs
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.data.video_writer import VideoWriter

    source = open_frames(options.folder, options.fps)
    audio = Audio(options.audio) if options.audio else None
    writer = VideoWriter(options.video, options.fps, source.width, source.height, options.crf, audio)
    check_outputs([options.video], [options.folder, options.audio])
    count = source.resampled_count(writer.fps)
    if audio is not None:
        audio.check(options.video, count / writer.fps)

    def made_of() -> Made:
        inputs = {"DIR": source.digest(), **({"--audio": digest(options.audio)} if options.audio else {})}
        return Made("make_video", inputs, {"--fps": options.fps, "--crf": options.crf})

    results = check_existing({options.video: made_of}, options.overwrite, options.skip_existing)
    if not results.missing:
        print(f"kept {options.video}")
        return
    with results.recorded(), writer:
        for frame in tqdm(source.resampled(writer.fps), total=count, unit="frame", disable=None):
            writer.write(frame)
    print(f"wrote {options.video}: {counted(count, 'frame')}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
