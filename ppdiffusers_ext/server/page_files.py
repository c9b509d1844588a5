"""The files of the page: those that ship, found once; what a client asks for is looked up among them, never opened."""

from functools import cache
from pathlib import Path

from ppdiffusers_ext import packaged
from ppdiffusers_ext.files import read_json

FOLDER = Path(__file__).with_name("page")
INDEX = "index.html"
LANGUAGES = ("en", "zh")
STYLES = ("base.css", "layout.css", "controls.css")  # of the pages that are made here: login and the description
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".mp4": "video/mp4",
}
# What a visitor can try the page with.
_SAMPLES = {"sample/reference.png": "reference.png", "sample/pose.mp4": "pose.mp4"}


@cache
def texts_of(language: str) -> dict[str, str]:
    """The texts of the page in one of its languages."""
    return read_json(FOLDER / "texts" / f"{language}.json", "texts of the page", "those that ship are accepted")


@cache
def page_files() -> dict[str, Path]:
    """Name below /page/ -> file."""
    found = {
        path.relative_to(FOLDER).as_posix(): path
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in KINDS and path.is_file() and not path.is_symlink()
    }
    samples = {name: packaged.FOLDER / "assets" / file for name, file in _SAMPLES.items()}
    return found | {name: path for name, path in samples.items() if path.is_file()}
