"""A web server on the loopback interface that behaves, or misbehaves, as a test wants."""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What is served at one path, and how.

    statuses: answers that come first, one for each request: a code, or (code, headers). The last stays if `always`.
    drops: numbers of bytes after which the first GETs are cut off.
    length: a Content-Length that is not true, False for none. stalls: sends so many bytes and then nothing.
    silent: does not even send headers.
    range_from_zero: a range is answered with the whole file. delay: seconds between pieces of 64 KiB.
    """

    content: bytes = b""
    etag: str = ""
    modified: float | None = None
    ranges: bool = True
    if_range: bool = True
    range_from_zero: bool = False
    chunked: bool = False
    kind: str = "application/octet-stream"
    redirect: str = ""
    headers: dict = field(default_factory=dict)
    statuses: list = field(default_factory=list)
    always: bool = False
    drops: list = field(default_factory=list)
    length: int | str | bool | None = None
    stalls: int | None = None
    silent: bool = False
    delay: float = 0.0
    head: bool = True
    piece: int = 2**16


class Loopback:
    """HTTP on the loopback interface, at `url`; use as a context manager.

    Args:
        handler: class of handlers, whose `owner` is this server.
    """

    def __init__(self, handler):
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"owner": self}))
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # clients that go away are what is tested
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()


class Server(Loopback):
    """Use as a context manager. `pages`: path -> `Page`. `requests`: (method, path, headers) of all requests."""

    def __init__(self):
        super().__init__(_Handler)
        self.pages, self.requests, self.released = {}, [], threading.Event()

    def __exit__(self, *error):
        self.released.set()
        super().__exit__(*error)

    def got(self, path, method="GET"):
        """The headers of all requests of a path."""
        return [headers for verb, where, headers in self.requests if (verb, where) == (method, path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        with contextlib.suppress(ConnectionError):
            self._answer()

    def _answer(self):
        self.owner.requests.append((self.command, self.path, dict(self.headers)))
        page = self.owner.pages.get(self.path)
        is_get = self.command == "GET"
        if page is not None and page.silent:
            self.close_connection = True
            self.owner.released.wait(20)
            return None
        if page is None or (not is_get and not page.head):
            return self._plain(404)
        if is_get and page.statuses:
            status = page.statuses[0] if page.always and len(page.statuses) == 1 else page.statuses.pop(0)
            return self._plain(*(status if isinstance(status, tuple) else (status,)))
        if page.redirect:
            return self._plain(302, {"Location": page.redirect, **page.headers})
        self._serve(page, page.content, is_get)

    def _plain(self, status, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _serve(self, page, content, is_get):
        start, wanted = 0, self.headers.get("Range")
        versions = {page.etag, formatdate(page.modified, usegmt=True) if page.modified else ""} - {""}
        same = not page.if_range or self.headers.get("If-Range") in {None, *versions}
        status = 200
        if wanted and page.ranges and same:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                return self._plain(416, {"Content-Range": f"bytes */{len(content)}"})
            start, status = 0 if page.range_from_zero else start, 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif page.length is not False:
            self.send_header("Content-Length", str(len(content) - start if page.length is None else page.length))
        self.send_header("Content-Type", page.kind)
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.modified:
            self.send_header("Last-Modified", formatdate(page.modified, usegmt=True))
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if is_get:
            self._send(page, content[start:])

    def _send(self, page, body):
        drop = page.drops.pop(0) if page.drops else None
        body, whole = body[: page.stalls][:drop], len(body)
        for begin in range(0, len(body), page.piece):
            piece = body[begin : begin + page.piece]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if page.chunked else piece)
            if page.delay:
                time.sleep(page.delay)
        if page.stalls is not None:
            self.owner.released.wait(20)
        if page.chunked and len(body) == whole:
            self.wfile.write(b"0\r\n\r\n")
        if len(body) < whole or page.length is not None:
            self.close_connection = True


def clean_environment(monkeypatch, folder):
    """No proxy, no hub, no token, and no login of the person who runs the tests."""
    from huggingface_hub import constants

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setenv("NETRC", str(folder / "no-netrc"))
