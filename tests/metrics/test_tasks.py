"""Results of single clips: what they are computed of, kept, and that no worker changes a bit of them."""

import os
from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics import tasks
from ppdiffusers_ext.metrics.protocol import Windows, read_protocol
from ppdiffusers_ext.metrics.sources import open_clip
from ppdiffusers_ext.metrics.tasks import (
    Weights,
    clip_windows,
    feature_rows,
    make_task,
    read_features,
    read_values,
    run_tasks,
)
from tests.support.evaluated import Averages, moving, noisy, write_frames

DISCO = read_protocol("disco")
WEIGHTS = Weights("nowhere", (("i3d_fvd", (("a", "1"),)),), "eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        frames = moving(number, 4)
        write_frames(folder / "gt" / str(number), frames)
        write_frames(folder / "pred" / str(number), noisy(frames, 20))
    return folder


def paired(folder, number=0, protocol=DISCO, metrics=("disco_psnr", "disco_l1"), weights=WEIGHTS, count=4):
    paths = {"prediction": folder / "pred" / str(number), "truth": folder / "gt" / str(number)}
    sides = {side: (open_clip(path), getattr(protocol, side), digest(path)) for side, path in paths.items()}
    return make_task("paired", str(number), sides, count, metrics, protocol, weights)


def features_of(folder, windows, weights=WEIGHTS, name="fvd", side="truth"):
    protocol = replace(DISCO, distributions={name: windows})
    path = folder / "gt" / "0"
    return make_task(
        "features", "0", {side: (open_clip(path), protocol.truth, digest(path))}, 4, [name], protocol, weights
    )


def test_runs_begin_at_every_stride():
    frames = [np.full((1,), i) for i in range(7)]
    assert [list(run[:, 0]) for run in clip_windows(frames, Windows("", "", 3, 2))] == [
        [0, 1, 2],
        [2, 3, 4],
        [4, 5, 6],
    ]
    assert list(clip_windows(frames[:2], Windows("", "", 3, 2))) == []


def test_rows_are_as_many_as_the_protocol_counts():
    for windows in (Windows("", "", 1, 1), Windows("", "", 1, 3), Windows("", "", 3, 1), Windows("", "", 4, 2)):
        rows = list(feature_rows(Averages(), moving(0, 8), windows))
        assert len(rows) == windows.count(8) and rows[0].shape == (3,)


def test_name_of_a_result_is_of_all_that_it_depends_on(folder):
    one, windows = paired(folder), Windows("i3d_fvd", "disco", 3, 1)
    others = [
        paired(folder, 1),
        paired(folder, count=3),
        paired(folder, metrics=("disco_psnr",)),
        paired(folder, protocol=replace(DISCO, truth=replace(DISCO.truth, size=(128, 128)))),
        features_of(folder, windows),
        features_of(folder, replace(windows, stride=2)),
        features_of(folder, replace(windows, preparation="styleganv")),
        features_of(folder, windows, Weights("nowhere", (("i3d_fvd", (("a", "2"),)),), "eager")),
        features_of(folder, windows, replace(WEIGHTS, engine="openvino")),
    ]
    assert len({one.key, *(task.key for task in others)}) == 1 + len(others)
    assert paired(folder, weights=replace(WEIGHTS, engine="openvino")).key == one.key  # no network takes part
    assert paired(folder, protocol=replace(DISCO, name="own", average="clips")).key == one.key


def test_features_are_read_back_without_more_memory(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "open_features", lambda *of: Averages())
    task = features_of(folder, Windows("i3d_fvd", "disco", 3, 1))
    run_tasks([task], tmp_path, {})
    rows = read_features(task, tmp_path)
    assert isinstance(rows, np.memmap) and rows.shape == (2, 3)
    none = features_of(folder, Windows("i3d_fvd", "disco", 9, 1))
    run_tasks([none], tmp_path, {})
    assert read_features(none, tmp_path).shape == (0, 3)


def test_numbers_have_the_same_bits_whatever_the_workers(folder, tmp_path):
    work = [paired(folder, number) for number in range(2)]
    contents = []
    for workers in (1, 2):
        kept = tmp_path / str(workers)
        kept.mkdir()
        run_tasks(work, kept, {}, workers)
        contents.append({path.name: path.read_bytes() for path in kept.iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 2


def test_run_that_failed_goes_on(folder, tmp_path, monkeypatch):
    first, second = paired(folder, 0), paired(folder, 1)
    damaged = replace(second, clips=(replace(second.clips[0], pictures=(tmp_path / "no.png",)), second.clips[1]))
    with pytest.raises(InputError):
        run_tasks([first, damaged], tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [first.file]
    before = (tmp_path / first.file).stat()
    run_tasks([first, second], tmp_path, {})
    after = (tmp_path / first.file).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert list(read_values(second, tmp_path)) == ["disco_psnr", "disco_l1"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"{}", b"[1]", b'{"disco_psnr": [1.0], "disco_l1": [1.0]}', b"null"],
    ids=repr,
)
def test_damaged_numbers_are_made_again(folder, tmp_path, content, caplog):
    task = paired(folder)
    run_tasks([task], tmp_path, {})
    whole = (tmp_path / task.file).read_bytes()
    (tmp_path / task.file).write_bytes(content)
    run_tasks([task], tmp_path, {})
    assert (tmp_path / task.file).read_bytes() == whole
    assert f"{task.file} is damaged, and is made again" in caplog.text
    caplog.clear()
    run_tasks([task], tmp_path, {})
    assert caplog.text == ""


@pytest.mark.parametrize("damage", ["empty", "cut", "junk", "fewer rows", "not finite", "one axis"])
def test_damaged_features_are_made_again(folder, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(tasks, "open_features", lambda *of: Averages())
    task = features_of(folder, Windows("i3d_fvd", "disco", 2, 1))
    run_tasks([task], tmp_path, {})
    path = tmp_path / task.file
    whole, rows = path.read_bytes(), np.array(read_features(task, tmp_path))
    if damage in ("empty", "cut", "junk"):
        path.write_bytes({"empty": b"", "cut": whole[:-5], "junk": b"no array" * 20}[damage])
    else:
        np.save(path, {"fewer rows": rows[:2], "not finite": rows * np.nan, "one axis": rows[:, 0]}[damage])
    run_tasks([task], tmp_path, {})
    assert path.read_bytes() == whole


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no file here is always full")
def test_features_on_a_full_disk_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(tasks, "open_features", lambda *of: Averages())
    task = features_of(folder, Windows("i3d_fvd", "disco", 2, 1))
    with pytest.raises(OSError, match="No space left"):
        tasks._write_features(task, "/dev/full")


def test_worker_that_is_killed_is_told_in_words(folder, tmp_path):
    work = [paired(folder, number) for number in range(2)]
    with pytest.raises(InputError, match="one of 2 workers was killed.*fewer --workers are accepted"):
        run_tasks(work, tmp_path, Deadly(), workers=2)


class Deadly(dict):
    """Openers that end the process that they are sent to."""

    def __reduce__(self):
        return os._exit, (9,)
