"""Checks of the files of EasyAnimate, without Paddle: what is missing is told at once."""

from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import MissingFileError
from ppdiffusers_ext.packaged import located

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig


FETCH = (
    "`python scripts/download_weights.py --system easy_animate` fetches the released ones, docs/weights.md lists them"
)


def check_files(config: "EasyAnimateConfig") -> Path:
    """The folder of the checkpoint, a `Path`; what it must have is checked by `loading.check_parts`.

    Raises MissingFileError where it does not exist.
    """
    folder = model_folder(config)
    if not folder.is_dir():
        raise MissingFileError(f"folder {folder} does not exist; {FETCH}")
    return folder


def model_folder(config: "EasyAnimateConfig") -> Path:
    """The folder of the checkpoint: the user's own, or the one that ships under this name."""
    return Path(located(config.model))
