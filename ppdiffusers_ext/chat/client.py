"""A client of OpenAI-compatible servers: vLLM, SGLang, lmdeploy, llama.cpp, and those of the cloud.

Requests go through `weights.exchange`, as downloads do: a server that is slow, busy or broken is waited for within
bounds. Neither the address nor the key gets into a message.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ppdiffusers_ext.chat.replies import ChatError, Reply, read_reply
from ppdiffusers_ext.errors import InputError, counted, one_line
from ppdiffusers_ext.files import parse_json
from ppdiffusers_ext.weights.answers import SourceError, retry_after
from ppdiffusers_ext.weights.exchange import Answer, Dropped, Patience, open_answer
from ppdiffusers_ext.weights.sources import check_address

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.sessions import Session


_PATH = "/chat/completions"
_MOST_BYTES = 8 << 20  # of an answer
_BUSY = (408, 409, 425, 429)  # statuses below 500 that may be others in a moment
_ACCEPTED = "the base of an API, such as http://127.0.0.1:8000/v1, is accepted"


class ServerDownError(InputError):
    """The server has failed so often in a row that it is asked no more."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Whom to ask, and how patiently.

    Attributes:
        url: base of the API: the part before /chat/completions.
        model: as the server names it.
        api_key: sent as a bearer token; "" for none.
        timeout: seconds that an answer may take.
        attempts: requests until one that fails is given up.
        first_wait, longest_wait: seconds before the second attempt, doubled for each further one up to the longest.
            What the server asks for (Retry-After) is kept to, up to the longest as well.
        most_failures: requests given up in a row, after which the server counts as down.

    Raises:
        InputError: an address or a key that is none, or no model.
    """

    url: str
    model: str
    api_key: str = field(default="", repr=False)
    timeout: float = 120.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    most_failures: int = 10

    def __post_init__(self) -> None:
        if "@" in self.url:
            raise InputError(f"the server's address has a user or a password; {_ACCEPTED}, and a key beside it")
        check_address(self.url, "the server's address")
        if not self.model.strip():
            raise InputError("no model is given; the name of one that the server has is needed")
        if not (self.api_key.isascii() and self.api_key.isprintable()) or " " in self.api_key:
            raise InputError("the server's key has characters that no key has; printable ASCII is accepted")

    @property
    def patience(self) -> Patience:
        waits = {"first_wait": self.first_wait, "longest_wait": self.longest_wait}
        times = {"connect_timeout": min(10.0, self.timeout), "read_timeout": self.timeout}
        return Patience(attempts=self.attempts, head_timeout=self.timeout, min_rate=0, **waits, **times)


@dataclass
class Usage:
    """What was asked and answered so far."""

    requests: int = 0
    answers: int = 0
    refusals: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, price_in: float, price_out: float) -> float:
        """In the unit of the prices, which are those of a million tokens."""
        return (self.prompt_tokens * price_in + self.completion_tokens * price_out) / 1e6

    def told(self, price_in: float | None = None, price_out: float | None = None) -> str:
        """All counts in a line: "3 requests, 2 answers, 1 refusal, 0 failures, 900 + 80 tokens, cost 0.0012"."""
        parts = [
            counted(self.requests, "request"),
            counted(self.answers, "answer"),
            counted(self.refusals, "refusal"),
            counted(self.failures, "failure"),
            f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens (prompts + answers)",
        ]
        if price_in is not None or price_out is not None:
            parts.append(f"cost {self.cost(price_in or 0.0, price_out or 0.0):.4f}")
        return ", ".join(parts)


class Client:
    """Asks a `Server`; threads may share it.

    Attributes:
        usage: `Usage` since it was made.
    """

    def __init__(self, server: Server) -> None:
        self.server, self.usage = server, Usage()
        self._url = server.url.rstrip("/").removesuffix(_PATH) + _PATH
        self._patience = server.patience
        self._sessions, self._lock = threading.local(), threading.Lock()
        self._stop, self._reason, self._failed = threading.Event(), "", 0

    def ask(
        self, messages: Sequence[Mapping[str, Any]], temperature: float, max_tokens: int, seed: int | None = None
    ) -> Reply:
        """The model's `Reply` to some messages, as OpenAI's protocol has them.

        Args:
            messages: of {"role", "content"}.
            temperature, max_tokens: of the answer.
            seed: of what is drawn, for servers that take one; None for none.

        Raises:
            ChatError: there is no answer that can be used.
            ServerDownError: the server has given none for a while.
        """
        values = {"model": self.server.model, "temperature": temperature, "max_tokens": max_tokens}
        if seed is not None:
            values["seed"] = seed
        body = json.dumps({**values, "messages": list(messages)}).encode()
        try:
            reply = self._asked(body)
        except ChatError as error:
            told = ChatError(self._without_secrets(str(error)), error.kind)
            self._count_failure(told)
            self._check_up()
            raise told from None  # whose context has the address
        with self._lock:
            self._failed = 0
            self.usage.answers += 1
            self.usage.prompt_tokens += reply.prompt_tokens
            self.usage.completion_tokens += reply.completion_tokens
        return reply

    def _count_failure(self, error: ChatError) -> None:
        with self._lock:
            is_answer = error.kind != "server"
            self._failed = 0 if is_answer else self._failed + 1
            self.usage.refusals += error.kind == "refusal"
            self.usage.failures += error.kind != "refusal"
            if self._failed >= self.server.most_failures and not self._stop.is_set():
                self._reason = f"{counted(self._failed, 'request')} in a row got no answer, the last: {error}"
                self._stop.set()

    def _check_up(self) -> None:
        if self._stop.is_set():
            raise ServerDownError(f"{self._reason}; a server that answers is needed")

    def _asked(self, body: bytes) -> Reply:
        for attempt in range(1, self._patience.attempts + 1):
            self._check_up()
            try:
                return self._once(body)
            except Dropped as drop:
                if attempt == self._patience.attempts:
                    raise ChatError(f"{drop} ({counted(attempt, 'attempt')})", "server") from None
                wait = drop.wait if drop.wait is not None else self._patience.first_wait * 2 ** (attempt - 1)
                self._stop.wait(min(wait, self._patience.longest_wait))
            except SourceError as error:
                raise ChatError(str(error), "server") from None
        raise AssertionError("the last attempt returns or raises")

    def _once(self, body: bytes) -> Reply:
        """Ask once. Raises Dropped where the same request may succeed later."""
        with self._lock:
            self.usage.requests += 1
        end = time.monotonic() + self.server.timeout
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        options: Any = {"headers": headers, "auth": self._authorise, "is_enough": lambda _: True, "body": body}
        with open_answer(self._session(), "POST", self._url, self._patience, **options) as answer:
            status, head = answer.head.status_code, answer.head
            content = _read(answer, end)
            if status in _BUSY or status >= 500:
                raise Dropped(f"the server answers {status}{_words(content)}", retry_after(head))
            if not 200 <= status < 300:
                raise ChatError(f"the server answers {status}{_words(content)}", "server")
            return read_reply(content, head.headers.get("Content-Type", ""))

    def _session(self) -> Session:
        """This thread's `Session`."""
        from ppdiffusers_ext.weights.sessions import Session  # requests, which takes a while to import

        if not hasattr(self._sessions, "session"):
            self._sessions.session = Session()
        return self._sessions.session

    def _authorise(self, request: Any) -> Any:
        """As `requests` takes it: a file ~/.netrc has no say."""
        if self.server.api_key:
            request.headers["Authorization"] = f"Bearer {self.server.api_key}"
        return request

    def _without_secrets(self, text: str) -> str:
        parts = urlsplit(self.server.url)
        for secret in (self.server.api_key, self._url, self.server.url.rstrip("/"), parts.netloc, parts.hostname):
            if secret and len(secret) > 3:
                text = text.replace(secret, "...")
        return text


def _read(answer: Answer, end: float) -> bytes:
    """The body of an answer. Raises Dropped where it is not there in time, SourceError where it is too long."""
    pieces, size = [], 0
    for piece in answer.pieces():
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise SourceError(f"the server's answer is longer than {_MOST_BYTES >> 20} MiB")
        if time.monotonic() > end:
            raise Dropped("the server does not answer in time")
    length = answer.head.headers.get("Content-Length", "")
    if length.isdecimal() and not answer.is_chunked and size < int(length):
        raise Dropped("the connection was closed in the middle of the answer")
    return b"".join(pieces)


def _words(content: bytes) -> str:
    """What a refusal says, as the end of a message."""
    try:
        values = parse_json(content.decode("utf-8", "replace"), "answer", "JSON")
    except InputError:
        return ""
    error = values.get("error", values) if isinstance(values, dict) else None
    found = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    return f" ({one_line(found, 200)})" if isinstance(found, str) and found.strip() else ""
