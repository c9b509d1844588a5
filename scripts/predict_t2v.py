"""Make a video, or a picture, of a text with EasyAnimate.

    python -m scripts.predict_t2v --prompt "A dog shakes its head." --output dog.mp4
    python -m scripts.predict_t2v --config configs/inference/easy_animate/v3_512.yaml --prompt "x" -L 1 --output a.png

The YAML file names the model; all options are keys of it, too. Beside the result comes a contact sheet. With --segment
a video is made in parts, of which each begins with the last frames of the one before.
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scripts"

from .command import run  # noqa: E402
from .easy_animate import TextOptions, make_parser, make_work  # noqa: E402

Options = TextOptions  # beside those of EasyAnimate


def main(arguments: list[str] | None = None) -> int:
    """Run the command: its exit code."""
    return run(make_parser("python -m scripts.predict_t2v", __doc__, "text"), make_work("text"), arguments)


if __name__ == "__main__":
    sys.exit(main())
