"""Lists of clips as people's tools write them: all that mean the same are read the same, the rest refused by line."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles, find_clips
from ppdiffusers_ext.data.meta_files import find_path, read_rows, write_rows
from ppdiffusers_ext.data.stable_animator.clips import clip_folders
from ppdiffusers_ext.errors import InputError

NAMES = ("00001.mp4", "a, b; c.mp4", "动作 2.mp4", 'it\'s "x".mp4')
FIELDS = {"video": ("video_path", "video"), "pose": ("kps_path",)}


@pytest.fixture
def folder(tmp_path):
    """Clips that exist, though nothing is in them."""
    for kind in ("video", "video_dwpose"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for name in NAMES:
            (tmp_path / "data" / kind / name).touch()
    (tmp_path / "data" / "meta_data").mkdir()
    return tmp_path / "data"


def expected(folder):
    return [ClipFiles(folder / "video" / name, folder / "video_dwpose" / name) for name in NAMES]


def pairs(slash="/", start=""):
    return [[f"{start}video{slash}{name}", f"{start}video_dwpose{slash}{name}"] for name in NAMES]


def dicts(rows, names=("video_path", "kps_path")):
    return [dict(zip(names, row)) for row in rows]


def as_csv(rows, heads=("video_path", "kps_path"), delimiter=",", end="\r\n"):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=end).writerows([heads, *rows] if heads else rows)
    return file.getvalue()


def as_lines(rows, end="\n", **options):
    return "".join(json.dumps(row, **options) + end for row in rows)


TEXTS = {
    "list.json": json.dumps(dicts(pairs())),
    "in Chinese.json": json.dumps(dicts(pairs()), ensure_ascii=False, indent=2),
    "backslashes.json": json.dumps(dicts(pairs("\\"))),
    "backslashes and a dot.json": json.dumps(dicts(pairs("\\", ".\\"))),
    "other keys.json": json.dumps(dicts(pairs(), ("video", "pose_path"))),
    "large keys.json": json.dumps(dicts(pairs(), ("Video_Path", "KPS-Path"))),
    "more keys.json": json.dumps([{**row, "text": "a dance", "fps": 30} for row in dicts(pairs())]),
    "pairs.json": json.dumps(pairs()),
    "pairs.jsonl": as_lines(pairs()),
    "list in a.jsonl": json.dumps(dicts(pairs()), indent=2),
    "a.jsonl": as_lines(dicts(pairs())),
    "with empty lines.jsonl": "\n\n" + as_lines(dicts(pairs()), "\r\n\r\n", ensure_ascii=False),
    "lines in a.json": as_lines(dicts(pairs("\\"))),
    "a.ndjson": as_lines(dicts(pairs()), "\r"),
    "a.csv": as_csv(pairs()),
    "semicolons.csv": as_csv(pairs(), delimiter=";"),
    "tabs.csv": as_csv(pairs(), delimiter="\t", end="\n"),
    "bars.csv": as_csv(pairs(), delimiter="|"),
    "a.tsv": as_csv(pairs(), delimiter="\t"),
    "a.txt": as_csv(pairs(), end="\n"),
    "other order.csv": as_csv([row[::-1] for row in pairs()], ("kps_path", "video_path")),
    "more columns.csv": as_csv([["x", *row, "1,5"] for row in pairs()], ("caption", "video_path", "kps_path", "fps")),
    "large heads.csv": as_csv(pairs(), (" Video Path ", "KPS_PATH")),
    "without heads.csv": as_csv(pairs(), None),
    "without heads.tsv": as_csv(pairs(), None, "\t"),
    "backslashes.csv": as_csv(pairs("\\")),
    "spaces around names.csv": as_csv([[f" {name} " for name in row] for row in pairs()]),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TEXTS)
def test_all_forms_of_a_list_are_the_same_clips(folder, name, encoding):
    path = folder / "meta_data" / name
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    path.write_bytes((mark + TEXTS[name]).encode(encoding))
    assert find_clips([path]) == expected(folder)
    assert find_clips(path) == expected(folder)  # though its name may have commas


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.ndjson", "list.json"])
def test_folders_may_have_any_of_them(folder, name):
    (folder / "meta_data" / name).write_text(TEXTS[name], encoding="utf-8-sig", newline="")
    assert find_clips(folder) == expected(folder)


def test_absolute_names_and_names_from_folders_above(folder, monkeypatch, tmp_path):
    path = folder / "meta_data" / "a.jsonl"
    for start in (f"{folder}/", "data/", "./", "./data/", "../data/"):
        path.write_text(as_lines(dicts(pairs(start=start))))
        found = find_clips([path])
        assert all(os.path.samefile(clip.video, own.video) for clip, own in zip(found, expected(folder)))
    monkeypatch.chdir(folder / "video")
    path.write_text(as_lines([{"video_path": name, "kps_path": f"../video_dwpose/{name}"} for name in NAMES]))
    assert [clip.video for clip in find_clips([path])] == [Path(name) for name in NAMES]


def test_a_backslash_that_is_part_of_a_name_goes_first(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a\\b.mp4", "a/b.mp4", " c.mp4"):
        (tmp_path / name).touch()
    assert find_path("a\\b.mp4", [tmp_path]) == tmp_path / "a\\b.mp4"
    assert find_path(" c.mp4", [tmp_path]) == tmp_path / " c.mp4"
    assert find_path('"a/b.mp4"', [tmp_path]) == tmp_path / "a" / "b.mp4"
    (tmp_path / "a\\b.mp4").unlink()
    assert find_path("a\\b.mp4", [tmp_path]) == tmp_path / "a" / "b.mp4"
    assert find_path("x\\y.mp4", [tmp_path]) == tmp_path / "x" / "y.mp4"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.json", '[{"video_path": "a", "kps_path": "b"},]', "is not JSON"),
        ("a.json", "video_path, kps_path", "is not JSON"),
        ("a.json", '{"clips": [{"video_path": "a", "kps_path": "b"}]}', "holds a dict"),
        ("a.json", '{\n "video_path": "a",\n "kps_path": "b"\n}', "holds a dict"),
        ("a.json", "[" * 5000, "is not JSON"),
        ("a.jsonl", '{"video_path": "a", "kps_path": "b"}\n\n{"video_path": "a",}\n', "line 3 of meta file"),
        ("a.jsonl", '{"video_path": "a", "kps_path": "b"}\n{"video_path": "a"}\n', "line 2 .* has no kps_path"),
        ("a.jsonl", '{"video_path": "a", "kps_path": "b"}\n["a"]\n', "line 2 of meta file"),
        ("a.jsonl", '{"video_path": "a", "kps_path": 3}', "line 1 of meta file .* has no kps_path"),
        ("a.jsonl", '{"video_path": "a", "video": "c", "kps_path": "b"}', "line 1 .* two values for one thing"),
        ("a.csv", "video_path,kps_path\na,b\nc\n", "line 3 of meta file .* has 1 cells, the headings are 2"),
        ("a.csv", "video_path,kps_path\na,b,c\n", "line 2 of meta file .* has 3 cells"),
        ("a.csv", "video_path,kps_path\na,\n", "line 2 of meta file .* has no kps_path"),
        ("a.csv", "video_path\na\n", "line 2 of meta file .* has no kps_path"),
        ("a.csv", "a.mp4\nb.mp4\n", "line 1 of meta file .* has no video_path and kps_path"),
        ("a.csv", 'video_path,kps_path\na,"b\n', "line 2 of meta file .* is not CSV"),
        ("a.csv", "video_path,kps_path\na," + "b" * 200_000, "is not CSV"),
        ("a.csv", "video_path,kps_path\na," + "b" * 300, "line 2 of meta file .* is too long: up to 255 bytes"),
        ("a.csv", "video_path,kps_path\na," + "b/" * 3000, "line 2 of meta file .* is too long: up to 255 bytes"),
        ("a.csv", "video_path,kps_path\na,b\0\n", "line 2 of meta file"),
        ("a.json", '[["a", "  "]]', "entry 0 of meta file .* has an empty name"),
        ("a.json", '[["a", "b\\u0000"]]', "entry 0 of meta file"),
        ("a.json", '[["a", "\\ud800"]]', "is not JSON"),
        ("a.json", "[null]", "entry 0 of meta file"),
        ("a.csv", "", "hold no clips"),
        ("a.csv", "video_path,kps_path\n", "hold no clips"),
    ],
)  # fmt: skip
def test_lists_that_are_none_are_refused_with_the_place(tmp_path, name, text, place):
    (tmp_path / name).write_bytes(text.encode())
    with pytest.raises(InputError, match=f"{place}.*a JSON list of video_path and kps_path") as caught:
        find_clips([tmp_path / name])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"\xff\xfe\x00\xd8", b"\xfe", "video_path\n\xe9".encode("latin-1")]
)
def test_other_encodings_are_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match="is not text in UTF-"):
        find_clips([tmp_path / "a.csv"])


# StableAnimator's lists


@pytest.mark.parametrize("encoding", ENCODINGS[:3])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "rec/1\nrec/a, b\n"),
        ("a.txt", "\r\n\r\nrec\\1\r\nrec\\a, b"),
        ("a.txt", '"rec/1"\n"rec/a, b"\n'),
        ("a.lst", "  rec/1 \n\trec/a, b\n"),
        ("a.json", '["rec/1", "rec/a, b"]'),
        ("a.json", '[{"folder": "rec\\\\1"}, {"path": "rec/a, b", "text": "a dance"}]'),
        ("a.jsonl", '"rec/1"\n"rec/a, b"\n'),
        ("a.jsonl", '{"clip": "rec/1"}\n{"clip": "rec\\\\a, b"}\n'),
        ("a.csv", 'path,caption\nrec/1,x\n"rec/a, b",y\n'),
        ("a.csv", 'rec/1\n"rec/a, b"\n'),
    ],
)
@pytest.mark.parametrize("with_root", [False, True])
def test_all_forms_of_a_path_list_are_the_same_folders(tmp_path, name, text, encoding, with_root):
    for clip in ("1", "a, b"):
        (tmp_path / "rec" / clip).mkdir(parents=True)
    (tmp_path / "lists").mkdir()
    path = (tmp_path / "lists" if with_root else tmp_path) / name
    path.write_bytes(text.encode(encoding))
    assert clip_folders(path, tmp_path if with_root else None) == [tmp_path / "rec" / clip for clip in ("1", "a, b")]


def test_path_lists_that_cannot_be_read_are_refused_with_the_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"rec/1\n\nrec/\0\n")
    with pytest.raises(InputError, match="line 3 of path list .*a text file of paths, or a folder"):
        clip_folders(path)
    path.write_text("x" * 300)
    with pytest.raises(InputError, match="line 1 of path list .* is too long: up to 255 bytes"):
        clip_folders(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a pipe"):
        clip_folders(tmp_path / "pipe")


# What is written is read


def test_what_is_written_is_read(tmp_path):
    rows = dicts(pairs(start="x\\"))
    write_rows(tmp_path / "a.json", rows)
    assert read_rows(tmp_path / "a.json", FIELDS, "meta file", "one is needed") == [
        {"video": row["video_path"], "pose": row["kps_path"]} for row in rows
    ]
