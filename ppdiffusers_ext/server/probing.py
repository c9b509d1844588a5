"""What an upload is: found by a process of its own, with limits of processor and memory, that opens it.

    python -m ppdiffusers_ext.server.probing FILE SECONDS BYTES PIXELS

prints JSON: {"kind", "suffix", "width", "height", "frames", "seconds", "fps", "has_audio"}, or {"error": words}. What
a file can do to a decoder (endless loops, memory, crashes) ends that process and nothing else. A picture of more than
PIXELS is not decoded.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.children import child_environment, step_back
from ppdiffusers_ext.server.refusals import NotMedia, TooLarge, Unavailable
from ppdiffusers_ext.server.settings import ServerSettings

_MOST_OF_ANSWER = 10_000  # bytes
_TURNS = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))  # more at once take the server's processor
_WALL = (60, 4)  # seconds at least, and times as long as the processor's, on a busy machine


def probe(path: Path, name: str, settings: ServerSettings) -> dict[str, Any]:
    """What a file is; see the module.

    Args:
        path: of the file.
        name: as its sender calls it, for messages.
        settings: bounds.

    Raises:
        NotMedia: it is neither a picture nor a video that can be read within the limits.
        TooLarge: it has more pixels, frames or seconds than are accepted.
        Unavailable: the process cannot be started.
    """
    bounds = (settings.probe_seconds, settings.probe_memory, settings.max_picture_pixels)
    command = [sys.executable, "-m", __name__, str(path), *map(str, bounds)]
    environment = child_environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    try:
        with _TURNS:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                timeout=max(_WALL[0], _WALL[1] * settings.probe_seconds), check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotMedia("media.slow", name=name) from None
    except OSError as error:
        raise Unavailable("probe") from error
    try:
        found = json.loads(ended.stdout[:_MOST_OF_ANSWER])
    except ValueError:
        raise NotMedia("media.limits", name=name) from None
    if "error" in found:
        raise NotMedia("media", name=name, found=found["error"])
    _check_bounds(found, name, settings)
    return found


def _check_bounds(found: dict[str, Any], name: str, settings: ServerSettings) -> None:
    pixels, is_video = found["width"] * found["height"], found["kind"] == "video"
    most = settings.max_video_pixels if is_video else settings.max_picture_pixels
    if pixels > most:
        kind = "video" if is_video else "picture"
        raise TooLarge("pixels", name=name, width=found["width"], height=found["height"], most=most, kind=kind)
    if is_video and found["seconds"] > settings.max_video_seconds:
        raise TooLarge("seconds", name=name, seconds=found["seconds"], most=settings.max_video_seconds)
    if is_video and found["frames"] > settings.max_video_frames:
        raise TooLarge("frames", name=name, frames=found["frames"], most=settings.max_video_frames)


def look(path: Path, most_pixels: int) -> dict[str, Any]:
    """What a file is, by its content; a picture of more pixels than `most_pixels` is not decoded.

    Raises InputError for what is neither a picture nor a video.
    """
    from ppdiffusers_ext.data.animated import is_animated
    from ppdiffusers_ext.data.images import picture_size, read_image
    from ppdiffusers_ext.data.video import probe_video, read_frames
    from ppdiffusers_ext.data.video_file import open_video

    suffix = _picture_suffix(path)
    if suffix and not is_animated(path):
        width, height = picture_size(path)
        if width * height <= most_pixels:
            read_image(path)  # damage shows when pixels are decoded
        facts = {"frames": 1, "seconds": None, "fps": None, "has_audio": False}
        return {"kind": "image", "suffix": suffix, "width": width, "height": height, **facts}
    info = probe_video(path)
    next(read_frames(path, 0, 1, info=info))
    has_audio = False
    if not suffix:
        with open_video(path) as (container, _):
            has_audio = bool(container.streams.audio)
    return {
        "kind": "video",
        "suffix": suffix or _video_suffix(path),
        "width": info.width,
        "height": info.height,
        "frames": info.num_frames,
        "seconds": float(info.duration),
        "fps": float(info.fps),
        "has_audio": has_audio,
    }


# First bytes of a file -> the ending that its copy gets.
_PICTURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp"}
_PICTURES |= {b"II*\0": ".tif", b"MM\0*": ".tif"}
_OF_BRANDS = {b"avif": ".avif", b"avis": ".avif", b"heic": ".heic", b"heix": ".heic", b"mif1": ".heic"}


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _picture_suffix(path: Path) -> str | None:
    head = _head(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        return _OF_BRANDS.get(head[8:12])
    return next((suffix for start, suffix in _PICTURES.items() if head.startswith(start)), None)


def _video_suffix(path: Path) -> str:
    return ".mkv" if _head(path).startswith(b"\x1a\x45\xdf\xa3") else ".mp4"


def main(arguments: list[str]) -> None:
    step_back()
    path, (seconds, memory, most_pixels) = Path(arguments[0]), map(int, arguments[1:])
    for limit, value in (("RLIMIT_CPU", seconds), ("RLIMIT_AS", memory), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower one is set already
            resource.setrlimit(getattr(resource, limit), (value, value))
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    try:
        answer = look(path, most_pixels)
    except InputError as error:
        answer = {"error": _words(str(error), path)}
    except MemoryError:
        answer = {"error": "needs too much memory to be read"}
    except Exception:  # whatever a decoder raises on what it was not made for
        answer = {"error": "is no picture and no video that can be read"}
    os.write(out, json.dumps(answer).encode())


def _words(message: str, path: Path) -> str:
    """What is wrong, of a message that begins with the path and ends with what is accepted."""
    what = message.removeprefix(str(path)).split(";")[0].strip()
    return what if str(path) not in what else "is no picture and no video that can be read"


if __name__ == "__main__":
    main(sys.argv[1:])
