"""Who is let in: token, cookie, names of the server, pages of other sites; and what every answer says to browsers."""

import time

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.security import Access, is_loopback, new_token
from tests.support.prometheus import parsed
from tests.support.studio import studio

TOKEN = "a-token-of-more-than-16-characters"
POSTED = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def open_studio(tmp_path_factory):
    with studio(tmp_path_factory.mktemp("open"), {"names": frozenset({"studio.example"})}) as found:
        yield found


@pytest.fixture(scope="module")
def closed_studio(tmp_path_factory):
    """With a token, as on an address that others reach."""
    with studio(tmp_path_factory.mktemp("closed"), {"host": "0.0.0.0", "token": TOKEN}) as found:
        yield found


def routes_of(found):
    """(method, path) of every route."""
    routes = [(method, path) for route in flat(found.server.config.app.routes) for method, path in route]
    assert len(routes) > 20
    return routes


def flat(routes):
    for route in routes:
        if hasattr(route, "methods"):
            yield [(method, route.path.replace("{name:path}", "app.js")) for method in sorted(route.methods)]
        else:
            yield from flat(route.original_router.routes) if hasattr(route, "original_router") else ()


def test_an_address_that_others_reach_needs_a_token():
    for host in ("0.0.0.0", "::", "192.168.1.7", "8.8.8.8", "studio.example", "127.0.0.1.example", ""):
        assert not is_loopback(host)
        with pytest.raises(InputError, match="with a token"):
            Access(host)
        Access(host, new_token())
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert is_loopback(host)
        Access(host)


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "x" * 20 + " ", "x" * 20 + "\n", "é" * 20, "x" * 15 + "\0"])
def test_a_token_that_is_weak_or_no_header_can_have_is_refused(token):
    with pytest.raises(InputError, match="16 or more"):
        Access("0.0.0.0", token)


def test_tokens_that_are_made_differ_and_are_accepted():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100 and min(map(len, tokens)) >= 32
    assert Access("0.0.0.0", tokens.pop())


def test_tokens_and_cookies_are_compared_in_constant_time(monkeypatch):
    """Whatever is given reaches the comparison whole: nothing is told by how long it takes."""
    from ppdiffusers_ext.server import security

    seen, compare = [], security.hmac.compare_digest
    monkeypatch.setattr(security.hmac, "compare_digest", lambda a, b: seen.append((a, b)) or compare(a, b))
    access = Access("0.0.0.0", TOKEN)
    for given in ("", TOKEN[:-1], f"{TOKEN}x", "é", "\ud800", "x" * 10_000):
        assert not access.accepts_token(given)
        assert not access.accepts_cookie(given)
    assert access.accepts_token(TOKEN) and access.accepts_cookie(access.make_cookie())
    assert len(seen) == 14 and all(isinstance(each, bytes) for pair in seen for each in pair)


def test_a_cookie_is_of_its_token_and_grows_old(monkeypatch):
    access, cookie = Access("0.0.0.0", TOKEN), Access("0.0.0.0", TOKEN).make_cookie()
    assert TOKEN not in cookie and access.accepts_cookie(cookie)
    assert not Access("0.0.0.0", f"{TOKEN}2").accepts_cookie(cookie)
    until, _, signature = cookie.partition(".")
    for changed in (
        f"{int(until) + 1}.{signature}",
        f"{until}.{signature[:-1]}",
        f"{until}",
        signature,
        f".{signature}",
    ):
        assert not access.accepts_cookie(changed)
    later = time.time() + 31 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    assert not access.accepts_cookie(cookie)


HOSTS = {
    # bound to loopback
    "127.0.0.1": (
        ["127.0.0.1", "127.0.0.1:7860", "localhost", "LOCALHOST:1", "localhost.", "[::1]:7860", "studio.example:443"],
        ["evil.example", "127.0.0.1.nip.io", "192.168.1.7", "localhost.evil.example", "", " ", "127.0.0.1:", "[::1",
         "a b", "127.0.0.1/x", "user@127.0.0.1", "127.0.0.1:123456", "localhost:x", "2130706433", "0x7f.1", "\x00"],
    ),
    # bound to all addresses: those cannot be rebound, names can
    "0.0.0.0": (
        ["127.0.0.1", "192.168.1.7:7860", "[fe80::1]:7860", "localhost:7860", "studio.example"],
        ["evil.example", "rebind.network:7860", "192.168.1.7.nip.io", "", "192.168.1", "[::1", "[evil]"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("bound", HOSTS)
def test_names_of_other_sites_are_none_of_this_server(bound):
    access = Access(bound, TOKEN, frozenset({"studio.example"}))
    accepted, refused = HOSTS[bound]
    assert [name for name in accepted if not access.accepts_host(name)] == []
    assert [name for name in refused if access.accepts_host(name)] == []


def test_a_rebound_name_reaches_no_route(open_studio):
    for method, path in routes_of(open_studio):
        answer = open_studio.ask(method, path, headers={"Host": f"evil.example:{open_studio.port}"})
        assert answer.status == 403, (method, path)
    assert open_studio.ask("GET", "/health", headers={"Host": "studio.example"}).status == 503  # no worker


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:PORT"},  # another name of ours is another site
    {"Origin": "http://127.0.0.1:PORT.evil.example"},
    {"Origin": "http://evil@127.0.0.1:PORT"},
    {"Origin": "file://"},
    {"Origin": ""},
    {"Origin": "http://[::1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_sites_cannot_ask(open_studio, headers):
    headers = {name: value.replace("PORT", str(open_studio.port)) for name, value in headers.items()}
    for method, path in routes_of(open_studio):
        assert open_studio.ask(method, path, headers=headers).status == 403, (method, path)


def test_a_form_of_another_site_queues_no_job(open_studio):
    """What needs no preflight: a form, and text that is JSON."""
    upload, before = open_studio.upload(), len(open_studio.jobs.list())
    job = b'{"system": "easy_animate", "options": {"prompt": "x"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert open_studio.ask("POST", "/jobs", job, {"Content-Type": kind}).status == 415
    headers = {"Origin": "http://evil.example", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
    assert open_studio.ask("POST", "/jobs", job, {**headers, "Content-Type": "application/json"}).status == 403
    assert open_studio.ask("DELETE", f"/jobs/{open_studio.job()}", headers=headers).status == 403
    assert len(open_studio.jobs.list()) == before + 1
    assert open_studio.jobs.get_upload(upload)


def test_own_page_programs_and_links_are_accepted(open_studio):
    own = f"http://127.0.0.1:{open_studio.port}"
    for headers in ({}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert open_studio.ask("POST", "/jobs", {"system": "easy_animate", "options": []}, headers).status == 400
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert open_studio.ask("GET", "/docs", headers=link).status == 200


def test_without_the_token_every_route_is_closed_but_the_few(closed_studio):
    job, upload = closed_studio.job(), closed_studio.upload()
    opened = set()
    for method, path in routes_of(closed_studio):
        path = path.replace("{job_id}", job).replace("{upload_id}", upload)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "ppdiffusers_ext=1.2"}):
            if closed_studio.ask(method, path, headers=headers).status != 401:
                opened.add((method, path))
    assert opened == {
        ("GET", "/health"), ("HEAD", "/health"), ("POST", "/login"), ("GET", "/page/app.js"), ("HEAD", "/page/app.js"),
    }  # fmt: skip
    assert closed_studio.ask("GET", "/nowhere").status == 401
    assert closed_studio.ask("GET", "/health").json == {"ok": False}  # and nothing of its jobs


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
    ],
)
def test_no_other_header_is_the_token(closed_studio, given):
    assert closed_studio.ask("GET", "/jobs", headers={"Authorization": given}).status == 401


def test_the_token_opens(closed_studio):
    assert closed_studio.ask("GET", "/jobs", token=TOKEN).status == 200
    assert "queued" in closed_studio.ask("GET", "/health", token=TOKEN).json
    numbers = closed_studio.ask("GET", "/metrics", token=TOKEN)
    assert numbers.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "ppdiffusers_ext_jobs" in parsed(numbers.body.decode())


@pytest.mark.parametrize(
    ("method", "path", "body"), [("POST", "/login", f"token={TOKEN}".encode()), ("GET", f"/?token={TOKEN}", None)]
)
def test_the_login_leaves_a_strict_cookie_and_no_token_in_the_address(closed_studio, method, path, body):
    answer = closed_studio.ask(method, path, body, POSTED if body else {})
    assert (answer.status, answer.headers["location"], answer.body) == (303, "/", b"")
    pair, *flags = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
    assert TOKEN not in str(answer.headers)
    assert closed_studio.ask("GET", "/jobs", headers={"Cookie": f"other=1; {pair}"}).status == 200
    page = closed_studio.ask("GET", "/", headers={"Cookie": pair})
    assert page.status in (200, 404) and b"password" not in page.body  # 404 where the page does not ship yet


def test_a_link_of_another_site_with_the_token_leads_on_by_the_page_itself(closed_studio):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = closed_studio.ask("GET", f"/?token={TOKEN}", headers=headers)
    assert answer.status == 200 and b"refresh" in answer.body and TOKEN.encode() not in answer.body
    assert "HttpOnly" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "body", [b"", b"token=", b"token=wrong", b"tokens=x", b"token=%ff%00", b"&" * 5000, b"\xff" * 99]
)
def test_a_wrong_token_gives_the_form_again_and_no_cookie(closed_studio, body):
    answer = closed_studio.ask("POST", "/login", body, POSTED)
    assert answer.status == 401 and b"password" in answer.body and "set-cookie" not in answer.headers


def test_a_visitor_without_the_token_is_asked_for_it(closed_studio):
    for path in ("/", "/?token=", "/?token=wrong", "/?token=%00"):
        answer = closed_studio.ask("GET", path)
        assert answer.status == 401 and answer.headers["content-type"].startswith("text/html")
        assert b"password" in answer.body and b"<script" not in answer.body and b"style=" not in answer.body


def test_every_answer_tells_browsers_what_they_may(open_studio, closed_studio):
    asked = [(open_studio, "GET", "/health"), (open_studio, "GET", "/nowhere"), (open_studio, "POST", "/jobs")]
    asked += [(open_studio, "GET", "/docs"), (closed_studio, "GET", "/"), (closed_studio, "GET", "/jobs")]
    for found, method, path in asked:
        headers = found.ask(method, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "http" not in policy
        assert "frame-ancestors 'none'" in policy and "object-src 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin" and "server" not in headers
        assert "access-control-allow-origin" not in headers
