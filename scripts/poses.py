"""What the commands that estimate poses share."""

from scripts.command import ArgumentParser

WEIGHTS = "pretrained_weights/DWPose"


def make_parser(prog, description):
    parser = ArgumentParser(prog=prog, description=description)
    parser.add_argument(
        "--dwpose",
        metavar="DIR",
        default=WEIGHTS,
        help=f"folder of DWPose's two ONNX files (default: {WEIGHTS})",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or gpu (default: cpu)")
    return parser


def add_drawing(parser):
    """Options of what is drawn."""
    parser.add_argument("--no-hands", action="store_true", help="draw no hands")
    parser.add_argument("--no-face", action="store_true", help="draw no faces")
    parser.add_argument("--compatible", action="store_true", help="exactly the originals' pixels, their slips included")


def style_of(options, system):
    from ppdiffusers_ext.preprocess.extraction import style_of

    return style_of(system, not options.no_hands, not options.no_face, options.compatible)
