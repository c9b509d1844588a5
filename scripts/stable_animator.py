"""Animate a picture of a person with StableAnimator.

    python -m scripts.stable_animator --reference-image inference/case-1/reference.png \\
        --pose-video inference/case-1/poses --output out

The skeletons are a folder of pictures or a video, such as scripts.skeleton_extraction makes. Writes into the output
folder animated_images/frame_0.png and so on, animated_images.gif and animated_images.mp4; with --optimize-face also
face_optimization.json, loss and cosines of every step; with --reports also identity.json; with --report also
animated_images_report.html, which says how good the video is, and the same as JSON. Results that exist
are refused: --overwrite replaces them, --skip-existing keeps them. The original's flags are accepted, too.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = __import__("scripts").__name__

from ppdiffusers_ext.options import option  # noqa: E402
from ppdiffusers_ext.pipelines.jobs import load_model_config  # noqa: E402
from ppdiffusers_ext.pipelines.stable_animator.check import check_files  # noqa: E402
from ppdiffusers_ext.pipelines.stable_animator.options import (  # noqa: E402
    WITHOUT_EFFECT,
    RefinementConfig,
    StableAnimationConfig,
)

from .command import ArgumentParser, run  # noqa: E402
from .options import ConfigOptions, add_options, given_options, tell_model  # noqa: E402
from .ranks import divided  # noqa: E402

SYSTEM = "stable_animator"


@dataclass(frozen=True, kw_only=True)
class Options(ConfigOptions):
    without_effect: str | None = option(None, help=argparse.SUPPRESS, flags=WITHOUT_EFFECT, bare="")


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("python -m scripts.stable_animator", __doc__, Options)
    return add_options(add_options(parser, StableAnimationConfig), RefinementConfig)


def read_config(options: Options) -> StableAnimationConfig:
    """The `StableAnimationConfig` that the options of `make_parser` ask for."""
    refinement = given_options(options.given, RefinementConfig)
    given = given_options(options.given, StableAnimationConfig)
    picture, given["refinement"] = given.get("reference_image"), refinement
    config, is_demo = load_model_config(SYSTEM, options.config, given, picture)
    tell_model(SYSTEM, is_demo)
    config.check()
    return config


def checked(options: Options) -> StableAnimationConfig:
    """As `read_config`; all files that it names are there."""
    config = read_config(options)
    config.check_inputs()
    check_files(config)
    return config


def work(options: Options) -> None:
    """Animate, and print where the results are."""
    config = checked(options)

    from ppdiffusers_ext.pipelines.stable_animator.run import animate

    results = animate(config)
    print(f"pictures  {results.pictures}\ngif       {results.gif}\nvideo     {results.video}")
    if results.optimization is not None:
        print(f"faces     {results.optimization}")
    if results.report is not None:
        print(f"identity  {results.report}: {results.identity}")
    if results.page is not None:
        print(f"report    {results.page}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), divided(work)))
