"""The processes that a server starts: their environment, and their place behind the server."""

import contextlib
import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]  # the folder that the package is in
_STEPS = 10  # of priority, as `nice` has them: about a tenth of the processor time where both want all of it
_GROUP = Path("/proc/self/autogroup")


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports this package, wherever this one found it."""
    paths = [str(_PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def step_back() -> None:
    """Have this process give way to the server, which needs little and is waited for.

    A process that has a session of its own is, for Linux's scheduler, a group whose priority is one of its own: there
    `nice` counts within the group alone.
    """
    with contextlib.suppress(OSError, AttributeError):  # a system that has no such thing
        os.nice(_STEPS)
        if os.getsid(0) == os.getpid():
            _GROUP.write_text(str(_STEPS))
