"""Downloads of several files: the order of sources, what is remembered, what is there already, sudden ends."""

import base64
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights import download as download_module
from ppdiffusers_ext.weights import parts, transfer
from ppdiffusers_ext.weights.download import Progress
from ppdiffusers_ext.weights.entries import File
from ppdiffusers_ext.weights.inventory import items_of, missing, select, verify
from ppdiffusers_ext.weights.parallel import in_parallel
from ppdiffusers_ext.weights.sources import sources_of
from tests.support.fetching import (
    CONTENT,
    OTHER,
    QUICK,
    fail,
    fetch,
    from_byte,
    leave_part,
    leftovers,
    linked,
    plain,
    records,
    sha256,
    succeed,
    the_reason,
    weights,
)
from tests.support.server import Page, Server

ROOT = Path(__file__).parents[2]


# --- what is fetched, and what is remembered of it


def test_fetches_and_records(server, dest):
    entry = plain(server)
    succeed(entry, dest)
    record = records(dest)["net/w.bin"]
    assert record["sha256"] == sha256(CONTENT)
    assert record["size"] == len(CONTENT)
    assert record["source"] == f"{server.url}/w.bin"
    assert record["trust"] == "first use"
    assert missing([entry], dest) == []
    assert list(verify([entry], dest)) == [("net/w.bin", "ok", "")]


def test_fetches_several_in_parallel_in_their_order(server, dest):
    files = [File(f"deep/{index}.bin", size=1000 + index) for index in range(9)]
    for index, file in enumerate(files):
        server.pages[f"/{file.path}"] = Page(bytes([index]) * file.size)
    outcomes = fetch(weights(*files, source=server.url), dest)
    assert [outcome.item.file for outcome in outcomes] == files
    assert {outcome.result for outcome in outcomes} == {"fetched"}
    assert len(records(dest)) == 9


def test_second_run_asks_for_nothing(server, dest):
    entry = plain(server)
    succeed(entry, dest)
    server.requests.clear()
    assert [outcome.result for outcome in fetch(entry, dest)] == ["present"]
    assert server.requests == []


def test_what_is_complete_may_lie_in_a_folder_that_cannot_be_written(server, dest, monkeypatch):
    entry = plain(server)
    succeed(entry, dest)
    monkeypatch.setattr(download_module, "locked", None)  # root may write anywhere: nothing must be tried
    assert [outcome.result for outcome in fetch(entry, dest)] == ["present"]


def test_one_failure_does_not_stop_the_others(server, dest):
    server.pages["/b.bin"] = Page(CONTENT)
    outcomes = fetch(weights(File("a.bin"), File("b.bin"), source=server.url), dest)
    assert [outcome.result for outcome in outcomes] == ["failed", "fetched"]


def test_fetches_by_the_remote_name(server, dest):
    server.pages["/other%20folder/x.bin"] = Page(CONTENT)
    entry = weights(File("w.bin", remote="other folder/x.bin"), source=server.url + "/")
    succeed(entry, dest)


def test_chunked_without_a_size(server, dest):
    succeed(plain(server, chunked=True), dest)


def test_registry_hash_is_checked_and_said_to_be_the_reason_for_trust(server, dest):
    succeed(plain(server, file=File("w.bin", sha256=sha256(CONTENT))), dest)
    assert records(dest)["net/w.bin"]["trust"] == "registry"


# --- the hub, tokens, mirrors, proxies


def test_file_of_another_md5_is_refused_and_one_that_lies_there_too(server, dest):
    md5 = hashlib.md5(CONTENT).hexdigest()
    file = File("w.bin", md5=md5)
    fail(plain(server, content=OTHER, file=file), dest, f"its md5 is not {md5}")
    succeed(plain(server, file=file), dest)
    (dest / "checksums.json").unlink()
    (dest / "net/w.bin").write_bytes(OTHER)
    assert f"its md5 is not {md5}" in the_reason(fetch(plain(server, file=file), dest))


def test_hub_size_and_hash_come_before_the_redirect(hub, dest):
    with Server() as storage:
        storage.pages["/blob"] = Page(CONTENT, drops=[200_000])
        hub.pages["/o/n/resolve/main/w.bin"] = Page(redirect=f"{storage.url}/blob", headers=linked(CONTENT))
        entry = weights(File("w.bin"), source="hf://o/n")
        seen = SimpleNamespace(plan=None)
        progress = Progress()
        progress.planned = lambda plan: setattr(seen, "plan", plan)
        succeed(entry, dest, progress=progress)
        assert seen.plan.bytes_to_fetch == len(CONTENT)
        assert records(dest)["net/w.bin"]["trust"] == "hub"
        # The storage has no versions, but with the hub's hash it can be continued.
        assert storage.got("/blob")[1]["Range"] == from_byte(200_000)
        # The plan asks the hub only.
        assert storage.got("/blob", "HEAD") == []
        token = "Bearer hf_secret"
        assert {headers.get("authorization") for _, _, headers in hub.requests} == {token}
        assert all("authorization" not in map(str.lower, headers) for _, _, headers in storage.requests)
    assert "hf_secret" not in "".join(path.read_text() for path in dest.rglob("*.json"))


def test_what_the_storage_has_must_be_what_the_hub_announces(hub, dest):
    hub.pages["/blob"] = Page(OTHER)
    hub.pages["/o/n/resolve/main/w.bin"] = Page(redirect="/blob", headers=linked(CONTENT))
    fail(weights(File("w.bin"), source="hf://o/n"), dest, sha256(CONTENT), sha256(OTHER))


def test_what_the_hub_announces_must_be_what_the_registry_has(hub, dest):
    hub.pages["/o/n/resolve/main/w.bin"] = Page(redirect="/blob", headers=linked(CONTENT))
    hub.pages["/blob"] = Page(CONTENT)
    progress, came = Progress(), []
    progress.advanced = came.append
    entry = weights(File("w.bin", sha256=sha256(OTHER)), source="hf://o/n")
    fail(entry, dest, sha256(CONTENT), "not the published", progress=progress)
    assert not any(came)


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_small_files_of_the_hub_are_known_by_the_hash_of_git(hub, dest):
    hub.pages["/o/n/resolve/main/w.bin"] = Page(CONTENT, etag=f'"{git_sha1(CONTENT)}"')
    succeed(weights(File("w.bin"), source="hf://o/n"), dest)
    assert records(dest)["net/w.bin"]["trust"] == "hub"


def test_small_files_of_the_hub_must_have_the_hash_of_git(hub, dest):
    hub.pages["/o/n/resolve/main/w.bin"] = Page(OTHER, etag=f'"{git_sha1(CONTENT)}"')
    fail(weights(File("w.bin"), source="hf://o/n"), dest, "git's hash", git_sha1(CONTENT))


def test_the_hash_of_git_is_believed_of_the_hub_only(server, dest):
    succeed(plain(server, etag=f'"{git_sha1(OTHER)}"'), dest)
    assert records(dest)["net/w.bin"]["trust"] == "first use"


def test_token_is_not_for_other_sources(hub, dest, monkeypatch):
    """Not even where a plain source or the mirror is on the hub's own host."""
    hub.pages["/w.bin"] = Page(CONTENT, statuses=[404])
    hub.pages["/mirror/net/w.bin"] = Page(CONTENT, statuses=[404])
    hub.pages["/o/n/resolve/main/w.bin"] = Page(CONTENT)
    entry = weights(File("w.bin"), source=(hub.url, "hf://o/n"))
    succeed(entry, dest, mirror=f"{hub.url}/mirror")
    with_token = {path for _, path, headers in hub.requests if "authorization" in map(str.lower, headers)}
    assert with_token == {"/o/n/resolve/main/w.bin"}


def test_netrc_does_not_replace_the_token(hub, dest, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.pages["/o/n/resolve/main/w.bin"] = Page(CONTENT)
    succeed(weights(File("w.bin"), source="hf://o/n"), dest)
    assert hub.got("/o/n/resolve/main/w.bin")[0]["authorization"] == "Bearer hf_secret"


def test_mirror_in_the_hubs_layout_then_in_that_of_the_folder_then_the_sources(no_settings):
    entry = weights(File("w.bin", remote="x y.bin"), source=("hf://o/n", "https://example.org/base"))
    (item,) = items_of([entry])
    assert [source.url for source in sources_of(item, "https://mirror/m/")] == [
        "https://mirror/m/o/n/resolve/main/x%20y.bin",
        "https://mirror/m/net/w.bin",
        "https://huggingface.co/o/n/resolve/main/x%20y.bin",
        "https://example.org/base/x%20y.bin",
    ]
    assert [source.is_hub for source in sources_of(item, "https://mirror/m/")] == [False, False, True, False]


def test_falls_through_to_the_next_source(server, dest):
    server.pages["/mirror/o/n/resolve/main/w.bin"] = Page(b"<html>")
    server.pages["/b/w.bin"] = Page(CONTENT)
    entry = weights(File("w.bin"), source=(f"{server.url}/a", f"{server.url}/b"))
    succeed(entry, dest, mirror=f"{server.url}/mirror")


def test_progress_counts_every_byte_of_the_result_once(server, dest):
    server.pages["/mirror/net/w.bin"] = Page(OTHER)
    entry = plain(server, drops=[200_000], file=File("w.bin", sha256=sha256(CONTENT)))
    progress, came = Progress(), []
    progress.advanced = came.append
    succeed(entry, dest, mirror=f"{server.url}/mirror", progress=progress)
    assert sum(came) == len(CONTENT)
    # A source that breaks off leaves a part, which the next one counts as its own.
    broken, came[:] = Page(CONTENT, drops=[200_000] * 9, ranges=False), []
    server.pages["/mirror/net/v.bin"] = broken
    server.pages["/v.bin"] = Page(CONTENT)
    entry = weights(File("v.bin", sha256=sha256(CONTENT)), source=server.url)
    succeed(entry, dest, mirror=f"{server.url}/mirror", progress=progress)
    assert sum(came) == len(CONTENT)


def test_failure_of_every_source_is_named(server, dest):
    server.pages["/a/w.bin"] = Page(b"<html>")
    entry = weights(File("w.bin"), source=(f"{server.url}/a", f"{server.url}/b"))
    (outcome,) = fetch(entry, dest, mirror=f"{server.url}/m")
    mirror, first, second = outcome.reasons
    assert mirror.startswith(f"{server.url}/m/net/w.bin: ") and "404" in mirror
    assert first.startswith(f"{server.url}/a/w.bin: ") and "web page" in first
    assert second.startswith(f"{server.url}/b/w.bin: ") and "404" in second


def test_a_folder_that_is_complete_is_a_mirror(server, dest, tmp_path):
    """By `python -m http.server`, which knows no ranges."""
    entry = plain(server)
    succeed(entry, dest)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(dest)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = process.stdout.readline().split("port ")[1].split()[0]
        server.pages.clear()
        succeed(entry, tmp_path / "second", mirror=f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("url", ["ftp://host", "host/path", "http://", "http://host:port", "http://h:99999", ""])
def test_bad_addresses(dest, url, monkeypatch):
    entry = weights(File("w.bin"), source="hf://o/n")
    with pytest.raises(InputError, match="--mirror"):
        fetch(entry, dest, mirror=url)
    if url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(InputError, match="HF_ENDPOINT"):
            fetch(entry, dest)
    assert not dest.exists()


def test_passwords_of_addresses_are_sent_but_not_shown(server, dest):
    server.pages["/net/w.bin"] = Page(CONTENT)
    mirror = server.url.replace("//", "//me:secret@")
    succeed(weights(File("w.bin"), source=server.url), dest, mirror=mirror)
    assert server.got("/net/w.bin")[0]["Authorization"] == f"Basic {base64.b64encode(b'me:secret').decode()}"
    assert records(dest)["net/w.bin"]["source"] == f"{server.url}/net/w.bin"
    reason = the_reason(fetch(weights(File("v.bin"), source=server.url), dest, mirror=mirror))
    assert "secret" not in reason


def test_proxy_of_the_environment(server, dest, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    server.pages["http://weights.invalid/w.bin"] = Page(CONTENT)
    succeed(weights(File("w.bin"), source="http://weights.invalid"), dest)


# --- trust on first use


def test_another_file_under_the_same_address_is_refused(server, dest):
    entry = plain(server)
    succeed(entry, dest)
    (dest / "net/w.bin").unlink()
    server.pages["/w.bin"] = Page(OTHER)
    day = records(dest)["net/w.bin"]["date"]
    fail(entry, dest, f"first downloaded on {day}", "remove the entry 'net/w.bin'", str(dest / "checksums.json"))
    document = json.loads((dest / "checksums.json").read_text())
    del document["files"]["net/w.bin"]
    (dest / "checksums.json").write_text(json.dumps(document))
    succeed(entry, dest, OTHER)


def test_the_same_file_again_keeps_its_first_date(server, dest):
    entry = plain(server)
    succeed(entry, dest)
    document = json.loads((dest / "checksums.json").read_text())
    document["files"]["net/w.bin"]["date"] = "2020-01-02"
    (dest / "checksums.json").write_text(json.dumps(document))
    (dest / "net/w.bin").unlink()
    succeed(entry, dest)
    assert records(dest)["net/w.bin"]["date"] == "2020-01-02"
    assert records(dest)["net/w.bin"]["trust"] == "first use"
    (dest / "net/w.bin").unlink()
    succeed(plain(server, file=File("w.bin", sha256=sha256(CONTENT))), dest)
    assert records(dest)["net/w.bin"]["date"] == "2020-01-02"
    assert records(dest)["net/w.bin"]["trust"] == "registry"


def test_the_registry_wins_over_what_was_first_downloaded(server, dest):
    succeed(plain(server), dest)
    (dest / "net/w.bin").unlink()
    succeed(plain(server, content=OTHER, file=File("w.bin", sha256=sha256(OTHER))), dest, OTHER)
    assert records(dest)["net/w.bin"]["trust"] == "registry"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2, "files": {}}', '{"version": 1}', '{"version": 1, "files": {"a": {"size": 1}}}']
    + [
        json.dumps({"version": 1, "files": {"a": {"source": "", "date": "", **values}}})
        for values in (
            {"size": 1, "sha256": "a" * 63, "trust": "hub"},
            {"size": 1, "sha256": "A" * 64, "trust": "hub"},
            {"size": "1", "sha256": "a" * 64, "trust": "hub"},
            {"size": 1, "sha256": "a" * 64, "trust": "me"},
            {"size": None, "sha256": None, "trust": "hub"},
        )
    ],
)
def test_damaged_record_is_an_error_and_stays(server, dest, text):
    dest.mkdir()
    (dest / "checksums.json").write_text(text)
    for action in (fetch, lambda entry, dest: missing([entry], dest), lambda entry, dest: list(verify([entry], dest))):
        with pytest.raises(InputError, match="checksums.json is damaged"):
            action(plain(server), dest)
    assert (dest / "checksums.json").read_text() == text
    assert server.requests == []


# --- files that are there already


def put(dest, content, name="w.bin"):
    (dest / "net").mkdir(parents=True, exist_ok=True)
    (dest / "net" / name).write_bytes(content)


@pytest.mark.parametrize(
    "file", [File("w.bin"), File("w.bin", sha256=sha256(CONTENT))], ids=["unknown hash", "known hash"]
)
def test_what_the_user_put_there_is_recorded(server, dest, file):
    put(dest, CONTENT)
    entry = plain(server, file=file)
    assert list(verify([entry], dest))[0][1] == ("ok" if file.sha256 else "unrecorded")
    assert [outcome.result for outcome in fetch(entry, dest)] == ["checked"]
    assert records(dest)["net/w.bin"]["trust"] == ("registry" if file.sha256 else "first use")
    assert [outcome.result for outcome in fetch(entry, dest)] == ["present"]
    assert server.requests == []


@pytest.mark.parametrize("content", [CONTENT, OTHER])
def test_what_the_user_put_there_is_compared_with_the_hub(hub, dest, content):
    put(dest, content)
    hub.pages["/o/n/resolve/main/w.bin"] = Page(redirect="/blob", headers=linked(CONTENT))
    outcomes = fetch(weights(File("w.bin"), source="hf://o/n"), dest)
    if content == CONTENT:
        assert [outcome.result for outcome in outcomes] == ["checked"]
        assert records(dest)["net/w.bin"]["trust"] == "hub"
    else:
        assert "not the published file" in the_reason(outcomes)
    assert [method for method, _, _ in hub.requests] == ["HEAD"]


def test_what_the_user_put_there_is_recorded_where_the_hub_is_out_of_reach(dest, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    put(dest, CONTENT)
    assert [outcome.result for outcome in fetch(weights(File("w.bin"), source="hf://o/n"), dest)] == ["checked"]


def test_an_empty_file_is_not_taken_for_the_users(server, dest):
    put(dest, b"")
    assert "move it away" in the_reason(fetch(plain(server), dest))


def test_the_registry_has_learnt_another_hash_since(server, dest):
    succeed(plain(server), dest)
    entry = plain(server, file=File("w.bin", sha256=sha256(OTHER)))
    assert missing([entry], dest) == ["net/w.bin"]
    assert "move it away" in the_reason(fetch(entry, dest))


@pytest.mark.parametrize(
    "file", [File("w.bin", size=5), File("w.bin", sha256=sha256(OTHER))], ids=["another size", "another hash"]
)
def test_another_file_of_the_users_is_never_overwritten(server, dest, file):
    put(dest, CONTENT)
    assert "move it away" in the_reason(fetch(plain(server, file=file), dest))
    assert (dest / "net/w.bin").read_bytes() == CONTENT
    assert server.requests == []


def test_a_file_that_was_changed_since_is_never_overwritten(server, dest):
    entry = plain(server)
    succeed(entry, dest)
    put(dest, b"the user's own")
    assert "move it away" in the_reason(fetch(entry, dest))
    assert (dest / "net/w.bin").read_bytes() == b"the user's own"


def test_verify_finds_a_flipped_bit(server, dest):
    entry = plain(server)
    succeed(entry, dest)
    put(dest, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    ((path, verdict, reason),) = verify([entry], dest)
    assert (path, verdict) == ("net/w.bin", "wrong")
    assert sha256(CONTENT) in reason


def test_verify_finds_what_is_missing_or_cut_off(server, dest):
    entry = plain(server)
    assert [verdict for _, verdict, _ in verify([entry], dest)] == ["missing"]
    succeed(entry, dest)
    put(dest, CONTENT[:-1])
    assert [verdict for _, verdict, _ in verify([entry], dest)] == ["wrong"]


# --- the disk


def test_refuses_before_the_first_byte_where_the_disk_is_too_small(server, dest, monkeypatch):
    entry = plain(server, file=File("w.bin", size=len(CONTENT)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(CONTENT) - 1))
    with pytest.raises(InputError, match=f"{len(CONTENT)} bytes are needed .* but {len(CONTENT) - 1} are free"):
        fetch(entry, dest)
    assert server.requests == []


def test_what_is_there_of_a_part_needs_no_room(server, dest, monkeypatch):
    leave_part(dest, CONTENT[:-1000])
    entry = plain(server, file=File("w.bin", size=len(CONTENT), sha256=sha256(CONTENT)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    succeed(entry, dest)


def test_an_archive_needs_room_for_its_content(server, dest, monkeypatch):
    entry = weights(File("pack", size=1000, remote="p.zip", members=("m",)), source=server.url)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1999))
    with pytest.raises(InputError, match="2000 bytes are needed"):
        fetch(entry, dest)


@pytest.mark.parametrize("code, words", [(errno.ENOSPC, "no space left on the disk"), (errno.EFBIG, "ulimit -f")])
def test_the_disk_takes_no_more(server, dest, monkeypatch, code, words):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 200_000:
                raise OSError(code, os.strerror(code))
            return super().write(data)

    def open_full(path, mode="r", **options):
        return Full(path, mode) if mode == "ab" and path.name.endswith(".part") else open(path, mode, **options)

    entry = plain(server, etag='"1"')
    with monkeypatch.context() as patch:
        patch.setattr(parts, "open", open_full, raising=False)
        fail(entry, dest, words, "net/.w.bin.part")
    have = (dest / "net/.w.bin.part").stat().st_size
    assert 0 < have <= 200_000
    assert not (dest / "net/w.bin").exists()
    assert len(server.got("/w.bin")) == 1
    succeed(entry, dest)
    assert server.got("/w.bin")[1]["Range"] == from_byte(have)


def test_folder_is_a_file(server, dest):
    dest.write_text("")
    with pytest.raises(InputError, match="is a file"):
        fetch(plain(server), dest)


def test_folder_cannot_be_written(server):
    with pytest.raises(InputError, match="/proc/none"):
        fetch(plain(server), Path("/proc/none"))


def test_a_file_in_the_place_of_a_folder(server, dest):
    dest.mkdir()
    (dest / "net").write_text("")
    assert "cannot write" in the_reason(fetch(plain(server), dest))


# --- archives


def packed(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def packed_page(server, content, **file):
    """As antelopev2 is: a folder of the archive's name inside the archive."""
    server.pages["/release/p.zip"] = Page(content, etag='"1"')
    members = ("one.onnx", "two.onnx")
    return weights(
        File("pack", remote="p.zip", members=members, **file), source=f"{server.url}/release", folder="models"
    )


def test_archive_is_unpacked_and_not_kept(server, dest):
    archive = packed(pack__one="", **{"pack/one.onnx": b"1", "pack/two.onnx": b"22"})
    entry = packed_page(server, archive)
    assert [outcome.result for outcome in fetch(entry, dest)] == ["fetched"]
    assert sorted(path.name for path in (dest / "models/pack").iterdir()) == ["one", "one.onnx", "two.onnx"]
    assert leftovers(dest) == []
    record = records(dest)["models/pack"]
    assert record["sha256"] == sha256(archive)
    assert record["members"]["two.onnx"] == {"size": 2, "sha256": sha256(b"22")}
    server.requests.clear()
    assert [outcome.result for outcome in fetch(entry, dest)] == ["present"]
    assert server.requests == []
    (dest / "models/pack/two.onnx").write_bytes(b"23")
    verdicts = {path: verdict for path, verdict, _ in verify([entry], dest)}
    assert verdicts == {"models/pack/one": "ok", "models/pack/one.onnx": "ok", "models/pack/two.onnx": "wrong"}


def test_incomplete_folder_is_replaced_when_the_new_one_is_complete(server, dest):
    (dest / "models/pack").mkdir(parents=True)
    (dest / "models/pack/one.onnx").write_bytes(b"old")
    entry = packed_page(server, packed(**{"one.onnx": b"1"}))
    fail_archive(entry, dest, "has no two.onnx")
    assert (dest / "models/pack/one.onnx").read_bytes() == b"old"
    packed_page(server, packed(**{"one.onnx": b"1", "two.onnx": b"2"}))
    assert [outcome.result for outcome in fetch(entry, dest)] == ["fetched"]
    assert (dest / "models/pack/one.onnx").read_bytes() == b"1"
    assert leftovers(dest) == []


def fail_archive(entry, dest, *words):
    reason = the_reason(fetch(entry, dest))
    for word in words:
        assert word in reason
    assert leftovers(dest) == []


def test_archive_that_is_refused(server, dest):
    fail_archive(packed_page(server, packed(**{"../one.onnx": b"1"})), dest, "outside")
    assert not (dest / "models/pack").exists()


def test_a_damaged_archive_starts_over_once(server, dest):
    """Of unknown hash: what came the first time looked as good as what came the second time."""
    good = packed(**{"one.onnx": b"1", "two.onnx": b"2"})
    entry = packed_page(server, good)
    pages = [Page(good[:40] + bytes(9) + good[49:], etag='"1"'), Page(good, etag='"1"')]

    class Turns(dict):
        def get(self, path, default=None):
            return pages.pop(0) if path == "/release/p.zip" and len(pages) > 1 else super().get(path, default)

    server.pages = Turns(server.pages)
    came, progress = [], Progress()
    progress.advanced = came.append
    server.pages["/release/p.zip"].head = False
    pages.insert(0, Page(head=False))  # for the question of the size
    assert [outcome.result for outcome in fetch(entry, dest, progress=progress)] == ["fetched"]
    assert sum(came) == len(good)
    assert leftovers(dest) == []


@pytest.mark.parametrize("known, times", [(False, 2), (True, 1)])
def test_an_archive_that_stays_damaged_is_given_up(server, dest, known, times):
    damaged = packed(**{"one.onnx": b"1"})
    fail_archive(packed_page(server, damaged, sha256=sha256(damaged) if known else None), dest, "has no two.onnx")
    assert len(server.got("/release/p.zip")) == times


def test_archive_of_another_hash_is_not_opened(server, dest):
    entry = packed_page(server, packed(**{"one.onnx": b"1", "two.onnx": b"2"}), sha256=sha256(OTHER))
    fail_archive(entry, dest, "sha256")


def test_unpacked_archive_that_the_user_put_there(server, dest):
    (dest / "models/pack").mkdir(parents=True)
    for name in ("one.onnx", "two.onnx"):
        (dest / "models/pack" / name).write_bytes(b"1")
    entry = packed_page(server, b"", sha256=sha256(OTHER))
    assert [verdict for _, verdict, _ in verify([entry], dest)] == ["unrecorded"] * 2
    assert [outcome.result for outcome in fetch(entry, dest)] == ["checked"]
    assert [outcome.result for outcome in fetch(entry, dest)] == ["present"]
    assert [verdict for _, verdict, _ in verify([entry], dest)] == ["ok"] * 2
    assert server.requests == []


def test_archive_at_a_mirror_lies_beside_its_folder(server, dest):
    server.pages["/models/p.zip"] = Page(packed(**{"one.onnx": b"1", "two.onnx": b"2"}))
    entry = weights(File("pack", remote="p.zip", members=("one.onnx",)), source="http://127.0.0.1:9", folder="models")
    assert [outcome.result for outcome in fetch(entry, dest, mirror=server.url)] == ["fetched"]


# --- several processes, and sudden ends

SCRIPT = """
import sys
from pathlib import Path
from ppdiffusers_ext.weights.download import download
from ppdiffusers_ext.weights.entries import File, Weights
url, dest = sys.argv[1:]
entry = Weights("net", ("one",), "net", (url,), (File("w.bin"),), "MIT", "tests")
print("ready", flush=True)
print(download([entry], dest)[0].result, flush=True)
"""


def start(server, dest):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url, str(dest)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_at_once(server, dest):
    plain(server, delay=0.05, etag='"1"')
    processes = [start(server, dest) for _ in range(2)]
    results = [process.communicate(timeout=40)[0].split()[-1] for process in processes]
    assert sorted(results) == ["fetched", "present"]
    assert len(server.got("/w.bin")) == 1
    assert (dest / "net/w.bin").read_bytes() == CONTENT


def test_killed_again_and_again(server, dest):
    content = CONTENT * 6  # 3 MB
    entry = plain(server, content=content, delay=0.02, etag='"1"')
    part = dest / "net/.w.bin.part"
    seen = 0
    for _ in range(2):
        process = start(server, dest)
        wait_for(lambda seen=seen: part.exists() and part.stat().st_size > seen + 400_000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen = part.stat().st_size
    server.pages["/w.bin"].delay = 0
    server.requests.clear()
    succeed(entry, dest, content)
    # What came since the last line of the note is fetched again.
    (headers,) = server.got("/w.bin")
    assert seen - 400_000 < int(headers["Range"].removeprefix("bytes=").rstrip("-")) <= seen


@pytest.mark.parametrize("changed", [False, True])
def test_killed_between_the_name_and_the_record(server, dest, monkeypatch, changed):
    entry = plain(server, etag='"1"')
    with monkeypatch.context() as patch:
        patch.setattr(download_module.Checksums, "put", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fetch(entry, dest)
    assert leftovers(dest) == [".w.bin.part.json"]
    if changed:
        (dest / "net/w.bin").write_bytes(CONTENT[:-1] + b"x")
        assert "was changed after" in the_reason(fetch(entry, dest))
        return
    assert [outcome.result for outcome in fetch(entry, dest)] == ["checked"]
    assert leftovers(dest) == []


# --- threads, selection


def test_a_thread_that_hangs_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("ppdiffusers_ext.weights.parallel._PATIENCE", 0.05)
    hang, stop = threading.Event(), threading.Event()
    results = in_parallel(lambda task: hang.wait(20) if task else "done", [0, 1, 1, 1], 2, stop)
    assert next(results) == "done"
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 5
    assert stop.is_set()
    hang.set()


def test_a_fault_in_a_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda task: 1 / task, [1, 0], 2))


def test_stopping_keeps_the_part(server, dest):
    entry = plain(server, etag='"1"')
    run = download_module._Run(dest, None, 1, QUICK, Progress(), offline=False)
    run.progress.advanced = lambda count: run.stop.set() if count > 0 else None
    with pytest.raises(transfer.Stopped):
        run.obtain(run.plan(items_of([entry])).steps[0])
    assert 0 < (dest / "net/.w.bin.part").stat().st_size < len(CONTENT)
    succeed(entry, dest)


TABLE = (
    weights(File("a"), source="x", name="a", systems=("one",)),
    weights(File("b"), source="x", name="b", systems=("one", "two")),
    weights(File("c"), source="x", name="c", systems=("two",), by_default=False),
)


@pytest.mark.parametrize(
    "systems, names, extras, selected",
    [
        ([], [], False, "ab"),
        ([], [], True, "abc"),
        (["one"], [], False, "ab"),
        (["two"], [], False, "b"),
        ([], ["c", "a", "a"], False, "ac"),
        (["two"], ["c"], False, "c"),
        (["one", "two"], [], True, "abc"),
    ],
)
def test_selection(systems, names, extras, selected):
    assert "".join(entry.name for entry in select(TABLE, systems, names, extras)) == selected


@pytest.mark.parametrize(
    "systems, names, words",
    [(["three"], [], "'three'; one, two"), ([], ["d"], "'d'; a, b, c"), (["one"], ["c"], "'c' in one; a, b")],
)
def test_selection_refuses(systems, names, words):
    with pytest.raises(InputError, match=words):
        select(TABLE, systems, names)


def test_two_files_of_one_path_are_a_fault_of_the_registry():
    with pytest.raises(ValueError, match="twice"):
        items_of([TABLE[0], TABLE[0]])
