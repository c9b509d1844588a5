"""Packages without which no command runs; a Python that lacks them is told in a line, before they are imported.

This module imports, as all that it imports, nothing but Python's own.
"""

import importlib.util
import sys

from ppdiffusers_ext.errors import shown_path
from ppdiffusers_ext.packaged import IS_CHECKOUT

# Of requirements.txt, by the names under which they are imported. Not pip: where that is looked for, setuptools takes
# it to be running, leaves distutils to Python, and cannot be imported afterwards.
_MODULES = (
    *("paddle", "paddlenlp", "ppdiffusers", "numpy", "PIL", "cv2", "onnxruntime", "insightface", "av", "imageio"),
    *("scipy", "sentencepiece", "tokenizers", "yaml", "requests", "urllib3", "huggingface_hub", "filelock", "xxhash"),
    *("psutil", "tqdm", "visualdl", "setuptools"),
)


def check_packages() -> None:
    """End the process with exit code 2 and a line on stderr if this Python lacks packages that commands need.

    They are looked for, not imported, which takes a few milliseconds.

    Raises:
        SystemExit: one is missing.
    """
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if not missing:
        return
    what = f"the package {missing[0]} is" if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more are"
    accepted = ".venv/bin/python, after `make install`," if IS_CHECKOUT else "one with all that pip installs for it"
    said = f"{what} not installed in this Python ({shown_path(sys.executable)}); {accepted} is accepted"
    print("error:", said, file=sys.stderr)  # commands' own way of telling errors imports what may be missing
    raise SystemExit(2)
