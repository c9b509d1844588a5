"""How the drawn clips of a small model are drawn: what it is trained on, and what it is measured with.

A model's folder has this beside the networks, so that whoever measures or shows it draws clips of the kind it knows.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ppdiffusers_ext.data.drawn_clip import SyntheticClip
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.skeletons import PLAIN, WEIGHTED
from ppdiffusers_ext.data.synthetic import FIGURES, SIMPLE, synthetic_clip
from ppdiffusers_ext.options import check_options, option, read_options

FILE = "drawing.yaml"


@dataclass(frozen=True)
class Drawing:
    """How clips are drawn. The fields are the keys of a YAML file, and arguments of `data.synthetic.write_clips`."""

    figures: str = option(SIMPLE, choices=FIGURES, help="simple or detailed")
    side: int = option(128, 16, 4096, help="pixels of a square frame's sides")
    num_frames: int = option(24, 1, 10_000, help="frames of the motion")
    entrance: int = option(12, 0, 10_000, help="frames before these, from the reference's pose into the motion")
    still: float = option(0.0, 0.0, 1.0, help="part of the cameras that do not move; simple figures have no others")
    close: bool = option(False, help="whether the upper body fills the picture")
    weighted: bool = option(False, help="whether the colours of poses are darker by their scores")

    def __post_init__(self) -> None:
        check_options(self)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "Drawing":
        """That of a folder. Raises MissingFileError, InputError: no such file, or keys or values that none has."""
        return cls(**read_options(cls, Path(folder) / FILE))

    def write(self, folder: str | os.PathLike) -> None:
        """Write the file into a folder that is there."""
        with output_file(Path(folder) / FILE) as temporary:
            Path(temporary).write_text(yaml.safe_dump(asdict(self), sort_keys=False), encoding="utf-8")

    @property
    def arguments(self) -> dict[str, Any]:
        """All of it as arguments of `write_clips` and `write_animation_clips`."""
        return asdict(self)

    def clip(
        self,
        seed: int | Sequence[int],
        width: int | None = None,
        height: int | None = None,
        num_frames: int | None = None,
        entrance: int = 0,
    ) -> SyntheticClip:
        """The `SyntheticClip` of a seed, for measuring.

        Args:
            seed: see `data.synthetic.synthetic_clip`.
            entrance: frames before the motion, none unless said, whatever training has.
            width, height, num_frames: pixels and frames, where they are others than in training.
        """
        size = (num_frames or self.num_frames, width or self.side, height or self.side)
        style = WEIGHTED if self.weighted else PLAIN
        return synthetic_clip(seed, *size, entrance, self.close, self.figures, style, self.still)
