"""Small messages between the processes of a launch, over TCP by way of the first one.

Paddle's own collectives move tensors (`ranks`). This line beside them is for what they cannot: gloo gives up on a rank
that computes for longer than half a minute, and none of them says why a rank has ended. Whoever waits here waits as
long as it takes, can be stopped by a signal, and learns at once of a rank that has ended, with its reason.

Messages are JSON, each after its length; nothing of them is executed. Who connects has to know a secret, which is in
the launch's store.
"""

import contextlib
import json
import secrets
import select
import socket
import struct
import time
from typing import Any

from ppdiffusers_ext.errors import InputError, printable

_LENGTH = struct.Struct("!I")
_MOST = 1 << 26  # bytes of a message
_MOST_OF_HELLO = 1 << 10  # of one from somebody who has not said the secret
_MOST_STRANGERS = 64  # connections of such, beyond those of ranks
_SECONDS = 300  # for all ranks to connect: their imports may take a minute on a busy machine
_KEY = "ppdiffusers_ext/line"
_MOST_OF_REASON = 2000
_MOMENT = 1.0  # seconds


class RankError(InputError):
    """Another rank has ended, or does something else than this one."""


class _Peer:
    """One connection.

    Args:
        connection: an open one.
        most: bytes of a message that it may send.
    """

    def __init__(self, connection: socket.socket, most: int = _MOST) -> None:
        self._socket, self._buffer, self.most = connection, bytearray(), most
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        self._socket.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> list[Any]:
        """The messages that have come whole, none perhaps; waits for bytes.

        Raises EOFError if the other closed, or sends what is no message.
        """
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise EOFError
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self.most:
                raise EOFError
            if len(self._buffer) < _LENGTH.size + length:
                break
            try:
                messages.append(json.loads(self._buffer[_LENGTH.size : _LENGTH.size + length]))
            except (ValueError, RecursionError):
                raise EOFError from None
            del self._buffer[: _LENGTH.size + length]
        return messages

    def send_no_more(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


class Line:
    """
    Args:
        rank, count: of this process, and how many there are.
        host: at which the first one is reached.
        store: Paddle's `TCPStore` of the launch, which keeps what it is told to the end.
        number: of this line among those of the launch, one after the other.

    Raises:
        RankError: a rank does not connect.
    """

    def __init__(self, rank: int, count: int, host: str, store: Any, number: int = 0) -> None:
        self.rank, self.count, self._number = rank, count, 0
        self._arrived: dict[int, Any] = {}  # rank -> its message of the meeting to come
        if rank:
            self._peers, (_, *others) = _connect(rank, store, f"{_KEY}/{number}")
            self._take(0, others)
        else:
            self._peers = _accept(count, host, store, f"{_KEY}/{number}")

    def meet(self, what: str, value: Any = None) -> list[Any]:
        """Wait until every rank has come to this call, however long that takes.

        Args:
            what: name of the place, the same for all.
            value: of this rank, what JSON can write.

        Returns:
            The values of all ranks.

        Raises:
            RankError: a rank has ended, or has come to another place.
        """
        self._number += 1
        own = {"number": self._number, "what": what, "value": value}
        if self.rank:
            self._send(0, own)
            return self._next(0)["values"]
        values = [value] + [None] * (self.count - 1)
        while len(self._arrived) < self.count - 1:
            self._read(*select.select(list(self._peers.values()), [], [])[0])
        for rank, message in self._arrived.items():
            if (message["number"], message["what"]) != (self._number, what):
                raise RankError(
                    f"rank {rank} is at {printable(message['what'], 80)!r} and rank 0 at {what!r}: they do not "
                    "compute the same; the same command, version and files for all ranks are accepted"
                )
            values[rank] = message["value"]
        self._arrived = {}
        for rank in self._peers:
            self._send(rank, {"values": values})
        return values

    def check(self) -> None:
        """Raise a RankError if another rank is known to have ended."""
        self._read_ready(*self._peers.values())

    def end(self, reason: str | None = None) -> None:
        """Close the line; with `reason` the others are told why this rank ends."""
        peers, self._peers = set(self._peers.values()), {}
        if reason is not None:
            for peer in peers:
                with contextlib.suppress(OSError):  # it has ended, too
                    peer.send({"ended": self.rank, "reason": reason[:_MOST_OF_REASON]})
                    peer.send_no_more()
            _hear_out(peers)
        for peer in peers:
            peer.close()

    def _send(self, rank: int, message: Any) -> None:
        self._read_ready(self._peers[rank])  # its last words would be lost by sending to it when it has gone
        try:
            self._peers[rank].send(message)
        except OSError:
            self._read(self._peers[rank])  # it may have said why
            raise self._ended(rank, None) from None

    def _next(self, rank: int) -> Any:
        while rank not in self._arrived:
            self._read(self._peers[rank])
        return self._arrived.pop(rank)

    def _read_ready(self, *peers: _Peer) -> None:
        self._read(*select.select(peers, [], [], 0)[0])

    def _read(self, *peers: _Peer) -> None:
        ranks = {peer: rank for rank, peer in self._peers.items()}
        silent = []
        for peer in peers:
            try:
                messages = peer.receive()
            except EOFError:
                silent.append(ranks[peer])
                continue
            self._take(ranks[peer], messages)
        if silent:
            raise self._ended(silent[0], None)

    def _take(self, rank: int, messages: list[Any]) -> None:
        for message in messages:
            if "ended" in message:
                raise self._ended(message["ended"], message["reason"])
            self._arrived[rank] = message

    def _ended(self, rank: int, reason: str | None) -> RankError:
        why = "killed, perhaps for want of memory" if reason is None else printable(reason, _MOST_OF_REASON)
        return RankError(why if why.startswith("rank ") else f"rank {rank} of {self.count} has ended: {why}")


def _hear_out(peers: set[_Peer]) -> None:
    """Read what they still send, for a moment: the system takes back what was sent where that stays unread."""
    deadline, open_ones = time.monotonic() + _MOMENT, set(peers)
    while open_ones and (left := deadline - time.monotonic()) > 0:
        for peer in select.select(list(open_ones), [], [], left)[0]:
            try:
                peer.receive()
            except EOFError:
                open_ones.discard(peer)


def _accept(count: int, host: str, store: Any, key: str) -> dict[int, _Peer]:
    """Rank -> connection, of all others than the first.

    Whoever else connects, says nothing or says anything, is kept waiting and holds up nobody.
    """
    secret, peers, end = secrets.token_hex(16), dict[int, _Peer](), time.monotonic() + _SECONDS
    strangers: list[_Peer] = []  # the oldest first
    with contextlib.closing(socket.create_server((host, 0), backlog=count + _MOST_STRANGERS)) as server:
        store.set(key, json.dumps([host, server.getsockname()[1], secret]).encode())
        while len(peers) < count - 1:
            left = end - time.monotonic()
            listened: list[Any] = [server, *strangers]
            ready = select.select(listened, [], [], left)[0] if left > 0 else []
            if not ready:
                missing = next(rank for rank in range(1, count) if rank not in peers)
                raise RankError(f"rank {missing} of {count} has not come within {_SECONDS} s; all must start")
            for peer in [each for each in ready if each is not server]:
                if (hello := _hello_of(peer)) is None:
                    continue
                strangers.remove(peer)
                if hello.get("secret") == secret:
                    peer.most, peers[hello["rank"]] = _MOST, peer
                    peer.send({"welcome": True})
                else:
                    peer.close()
            if server in ready:
                with contextlib.suppress(OSError):  # it has gone again
                    strangers.append(_Peer(server.accept()[0], _MOST_OF_HELLO))
                if len(strangers) > count + _MOST_STRANGERS:
                    strangers.pop(0).close()
    for peer in strangers:
        peer.close()
    return peers


def _hello_of(peer: _Peer) -> dict[str, Any] | None:
    """What somebody says first: {} where that is nothing that a rank says, None where it is not there yet."""
    try:
        messages = peer.receive()
    except EOFError:
        return {}
    if not messages:
        return None
    return messages[0] if isinstance(messages[0], dict) else {}


def _connect(rank: int, store: Any, key: str) -> tuple[dict[int, _Peer], list[Any]]:
    """The connection to rank 0, and the messages that came with its welcome."""
    host, port, secret = json.loads(store.get(key))
    try:
        connection = socket.create_connection((host, port), timeout=_SECONDS)
    except OSError as error:
        raise RankError(
            f"rank {rank} does not reach rank 0 at {host}:{port} ({error}); an open port is needed"
        ) from None
    peer = _Peer(connection)
    peer.send({"rank": rank, "secret": secret})
    try:
        while not (messages := peer.receive()):
            pass
    except EOFError:
        raise RankError(f"rank 0 does not take rank {rank}; ranks of one launch are accepted") from None
    connection.settimeout(None)
    return {0: peer}, messages
