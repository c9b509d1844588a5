"""What server and worker write to each other: a JSON object on each line.

To the worker:
    {"do": "run", "job": id, "attempt": n, "system": ..., "options": {...}, "files": {role: [path, kind, frames, fps]},
     "folder": path}
    {"do": "cancel", "job": id}
    {"do": "plan", "request": n, "system": ..., "options": ..., "files": ..., "others": bytes}
    {"do": "people", "request": n, "path": ..., "frame": n, "person": rule, "picture": path of the PNG to write}
    {"do": "align", "request": n, "system": ..., "options": ..., "files": ..., "frame": n, "picture": as above}

From the worker:
    {"event": "ready"}
    {"event": "progress" | "preview" | "plan" | "note", "job": id, ...}
    {"event": "done", "job": id, "results": {name: file}} | {"event": "failed", "job": id, "error": words}
    {"event": "cancelled", "job": id}
    {"event": "answer", "request": n, "value": ...} | {"event": "answer", "request": n, "error": words, ...}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers_ext.server.execution import Given


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def encode_files(files: Mapping[str, Given]) -> dict[str, list[Any]]:
    return {role: [str(file.path), file.kind, file.frames, file.fps] for role, file in files.items()}


def decode_files(files: Mapping[str, list[Any]]) -> dict[str, Given]:
    return {role: Given(Path(path), kind, frames, fps) for role, (path, kind, frames, fps) in files.items()}
