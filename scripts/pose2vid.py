"""Animate pictures of people with Animate Anyone.

    python -m scripts.pose2vid --config configs/inference/animation.yaml -W 600 -H 784 -L 120
    python -m scripts.pose2vid --config configs/inference/animation.yaml \\
        --reference-image person.png --pose-video dance_kps.mp4 --output dance.mp4

The YAML file names the model and, under test_cases, the pictures and their pose videos. Options given here override
keys of the file. For each pair, three files are written: the video, the same beside picture and poses, and a contact
sheet; with --report also a page that says how good it is. A pose picture instead of a pose video gives a picture.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = __import__("scripts").__name__

from ppdiffusers_ext.options import inherited  # noqa: E402
from ppdiffusers_ext.pipelines.animate_anyone.check import check_files  # noqa: E402
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig  # noqa: E402

from .command import ArgumentParser, run  # noqa: E402
from .options import ConfigOptions, add_options, given_options  # noqa: E402
from .ranks import divided  # noqa: E402

DEMO = "configs/inference/demo.yaml"


@dataclass(frozen=True, kw_only=True)
class Options(ConfigOptions):
    config: str = inherited(ConfigOptions, "config", DEMO)


def make_parser() -> ArgumentParser:
    return add_options(ArgumentParser("python -m scripts.pose2vid", __doc__, Options), Pose2VidConfig)


def read_config(options: Options) -> Pose2VidConfig:
    """The checked `Pose2VidConfig` that the options of `make_parser` ask for."""
    return Pose2VidConfig.load(options.config, **given_options(options.given, Pose2VidConfig))


def checked(options: Options) -> Pose2VidConfig:
    """As `read_config`; all files that it names are there."""
    config = read_config(options)
    config.check_inputs()
    check_files(config)
    return config


def work(options: Options) -> None:
    """Load the configuration, animate, and print the files."""
    config = checked(options)

    from ppdiffusers_ext.pipelines.animate_anyone.run import animate

    for result in animate(config):
        print(f"video         {result.video}")
        print(f"side by side  {result.side_by_side}")
        print(f"preview       {result.contact_sheet}")
        if result.report is not None:
            print(f"report        {result.report}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), divided(work)))
