"""Ports of a training's processes, which Paddle's launcher chooses and holds until they listen there."""

import contextlib
import socket
import sys
from collections.abc import Iterator

from paddle.distributed.launch.context.node import Node


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Context in which no other program takes a port that Paddle's launcher has chosen.

    By itself the launcher lets go of what it found free, and the processes listen there seconds later. If meanwhile
    the system has given the port to another program's connection, Paddle's server aborts the process. Here a port
    stays bound and may be shared, so that the system gives it to nobody, and a server that says so can listen there.
    This is how Linux treats it; elsewhere a bound port is nobody else's, and the launcher is left as it is.
    """
    if sys.platform != "linux":
        yield
        return
    sockets: list[socket.socket] = []

    def choose(node: Node, port: int = 0) -> int:
        """A free port, or -1 where the one that is asked for is not free."""
        one = socket.socket()
        sockets.append(one)
        try:
            one.bind(("", port))
        except OSError:
            return -1
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only now: what others hold is not free
        return int(one.getsockname()[1])

    name = "_get_free_port"
    earlier = getattr(Node, name)
    setattr(Node, name, choose)
    try:
        yield
    finally:
        setattr(Node, name, earlier)
        for one in sockets:
            one.close()
