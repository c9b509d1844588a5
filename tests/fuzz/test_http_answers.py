"""What servers answer: whole answers of bytes, and right content in every framing, right and wrong.

A file that is fetched is right. Where its hash is known, whatever the server sends; where it is not, whatever breaks
on the way.
"""

import contextlib
import hashlib
import shutil
import socket
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from ppdiffusers_ext.weights import answers
from ppdiffusers_ext.weights.download import download
from ppdiffusers_ext.weights.entries import File, Weights
from ppdiffusers_ext.weights.exchange import Patience
from ppdiffusers_ext.weights.inventory import missing
from tests.support.fuzzing import EXAMPLES, bounded, fuzz
from tests.support.raw_server import RawServer
from tests.support.server import clean_environment

HASTE = Patience(
    attempts=2,
    first_wait=0.001,
    longest_wait=0.002,
    connect_timeout=1,
    read_timeout=0.05,
    head_timeout=0.1,
    min_rate=10_000,
    rate_seconds=0.1,
    allowance=0.5,
)
CONTENT = bytes(range(256)) * 40 + b"<html>\r\n0\r\n\r\n" * 30
OTHER = CONTENT[::-1]

STATUSES = st.one_of(
    st.sampled_from([200, 200, 200, 206, 302, 307, 416, 429, 100, 204, 304, 404, 500, 0]).map(
        lambda code: b"HTTP/1.1 %d Words" % code
    ),
    st.sampled_from(
        [b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 \x1b[31m", b"HTTP/1.1 200 \xff\xfe", b"HTTP/2 200"]
        + [b"ICY 200 OK", b"HTTP/1.1 9" + b"9" * 5000, b"HTTP/1.1 -1 x", b"", b"\0", b"HTTP/1.1 302 " + b"a" * 70_000]
    ),
    st.binary(max_size=40),
)
SIZES = [b"%d" % size for size in (len(CONTENT), len(CONTENT) - 1, len(CONTENT) + 1, 0, -5, 10**20)]
SIZES += [b"9" * 9999, b"1_0", b"0x10", b"\xb2", b"", b" "]
TAGS = [b'"1"', b'W/"1"', b"0" * 64, b"0" * 40, b'"\xff"', b"a" * 1000]
# What may stand in each header: as it should be, and as it should not.
LIKELY = {
    b"Content-Length": SIZES,
    b"X-Linked-Size": SIZES,
    b"Content-Range": [
        b"bytes 0-9/10",
        b"bytes 6144-10689/10690",
        b"bytes */10690",
        b"bytes -5-9/10",
        b"bytes 5-1/*",
        b"b",
    ],
    b"Transfer-Encoding": [b"chunked", b"chunked", b"identity", b"gzip, chunked", b"\xff"],
    b"Content-Encoding": [b"gzip", b"identity", b"br", b"\x1b[31m"],
    b"Content-Type": [b"text/html", b"application/octet-stream", b"\xff\xfe", b";"],
    b"Location": [
        b"http://[foo/",
        b"/w.bin",
        b"//",
        b"http://127.0.0.1:1/",
        b"file:///etc/passwd",
        b"http://a b/",
        b"?",
    ]
    + [
        b"http://" + b"a" * 300,
        b"http://h:99999/",
        b"\xff\xfe",
        b"http://\xff/",
        b"",
        b"\0",
        b"http://h:x/",
        b"http://a..b/",
    ],
    b"ETag": TAGS,
    b"X-Linked-Etag": TAGS,
    b"Retry-After": [b"9" * 5000, b"Fri, 31 Dec 99999 23:59:59 GMT", b"Mon", b"-1", b"0", b"\xb2"],
    b"Set-Cookie": [b"a=b; expires=Wed, 99 Foo 99999 99:99:99 GMT", b"\xff", b"a=b; domain=["],
    b"Connection": [b"close", b"keep-alive"],
    b"X-More": [b"a\r\n b", b"a" * 70_000, b"\x1b]0;x\x07"],
}
NAMES = st.sampled_from([*LIKELY, b"Last-Modified", b"WWW-Authenticate", b"", b" ", b"X-\xff", b"content-length"])
VALUES = st.one_of(st.sampled_from(sum(LIKELY.values(), [])), st.binary(max_size=30))
FITTING = [st.tuples(st.just(name), st.sampled_from(values)) for name, values in LIKELY.items()]
HEADERS = st.lists(st.one_of(*FITTING, st.tuples(NAMES, VALUES)), max_size=5)


def head_of(status, headers, location):
    # Without a Location, a redirect is no redirect.
    more = [(b"Location", location)] if b" 30" in status else []
    return status + b"\r\n" + b"".join(b": ".join(pair) + b"\r\n" for pair in [*headers, *more]) + b"\r\n"


BAD_CHUNKS = [b"-5", b"+5", b"0x5", b"5_0", b"", b"zz", b"9" * 9999, b"F" * 16, b"5;a=" + b"b" * 9000, b"\xb2", b"5 5"]


def chunked(content, sizes):
    """The content in chunks of these sizes, again and again."""
    body, at, turn = b"", 0, 0
    while at < len(content):
        piece = content[at : at + sizes[turn % len(sizes)]]
        body += b"%x\r\n%s\r\n" % (len(piece), piece)
        at, turn = at + len(piece), turn + 1
    return body + b"0\r\n\r\n"


BODIES = st.one_of(
    st.just(CONTENT),
    st.just(OTHER),
    st.binary(max_size=200),
    st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(lambda sizes: chunked(CONTENT, sizes)),
    st.tuples(st.sampled_from([*BAD_CHUNKS, b"0", b"5"]), st.sampled_from([b"abcde", CONTENT])).map(b"\r\n".join),
    st.integers(0, len(CONTENT)).map(lambda start: CONTENT[start:]),
)
WHOLE = st.tuples(st.builds(head_of, STATUSES, HEADERS, st.sampled_from(LIKELY[b"Location"])), BODIES).map(b"".join)
RANDOM = st.one_of(
    WHOLE, WHOLE, st.tuples(WHOLE, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]]), st.binary()
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, RawServer() as server:
        clean_environment(patch, tmp_path_factory.mktemp("home"))
        real = socket.getaddrinfo

        def resolve(host, *options, **others):
            if host != "127.0.0.1":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real(host, *options, **others)

        patch.setattr(socket, "getaddrinfo", resolve)
        yield server


def fetched(raw, tmp_path, file):
    """The content that was fetched, or None. Nothing else may come of it, whatever was answered."""
    shutil.rmtree(tmp_path / "net", ignore_errors=True)
    (tmp_path / "checksums.json").unlink(missing_ok=True)
    entry = Weights("net", ("one",), "net", (raw.url,), (file,), "MIT", "tests")
    with bounded():
        (outcome,) = download([entry], tmp_path, patience=HASTE)
    assert all(reason.isprintable() for reason in outcome.reasons)
    if outcome.result == "failed":
        assert outcome.reasons and missing([entry], tmp_path) == ["net/w.bin"]
        return None
    assert outcome.result == "fetched"
    return (tmp_path / "net/w.bin").read_bytes()


@fuzz(replies=st.lists(RANDOM, min_size=1, max_size=4))
def test_whatever_is_answered(raw, tmp_path, replies):
    raw.answers = list(replies)
    known = File("w.bin", sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetched(raw, tmp_path, known) in (None, CONTENT)


LOCATIONS = st.one_of(
    st.sampled_from(LIKELY[b"Location"]),
    st.binary(max_size=30),
    st.lists(
        st.sampled_from([b"http:", b"//", b"[", b"]", b"@", b":", b"1", b"a", b".", b"%", b"?", b"#", b"\xff"])
    ).map(b"".join),
)


@fuzz(EXAMPLES // 2, status=st.sampled_from([301, 302, 303, 307, 308]), location=LOCATIONS)
def test_where_redirects_lead(raw, tmp_path, status, location):
    location = location.replace(b"\r", b"").replace(b"\n", b"")
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT
    raw.answers = [b"HTTP/1.1 %d Go\r\nLocation: %s\r\n\r\n" % (status, location), whole]
    assert fetched(raw, tmp_path, File("w.bin", size=len(CONTENT))) in (None, CONTENT)


def framed(random, request):
    """A right answer to a request, or one that is broken in a way that can be told."""
    start = int(request.partition(b"Range: bytes=")[2].partition(b"-")[0] or 0)
    content, version = random.choice([(CONTENT, b'"1"'), (CONTENT, b'"1"'), (CONTENT, b""), (OTHER, b'"2"')])
    is_range = start > 0 and version in request and random.random() < 0.8
    body = content[start:] if is_range else content
    head = b"HTTP/1.1 206 P\r\n" if is_range else b"HTTP/1.1 200 OK\r\n"
    head += b"ETag: " + version + b"\r\n" if version else b""
    if is_range:
        at = start + random.choice([0, 0, 0, 1, -1])
        head += b"Content-Range: bytes %d-%d/%d\r\n" % (at, len(content) - 1, len(content))
    kind = random.choice(["length", "length", "chunks", "chunks", "bad chunk", "bad length"])
    if kind == "length":
        head += b"Content-Length: %d\r\n" % len(body)
    elif kind == "bad length":
        head += random.choice(
            [b"Content-Length: -1\r\n", b"Content-Length: 1_0\r\n", b"", b"Content-Length: 5\r\n" * 2]
        )
    else:
        head += b"Transfer-Encoding: chunked\r\n"
        body = chunked(body, [random.randint(1, 5000) for _ in range(random.randint(1, 4))])
    if kind == "bad chunk":
        body = random.choice(BAD_CHUNKS) + b"\r\n" + body
    whole = head + b"\r\n" + body
    return whole[: random.randrange(len(whole))] if random.random() < 0.6 else whole


@fuzz(seed=st.integers(0, 2**32))
def test_what_breaks_on_the_way(raw, tmp_path, seed):
    """Of a file of unknown hash: two versions are never mixed, and what is cut off is never whole."""
    random = Random(seed)

    def answer(request):
        return [b"HTTP/1.1 404 No\r\n\r\n" if request.startswith(b"HEAD") else framed(random, request)]

    raw.answers = [answer]
    assert fetched(raw, tmp_path, File("w.bin")) in (None, CONTENT, OTHER)


@fuzz(status=st.integers(), headers=st.lists(st.tuples(NAMES, st.one_of(VALUES, st.binary())), max_size=6))
def test_what_is_read_of_a_head(status, headers):
    """As http.client gives it: each header as Latin-1."""
    names = CaseInsensitiveDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    head = SimpleNamespace(status_code=status, headers=names)
    with bounded():
        for read in (answers.size_of, answers.length_of):
            with contextlib.suppress(answers.SourceError):
                assert read(head) is None or 0 <= read(head) < 10**18
        offer = answers.offer_of([head], is_hub=True)
        assert offer.size is None or 0 <= offer.size < 10**18
        assert 0 <= (answers.retry_after(head) or 0) <= 10**6
        assert answers.start_of(head) is None or answers.start_of(head) >= 0
        assert answers.version_of(head).isprintable() and answers.version_of(head).isascii()
        assert answers.is_html(head, "w.bin") in (True, False)
        assert all(answers.said(value).isprintable() for value in names.values())
