"""Pictures as CLIP takes them, by the options that a checkpoint has for it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from PIL import Image
from ppdiffusers.transformers import CLIPImageProcessor

from ppdiffusers_ext.errors import InputError, printable, shown
from ppdiffusers_ext.files import check_file
from ppdiffusers_ext.models.rules import Choice, Either, Flag, ListOf, Nested, Number, Rules, Whole
from ppdiffusers_ext.pipelines.loading import known_options
from ppdiffusers_ext.weights.folders import read_config

_OPTIONS = "preprocessor_config.json"
_KINDS = {"image_processor_type": "CLIPImageProcessor", "feature_extractor_type": "CLIPFeatureExtractor"}
_SIDE = Whole(1, 4096)  # pixels
_SIZE = Either(None, _SIDE, Nested({"shortest_edge": _SIDE, "height": _SIDE, "width": _SIDE}))
_COLOURS = Either(None, Number(-1000, 1000), ListOf(Number(-1000, 1000), 3, 3))
_SPREAD = Either(None, Number(1e-6, 1000), ListOf(Number(1e-6, 1000), 3, 3))
_RULES = Rules(
    {
        **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), Flag()),
        "size": _SIZE,
        "crop_size": _SIZE,
        "resample": Choice(*range(6)),
        "rescale_factor": Number(1e-9, 1000),
        "image_mean": _COLOURS,
        "image_std": _SPREAD,
    }
)
_PICTURE = np.zeros((8, 8, 3), np.uint8)


class PictureProcessor:
    """Shortest side to CLIP's size (bicubic), the middle of it, and the mean and spread of CLIP's training.

    Numbers are those of transformers' `CLIPImageProcessor`.

    Args:
        options: of a preprocessor_config.json, as a dict.
        source: where they come from, for messages.

    Raises:
        InputError: they are of another kind of processor, or do not fit.
    """

    def __init__(self, options: Mapping[str, Any], source: str | os.PathLike) -> None:
        for key, kind in _KINDS.items():
            if options.get(key, kind) not in _KINDS.values():
                raise InputError(f"{key} {shown(options[key])} in {source} is not known; {kind} is accepted")
        self._saved = dict(options)
        options = known_options(CLIPImageProcessor, options, source)
        _RULES.check(options, source)
        sizes = {
            "size": lambda size: {"shortest_edge": size},
            "crop_size": lambda size: {"height": size, "width": size},
        }
        for key, both in sizes.items():  # older files have numbers there
            if isinstance(options.get(key), int):
                options[key] = both(options[key])
        try:
            self._processor = CLIPImageProcessor(**options)
            self(_PICTURE)
        except Exception as error:  # whatever is wrong with an option shows as anything in the processor
            reason = printable(error, 300)
            raise InputError(
                f"the options in {source} do not fit ({reason}); those of a CLIPImageProcessor are needed"
            ) from error

    def save_pretrained(self, folder: str) -> None:
        """Write a preprocessor_config.json into a folder, which is made."""
        path = Path(folder, _OPTIONS)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self._saved, indent=2) + "\n", encoding="utf-8")

    def __call__(self, picture: Any) -> paddle.Tensor:
        """A picture, RGB, as a `PIL.Image` or (H, W, 3) uint8 -> float32 tensor (1, 3, size, size).

        Raises InputError for another shape or dtype.
        """
        if not isinstance(picture, Image.Image):
            if getattr(picture, "dtype", None) != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise InputError("CLIP's picture does not fit; RGB of uint8, (height, width, 3), is accepted")
            picture = Image.fromarray(np.asarray(picture))
        return self._processor.preprocess(picture, return_tensors="pd").pixel_values


def read_picture_processor(folder: str | os.PathLike) -> PictureProcessor:
    """The `PictureProcessor` of a folder with an image encoder.

    Raises:
        MissingFileError: there is no preprocessor_config.json.
        InputError: as `PictureProcessor`.
    """
    path = check_file(Path(folder) / _OPTIONS, "options of pictures", "those of the image encoder are needed")
    return PictureProcessor(read_config(path), path)
