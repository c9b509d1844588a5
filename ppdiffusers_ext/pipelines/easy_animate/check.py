"""Checks of the files of EasyAnimate, without Paddle: what is missing is told at once."""

from pathlib import Path

from ppdiffusers_ext.errors import MissingFileError

FETCH = (
    "`python scripts/download_weights.py --system easy_animate` fetches the released ones, docs/weights.md lists them"
)


def check_files(config):
    """The folder of the checkpoint, a `Path`; what it must have is checked by `loading.check_parts`.

    Raises MissingFileError where it does not exist.
    """
    folder = Path(config.model)
    if not folder.is_dir():
        raise MissingFileError(f"folder {folder} does not exist; {FETCH}")
    return folder
