"""The node that shows and keeps the report of a result."""

import json
import re
from pathlib import Path
from typing import Any

from ppdiffusers_ext.comfyui.host import output_folder
from ppdiffusers_ext.comfyui.posed import check_report
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.metrics.result_report import summary

_PREFIX = re.compile(r"[\w .-]{1,80}(/[\w .-]{1,80}){0,5}")
_MOST = 100_000


class SaveReport:
    """Writes the report of a result, and shows it in short."""

    DESCRIPTION = (
        "How good a result is: likeness of the face, errors of the poses, drift of colours. Writes a page and its "
        "numbers as JSON into ComfyUI's output folder."
    )
    CATEGORY = "ppdiffusers_ext"
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("summary", "json")
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        prefix = {"default": "report", "tooltip": "beginning of the files' names, in ComfyUI's output folder"}
        return {"required": {"report": ("PPDX_REPORT",), "filename_prefix": ("STRING", prefix)}}

    def save(self, report: Any, filename_prefix: str) -> dict[str, Any]:
        """Write it, and return its summary and its numbers."""
        report = check_report(report)
        path = _free_path(filename_prefix)
        text = json.dumps(report.values, indent=1, ensure_ascii=False)
        pages = {".json": text + "\n", ".html": report.page}
        for ending, content in pages.items():
            if content:
                with output_file(path.with_name(path.name + ending)) as temporary:
                    Path(temporary).write_text(content, encoding="utf-8")
        told = summary(report.values)
        return {"ui": {"text": [told]}, "result": (told, text)}


def _free_path(prefix: Any) -> Path:
    """The first of PREFIX_00001, PREFIX_00002 and so on of which there is no file."""
    is_name = isinstance(prefix, str) and _PREFIX.fullmatch(prefix)
    if not is_name or any(not part.strip(". ") for part in prefix.split("/")):
        raise InputError(
            f"filename_prefix {shown(prefix)} is no beginning of a name; letters, digits, spaces, points, - and _ are "
            "accepted, and / between names of folders"
        )
    folder = output_folder()
    for number in range(1, _MOST):
        path = folder / f"{prefix}_{number:05d}"
        if not any(path.with_name(path.name + ending).exists() for ending in (".json", ".html")):
            return path
    raise InputError(f"{folder} has {_MOST - 1} reports of this prefix; another one is accepted")
