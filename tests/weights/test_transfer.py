"""One file from a server that behaves, or misbehaves: what arrives is right, or nothing does."""

import shutil
import time
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.weights import archives
from ppdiffusers_ext.weights import download as download_module
from ppdiffusers_ext.weights.download import Progress, download
from ppdiffusers_ext.weights.entries import File
from ppdiffusers_ext.weights.exchange import Patience
from ppdiffusers_ext.weights.inventory import items_of
from tests.support.fetching import (
    CONTENT,
    IMPATIENT,
    OTHER,
    QUICK,
    fail,
    fetch,
    from_byte,
    leave_part,
    leftovers,
    plain,
    sha256,
    succeed,
    the_reason,
    weights,
)
from tests.support.server import Page

# --- what is refused


def test_wrong_hash(server, dest):
    fail(plain(server, file=File("w.bin", sha256=sha256(OTHER))), dest, "sha256", sha256(CONTENT), sha256(OTHER))
    assert len(server.got("/w.bin")) == 1
    assert leftovers(dest) == []


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_wrong_size(server, dest, size, chunked):
    fail(plain(server, file=File("w.bin", size=size), chunked=chunked), dest, "bytes")
    assert leftovers(dest) == []


def test_a_body_without_end_is_cut_off(server, dest):
    entry = plain(server, content=b"x" * 30_000_000, chunked=True, file=File("w.bin", size=100_000))
    most = []
    progress = Progress()
    progress.advanced = lambda count: most.append(sum(most[-1:]) + count)
    fail(entry, dest, "more than 100000 bytes", progress=progress)
    assert max(most) <= 100_000
    assert leftovers(dest) == []


def test_a_body_of_unknown_size_is_cut_off_before_the_disk_is_full(server, dest, monkeypatch):
    usage = SimpleNamespace(free=archives.DISK_MARGIN + 200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    fail(plain(server, chunked=True), dest, "more than 200000 bytes")
    assert leftovers(dest) == []


def test_a_size_that_only_the_transfer_tells_has_no_room(server, dest, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    fail(plain(server, head=False), dest, "no space left", f"{len(CONTENT)} more bytes")


def test_length_that_is_too_long_is_a_dropped_connection(server, dest):
    fail(plain(server, length=len(CONTENT) + 1), dest, f"closed after {len(CONTENT)} of {len(CONTENT) + 1}")


def test_length_that_is_too_short_gives_a_file_of_the_wrong_size(server, dest):
    fail(plain(server, length=1000, file=File("w.bin", size=len(CONTENT))), dest, "it has 1000 bytes")


def test_a_file_whose_end_nobody_can_tell(server, dest):
    entry = plain(server, headers={"Connection": "close"}, length=False)
    fail(entry, dest, "does not say how long")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>Sign in</p>", b"\xef\xbb\xbf\n <HTML>"])
def test_web_page_by_its_beginning(server, dest, content):
    fail(plain(server, content=content), dest, "web page")
    assert leftovers(dest) == []


def test_web_page_by_its_type(server, dest):
    fail(plain(server, kind="text/html; charset=utf-8"), dest, "text/html")


def test_web_page_that_is_meant(server, dest):
    page = b"<html></html>"
    succeed(plain(server, "/w.html", page, kind="text/html"), dest, page)


@pytest.mark.parametrize("chunked", [False, True])
def test_empty_file(server, dest, chunked):
    fail(plain(server, content=b"", chunked=chunked), dest, "empty")
    assert leftovers(dest) == []


def test_compressed_transfer(server, dest):
    fail(plain(server, headers={"Content-Encoding": "gzip"}), dest, "compressed (gzip)")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_not_tried_again(server, dest, status):
    entry = plain(server, statuses=[status], always=True)
    fail(entry, dest, str(status))
    assert len(server.got("/w.bin")) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_refusal_of_the_hub_names_licence_and_token(hub, dest, status):
    hub.pages["/o/n/resolve/main/w.bin"] = Page(CONTENT, statuses=[status])
    fail(weights(File("w.bin"), source="hf://o/n"), dest, f"accepted at {hub.url}/o/n", "HF_TOKEN")


# --- what is tried again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_server_is_tried_again(server, dest, status):
    succeed(plain(server, statuses=[status, status]), dest)


def test_gives_up_on_a_server_that_is_always_busy(server, dest):
    fail(plain(server, statuses=[500], always=True), dest, "500", "3 attempts")
    assert len(server.got("/w.bin")) == 3


@pytest.mark.parametrize(
    "asked, waited", [("7", 7), ("100000", 60), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", 1), ("-5", 1)]
)
def test_keeps_to_what_the_server_asks_for(server, dest, monkeypatch, asked, waited):
    entry = plain(server, statuses=[(429, {"Retry-After": asked})])
    run = download_module._Run(dest, None, 1, Patience(), Progress(), offline=False)
    seconds = []
    run.stop.wait = lambda timeout: seconds.append(timeout)
    assert run.obtain(run.plan(items_of([entry])).steps[0]).result == "fetched"
    assert seconds == [waited]


def test_waits_twice_as_long_each_time(server, dest):
    entry = plain(server, statuses=[503] * 4)
    run = download_module._Run(dest, None, 1, Patience(longest_wait=5), Progress(), offline=False)
    seconds = []
    run.stop.wait = lambda timeout: seconds.append(timeout)
    assert run.obtain(run.plan(items_of([entry])).steps[0]).result == "fetched"
    assert seconds == [1, 2, 4, 5]


def test_server_that_stalls(server, dest):
    started = time.monotonic()
    entry = plain(server, stalls=1000, ranges=False)
    fail(entry, dest, "does not answer in time", patience=IMPATIENT)
    assert time.monotonic() - started < 10


def test_nobody_listens(server, dest):
    entry = weights(File("w.bin"), source="http://127.0.0.1:9")
    reason = fail(entry, dest, "Connection refused", "3 attempts")
    assert "object at" not in reason


def test_a_host_that_never_answers_is_not_waited_for_again(server, dest, caplog):
    caplog.set_level("INFO", logger="ppdiffusers_ext")
    files = [File(f"{index}.bin") for index in range(5)]
    for file in files:
        server.pages[f"/{file.path}"] = Page(CONTENT)
    entry = weights(*files, source=("http://127.0.0.1:9", server.url))
    assert {outcome.result for outcome in fetch(entry, dest, jobs=1)} == {"fetched"}
    assert len([record for record in caplog.records if ":9/" in record.getMessage()]) == QUICK.attempts - 1


def test_a_host_that_has_answered_before_is_waited_for_each_time(server, dest, caplog):
    caplog.set_level("INFO", logger="ppdiffusers_ext")
    server.pages["/0.bin"] = Page(CONTENT)
    for index in (1, 2):
        server.pages[f"/{index}.bin"] = Page(CONTENT, stalls=0, silent=True)
    entry = weights(*(File(f"{index}.bin", size=9) for index in range(3)), source=server.url)
    outcomes = fetch(entry, dest, jobs=1, patience=IMPATIENT)
    assert [outcome.result for outcome in outcomes] == ["failed"] * 3
    assert len([record for record in caplog.records if "in time" in record.getMessage()]) == 2 * (QUICK.attempts - 1)


# --- resuming


@pytest.mark.parametrize(
    "version", [{"etag": '"1"'}, {"modified": 1e9}, {"etag": 'W/"1"', "modified": 1e9}], ids=["etag", "date", "weak"]
)
def test_continues_where_the_connection_broke(server, dest, version):
    succeed(plain(server, drops=[200_000, 100_000], **version), dest)
    first, second, third = server.got("/w.bin")
    assert "Range" not in first
    assert second["Range"] == from_byte(200_000)
    assert third["Range"] == from_byte(295_904)
    assert second["If-Range"] and not second["If-Range"].startswith("W/")


def test_a_server_that_drops_every_connection_is_fine_as_long_as_something_comes(server, dest):
    succeed(plain(server, drops=[50_000] * 10, etag='"1"'), dest)
    assert len(server.got("/w.bin")) == 11


def test_gives_up_where_nothing_new_comes(server, dest):
    fail(plain(server, drops=[50_000, 10_000] * 9, ranges=False, etag='"1"'), dest, "closed after 50000")
    # The first attempt brought something new.
    assert len(server.got("/w.bin")) == 3


def test_starts_again_without_a_version(server, dest):
    succeed(plain(server, drops=[200_000]), dest)
    assert "Range" not in server.got("/w.bin")[1]


def test_with_a_hash_no_version_is_needed(server, dest):
    succeed(plain(server, drops=[200_000], file=File("w.bin", sha256=sha256(CONTENT))), dest)
    assert server.got("/w.bin")[1]["Range"] == from_byte(200_000)


def test_server_without_ranges(server, dest):
    succeed(plain(server, drops=[200_000], ranges=False, etag='"1"'), dest)


@pytest.mark.parametrize("if_range", [True, False], ids=["heeded", "ignored"])
def test_versions_are_not_mixed(server, dest, if_range):
    entry = plain(server, drops=[200_000], etag='"1"')
    fetch_broken(entry, server, dest)
    server.pages["/w.bin"] = Page(OTHER, etag='"2"', if_range=if_range)
    succeed(entry, dest, OTHER)


def fetch_broken(entry, server, dest):
    """A run that leaves a part."""
    assert "closed after 200000" in the_reason(download([entry], dest, patience=Patience(attempts=1)))
    assert (dest / "net/.w.bin.part").stat().st_size == 200_000
    server.requests.clear()


def test_the_next_run_continues(server, dest):
    entry = plain(server, drops=[200_000], etag='"1"')
    fetch_broken(entry, server, dest)
    server.pages["/w.bin"] = Page(CONTENT, etag='"1"')
    succeed(entry, dest)
    assert server.got("/w.bin")[0]["Range"] == from_byte(200_000)


def test_a_part_of_another_address_is_not_continued_without_a_hash(server, dest):
    entry = plain(server, drops=[200_000], etag='"1"')
    fetch_broken(entry, server, dest)
    server.pages["/mirror/net/w.bin"] = Page(OTHER, etag='"1"')
    succeed(entry, dest, OTHER, mirror=f"{server.url}/mirror")


def test_a_part_outlives_a_source_that_has_nothing(server, dest):
    entry = plain(server, drops=[200_000], etag='"1"')
    fetch_broken(entry, server, dest)
    succeed(entry, dest, mirror=f"{server.url}/mirror")
    assert server.got("/w.bin")[0]["Range"] == from_byte(200_000)


def test_a_part_that_is_damaged_is_fetched_anew_once(server, dest):
    leave_part(dest, b"x" * 5000 + CONTENT[5000:10_000])
    succeed(plain(server, file=File("w.bin", sha256=sha256(CONTENT))), dest)
    assert [headers.get("Range") for headers in server.got("/w.bin")] == [from_byte(10_000), None]


def test_a_part_that_is_damaged_is_fetched_anew_only_once(server, dest):
    leave_part(dest, CONTENT[:10_000])
    fail(plain(server, file=File("w.bin", sha256=sha256(OTHER))), dest, "sha256")
    assert len(server.got("/w.bin")) == 2
    assert leftovers(dest) == []


def test_a_complete_part_of_known_hash_is_not_asked_for(server, dest):
    leave_part(dest, CONTENT)
    succeed(plain(server, file=File("w.bin", sha256=sha256(CONTENT))), dest)
    assert server.got("/w.bin") == []


def test_a_complete_part_of_unknown_hash_is_confirmed_by_its_last_bytes(server, dest):
    leave_part(dest, CONTENT, url=f"{server.url}/w.bin", version='"1"', size=len(CONTENT))
    succeed(plain(server, etag='"1"'), dest)
    assert [headers["Range"] for headers in server.got("/w.bin")] == [from_byte(len(CONTENT))]


def test_a_complete_part_of_another_version_is_fetched_anew(server, dest):
    leave_part(dest, OTHER, url=f"{server.url}/w.bin", version='"1"', size=len(OTHER))
    succeed(plain(server, etag='"2"'), dest)


@pytest.mark.parametrize("known", [True, False])
def test_a_part_that_is_too_long_is_thrown_away(server, dest, known):
    leave_part(dest, CONTENT + b"x", url=f"{server.url}/w.bin", version='"1"', size=None)
    succeed(plain(server, etag='"1"', file=File("w.bin", sha256=sha256(CONTENT) if known else None)), dest)


@pytest.mark.parametrize(
    "note",
    ["", "{", "[]", '{"url": 1}', "null", "1", '"url"', '{"url": "a", "version": 1, "size": 1}', "[" * 100_000, "\0"]
    + ['{"url": "a", "version": "1", "size": -1}', '{"url": "a", "version": "1", "size": ' + "9" * 5000 + "}"],
    ids=range(12),
)
def test_a_damaged_note_is_no_note(server, dest, note):
    leave_part(dest, b"x" * 1000)
    (dest / "net/.w.bin.part.json").write_text(note)
    succeed(plain(server, etag='"1"'), dest)


def test_a_range_that_was_not_asked_for(server, dest):
    leave_part(dest, CONTENT[:1000], url=f"{server.url}/w.bin", version='"1"', size=len(CONTENT))
    succeed(plain(server, etag='"1"', range_from_zero=True), dest)
