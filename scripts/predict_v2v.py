"""Make a video anew by a text, as a whole or where a mask is white, with EasyAnimate.

    python -m scripts.predict_v2v --video walk.mp4 --prompt "A robot walks." --strength 0.7 --output robot.mp4
    python -m scripts.predict_v2v --video walk.mp4 --mask mask.png --prompt "A red car." --output car.mp4

The YAML file names the model; all options are keys of it, too. Beside the result comes a contact sheet. The video's
sound is copied.
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scripts"

from .command import run  # noqa: E402
from .easy_animate import make_parser, make_work  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the command: its exit code."""
    return run(make_parser("python -m scripts.predict_v2v", __doc__, "video"), make_work("video"), arguments)


if __name__ == "__main__":
    sys.exit(main())
