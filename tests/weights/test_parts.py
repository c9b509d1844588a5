"""Parts of downloads that were killed, changed in every way that comes to mind: what is verified is right."""

import json
import os
import random
import shutil

import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.download import download
from ppdiffusers_ext.weights.entries import File
from ppdiffusers_ext.weights.parts import Part, note_of, part_of
from tests.support.fetching import QUICK, fetch, from_byte, leftovers, plain, sha256, succeed, the_reason, weights
from tests.support.fuzzing import fuzz
from tests.support.server import Page

CONTENT = random.Random(1).randbytes(1_000_000)
OTHER = random.Random(2).randbytes(1_000_000)
BROKEN_AT = 800_000
ETAG = '"1"'


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(bytes, note) of a part as a run leaves it whose line breaks; its last mark is not at the end of the part."""
    folder = tmp_path_factory.mktemp("part")
    part = Part(folder / ".w.bin.part", lambda count: None)
    part.begin("URL", ETAG, len(CONTENT))
    with part.writing():
        for start in range(0, BROKEN_AT, 65536):
            part.append(CONTENT[start : min(start + 65536, BROKEN_AT)])
    note = note_of(part.path).read_text().splitlines()
    assert len(note) == 5  # what it is of, at three steps, and at the end
    return part.path.read_bytes(), note


def lay(dest, killed, server, content=None, note=None):
    """Put the part, or what was made of it, where the next run finds it."""
    original, lines = killed
    shutil.rmtree(dest, ignore_errors=True)
    (dest / "net").mkdir(parents=True)
    part = part_of(dest / "net/w.bin")
    part.write_bytes(original if content is None else content)
    text = "".join(f"{line}\n" for line in lines) if note is None else note
    note_of(part).write_text(text.replace('"URL"', json.dumps(f"{server.url}/w.bin")))
    return part


def changes(content):
    """What may have become of the bytes of a part: a strategy of functions."""
    at = st.integers(0, len(content) - 1)

    def flipped(place, bit):
        return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]

    def zeroed(start, count):
        return content[:start] + bytes(min(count, len(content) - start)) + content[start + count :]

    return st.one_of(
        st.builds(flipped, at, st.integers(0, 7)),
        st.builds(zeroed, at, st.sampled_from([1, 512, 4096, 10**6, 10**7])),
        at.map(lambda end: content[:end]),
        st.binary(min_size=1, max_size=9).map(lambda more: content + more),
        st.just(content + CONTENT[len(content) :]),
        st.just(content + OTHER[len(content) :]),
        st.just(OTHER[: len(content)]),
        st.builds(lambda place, piece: content[:place] + piece + content[place:], at, st.binary(max_size=9)),
    )


@pytest.fixture(scope="module")
def shared():
    from tests.support.server import Server

    with Server() as server:
        yield server


@fuzz(60, data=st.data())
def test_changed_bytes_are_never_verified(shared, no_settings, tmp_path, killed, data):
    dest, content = tmp_path / "weights", data.draw(changes(killed[0]))
    lay(dest, killed, shared, content)
    succeed(plain(shared, content=CONTENT, etag=ETAG), dest, CONTENT)


@fuzz(40, data=st.data())
def test_changed_notes_are_never_believed(shared, no_settings, tmp_path, killed, data):
    dest, lines = tmp_path / "weights", killed[1]
    text = "".join(f"{line}\n" for line in lines)
    place = data.draw(st.integers(0, len(text) - 1))
    note = data.draw(
        st.one_of(
            st.characters(codec="ascii").map(lambda letter: text[:place] + letter + text[place + 1 :]),
            st.just(text[:place]),
            st.permutations(lines).map("\n".join),
            st.text(max_size=20),
        )
    )
    lay(dest, killed, shared, data.draw(st.sampled_from([CONTENT[:BROKEN_AT], OTHER[:BROKEN_AT]])), note)
    succeed(plain(shared, content=CONTENT, etag=ETAG), dest, CONTENT)


@pytest.mark.parametrize("known", [False, True])
def test_an_untouched_part_is_continued(server, dest, killed, known):
    lay(dest, killed, server)
    file = File("w.bin", sha256=sha256(CONTENT) if known else None)
    succeed(plain(server, content=CONTENT, etag=ETAG, file=file), dest, CONTENT)
    assert [headers.get("Range") for headers in server.got("/w.bin")] == [from_byte(BROKEN_AT)]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-1] + b"x", lambda data: data[:790_000], lambda data: data[:790_000] + bytes(10_000)],
)
def test_a_part_is_continued_from_where_it_is_still_right(server, dest, killed, spoil):
    lay(dest, killed, server, spoil(killed[0]))
    succeed(plain(server, content=CONTENT, etag=ETAG), dest, CONTENT)
    marks = [int(line.split()[0]) for line in killed[1][1:]]
    assert [headers.get("Range") for headers in server.got("/w.bin")] == [from_byte(marks[-2])]


@pytest.mark.parametrize(
    "page", [Page(OTHER, etag='"2"'), Page(OTHER, etag=ETAG), Page(OTHER, etag=ETAG, if_range=False)]
)
def test_another_file_at_the_address_is_fetched_whole(server, dest, killed, page):
    """Even under the same version: a server may tell versions apart by a date in seconds, or not at all."""
    lay(dest, killed, server)
    server.pages["/w.bin"] = page
    succeed(weights(File("w.bin"), source=server.url), dest, OTHER)


def test_a_part_of_another_mirror_is_not_continued(server, dest, killed):
    lay(dest, killed, server)
    server.pages["/mirror/net/w.bin"] = Page(OTHER, etag=ETAG)
    succeed(plain(server, content=CONTENT, etag=ETAG), dest, OTHER, mirror=f"{server.url}/mirror")


def test_a_complete_part_without_a_note_is_fetched_anew(server, dest, killed):
    part = lay(dest, killed, server, OTHER)
    note_of(part).unlink()
    succeed(plain(server, content=CONTENT, etag=ETAG), dest, CONTENT)
    assert [headers.get("Range") for headers in server.got("/w.bin")] == [None]


def test_a_line_that_a_kill_cut_off_does_not_hide_those_that_follow(server, dest, killed):
    lines = killed[1]
    cut = "\n".join(lines)[:-30]
    part = lay(dest, killed, server, note=cut)
    server.pages["/w.bin"] = Page(CONTENT, etag=ETAG, drops=[100_000])
    entry = weights(File("w.bin"), source=server.url)
    assert "closed after" in the_reason(download([entry], dest, patience=QUICK.__class__(attempts=1)))
    have = part.stat().st_size
    server.requests.clear()
    succeed(entry, dest, CONTENT)
    assert [headers.get("Range") for headers in server.got("/w.bin")] == [from_byte(have)]


@pytest.mark.parametrize("place", ["part", "note"])
@pytest.mark.parametrize("kind", ["pipe", "link", "endless"])
def test_what_is_no_file_in_the_place_of_a_part(server, dest, killed, tmp_path, place, kind):
    part = lay(dest, killed, server)
    path = part if place == "part" else note_of(part)
    path.unlink()
    (tmp_path / "mine").write_text("mine")
    {
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(tmp_path / "mine"),
        "endless": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    succeed(plain(server, content=CONTENT, etag=ETAG), dest, CONTENT)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_in_the_place_of_a_part(server, dest):
    part_of(dest / "net/w.bin").mkdir(parents=True)
    assert "is a folder" in the_reason(fetch(plain(server, content=CONTENT), dest))


def test_a_disk_that_does_not_keep_what_is_written_is_noticed(server, dest, monkeypatch):
    append = Part.append

    def forgetful(self, data):
        append(self, data)
        with open(self.path, "rb+") as file:
            file.write(b"forgotten")

    monkeypatch.setattr(Part, "append", forgetful)
    assert "the disk may be damaged" in the_reason(fetch(plain(server, content=CONTENT), dest))
    assert leftovers(dest) == []


def test_no_bytes_are_kept_of_a_part_that_was_discarded(tmp_path):
    counts = []
    part = Part(tmp_path / "part", counts.append)
    part.begin("a", "", None)
    with part.writing():
        part.append(b"abc")
    part.discard()
    assert counts == [3, -3] and list(tmp_path.iterdir()) == []
    (tmp_path / "part").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        part.restore()
