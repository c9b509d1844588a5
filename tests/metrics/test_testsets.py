"""Test sets of papers: what ships, what is found in a local copy, and that another copy is told."""

import json
import shutil

import pytest
import yaml

from ppdiffusers_ext.batch.job_list import read_job_list
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.sources import find_clips, open_clip
from ppdiffusers_ext.metrics.testsets import (
    FOLDER,
    check_same,
    describe_testset,
    find_testset,
    known_testsets,
    lay_out,
    pixel_hash,
    read_record,
    read_testset,
)
from ppdiffusers_ext.pipelines.jobs import Job
from tests.support.evaluated import moving, write_frames
from tests.support.odd_videos import encode


@pytest.fixture
def copy(tmp_path):
    """A local copy of three clips, and the file of a set of two of them."""
    for number in range(3):
        write_frames(tmp_path / "copy" / f"0000{number}" / "images", moving(number, 3))
    own = {"title": "two", "source": "nobody", "pattern": "*/images", "names": ["00002", "00000"], "count": 2}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    return tmp_path / "copy"


def own_set(copy, **changes):
    path = copy.parent / "own.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return read_testset(str(path))


@pytest.mark.parametrize("name", [path.stem for path in FOLDER.glob("*.yaml")])
def test_sets_that_ship_say_how_they_are_known(name):
    testset = read_testset(name)
    assert name in known_testsets() and testset.source and testset.count == len(testset.names or range(testset.count))


def test_layout_is_what_animate_and_evaluate_take(copy, tmp_path):
    testset = own_set(copy)
    clips = find_testset(testset, copy)
    assert list(clips) == ["00002", "00000"]
    record = describe_testset(testset, clips)
    lay_out(record, clips, tmp_path / "bench", tmp_path / "bench" / "results")
    truth = find_clips(tmp_path / "bench" / "truth")
    assert {name: clip.num_frames for name, clip in truth.items()} == {"00000": 3, "00002": 3}
    jobs = [Job(**job.values) for job in read_job_list(tmp_path / "bench" / "jobs.yaml", ("animate",))]
    assert [job.output for job in jobs] == [str(tmp_path / "bench" / "results" / f"{name}.mp4") for name in clips]
    first = next(iter(open_clip(jobs[0].driving_video).frames()))
    assert (first == moving(2, 1)[0]).all() and not any(job.audio for job in jobs)
    reference = tmp_path / "reference"
    reference.mkdir()
    shutil.copy(jobs[0].reference_image, reference)
    assert (next(iter(open_clip(reference).frames())) == first).all()
    assert read_record(tmp_path / "bench" / "testset.json") == json.loads(json.dumps(record))


def test_layout_goes_on_and_refuses_other_pixels(copy, tmp_path):
    testset, bench = own_set(copy), tmp_path / "bench"
    for _ in range(2):
        clips = find_testset(testset, copy)
        lay_out(describe_testset(testset, clips), clips, bench, bench / "results")
    moved = copy.rename(tmp_path / "moved")
    clips = find_testset(testset, moved)
    lay_out(describe_testset(testset, clips), clips, bench, bench / "results")
    assert (bench / "truth" / "00000").resolve() == moved / "00000" / "images"
    write_frames(moved / "00002" / "images", moving(9, 3))
    clips = find_testset(testset, moved)
    with pytest.raises(InputError, match="clip '00002' has sha256_of_pixels .* a copy of the same clips is accepted"):
        lay_out(describe_testset(testset, clips), clips, bench, bench / "results")


def test_records_of_two_people_are_compared(copy):
    testset = own_set(copy)
    record = describe_testset(testset, find_testset(testset, copy))
    check_same(record, record, "theirs.json")
    fewer = {**record, "clips": {"00002": record["clips"]["00002"]}}
    with pytest.raises(InputError, match="differ in clip '00000'"):
        check_same(record, fewer, "theirs.json")


def test_hash_is_of_pixels_and_not_of_the_format(copy, tmp_path):
    video = encode(tmp_path / "a.mkv", moving(0, 3), "ffv1", "bgr0")
    assert pixel_hash(open_clip(video)) == pixel_hash(open_clip(copy / "00000" / "images"))
    assert pixel_hash(open_clip(video)) != pixel_hash(open_clip(copy / "00001" / "images"))


def test_folder_with_files_of_ones_own_is_left_alone(copy, tmp_path):
    testset = own_set(copy)
    clips = find_testset(testset, copy)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="has files, and no testset.json"):
        lay_out(describe_testset(testset, clips), clips, tmp_path / "bench", tmp_path)
    assert [path.name for path in (tmp_path / "bench").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"names": ["00000", "00007"]}, "lacks 00007 of test set own; a folder with 00007/images"),
        ({"names": None}, "has 3 clips .* test set own has 2"),
        ({"pattern": "images"}, "a relative path with one"),
        ({"pattern": "../*"}, "a relative path with one"),
        ({"names": [335, 336]}, "texts in quotes"),
        ({"count": "ten"}, "count in test set .* is 'ten'"),
        ({"more": 1}, "unknown key in test set"),
    ],
)
def test_what_does_not_fit_is_named(copy, changes, message):
    with pytest.raises(InputError, match=message):
        find_testset(own_set(copy, **changes), copy)


def test_unknown_set_and_missing_copy_are_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'tiktok_disco_10'"):
        read_testset("tiktok_disco10")
    with pytest.raises(MissingFileError):
        find_testset(read_testset("ubc_fashion_test"), tmp_path / "nothing")
    with pytest.raises(InputError, match="lacks 00335, 00336, 00337, 00338, 00339 and 1 more"):
        find_testset(read_testset("tiktok_335_340"), tmp_path)
