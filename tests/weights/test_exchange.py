"""Answers of servers that are slow, endless or none at all: one file fails, in bounded time, in printable words."""

import socket
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.weights.answers import SourceError, offer_of, retry_after, size_of, version_of
from ppdiffusers_ext.weights.download import download
from ppdiffusers_ext.weights.entries import File
from ppdiffusers_ext.weights.exchange import ASKING
from tests.support.fetching import CONTENT, QUICK, fail, fetch, leftovers, plain, the_reason, weights
from tests.support.raw_server import RawServer
from tests.support.server import Page

TINY = replace(
    QUICK,
    attempts=2,
    read_timeout=0.3,
    head_timeout=0.3,
    min_rate=50_000,
    rate_seconds=0.2,
    allowance=1,
    connect_timeout=1,
)
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def raw(no_settings):
    with RawServer() as server:
        yield server


def fail_soon(raw, dest, *answers, words=(), file=None):
    """Every request gets the next of the answers, the last one again and again. Returns the reason."""
    raw.answers = list(answers)
    started = time.monotonic()
    outcomes = download([weights(file or File("w.bin"), source=raw.url)], dest, patience=TINY)
    assert time.monotonic() - started < 5
    reason = the_reason(outcomes)
    assert reason.isprintable()
    for word in words:
        assert word in reason
    assert not (dest / "net/w.bin").exists()
    return reason


def drip(data, seconds=0.02):
    """One byte at a time, without end."""
    for byte in data:
        yield bytes([byte])
        time.sleep(seconds)
    while True:
        yield data[-1:]
        time.sleep(seconds)


# --- servers that take their time


@pytest.mark.parametrize(
    "start",
    [
        b"H",
        OK + b"X-Long: a",
        OK + b"Content-Length: 100000\r\n\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0",
        OK + b"Transfer-Encoding: chunked\r\n\r\n10;",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-Trailer: a",
        b"HTTP/1.1 302 Found\r\nLocation: http://a",
    ],
    ids=["status", "header", "body", "chunk size", "chunk extension", "trailer", "redirect"],
)
def test_dripping_is_a_dropped_line(raw, dest, start):
    fail_soon(raw, dest, lambda: _after(start, max(start.rfind(b"\n") + 1, 1)))


def _after(start, at):
    yield start[:at]
    yield from drip(start[at:] or b"a")


def test_dripping_is_told_by_its_rate(raw, dest):
    reason = fail_soon(raw, dest, lambda: _after(OK + b"Content-Length: 100000\r\n\r\n", 44))
    assert "50000 bytes per second (--min-rate)" in reason


def test_bytes_that_come_now_and_then_do_not_last_for_ever(raw, dest):
    """Every request brings a little, and then the line breaks: the total time is bounded too."""
    head = b'HTTP/1.1 206 P\r\nETag: "1"\r\nContent-Range: bytes %d-999999/1000000\r\nContent-Length: %d\r\n\r\n'

    def more(request):
        start = int(request.partition(b"bytes=")[2].partition(b"-")[0] or 0)
        if not start:
            yield OK + b'ETag: "1"\r\nContent-Length: 1000000\r\n\r\n' + bytes(5000)
        else:
            yield head % (start, 1_000_000 - start) + bytes(4097)

    raw.answers = [more]
    entry = weights(File("w.bin", size=1_000_000), source=raw.url)
    started = time.monotonic()
    reason = the_reason(download([entry], dest, patience=replace(TINY, first_wait=0.1, longest_wait=0.1)))
    assert "too slow" in reason
    assert time.monotonic() - started < 5


def test_a_slow_line_may_be_allowed(server, dest):
    entry = plain(server, content=b"x" * 400, piece=100, delay=0.15)
    assert "per second" in the_reason(download([entry], dest, patience=TINY))
    (outcome,) = download([entry], dest, patience=replace(TINY, min_rate=0))
    assert outcome.result == "fetched"


# --- servers that do not end


@pytest.mark.parametrize(
    "endless",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
        [OK, b"X-More: and more\r\n"],
        [OK + b"X-Long: ", b"a" * 60_000],
        [b"a" * 60_000],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n", b"X-Trailer: a\r\n"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"extension" * 1000],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde", b"a" * 1000],
        [OK + b"Content-Type: application/octet-stream\r\n\r\n", b"a" * 60_000],
        [OK + b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\n", b"\0" * 60_000],
        [b"HTTP/1.1 302 Found\r\nContent-Encoding: gzip\r\nLocation: /w.bin\r\n\r\n", b"\0" * 60_000],
        [b"HTTP/1.1 500 No\r\n\r\n", b"a" * 60_000],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n", b"FFFF\r\n" + b"a" * 65535 + b"\r\n"],
    ],
    ids=range(13),
)
def test_what_has_no_end_is_cut_off(raw, dest, endless):
    def answer():
        yield from endless
        while True:
            yield endless[-1]

    fail_soon(raw, dest, answer)
    end = time.monotonic() + 2
    while any(thread.name == ASKING for thread in threading.enumerate()):
        assert time.monotonic() < end, "a thread goes on reading what has no end"
        time.sleep(0.01)
    assert leftovers(dest) == [] or (dest / "net/.w.bin.part").stat().st_size < 100_000


def test_redirects_that_drip_have_no_more_time_than_one_answer(raw, dest):
    def lead():
        for byte in b"HTTP/1.1 302 F\r\nLocation: /w.bin\r\nContent-Length: 0\r\n\r\n":
            yield bytes([byte])
            time.sleep(0.004)  # 0.2 s in all, of 0.3 s

    fail_soon(raw, dest, lead, words=["in time"])


@pytest.mark.parametrize("location", ["/w.bin", "/w.bin?again", "//127.0.0.1:{port}/w.bin", ""])
def test_redirects_without_end(raw, dest, location):
    location = location.format(port=raw.port).encode()
    fail_soon(
        raw, dest, b"HTTP/1.1 302 F\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n", words=["10 times"]
    )


def test_the_bodies_of_redirects_are_not_read(raw, server, dest):
    server.pages["/w.bin"] = Page(CONTENT)

    def lead():
        yield (
            b"HTTP/1.1 302 F\r\nLocation: "
            + f"{server.url}/w.bin".encode()
            + b"\r\nContent-Length: 1000000000\r\n\r\n"
        )
        yield from drip(b"a")

    raw.answers = [lead]
    (outcome,) = download([weights(File("w.bin"), source=raw.url)], dest, patience=TINY)
    assert outcome.result == "fetched"


# --- answers that are none


@pytest.mark.parametrize(
    "location",
    [
        b"http://[foo/",
        b"http://[::1",
        b"http://",
        b"http://h:99999/",
        b"http://h:port/",
        b"http://h:0/",
        b"file:///etc/passwd",
        b"ftp://h/w.bin",
        b"javascript:alert(1)",
        b"http://" + b"a" * 300 + b"/",
        b"http://a..b/",
        b"http://\xff\xfe/",
        b"\xff\xfe://h",
        b"http://user:pass@[",
        b"http://%00/",
        b"http://a b/",
        b"http://xn--/",
        b"http://\xe2\x80\xae.invalid/",
    ],
)
def test_redirects_to_nowhere(raw, dest, location):
    fail_soon(raw, dest, b"HTTP/1.1 302 F\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: " + b"9" * 9999,
        b"Content-Length: -5",
        b"Content-Length: 1_0",
        b"Content-Length: 0x10",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: \xff",
        b"Content-Length: 5\r\nContent-Encoding: gzip",
        b"Content-Length: 5\r\nContent-Encoding: \x1b[31m",
        b"Content-Length: 5\r\nX-Linked-Size: " + b"9" * 5000 + b"\r\nX-Linked-Etag: " + b"0" * 64,
        b"Content-Length: 5\r\nX-Linked-Size: 7",
        b"Content-Length: 5\r\nX-Linked-Etag: " + b"0" * 64,
        b"Content-Length: 5\r\nContent-Type: text/html",
        b"Content-Length: 5\r\nContent-Type: TEXT/HTML;charset=\xff",
    ],
    ids=range(18),
)
def test_headers_that_cannot_be(raw, dest, headers):
    fail_soon(raw, dest, OK + headers + b"\r\n\r\nabcde")


@pytest.mark.parametrize(
    "size", [b"-5", b"+5", b"0x5", b"5_0", b"", b"zz", b"\xb2", b"9" * 9999, b"6", b"4", b"5 5", b"F" * 16]
)
def test_chunks_that_cannot_be(raw, dest, size):
    fail_soon(raw, dest, OK + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabcde\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"\0" * 100,
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/1.1 99999999999999 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 Nothing\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 300 Many\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=\xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 407 No\r\nProxy-Authenticate: \xff\r\nContent-Length: 0\r\n\r\n",
        OK
        + b"Set-Cookie: \xff=\xff; expires=Wed, 99 Foo 99999 99:99:99 GMT; domain=[\r\nContent-Length: 6\r\n\r\nabcde",
        OK + b": nothing\r\nContent-Length: 6\r\n\r\nabcde",
    ],
    ids=range(20),
)
def test_answers_that_are_none(raw, dest, answer):
    fail_soon(raw, dest, answer)


@pytest.mark.parametrize(
    "wait", [b"9" * 5000, b"Fri, 31 Dec 99999 23:59:59 GMT", b"-1", b"1e9", b"\xff", b"NaN", b"", b"\xb2"]
)
def test_waits_that_cannot_be(raw, dest, wait):
    fail_soon(
        raw, dest, b"HTTP/1.1 429 Busy\r\nRetry-After: " + wait + b"\r\nContent-Length: 0\r\n\r\n", words=["429"]
    )


@pytest.mark.parametrize(
    "wait, seconds",
    [("9" * 5000, 10**6), ("7", 7), ("-1", None), ("Fri, 31 Dec 99999 23:59:59 GMT", None), ("1e9", None)]
    + [("Fri, 31 Dec 9999 23:59:59 GMT", 10**6), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("", None), ("Mon", None)],
    ids=range(9),
)
def test_retry_after(wait, seconds):
    assert retry_after(SimpleNamespace(headers={"Retry-After": wait})) == seconds


@pytest.mark.parametrize("status", ["404", "500", "200"])
def test_what_a_terminal_obeys_is_not_shown(raw, dest, status):
    """`fail_soon` finds all words printable."""
    reason = b"\x1b]0;gone\x07\x1b[2J\xc2\x9b31m" + b"long" * 1000
    answer = (
        b"HTTP/1.1 "
        + status.encode()
        + b" "
        + reason
        + b"\r\nContent-Encoding: \x1b[31m\r\nContent-Length: 1\r\n\r\na"
    )
    assert len(fail_soon(raw, dest, answer)) < 500


def test_one_bad_server_does_not_stop_the_others(raw, server, dest):
    raw.answers = [b"HTTP/1.1 302 F\r\nLocation: http://[foo/\r\n\r\n"]
    server.pages["/w.bin"] = Page(CONTENT)
    bad = weights(File("v.bin"), source=raw.url, name="bad")
    outcomes = download([bad, weights(File("w.bin"), source=server.url)], dest, patience=TINY)
    assert [outcome.result for outcome in outcomes] == ["failed", "fetched"]


def test_redirects_keep_the_password_of_an_address_to_its_server(raw, server, dest):
    server.pages["/w.bin"] = Page(redirect=f"{raw.url}/v.bin")
    raw.answers = [OK + b"Content-Length: 5\r\n\r\nabcde"]
    (outcome,) = fetch(weights(File("w.bin"), source=server.url.replace("//", "//me:secret@")), dest)
    assert outcome.result == "fetched"
    assert "Authorization" in server.got("/w.bin")[0]
    assert all(b"uthorization" not in request for request in raw.requests)


def test_size_and_versions_are_read_strictly():
    def head(status=200, **headers):
        return SimpleNamespace(
            status_code=status, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    for text in ("-1", "1_0", "9" * 19, "\u0661", " 1", ""):
        with pytest.raises(SourceError):
            size_of(head(Content_Length=text))
        assert size_of(head(206, Content_Range=f"bytes 0-1/{text}")) is None
        assert offer_of([head(X_Linked_Size=text)]).size is None
    assert size_of(head()) is None
    for text in ('"a\nb"', '"\xff"', '"' + "a" * 600, " "):
        assert version_of(head(ETag=text)) == ""


# --- names that cannot be resolved


def unresolved(monkeypatch, code=socket.EAI_AGAIN, known=("127.0.0.1",), seconds=0.0):
    asked = []
    real = socket.getaddrinfo

    def resolve(host, *options, **others):
        if host in known:
            return real(host, *options, **others)
        asked.append(host)
        threading.Event().wait(seconds)
        raise socket.gaierror(code, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


HERE_AND_THERE = ("http://one.invalid", "http://two.invalid")


@pytest.mark.parametrize(
    "code, seconds", [(socket.EAI_AGAIN, 0), (socket.EAI_NONAME, 0), (socket.EAI_FAIL, 0), (socket.EAI_AGAIN, 20)]
)
def test_a_machine_without_a_network_is_told_at_once(no_settings, dest, monkeypatch, code, seconds):
    unresolved(monkeypatch, code, seconds=seconds)
    entry = weights(*(File(f"{index}.bin") for index in range(20)), source=HERE_AND_THERE)
    started = time.monotonic()
    outcomes = download([entry], dest)  # with the patience of users
    assert time.monotonic() - started < 4
    assert [outcome.result for outcome in outcomes] == ["failed"] * 20
    for outcome in outcomes:
        assert "the name one.invalid cannot be resolved" in outcome.reasons[0]
        assert "the name two.invalid cannot be resolved" in outcome.reasons[1]


def test_an_unknown_name_is_no_trouble_where_another_server_has_the_file(server, dest, monkeypatch):
    unresolved(monkeypatch)
    server.pages["/w.bin"] = Page(CONTENT)
    (outcome,) = fetch(weights(File("w.bin"), source=("http://one.invalid", server.url)), dest)
    assert outcome.result == "fetched"


def test_a_name_is_asked_for_again_where_the_network_was_there_before(server, dest, monkeypatch):
    asked = unresolved(monkeypatch)
    server.pages["/v.bin"] = Page(CONTENT)
    first = weights(File("v.bin"), source=server.url, name="first")
    fail_at = weights(File("w.bin"), source="http://one.invalid")
    outcomes = download([first, fail_at], dest, jobs=1, patience=QUICK)
    assert "resolved" in the_reason(outcomes[1:]) and f"{QUICK.attempts} attempts" in the_reason(outcomes[1:])
    assert len(asked) >= QUICK.attempts


def test_an_unknown_name_is_not_asked_for_again(server, dest, monkeypatch):
    asked = unresolved(monkeypatch, socket.EAI_NONAME)
    server.pages["/v.bin"] = Page(CONTENT)
    first = weights(File("v.bin"), source=server.url, name="first")
    files = (File("a.bin", size=1), File("b.bin", size=1))
    outcomes = download([first, weights(*files, source="http://one.invalid")], dest, jobs=1)  # as users wait
    assert [outcome.result for outcome in outcomes] == ["fetched", "failed", "failed"]
    assert len(asked) <= 2


def test_a_network_that_leads_nowhere_is_told_at_once(no_settings, dest, monkeypatch):
    def nowhere(*_, **__):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("urllib3.util.connection.create_connection", nowhere)
    started = time.monotonic()
    outcomes = download([weights(File("w.bin"), source="http://127.0.0.1:9")], dest)
    assert "Network is unreachable" in the_reason(outcomes)
    assert time.monotonic() - started < 3


# --- proxies


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "socks4a", "SOCKS5"])
def test_a_socks_proxy_without_pysocks_names_it(no_settings, dest, monkeypatch, name, scheme):
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv(name, f"{scheme}://me:secret@127.0.0.1:1080")
    if name == "HTTP_PROXY":
        monkeypatch.delenv("REQUEST_METHOD", raising=False)
    with pytest.raises(ValueError, match="pip install pysocks") as caught:
        fetch(weights(File("w.bin"), source="http://weights.invalid"), dest)
    assert name.lower() in str(caught.value).lower() and "secret" not in str(caught.value)
    assert not dest.exists()


@pytest.mark.parametrize(
    "proxy",
    ["http://", "http://[foo", "ftp://h:1", "http://h:99999", "http://h:port", "h:x", "http://a b:1", "quic://h"],
)
def test_a_proxy_that_is_none_is_named(no_settings, dest, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ValueError, match="http_proxy .* is not the address of a proxy"):
        fetch(weights(File("w.bin"), source="http://weights.invalid"), dest)
    assert not dest.exists()


def test_a_proxy_of_no_server_of_this_run_does_not_matter(server, dest, monkeypatch):
    monkeypatch.setenv("https_proxy", "nonsense://")
    monkeypatch.setenv("ftp_proxy", "nonsense://")
    server.pages["/w.bin"] = Page(CONTENT)
    assert fetch(weights(File("w.bin"), source=server.url), dest)[0].result == "fetched"


def test_a_socks_proxy_with_pysocks(server, dest, monkeypatch):
    pytest.importorskip("socks")
    port = int(server.url.rpartition(":")[2])
    server.pages["/w.bin"] = Page(CONTENT)
    with RawServer() as proxy:
        proxy.forward = port
        monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{proxy.port}")
        (outcome,) = fetch(weights(File("w.bin"), source="http://weights.invalid"), dest)
    assert outcome.result == "fetched"
    assert server.got("/w.bin")[0]["Host"] == "weights.invalid"


def test_a_proxy_that_nobody_serves(no_settings, dest, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    fail(weights(File("w.bin"), source="http://weights.invalid"), dest, "refused")
