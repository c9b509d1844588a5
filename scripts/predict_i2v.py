"""Make a video that begins with a picture, and may end with another, with EasyAnimate.

    python -m scripts.predict_i2v --start-image dog.png --prompt "The dog shakes its head." --output dog.mp4
    python -m scripts.predict_i2v --start-image day.png --end-image night.png --base 768 --prompt ... --output dusk.mp4

The YAML file names the model; all options are keys of it, too. Beside the result comes a contact sheet. With --segment
a video is made in parts, of which each begins with the last frames of the one before.
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
    return run(make_parser("python -m scripts.predict_i2v", __doc__, "pictures"), make_work("pictures"), arguments)


if __name__ == "__main__":
    sys.exit(main())
