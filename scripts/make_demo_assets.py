"""Draw what `make demo` animates: a person whom the small model has never seen, and a motion that it has never seen.

python -m scripts.make_demo_assets [--seed 7]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers_ext.options import SEEDS, ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions

MODEL = "assets/demo_model"
ENLARGED = 2  # pixels to a side of one that the model draws, so that video compression blurs no joint
NUM_FRAMES = 48


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    seed: int = option(7, *SEEDS, help="random seed of person and motion; -1 draws one")
    model: str = path_option(MODEL, help="folder of the small model that is to animate them", metavar="DIR")
    output: str = path_option("assets", help="folder to write", metavar="DIR")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.make_demo_assets", __doc__, Options)


def work(options: Options) -> None:
    from ppdiffusers_ext.data.drawings import FILE, Drawing
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.images import write_image
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.data.video_writer import VideoWriter
    from ppdiffusers_ext.options import choose_seed

    seed, drawing = choose_seed(options.seed), Drawing.read(options.model)
    folder, side = Path(options.output), ENLARGED * drawing.side
    picture, poses = folder / "reference.png", folder / "pose.mp4"
    drawn = {FILE: digest(Path(options.model) / FILE)}
    made = dict.fromkeys((picture, poses), Made("make_demo_assets", drawn, {"--seed": seed}))
    results = check_existing(made, options.overwrite, options.skip_existing)
    clip = drawing.clip(seed, side, side, NUM_FRAMES)  # training has seeds of another kind
    with results.recorded():
        if picture in results.missing:
            write_image(picture, clip.reference)
        if poses in results.missing:
            with VideoWriter(poses, clip.fps, side, side) as writer:
                writer.write(clip.pose)
    print(f"wrote {options.output}" if results.missing else f"kept {options.output}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
