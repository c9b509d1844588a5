"""Meta files of captioned clips: what is read, and what is refused with which words."""

import csv
import json
import os

import pytest

from ppdiffusers_ext.data.easy_animate.clips import check_clips, find_captioned_clips, read_captioned_clips
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.errors import InputError, MissingFileError

VIDEO = {"file_path": "a.mp4", "text": "a person waves", "type": "video"}
PICTURE = {"file_path": "b.png", "text": "eine Person, ein Hund", "type": "image"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with files of these names, which need not be videos as long as nobody reads them."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a.mp4", "b.png", "c.gif", "d.jpg"):
        (data / name).touch()
    return data


def write(folder, content, name="meta.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def described(clips):
    return [(clip.path.name, clip.text, clip.is_video, clip.width, clip.height) for clip in clips]


def test_list_of_videos_and_pictures_is_read_in_its_order(folder):
    sized = {**VIDEO, "width": 640, "height": 480, "fps": 25, "motion_score": 3.5}
    clips = find_captioned_clips(write(folder, [sized, PICTURE]))
    assert described(clips) == [
        ("a.mp4", "a person waves", True, 640, 480),
        ("b.png", "eine Person, ein Hund", False, None, None),
    ]


@pytest.mark.parametrize("where", ["of the meta file", "of the working folder", "of train_data_dir", "absolute"])
def test_paths_are_relative_to_any_of_three_folders(tmp_path, folder, where):
    meta = write(tmp_path if where == "of train_data_dir" else folder, [VIDEO])
    root = None
    if where == "of train_data_dir":
        root = folder
    elif where == "of the working folder":
        (tmp_path / "work" / "a.mp4").touch()
        os.unlink(folder / "a.mp4")
    elif where == "absolute":
        meta = write(tmp_path / "work", [{**VIDEO, "file_path": str(folder / "a.mp4")}])
        root = tmp_path / "work"
    (clip,) = find_captioned_clips(meta, root)
    assert clip.path.is_file()


def test_table_with_headings_is_the_same(folder):
    path = folder / "meta.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_path", "text", "type", "width", "height"])
        writer.writerow(["a.mp4", 'two\nlines, "quoted"', "video", "640.0", "480.0"])
        writer.writerow(["b.png", "", "", "", ""])
    assert described(find_captioned_clips(path)) == [
        ("a.mp4", 'two\nlines, "quoted"', True, 640, 480),
        ("b.png", "", False, None, None),
    ]


def test_json_lines_are_the_same(folder):
    path = write(folder, f"{json.dumps(VIDEO)}\n{json.dumps(PICTURE)}\n", "meta.jsonl")
    assert [clip.path.name for clip in find_captioned_clips(path)] == ["a.mp4", "b.png"]


@pytest.mark.parametrize(
    ("name", "kind", "is_video"),
    [
        ("a.mp4", {}, True),
        ("c.gif", {"type": None}, True),
        ("c.gif", {"type": "image"}, False),
        ("b.png", {}, False),
        ("b.png", {"type": ""}, False),
        ("a.mp4", {"data_type": "video"}, True),
        ("a", {}, False),
    ],
)
def test_type_or_else_the_name_tells_videos_from_pictures(folder, name, kind, is_video):
    (clip,) = read_captioned_clips(write(folder, [{"file_path": name, "text": "x", **kind}]))
    assert clip.is_video == is_video


def test_caption_of_10000_characters_is_read_whole(folder):
    (clip,) = find_captioned_clips(write(folder, [{**VIDEO, "text": "ä" * 10_000}]))
    assert clip.text == "ä" * 10_000


WRONG = {
    "nothing": ("", "is not JSON"),
    "blanks": (" \n", "is not JSON"),
    "no clips": ("[]", "names no clips"),
    "a mapping": ('{"file_path": "a.mp4", "text": "x"}', "holds a dict"),
    "a number": ("3", "holds a int"),
    "null": ("null", "holds a NoneType"),
    "cut off": ('[{"file_path": "a.mp4"', "is not JSON"),
    "a key twice": ('[{"file_path": "a.mp4", "text": "x", "text": "y"}]', "the key 'text' twice"),
    "two names of a key": (
        '[{"file_path": "a.mp4", "text": "x", "type": "video", "data_type": "video"}]',
        "type twice",
    ),
    "a text": ('["a.mp4"]', "entry 0 of meta file"),
    "a list": ('[["a.mp4", "x"]]', "does not say which is which"),
    "no path": ('[{"text": "x"}]', "has no file_path"),
    "no caption": ('[{"file_path": "a.mp4"}]', "has no text"),
    "a caption that is null": ('[{"file_path": "a.mp4", "text": null}]', "has the text None, which is no text"),
    "a caption that is a list": ('[{"file_path": "a.mp4", "text": ["x"]}]', "which is no text"),
    "a path that is a number": ('[{"file_path": 3, "text": "x"}]', "has the file_path 3, which is no text"),
    "an empty path": ('[{"file_path": " ", "text": "x"}]', "has an empty file_path"),
    "an impossible path": ('[{"file_path": "a\\u0000", "text": "x"}]', "is no file name"),
    "a long path": (json.dumps([{"file_path": "a" * 5000, "text": "x"}]), "is too long"),
    "a misspelt type": ('[{"file_path": "a.mp4", "text": "x", "type": "vidoe"}]', "type 'vidoe', which is not known"),
    "a type that is a list": ('[{"file_path": "a.mp4", "text": "x", "type": []}]', "type [], which is not known"),
    "a width of 0": ('[{"file_path": "a.mp4", "text": "x", "width": 0, "height": 2}]', "has the width 0;"),
    "half a pixel": ('[{"file_path": "a.mp4", "text": "x", "width": 2, "height": 1.5}]', "has the height 1.5;"),
    "a negative side": ('[{"file_path": "a.mp4", "text": "x", "width": -2, "height": 2}]', "has the width -2;"),
    "true as a side": ('[{"file_path": "a.mp4", "text": "x", "width": true, "height": 2}]', "has the width True;"),
    "a long number": (f'[{{"file_path": "a.mp4", "text": "x", "width": {"9" * 400}, "height": 2}}]', "has the width"),
    "NaN": ('[{"file_path": "a.mp4", "text": "x", "width": NaN, "height": 2}]', "is not JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_meta_file_is_refused_with_its_place(folder, name):
    content, message = WRONG[name]
    with pytest.raises(InputError) as error:
        find_captioned_clips(write(folder, content))
    assert message in str(error.value) and "accepted" in str(error.value)
    assert "meta.json" in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.mp4,x\n", "does not say which is which"),
        ("file_path,text\na.mp4\n", "has 1 cells"),
        ("file_path,type\na.mp4,video\n", "has no text"),
        ("file_path,text,text\na.mp4,x,y\n", "says its text twice"),
        ("file_path,text\n", "names no clips"),
        ("", "names no clips"),
    ],
)
def test_wrong_table_is_refused(folder, content, message):
    with pytest.raises(InputError, match=message):
        find_captioned_clips(write(folder, content, "meta.csv"))


def test_all_missing_files_are_named_at_once_and_many_are_counted(folder):
    entries = [VIDEO, *[{**VIDEO, "file_path": f"none_{index}.mp4"} for index in range(25)]]
    with pytest.raises(MissingFileError) as error:
        find_captioned_clips(write(folder, entries))
    message = str(error.value)
    assert message.startswith("25 of the 26 files") and message.count("none_") == 10 and "and 15 more" in message


def test_folder_in_the_place_of_a_clip_is_no_file(folder):
    (folder / "e.mp4").mkdir()
    with pytest.raises(MissingFileError, match="e.mp4"):
        find_captioned_clips(write(folder, [{**VIDEO, "file_path": "e.mp4"}]))


@pytest.mark.parametrize("root", ["nowhere", "a.mp4"])
def test_folder_of_the_files_has_to_be_one(folder, root):
    with pytest.raises(InputError, match="folder of the clips"):
        find_captioned_clips(write(folder, [VIDEO]), folder / root)


@pytest.mark.parametrize("name", ["", "x" * 300, "nowhere.json", ".", "\0"])
def test_meta_file_has_to_be_one(folder, name):
    with pytest.raises(InputError, match="meta file"):
        find_captioned_clips(name)


# What the settings make of the clips


def clips_of(folder, *entries):
    return find_captioned_clips(write(folder, entries))


def test_video_repeat_0_does_not_leave_videos_out_in_silence(folder):
    with pytest.raises(InputError, match="--video_repeat 0 leaves out the 1 video of the meta file; 1 or more"):
        check_clips(clips_of(folder, VIDEO, PICTURE), SampleSettings(video_repeat=0))
    check_clips(clips_of(folder, PICTURE), SampleSettings(video_repeat=0))


def test_pictures_alone_are_trained_on_and_told(folder, caplog):
    check_clips(clips_of(folder, PICTURE), SampleSettings())
    assert "has no videos" in caplog.text and "no motion" in caplog.text


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty_captions_alone_are_no_training_by_texts(folder, text):
    clips = clips_of(folder, {**VIDEO, "text": text})
    with pytest.raises(InputError, match="no caption of 1 clip has any text.*--text_drop_ratio 1"):
        check_clips(clips, SampleSettings())
    check_clips(clips, SampleSettings(text_drop_ratio=1.0))


def test_some_empty_captions_are_told_with_their_names(folder, caplog):
    check_clips(clips_of(folder, {**VIDEO, "text": ""}, PICTURE), SampleSettings())
    assert "captions without any text: 1 of 2" in caplog.text and "a.mp4" in caplog.text
