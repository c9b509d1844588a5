"""Who may ask: the token and its cookie, the names by which the server may be called, and headers of every answer.

Without a token the server is for whoever can reach it, which is why `serving` asks for one where that is more than
this machine. A page of another site cannot use it either way: a browser says where a request comes from (Origin,
Sec-Fetch-Site), and under which name it knows the server (Host), which for a site that had its name point to this
machine (DNS rebinding) is none of ours.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.server.answers import Refused, refusal

COOKIE = "ppdiffusers_ext"
LEAST_TOKEN = 16  # characters
_SECONDS = 30 * 86400  # that a cookie is accepted
_TOKEN = re.compile(r"[!-~]+")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_READING = ("GET", "HEAD", "OPTIONS")
_OPEN = ("/", "/health", "/login")  # which tell those whom they do not know less, or how to become known
_PAGE = "/page/"  # files that ship, and no secret
POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # no-referrer would make the Origin of the login form null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(token: str) -> None:
    """Raises InputError for a token that is too short, or that no header can have."""
    if len(token) < LEAST_TOKEN or not _TOKEN.fullmatch(token):
        raise InputError(
            f"the token has {len(token)} characters; {LEAST_TOKEN} or more, of printable ASCII without spaces, are "
            "accepted"
        )


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Access:
    """
    Attributes:
        host: address that the server is bound to.
        token: that clients need; None for none, where the host is loopback.
        names: further names by which clients may call the server.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.token is not None:
            check_token(self.token)
        elif not is_loopback(self.host):
            raise InputError(f"host {shown(self.host)} is not of this machine alone; with a token it is accepted")

    def accepts_host(self, header: str) -> bool:
        """Whether a Host header names this server: by a name of ours, or by an address, which cannot be rebound."""
        found = _HOST.fullmatch(header)
        if not found:
            return False
        name = found["name"].lower().rstrip(".")
        if name == "localhost" or name in self.names or name == self.host.lower():
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return not is_loopback(self.host) and name == socket.gethostname().lower()
        return address.is_loopback or not is_loopback(self.host)

    def accepts_token(self, token: str) -> bool:
        """Whether it is the token; compared in a time that does not tell how much of it is right."""
        return self.token is None or hmac.compare_digest(token.encode(errors="replace"), self.token.encode())

    @property
    def seconds_of_cookie(self) -> int:
        """For how long a cookie is accepted."""
        return _SECONDS

    def make_cookie(self) -> str:
        """The value of a cookie that stands for the token, from which the token does not follow."""
        until = str(int(time.time()) + _SECONDS)
        return f"{until}.{self._sign(until)}"

    def accepts_cookie(self, value: str) -> bool:
        """Whether it is a cookie of `make_cookie`, of this token, and not too old."""
        until, _, signature = value.partition(".")
        is_right = hmac.compare_digest(signature.encode(errors="replace"), self._sign(until).encode())
        return is_right and until.isascii() and until.isdigit() and len(until) < 15 and int(until) > time.time()

    def _sign(self, until: str) -> str:
        key = hashlib.sha256(f"cookie of {self.token}".encode()).digest()
        return hmac.new(key, until.encode(errors="replace"), hashlib.sha256).hexdigest()

    def knows(self, headers: Headers) -> bool:
        """Whether a request has the token, or a cookie that stands for it."""
        if self.token is None:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.accepts_token(token.strip())
        return any(self.accepts_cookie(value) for value in _cookies(headers))


def _cookies(headers: Headers) -> Iterable[str]:
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                yield value


class Guard:
    """ASGI middleware: refuses whom `Access` does not accept, and gives every answer its headers.

    `scope["state"]["is_known"]` says whether a request had the token; those that had not come only to `/`, `/health`,
    `/login` and the files of the page.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            scope.setdefault("state", {})["is_known"] = self._check(scope)
        except Refused as error:
            await refusal(error)(scope, receive, told)
            return
        await self._app(scope, receive, told)

    def _check(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.accepts_host(hosts[0]):
            raise Refused(
                f"the server is not called {shown(', '.join(hosts))}; its address, or a name of --allow-name, is "
                "accepted",
                403,
            )
        _check_origin(scope["method"], headers, hosts[0])
        is_known = self._access.knows(headers)
        path = scope["path"]
        if not is_known and path not in _OPEN and not path.startswith(_PAGE):
            raise Refused(
                "the token is missing or wrong; the server's token is accepted, in the header Authorization: Bearer "
                "TOKEN or typed at /",
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        return is_known


def _check_origin(method: str, headers: Headers, host: str) -> None:
    """Raises Refused for a request that a page of another site makes; links to the server's page are followed."""
    site = headers.get("sec-fetch-site", "none")
    is_foreign = site not in ("same-origin", "none")
    if is_foreign and method in _READING:
        is_foreign = headers.get("sec-fetch-mode") != "navigate"
    for origin in headers.getlist("origin"):
        is_foreign = is_foreign or not _is_same(origin, host)
    if is_foreign:
        raise Refused("a page of another site asks; the server's own page, and programs, are accepted", 403)


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin header is of a page of ours. Ports count: another one may be of another program's page."""
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
    except ValueError:
        return False
