"""What may stand in the place of a file that the library reads, and is none."""

import os
import socket

KINDS = ("folder", "pipe", "socket", "device", "null", "loop", "nothing", *(("secret",) if os.geteuid() else ()))


def special(path, kind):
    """Put one of `KINDS` into the place of a file; returns its path. Reading it as a file would wait, or never end."""
    if path.exists() or path.is_symlink():
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        where = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(where)
    elif kind in ("device", "null", "loop"):
        path.symlink_to({"device": "/dev/zero", "null": "/dev/null", "loop": path.name}[kind])
    elif kind == "secret":
        path.write_bytes(b"{}")
        path.chmod(0)
    return path
