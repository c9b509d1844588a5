"""What the commands that estimate poses share."""

import sys

from .command import ArgumentParser, no_command, real, whole

WEIGHTS = "pretrained_weights/DWPose"


def make_parser(prog, description):
    """A parser with the options of the estimator and of what is drawn."""
    parser = ArgumentParser(prog=prog, description=description)
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or gpu (default: cpu)")
    return add_options(parser)


def add_options(parser):
    """The same options without the device; gives the parser back."""
    parser.add_argument("--dwpose", metavar="DIR", default=WEIGHTS, help=f"of DWPose's ONNX files ({WEIGHTS})")
    parser.add_argument("--no-hands", action="store_true", help="draw no hands")
    parser.add_argument("--no-face", action="store_true", help="draw no faces")
    parser.add_argument("--compatible", action="store_true", help="draw the originals' pixels, their slips included")
    return parser


def add_track(parser, person):
    """Options of how the poses of a video become those of one person; as the originals' unless they are asked for."""
    rules = "largest, surest, left, right, or a number from the left"
    parser.add_argument("--person", default=person, metavar="WHO", help=f"{rules} (default: {person})")
    parser.add_argument(
        "--gap", type=whole(0, 100_000), default=0, metavar="N", help="frames of absence that are filled (default: 0)"
    )
    parser.add_argument(
        "--smoothing", type=real(0, 1000), default=0.0, metavar="X", help="of motion; 1 suits most (default: 0)"
    )


def track_options(options):
    from ppdiffusers_ext.preprocess.extraction import TrackOptions

    return TrackOptions(options.person, options.gap, options.smoothing)


def make_estimator(options, channels, threads=None, device=None):
    from ppdiffusers_ext.preprocess.pose import PoseEstimator

    return PoseEstimator(options.dwpose, device or options.device, channels, threads=threads)


def made_of(command, options, **inputs):
    """The `Made` of skeletons: of the networks, what is drawn and how people are chosen, and of the command's inputs.

    Args:
        command: its name.
        inputs: name of an option, or words for an input -> digest of its content.
    """
    from ppdiffusers_ext.data.records import Made, digest, digest_of
    from ppdiffusers_ext.preprocess.pose import network_files

    networks = [digest(path) for path in network_files(options.dwpose)]
    names = ("no_hands", "no_face", "compatible", "original", "person", "gap", "smoothing")
    given = {f"--{name.replace('_', '-')}": getattr(options, name) for name in names if hasattr(options, name)}
    return Made(command, {**inputs, "--dwpose": digest_of(networks)}, given)


def style_of(options, system):
    from ppdiffusers_ext.preprocess.extraction import style_of

    return style_of(system, not options.no_hands, not options.no_face, options.compatible)


def progress(title):
    """What shows a bar while frames are taken from an iterable."""
    from tqdm import tqdm

    def show(frames, count):
        return tqdm(frames, desc=title, total=count, unit="frame", disable=None)  # in a terminal only

    return show


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.animate", "scripts.vid2pose", "scripts.skeleton_extraction")))
