"""Animate a picture of a person with StableAnimator.

    python -m scripts.stable_animator --reference-image inference/case-1/reference.png \\
        --pose-video inference/case-1/poses --output out

The skeletons are a folder of pictures or a video, such as scripts.skeleton_extraction makes. Writes into the output
folder animated_images/frame_0.png and so on, animated_images.gif and animated_images.mp4; with --optimize-face also
face_optimization.json, loss and cosines of every step; with --reports also identity.json. Results that exist
are refused: --overwrite replaces them, --skip-existing keeps them. The original's flags are accepted, too.
"""

import argparse
import sys

from ppdiffusers_ext.pipelines.stable_animator.check import check_files
from ppdiffusers_ext.pipelines.stable_animator.options import (
    CONFIG,
    WITHOUT_EFFECT,
    RefinementConfig,
    StableAnimationConfig,
)

from .command import ArgumentParser, add_existing, run
from .options import add_options, given_options


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.stable_animator", description=__doc__, reads_checkpoints=True)
    parser.add_argument(
        "--config", metavar="FILE", default=CONFIG, help="YAML file (default: that of the released model)"
    )
    add_options(parser, StableAnimationConfig)
    add_options(parser, RefinementConfig)
    parser.add_argument(*WITHOUT_EFFECT, dest="without_effect", nargs="?", help=argparse.SUPPRESS)
    return add_existing(parser)


def read_config(options):
    """The `StableAnimationConfig` that the options of `make_parser` ask for."""
    refinement = given_options(options, RefinementConfig)
    config = StableAnimationConfig.load(options.config, refinement, **given_options(options, StableAnimationConfig))
    config.check()
    return config


def work(options):
    """Animate, and print where the results are."""
    config = read_config(options)
    config.check_inputs()
    check_files(config)

    from ppdiffusers_ext.pipelines.stable_animator.run import animate

    results = animate(config, overwrite=options.overwrite, skip_existing=options.skip_existing)
    print(f"pictures  {results.pictures}\ngif       {results.gif}\nvideo     {results.video}")
    if results.optimization is not None:
        print(f"faces     {results.optimization}")
    if results.report is not None:
        print(f"report    {results.report}: {results.identity}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
