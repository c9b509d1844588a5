"""What clients are told has no paths of the server."""

from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.server.words import without_paths, words_of

UPLOAD = Path("/data/uploads/0a1b.mp4")


@pytest.mark.parametrize(
    "text, told",
    [
        ("/data/uploads/0a1b.mp4 is no video", "driving_video is no video"),
        ("folder /srv/models/x y does not exist", "folder x y does not exist"),
        ("a /etc/passwd, '/srv/.ssh/id' and (/x/y); b", "a passwd, 'id' and (y); b"),
        ("file:///etc/passwd", "passwd"),
        ("1/2 of 24/25 and A/B", "1/2 of 24/25 and A/B"),
        ("http://x.org/a/b", "http://x.org/a/b"),
        ("several\nlines\x1b[31m", "several lines\\x1b[31m"),
    ],
)
def test_paths_become_names(text, told):
    assert without_paths(text, {UPLOAD: "driving_video", Path("/data/uploads"): "uploads"}) == told


def test_errors_are_told_by_their_kind():
    assert words_of(InputError("/a/b is bad; x is accepted")) == "b is bad; x is accepted"
    assert words_of(MissingFileError("/a/b is gone")) == "b is gone"
    assert "memory" in words_of(MemoryError())
    assert words_of(OSError(28, "No space left on device", "/srv/secret")) == (
        "a file cannot be used: No space left on device; the same later is accepted"
    )
    assert words_of(KeyError("/srv/secret")) == "the program failed (KeyError); the server's log has more"
