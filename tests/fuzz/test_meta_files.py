"""Meta files and path lists, made of their own pieces or of anything; and what the writers write is read."""

import json
import os

from hypothesis import strategies as st

from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.easy_animate.clips import read_captioned_clips
from ppdiffusers_ext.data.meta_files import can_be_listed, find_path, read_rows, write_rows
from ppdiffusers_ext.data.stable_animator.clips import clip_folders, find_animation_clips
from tests.support.fuzzing import bounded, fuzz, refused_or_read

WORDS = (
    *(
        "video_path",
        "kps_path",
        "Video Path",
        "path",
        "folder",
        "a.mp4",
        "b/c.mp4",
        "..\\d.mp4",
        "C:\\e.mp4",
        "/f.mp4",
    ),
    *(",", ";", "\t", "|", "\n", "\r\n", "\r", '"', "'", '""', "\\", "/", " ", ":", "[", "]", "{", "}", "# "),
    *('{"video_path": "a.mp4", "kps_path": "b.mp4"}', '["a", "b"]', '"video_path": ', '"kps_path": ', "null", "1e999"),
    *("\0", "\ufeff", "\u2028", "\x0c", "\x1b[31m", "动作", "x" * 300, "/x" * 3000, "\ud800", "[" * 3000, "9" * 5000),
)
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=14).map("".join))
CONTENTS = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda text, encoding: text.encode(encoding, "surrogatepass"),
        TEXTS,
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
    ),
)


def to_bytes(words):
    return "".join(words).encode("utf-8", "surrogatepass")


NAMES = st.sampled_from(["a.json", "a.jsonl", "a.ndjson", "a.csv", "a.tsv", "a.txt", "a", "a.JSON"])


@fuzz(content=CONTENTS, name=NAMES)
def test_meta_files(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with refused_or_read():
        clips = find_clips([tmp_path / name])
        assert clips and all(str(clip.video).strip() and str(clip.pose).strip() for clip in clips)


CAPTIONED = (
    *WORDS, "file_path", "text", "type", "data_type", "width", "height", "video", "image", "640", "640.0", "-1", "NaN",
    '{"file_path": "a.mp4", "text": "x"}', '{"file_path": "a.mp4", "text": "", "width": 2, "height": 3}',
    "file_path,text,type,width,height\n", "a.mp4,x,video,640,480\n", 'a.png,"x, y",,,\n',
)  # fmt: skip
FIELDS = ("file_path", "text", "type", "data_type", "width", "height")
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(CAPTIONED)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
ENTRIES = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES)) | VALUES, max_size=3)


def check_captioned(path):
    with refused_or_read():
        for clip in read_captioned_clips(path):
            assert str(clip.path).strip() and isinstance(clip.text, str)
            assert (clip.width is None) == (clip.height is None) and (clip.width is None or clip.width > 0)


@fuzz(content=st.one_of(CONTENTS, st.lists(st.sampled_from(CAPTIONED), max_size=14).map(to_bytes)), name=NAMES)
def test_meta_files_of_captions(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    check_captioned(tmp_path / name)


@fuzz(entries=ENTRIES)
def test_entries_of_captions(tmp_path, entries):
    (tmp_path / "meta.json").write_text(json.dumps(entries))
    check_captioned(tmp_path / "meta.json")


@fuzz(content=CONTENTS, name=NAMES)
def test_path_lists(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with refused_or_read():
        find_animation_clips(tmp_path / name)


@fuzz(
    values=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.one_of(st.sampled_from(["video_path", "kps_path", "path"]), st.text()), inner, max_size=4
            ),
        ),
        max_leaves=10,
    )
)
def test_values_of_json(tmp_path, values):
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in (values, values)))
    for name in ("a.json", "a.jsonl"):
        for read in (find_clips, find_animation_clips):
            with refused_or_read():
                read(tmp_path / name)


FIELDS = {"video": ("video_path",), "pose": ("kps_path",)}
WRITTEN = st.text(min_size=1, max_size=30).filter(
    lambda name: name.strip() and "\0" not in name and can_be_listed(name) and len(name.encode()) < 200
)


@fuzz(rows=st.lists(st.tuples(WRITTEN, WRITTEN), max_size=4))
def test_what_is_written_is_read(tmp_path, rows):
    with bounded():
        write_rows(tmp_path / "a.json", [{"video_path": video, "kps_path": pose} for video, pose in rows])
        read = read_rows(tmp_path / "a.json", FIELDS, "meta file", "one is needed")
        assert [(row["video"], row["pose"]) for row in read] == rows


@fuzz(name=st.text(min_size=1, max_size=30))
def test_files_of_any_name_are_found(tmp_path, name):
    path = tmp_path / "folder" / name.replace("/", "_")
    path.parent.mkdir(exist_ok=True)
    try:
        path.touch()
    except (OSError, ValueError):
        return  # a name that no file can have
    with bounded():
        assert find_path(path.name, [path.parent]).samefile(path)
    path.unlink() if path.is_file() else None


@fuzz(sources=st.one_of(st.text(), st.lists(st.text(), max_size=3)))
def test_names_of_sources(sources):
    with refused_or_read():
        find_clips(sources)
    with refused_or_read():
        find_animation_clips(str(sources))


@fuzz(lines=st.lists(WRITTEN.filter(lambda name: "/" not in name and name not in (".", "..")), min_size=1, max_size=3))
def test_folders_in_lists_of_lines_are_found(tmp_path, lines):
    for name in lines:
        (tmp_path / "clips" / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path / 'clips' / name}\n" for name in lines), encoding="utf-8")
    with bounded():
        found = clip_folders(tmp_path / "list.txt")
        for folder, name in zip(found, lines, strict=True):
            assert os.path.samefile(folder, tmp_path / "clips" / name)
