"""Several machines in one training: how their launchers find each other, and how they end together.

The launcher of the machine with --rank 0 keeps a few texts at --master ADDRESS:PORT, over HTTP, as Paddle's does. Here
each launcher also says there that it is alive, and how it ended: when a machine is lost or a process fails, those of
the other machines end within a minute, with the reason, whatever the processes wait for. Paddle's launchers wait
forever, for a machine that never comes as well.

What is kept there: "/round", which is another one for each start; "/node/RANK", what the machine has to say to the
others, "/started" when all have met; "/alive/RANK", a number that grows; "/ended/RANK", an `End`.
"""

import contextlib
import dataclasses
import json
import re
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any

from paddle.distributed.launch.utils.kv_server import KVHandler, KVServer

from ppdiffusers_ext.errors import InputError, counted, one_line

_BEAT = 1.0  # seconds between two signs of life
_SILENCE = 45.0  # seconds without one after which a machine is lost
_FAREWELL = 10.0  # seconds that the first machine stays, for others to read how it ended
_TIMEOUT = 5.0  # seconds of one request
_PAUSE = 0.3  # seconds between two looks at who is there
_MOST_OF_REASON = 500
BAD_INPUT = 2  # exit code of processes that refuse their options or files


@dataclass(frozen=True)
class Nodes:
    """The machines of a training.

    Attributes:
        count: of machines.
        rank: of this one, 0 to `count` - 1.
        master: "address:port" of the one with rank 0.
        wait: seconds until all have to be there.
    """

    count: int
    rank: int
    master: str
    wait: float


@dataclass(frozen=True)
class End:
    """How the launcher of a machine ended: exit code, reason, and whether that was for another machine's sake."""

    code: int
    why: str
    follows: bool = False


class Meeting:
    """What this machine says to the others, and hears of them. It is used once, for one start of the processes.

    Attributes:
        end: `End` of another machine, or of one that is lost; None while all are well.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.end: End | None = None
        self._own, self._round = "", ""  # what this machine put, and the round in which it did so
        self._server: _Server | None = None
        self._has_ended = threading.Event()

    def meet(self, value: str) -> list[str]:
        """Wait for the other machines. Returns the values of all, by rank.

        Raises:
            InputError: they do not come in time, or do not fit together.
        """
        nodes, end = self.nodes, time.monotonic() + self.nodes.wait
        self._own = json.dumps({"count": nodes.count, "value": value, "id": secrets.token_hex(8)})
        if nodes.rank == 0:
            self._serve()
        texts = None
        while time.monotonic() < end:
            texts = self._texts()
            if texts and "/round" in texts:
                found = self._take_part(texts)
                if found is not None:
                    return [json.loads(found[rank])["value"] for rank in range(nodes.count)]
            time.sleep(_PAUSE)
        raise InputError(self._absence(texts))

    def _serve(self) -> None:
        port = int(self.nodes.master.rpartition(":")[2])
        try:
            self._server = _Server(port)
        except OSError as error:
            raise InputError(
                f"--master {self.nodes.master}: port {port} of this machine cannot be used ({error.strerror}); a free "
                "one is accepted, the same on all machines"
            ) from error
        self._server.kv["/round"] = secrets.token_hex(8).encode()
        self._server.start()

    def _take_part(self, texts: dict[str, str]) -> dict[int, str] | None:
        """Say that this machine is there, where it is time to. Returns what all have put when they have met."""
        nodes, ended, met = self.nodes, _of(texts, "ended"), _of(texts, "node")
        is_in = self._round == texts["/round"]
        if ended and is_in:
            rank, text = min(ended.items())
            raise InputError(f"the machine with --rank {rank} has ended: {End(**json.loads(text)).why}")
        if not is_in and ended:
            return None  # a round that is over: its first machine begins another one, or goes
        if not is_in and "/started" in texts:  # a run of which this machine was, before it was started anew
            self._put(f"ended/{nodes.rank}", _text_of(End(1, "it was started anew")))
            return None
        self._check(met, is_in)
        if not is_in and self._put(f"node/{nodes.rank}", self._own):
            self._round = texts["/round"]
        elif len(met) == nodes.count and "/started" in texts:
            return met
        elif len(met) == nodes.count and nodes.rank == 0:
            self._put("started", "yes")
        return None

    def _check(self, met: dict[int, str], is_in: bool) -> None:
        for rank, text in met.items():
            count = json.loads(text)["count"]
            if count != self.nodes.count:
                raise InputError(
                    f"--nnodes is {self.nodes.count} here and {count} on the machine with --rank {rank}; the same on "
                    "all is accepted"
                )
            if is_in and rank == self.nodes.rank and text != self._own:
                raise InputError(f"--rank {rank} is given to two machines; 0 to {count - 1}, each once, are accepted")

    def _absence(self, texts: dict[str, str] | None) -> str:
        """Why the machines have not met, in words."""
        master, wait = self.nodes.master, counted(int(self.nodes.wait), "second")
        if texts is None:
            return (
                f"--master {master} does not answer for {wait}; the address and a free port of the machine with "
                "--rank 0, which has been started and which others reach, are accepted"
            )
        if "/round" not in texts:
            return f"--master {master} is the port of another program; that of a launch with --rank 0 is accepted"
        missing = sorted(set(range(self.nodes.count)) - _of(texts, "node").keys())
        told = ", ".join(map(str, missing[:10])) or "all, after one of them had ended"
        return f"not all machines have come within {wait}: --rank {told}; --elastic_timeout SECONDS waits longer"

    def watch(self, on_end: Callable[[End], None]) -> None:
        """From now on tell that this machine is alive, and call a function as soon as another one is not."""
        threading.Thread(target=self._watch, args=[on_end], daemon=True).start()

    def _watch(self, on_end: Callable[[End], None]) -> None:
        now = time.monotonic()
        heard, count = {rank: ("", now) for rank in range(self.nodes.count) if rank != self.nodes.rank}, 0
        while not self._has_ended.wait(_BEAT):
            count += 1
            self._put(f"alive/{self.nodes.rank}", str(count))
            texts, now = self._texts(), time.monotonic()
            for rank, sign in _of(texts or {}, "alive").items():
                if rank in heard and sign != heard[rank][0]:
                    heard[rank] = sign, now
            problem = self._problem(texts, {rank: now - since for rank, (_, since) in heard.items()})
            if problem is not None and not self._has_ended.is_set():
                self.end = problem
                on_end(problem)
                return

    def _problem(self, texts: dict[str, str] | None, silent: dict[int, float]) -> End | None:
        """How another machine has ended, the one that did first if that can be told; None while all are well.

        Args:
            texts: of `_texts`.
            silent: seconds since the last sign of life, by rank.
        """
        if texts and texts.get("/round") != self._round:
            return End(1, "the machine with --rank 0 was started anew")
        ended = {rank: End(**json.loads(text)) for rank, text in _of(texts or {}, "ended").items()}
        problems = [(rank, end) for rank, end in ended.items() if end.code != 0 and rank != self.nodes.rank]
        lost = [rank for rank, seconds in silent.items() if seconds > _SILENCE and rank not in ended]
        if lost and not texts:
            lost = [0]  # of the others nothing is known
        problems += [(rank, End(1, f"no sign of life for {_SILENCE:.0f} seconds")) for rank in lost]
        if not problems:
            return None
        rank, end = min(problems, key=lambda each: (each[1].follows, each[1].code != BAD_INPUT))
        return End(end.code, f"the machine with --rank {rank} has ended: {end.why}")

    def say(self, code: int, why: str) -> None:
        """Tell the other machines how this one ended. Only the first time counts."""
        if self._own and not self._has_ended.is_set():
            self._has_ended.set()
            end = End(code, one_line(why, _MOST_OF_REASON), follows=self.end is not None)
            self._put(f"ended/{self.nodes.rank}", _text_of(end))

    def close(self) -> None:
        """Stay until the other machines have read how this one ended, if it keeps what they say, but not for long."""
        self._has_ended.set()
        if self._server is None:
            return
        end = time.monotonic() + _FAREWELL
        while time.monotonic() < end:
            texts = self._texts() or {}
            if not _of(texts, "node").keys() - _of(texts, "ended").keys() - {self.nodes.rank}:
                break
            time.sleep(_PAUSE)
        self._server.stop()
        self._server = None

    def _texts(self) -> dict[str, str] | None:
        """All that is kept at --master; None where nobody answers, {} where something else does."""
        try:
            with _OPENER.open(f"http://{self.nodes.master}/", timeout=_TIMEOUT) as answer:
                texts = json.loads(answer.read(1 << 24))
            return texts if isinstance(texts, dict) else {}
        except urllib.error.HTTPError:
            return {}
        except OSError:
            return None
        except Exception:  # no HTTP, or no JSON
            return {}

    def _put(self, name: str, text: str) -> bool:
        place = f"http://{self.nodes.master}/{name}"
        with contextlib.suppress(Exception), _OPENER.open(place, text.encode(), timeout=_TIMEOUT):
            return True
        return False


class _Handler(KVHandler):
    """Takes what machines say, and nothing else: what cannot be read would end all of them."""

    timeout = _SILENCE  # seconds for a word of whoever connects

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        text = b""
        if length.isascii() and length.isdigit() and len(length) < 6:
            text = self.rfile.read(int(length))
        is_kept = _is_of_machine(self.path, text)
        if is_kept:
            server: Any = self.server
            with server.kv_lock:
                server.kv[self.path] = text
        self.close_connection = True
        self.output(200 if is_kept else 400)

    def do_DELETE(self) -> None:
        self.output(400)


def _is_of_machine(path: str, text: bytes) -> bool:
    """Whether a machine would put this text at this path."""
    kind = re.fullmatch(r"/(?:(node|alive|ended)/[0-9]{1,6}|started)", path)
    if kind is None or not text.isascii():
        return False
    if kind[1] not in ("node", "ended"):
        return text.isalnum()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    kinds = (
        {"count": int, "value": str, "id": str} if kind[1] == "node" else {"code": int, "why": str, "follows": bool}
    )
    return isinstance(values, dict) and {name: type(value) for name, value in values.items()} == kinds


class _Server(ThreadingMixIn, KVServer):
    """Paddle's, which serves one at a time, so that a connection without a word would stop it."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.RequestHandlerClass = _Handler

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of somebody who breaks off."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _of(texts: dict[str, str], kind: str) -> dict[int, str]:
    """Rank -> text of a kind."""
    names = (name.split("/") for name in texts)
    return {int(name[2]): texts["/".join(name)] for name in names if len(name) == 3 and name[1] == kind}


def _text_of(end: End) -> str:
    return json.dumps(dataclasses.asdict(end))
