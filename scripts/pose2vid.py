"""Animate pictures of people with Animate Anyone.

    python -m scripts.pose2vid --config configs/inference/animation.yaml -W 600 -H 784 -L 120
    python -m scripts.pose2vid --config configs/inference/animation.yaml \\
        --reference-image person.png --pose-video dance_kps.mp4 --output dance.mp4

The YAML file names the model and, under test_cases, the pictures and their pose videos. Options given here override
keys of the file. For each pair, three files are written: the video, the same beside picture and poses, and a contact
sheet. A pose picture instead of a pose video gives a picture.
"""

import sys

from ppdiffusers_ext.pipelines.animate_anyone.check import check_files
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

from .command import ArgumentParser, add_existing, run
from .options import add_options, given_options

DEMO = "configs/inference/demo.yaml"


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.pose2vid", description=__doc__, reads_checkpoints=True)
    parser.add_argument("--config", default=DEMO, metavar="FILE", help=f"YAML file (default: the demo's, {DEMO})")
    return add_existing(add_options(parser, Pose2VidConfig))


def read_config(options):
    """The checked `Pose2VidConfig` that the options of `make_parser` ask for."""
    return Pose2VidConfig.load(options.config, **given_options(options, Pose2VidConfig))


def work(options):
    """Load the configuration, animate, and print the files."""
    config = read_config(options)
    config.check_inputs()
    check_files(config)

    from ppdiffusers_ext.pipelines.animate_anyone.run import animate

    for result in animate(config, overwrite=options.overwrite, skip_existing=options.skip_existing):
        print(f"video         {result.video}")
        print(f"side by side  {result.side_by_side}")
        print(f"preview       {result.contact_sheet}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
