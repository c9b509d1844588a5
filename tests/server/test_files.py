"""The data folder: one server at a time, uploads within bounds, a quota, and what is removed."""

import io
import time

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.files import DATABASE, Files, Folder, shown_name
from ppdiffusers_ext.server.records import DONE
from ppdiffusers_ext.server.refusals import NoRoom, NotFound, NotMedia, TooLarge
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.store import Store

MIB = 1 << 20


class Place:
    """A data folder with its files and its store."""

    def __init__(self, path, **settings):
        self.path, self.folder = path, Folder(path)
        self.store = Store(path / DATABASE)
        self.files = Files(self.folder, self.store, ServerSettings(**settings))

    def close(self):
        self.store.close()
        self.folder.release()

    def names(self):
        return sorted(str(path.relative_to(self.path)) for name in ("incoming", "uploads", "jobs")
                      for path in (self.path / name).rglob("*"))  # fmt: skip


@pytest.fixture
def open_place(tmp_path):
    places = []

    def opened(**settings):
        places.append(Place(tmp_path / "data", **settings))
        return places[-1]

    yield opened
    for place in places:
        place.close()


def noise(side=64, seed=0):
    """A PNG of about 3 * side * side bytes."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_second_server_is_refused_and_a_later_one_is_not(open_place, tmp_path):
    place = open_place()
    with pytest.raises(InputError, match=r"another server uses the data folder .*; another --data is accepted"):
        Folder(tmp_path / "data")
    place.close()
    Folder(tmp_path / "data").release()


def test_what_is_no_folder_that_can_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing"):
        with pytest.raises(InputError, match="cannot be used"):
            Folder(path)


NAMES = (
    "me.png",
    "../../etc/passwd",
    "/etc/passwd",
    "a\0b\x1b[31m.png",
    "x" * 5000,
    "",
    "..",
    "我.png",
    "\ud800",
    "a\nb",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_clients_give_are_for_messages_alone(name):
    told = shown_name(name)
    assert told and told.isprintable() and "/" not in told and len(told) <= 100


def test_names_on_disk_are_random_and_files_are_private(open_place):
    place = open_place()
    upload = place.files.receive(io.BytesIO(noise()), "../../me.png")
    (on_disk,) = place.names()
    assert on_disk.startswith("uploads/") and on_disk.endswith(".png") and len(on_disk) == len("uploads/.png") + 32
    assert upload.id not in on_disk and len(upload.id) >= 22
    assert (upload.name, upload.kind, upload.width, upload.bytes) == ("me.png", "image", 64, len(noise()))
    assert place.files.path_of(upload.id).read_bytes() == noise()
    assert place.files.path_of(upload.id).stat().st_mode & 0o077 == 0
    with pytest.raises(NotFound):
        place.files.path_of(on_disk)


def test_an_upload_is_bounded_while_it_comes_and_nothing_of_a_refused_one_stays(open_place):
    place = open_place(max_upload_bytes=2 * MIB)

    class Endless:
        given = 0

        def read(self, count):
            self.given += count
            return bytes(count)

    stream = Endless()
    with pytest.raises(TooLarge, match="is too large; up to 2 MB are accepted"):
        place.files.receive(stream, "a.mp4")
    assert stream.given <= 4 * MIB
    for content in (b"", b"a text"):
        with pytest.raises(NotMedia, match="accepted"):
            place.files.receive(io.BytesIO(content), "a.mp4")

    class Broken:
        def read(self, count):
            raise OSError("the connection was lost")

    with pytest.raises(NoRoom):
        place.files.receive(Broken(), "a.mp4")
    assert place.names() == []


def test_the_quota_is_kept_and_the_oldest_are_removed_if_that_is_set(open_place):
    place = open_place(quota=MIB)
    (place.path / "jobs" / "full").mkdir()
    (place.path / "jobs" / "full" / "result.mp4").write_bytes(bytes(MIB))
    with pytest.raises(NoRoom, match="full"):
        place.files.receive(io.BytesIO(noise()), "me.png")
    with pytest.raises(NoRoom, match="full"):
        place.files.check_room()
    place.close()
    place = open_place(quota=MIB, remove_oldest=True)
    jobs = [ended_job(place, bytes(MIB // 3)) for _ in range(3)]
    (place.path / "jobs" / "full" / "result.mp4").unlink()
    place.files.check_room()
    there = [bool(place.store.results(job)) for job in jobs]
    assert there == sorted(there) and not there[0] and place.store.job(jobs[0]).state == DONE


def ended_job(place, content):
    job_id = place.store.add_job("animate_anyone", {}, {}, 100)
    _, attempt = place.store.begin_next()
    folder = place.files.folder_of(job_id)
    folder.mkdir()
    (folder / "result.mp4").write_bytes(content)
    place.store.end(job_id, attempt, DONE, results={"result": "result.mp4"})
    return job_id


@pytest.mark.parametrize("keep_days, is_kept", [(None, True), (1.0, True), (1e-9, False)])
def test_old_results_and_uploads_are_removed_as_the_settings_say(open_place, keep_days, is_kept):
    place = open_place(keep_days=keep_days)
    upload, job_id = place.files.receive(io.BytesIO(noise()), "me.png"), ended_job(place, b"video")
    waiting = place.store.add_job("animate_anyone", {}, {"reference_image": upload.id}, 100)
    time.sleep(0.01)
    place.files.clean()
    assert bool(place.store.results(job_id)) == is_kept
    assert place.files.path_of(upload.id).exists()  # a job waits for it
    place.store.cancel(waiting)
    place.files.clean()
    assert (len([name for name in place.names() if name.startswith("uploads/")]) == 1) == is_kept


def test_what_an_earlier_server_has_left_half_done_is_removed(open_place, tmp_path):
    place = open_place()
    (place.path / "incoming" / "half").write_bytes(b"half")
    (place.path / "jobs" / "forgotten").mkdir()
    kept = ended_job(place, b"video")
    place.close()
    place = open_place()
    place.files.clean()
    assert place.files.folder_of(kept).is_dir()
    assert [name for name in place.names() if "half" in name or "forgotten" in name] == []
    place.files.remove_job(kept)
    assert place.names() == []
