"""Where the files are that ship beside the code, and how the commands are called.

A checkout has configs, assets and scripts beside the package. A wheel has them inside it, in `configs`, `assets` and
`commands`, where setup.py copies them.
"""

import os
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = ("configs", "assets")
IS_CHECKOUT = not (_PACKAGE / "configs").is_dir()
FOLDER = _PACKAGE.parent if IS_CHECKOUT else _PACKAGE  # the folder of configs and assets

PROGRAM = "ppdiffusers-ext"
# Commands as docstrings and messages have them, for a checkout.
_CALL = re.compile(r"python\s+(?:-m\s+scripts\.(\w+)|scripts/(\w+)\.py)")
_MENTION = re.compile(r"(?<![\w./-])scripts(?:\.(\w+)|/(\w+)\.py)")

_is_program = not IS_CHECKOUT


def located(path: str | os.PathLike) -> str | os.PathLike:
    """Returns the path of the user's own file or folder, or else of the one that ships under the same name.

    Args:
        path: str or Path. Relative paths below `configs` and `assets` may name what ships.

    Returns:
        `path` as it is, unless nothing is there and something of that name ships.
    """
    if os.path.lexists(path):
        return path
    parts = Path(path).parts
    if len(parts) < 2 or parts[0] not in _SHIPPED or ".." in parts:
        return path
    shipped = FOLDER / path
    return shipped if os.path.exists(shipped) else path


def use_program() -> None:
    """Have messages name commands as `ppdiffusers-ext NAME` from now on, which they always do outside a checkout."""
    global _is_program
    _is_program = True


def is_program() -> bool:
    """True if messages name commands as `ppdiffusers-ext NAME`."""
    return _is_program


def as_called(text: str) -> str:
    """Returns a text with its commands in the form in which they can be called here.

    A checkout has `python -m scripts.NAME` and `python scripts/NAME.py`, an installed package `ppdiffusers-ext NAME`.
    """
    if not _is_program or "scripts" not in text:
        return text
    text = _CALL.sub(lambda found: f"{PROGRAM} {found[1] or found[2]}", text)
    return _MENTION.sub(lambda found: found[1] or found[2], text)
