"""What ComfyUI does for nodes: progress, interruption, folders, memory. Its modules are imported when used."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Where Alibaba's EAS keeps models, as the original's nodes know.
EAS_FOLDER = Path("/stable-diffusion-cache/models")
_WHOLE = 1000  # of the progress bar


class Watch:
    """Shows the progress of a node, and ends it where the user interrupts.

    What `tick` raises then is ComfyUI's own exception, which goes through whatever computes.
    """

    def __init__(self) -> None:
        from comfy.utils import ProgressBar

        self._bar, self._shown = ProgressBar(_WHOLE), 0
        self.begun = time.monotonic()

    def tick(self, done: float | None = None, preview: Any = None) -> None:
        """Check for an interruption, and show what part is done.

        Args:
            done: 0 to 1; None leaves what is shown, and it never becomes less.
            preview: PIL picture to show beside it.
        """
        check_interrupted()
        if done is None:
            return
        self._shown = max(self._shown, min(_WHOLE, round(done * _WHOLE)))
        picture = {} if preview is None else {"preview": ("JPEG", preview, 512)}
        self._bar.update_absolute(self._shown, _WHOLE, **picture)

    def over(self, frames: Iterable, count: int, first: float, last: float) -> Iterator[Any]:
        """Frames as they come, of which there are `count`; the progress goes from `first` to `last`."""
        for number, frame in enumerate(frames):
            self.tick(first + (last - first) * number / max(1, count))
            yield frame


def check_interrupted() -> None:
    """Raises ComfyUI's exception where the user has interrupted."""
    from comfy.model_management import throw_exception_if_processing_interrupted

    throw_exception_if_processing_interrupted()


def make_room() -> None:
    """Free the memory of the device for another framework: the two share no allocator."""
    from comfy import model_management

    model_management.unload_all_models()
    model_management.soft_empty_cache()


def model_folders(kind: str) -> list[Path]:
    """Folders in which models of a kind may lie, such as models/EasyAnimate, whether they are there or not."""
    import folder_paths

    return [Path(folder_paths.models_dir) / kind, EAS_FOLDER / kind]


def subfolders(kind: str) -> list[str]:
    """Names of the folders of models of a kind."""
    found: set[str] = set()
    for folder in model_folders(kind):
        with contextlib.suppress(OSError):
            found |= {entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."}
    return sorted(found)


def lora_names() -> list[str]:
    import folder_paths

    return list(folder_paths.get_filename_list("loras"))


def lora_path(name: str) -> str | None:
    """The path of a LoRA file; None where there is none of this name."""
    import folder_paths

    return folder_paths.get_full_path("loras", name)


def output_folder() -> Path:
    import folder_paths

    return Path(folder_paths.get_output_directory())


def registered_nodes() -> dict[str, Any]:
    """The nodes that are there already; none outside of ComfyUI."""
    try:
        from nodes import NODE_CLASS_MAPPINGS
    except ImportError:
        return {}
    return NODE_CLASS_MAPPINGS
