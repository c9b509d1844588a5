"""Nodes of ComfyUI: link this folder into `custom_nodes`, or import `ppdiffusers_ext.comfyui` where it is installed.

ComfyUI imports a linked folder under a name of its own, outside of the package; other hosts name it as the link is
called, be it as the package is. So the package is taken from where the link leads, and the nodes are imported as a
part of it: there is one copy of them, however a host comes to it, and nothing is added to the path on which modules of
others are looked for. Neither Paddle nor torch is imported here.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = "ppdiffusers_ext"


def _import_nodes() -> ModuleType:
    """The nodes of the package that this folder is in; of an installed one if this is a copy outside of it."""
    folder = Path(__file__).resolve().parents[1]
    present = sys.modules.get(_PACKAGE)
    if not hasattr(present, "__version__"):  # there is none yet, or a host has called this folder so
        sys.modules.pop(_PACKAGE, None)
        if (folder / "version.py").is_file():
            path, places = folder / "__init__.py", [str(folder)]
            spec = importlib.util.spec_from_file_location(_PACKAGE, path, submodule_search_locations=places)
            assert spec is not None and spec.loader is not None  # of a path that ends in .py
            package = sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(package)
    try:
        return importlib.import_module(f"{_PACKAGE}.comfyui.nodes")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith(_PACKAGE):
            raise ImportError(
                f"the nodes of {_PACKAGE} need {error.name}, which is not installed; `pip install -r "
                "requirements.txt` in their folder, with ComfyUI's Python, is accepted"
            ) from error
        raise ImportError(
            f"the nodes of {_PACKAGE} are a copy without the package; a link to ppdiffusers_ext/comfyui in a "
            "checkout, or the package installed into ComfyUI's Python, is accepted"
        ) from error


_nodes = _import_nodes()
NODE_CLASS_MAPPINGS = _nodes.NODE_CLASS_MAPPINGS
NODE_DISPLAY_NAME_MAPPINGS = _nodes.NODE_DISPLAY_NAME_MAPPINGS
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
