"""Paddle's launcher for several machines: how it meets those of the others, and which machine this one is."""

import contextlib
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from paddle.distributed.launch.context.node import Node
from paddle.distributed.launch.controllers.master import HTTPMaster, Master

from ppdiffusers_ext.distributed.meeting import BAD_INPUT, End, Meeting, Nodes
from ppdiffusers_ext.errors import InputError, one_line

from .command import tell_error


@contextlib.contextmanager
def several(nodes: Nodes) -> Iterator[Meeting]:
    """Context in which Paddle's launcher meets those of the other machines by a `Meeting`, which it gives."""
    meeting = Meeting(nodes)

    class _Master(HTTPMaster):
        _reason = ""  # why another machine ended the processes of this one, until it is told

        def sync_peers(self, prefix: str, key: str, value: str, size: int, rank: int = -1) -> tuple[list[str], int]:
            _tell_wait(nodes)
            try:
                values = meeting.meet(value)
            except InputError as error:
                meeting.say(BAD_INPUT, str(error))
                raise
            meeting.watch(self._end)
            return values, nodes.rank

        def _end(self, end: End) -> None:
            if not self.ctx.status.is_done():
                self._reason = end.why
                self.ctx.status.restart()  # so that it stops the processes of this machine

        def stop(self) -> None:
            if self._reason:  # told here, after the last lines of the processes
                tell_error(self._reason)
                self._reason = ""
            has_done = self.ctx.status.current() == self.ctx.status.COMPLETED
            meeting.say(0 if has_done else 1, "" if has_done else "it was stopped")

    patches = ((Master, "factory", _Master), (Node, "get_host_ip", lambda node: own_address(nodes.master)))
    earlier = [(kind, name, getattr(kind, name)) for kind, name, _ in patches]
    for kind, name, value in patches:
        setattr(kind, name, value)
    try:
        yield meeting
    finally:
        for kind, name, value in earlier:
            setattr(kind, name, value)
        meeting.close()


def _tell_wait(nodes: Nodes) -> None:
    whom = "the other machines" if nodes.rank == 0 else "the machine with --rank 0, which shows the training's log,"
    print(f"waiting for {whom} at {nodes.master}, {nodes.wait:.0f} seconds at most", file=sys.stderr, flush=True)


def own_address(master: str) -> str:
    """Address of this machine in the network in which the master is; nothing is sent."""
    host, _, port = master.rpartition(":")
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])
    return socket.gethostbyname(socket.gethostname())


def read_nodes(words: Sequence[str], value_of: Any) -> Nodes | None:
    """The machines that the words of a command line name; None for a single one, or for what etcd brings together.

    Args:
        words: before the trainer.
        value_of: function of these and an option that returns its value, or None.

    Raises:
        InputError: they do not fit together.
    """
    given = {name: value_of(words, f"--{name}") for name in ("nnodes", "master", "rank", "elastic_timeout")}
    if (given["master"] or "").startswith("etcd://"):
        return None
    count = _number("--nnodes", given["nnodes"], 1, 100_000) if given["nnodes"] is not None else 1
    wait = _number("--elastic_timeout", given["elastic_timeout"], 1, 10**6) if given["elastic_timeout"] else 600
    if count == 1:
        return None
    master = given["master"]
    if master is None:
        raise InputError(f"--nnodes {count} needs --master ADDRESS:PORT, of the machine with --rank 0; it is missing")
    host, _, port = master.rpartition(":")
    if not host or "/" in host or ":" in host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InputError(
            f"--master {one_line(master, 100)!r} is no ADDRESS:PORT; one such as 10.0.0.1:6170 is accepted"
        )
    if given["rank"] is None:
        raise InputError(
            f"--nnodes {count} needs --rank, 0 to {count - 1}, another one on each machine; it is missing"
        )
    return Nodes(count, _number("--rank", given["rank"], 0, count - 1), master, wait)


def _number(name: str, text: str, lower: int, upper: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and lower <= int(text) <= upper):
        raise InputError(f"{name} {one_line(text, 100)!r} cannot be used; {lower} to {upper} is accepted")
    return int(text)
