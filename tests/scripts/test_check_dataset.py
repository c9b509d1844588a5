"""The command that checks training data: what it prints and writes, and what it answers to bad input."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_video
from ppdiffusers_ext.data.easy_animate.clips import find_captioned_clips
from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter
from scripts.check_dataset import make_parser, work
from scripts.command import run
from tests.support.captioned import write_meta, write_picture, write_video


@pytest.fixture
def folder(tmp_path):
    """Four clips of drawn people: the second has no pose video, the third is damaged in the middle."""
    data = tmp_path / "data"
    for index in range(4):
        clip = synthetic_clip(index, 20, 96, 128)
        for kind, frames in (("video", clip.target), ("video_dwpose", clip.pose)):
            (data / kind).mkdir(parents=True, exist_ok=True)
            with VideoWriter(data / kind / f"{index}.mp4", clip.fps, 96, 128) as writer:
                writer.write(frames)
    (data / "video_dwpose" / "1.mp4").unlink()
    path = data / "video" / "2.mp4"
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 40
    content[start : len(content) - 3000] = np.random.default_rng(0).bytes(len(content) - 3000 - start)
    path.write_bytes(content)
    return data


def check(*arguments):
    return run(make_parser(), work, [str(argument) for argument in arguments])


def test_each_clip_is_reported_and_the_good_ones_written(tmp_path, capsys, folder):
    meta, sheet = tmp_path / "new" / "meta.json", tmp_path / "sheet.png"
    assert check(folder, "--meta", meta, "--sheet", sheet) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["ok", "problem", "problem", "ok"]
    assert "there is no pose video" in lines[1]
    assert "96x128, 20 frames, 15.00 a second" in lines[0]
    assert lines[4] == "can be trained on: 2 clips of 4, 0.0 minutes"
    entries = json.loads(meta.read_text())
    assert [entry["video_path"] for entry in entries] == [str(folder / "video" / name) for name in ("0.mp4", "3.mp4")]
    with PIL.Image.open(sheet) as picture:
        # Two clips, each a frame and its pose of 144x192 pixels.
        assert picture.size == (2 * 2 * 144, 192)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_cleaned_meta_file_can_be_trained_on(tmp_path, folder):
    assert check(folder, "--meta", tmp_path / "meta.json") == 0
    clips = find_clips(tmp_path / "meta.json")
    dataset = TrainingClips(clips, 4, 0, 32, 32, lambda rng, frames: choose_video(rng, frames, 2, 1))
    assert [dataset[index]["failures"] for index in range(4)] == [[]] * 4


def test_nothing_that_can_be_trained_on_is_exit_code_1_and_writes_nothing(tmp_path, capsys, folder):
    assert check(folder, "--min-frames", "21", "--meta", tmp_path / "meta.json") == 1
    assert "can be trained on: 0 clips of 4" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "training data nowhere do not exist"),
        (("DATA", "--meta", "/proc/meta.json"), "cannot write /proc/meta.json"),
        (("DATA", "--sheet", "DATA"), "it is a folder"),
    ],
)
def test_bad_input_is_one_line(capsys, folder, arguments, message):
    assert check(*(folder if argument == "DATA" else argument for argument in arguments)) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]


def test_too_few_frames_are_refused(capsys, folder):
    assert check(folder, "--min-frames", "1") == 2
    assert "--min-frames is 1; a whole number from 2" in capsys.readouterr().err


def test_names_that_lists_cannot_have_are_problems(tmp_path, capsys):
    data = tmp_path / "data"
    for kind in ("video", "video_dwpose"):
        (data / kind).mkdir(parents=True)
        for name in (b"\xff.mp4", b"two\nlines.mp4", b"\x1b[31m.mp4"):
            with open(os.path.join(os.fsencode(data / kind), name), "wb"):
                pass
    assert check(data, "--meta", tmp_path / "meta.json") == 1
    text = capsys.readouterr().out
    assert text.count("its path is not text in UTF-8 on one line, and lists cannot have it") == 2
    assert "\x1b" not in text and "can be trained on: 0 clips of 3" in text
    assert not (tmp_path / "meta.json").exists()


# StableAnimator's clips


@pytest.fixture
def animation_data(tmp_path):
    """Four clips, the second without a skeleton, the third damaged, the fourth without poses."""
    data = tmp_path / "data"
    write_animation_clips(data, 0, range(4), 20, 48)
    (data / "00001" / "poses" / "frame_7.png").unlink()
    (data / "00001" / "faces" / "frame_3.png").unlink()
    (data / "00002" / "images" / "frame_10.png").write_bytes(b"nothing")
    shutil.rmtree(data / "00003" / "poses")
    (data / "clips.txt").write_text("".join(f"{number:05d}\n" for number in range(4)))
    return data


def check_animation(*arguments):
    return check("--system", "stable_animator", *arguments)


def test_clips_of_stable_animator_are_reported_and_the_good_ones_written(animation_data, tmp_path, capsys):
    names = tmp_path / "cleaned.txt", tmp_path / "sheet.png"
    assert check_animation(animation_data / "clips.txt", "--list", names[0], "--sheet", names[1]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["ok", "problem", "problem", "problem"]
    assert "48x48, 20 frames, 20 masks" in lines[0]
    assert "1 frames have no skeleton, such as frame_7" in lines[1]
    assert "frame_10.png" in lines[2]
    assert "it has no images or no poses" in lines[3]
    assert lines[4] == "can be trained on: 1 clip of 4, 20 frames"
    (clip,) = find_animation_clips(names[0])
    assert clip.images == animation_data / "00000" / "images"
    with PIL.Image.open(names[1]) as picture:
        assert picture.height == 192 and picture.width >= 3 * 192


def test_problems_of_clips_of_stable_animator_are_told(animation_data, tmp_path, capsys):
    (animation_data / "00000" / "face.npy").write_bytes(b"nothing")
    shutil.rmtree(animation_data / "00001" / "poses")
    with VideoWriter(animation_data / "00001" / "poses.mp4", 8, 96, 48) as writer:
        writer.write(np.zeros((19, 48, 96, 3), np.uint8))
    assert check_animation(animation_data, "--min-frames", 30) == 1
    text = capsys.readouterr().out
    assert "face.npy cannot be read" in text
    assert (
        "it has 20 frames, a sample needs 30; poses.mp4 has 19 frames, images 20; the skeletons are of another" in text
    )
    assert "can be trained on: 0 clips of 4" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--system", "stable_animator", "--meta", "m.json"), "--list is accepted"),
        (("--list", "l.txt"), "--meta is accepted"),
        (("--system", "stable_animator", "nowhere.txt"), "nowhere.txt do not exist"),
        (
            ("--system", "stable_animator", "--data-dir", "d"),
            "--data_dir is not an option of --system stable_animator",
        ),
        (("--system", "easy_animate", "--list", "l.txt"), "--list is not an option of --system easy_animate; --meta"),
        (("--data_root_path", "d"), "--data_root_path is not an option of --system animate_anyone; --meta is"),
    ],
)
def test_options_of_another_system_are_refused(animation_data, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert check(*arguments, *([] if "nowhere.txt" in arguments else [animation_data])) == 2
    assert message in capsys.readouterr().err


def test_folders_whose_names_lists_cannot_have_are_problems(animation_data, tmp_path, capsys):
    os.rename(animation_data / "00000", os.path.join(os.fsencode(animation_data), b"\xff"))
    shutil.copytree(animation_data / "00001", animation_data / "two\nlines")
    assert check_animation(animation_data, "--list", tmp_path / "list.txt") == 1
    assert capsys.readouterr().out.count("its path is not text in UTF-8 on one line") == 2
    assert not (tmp_path / "list.txt").exists()


# EasyAnimate's clips


@pytest.fixture
def captioned_data(tmp_path):
    """Two videos and two pictures to train on, and one of each that is not; the meta file is elsewhere."""
    data = tmp_path / "captioned"
    write_video(data / "a.mp4", 12, 96, 64)
    write_video(data / "b.mp4", 20, 64, 96)
    write_video(data / "short.mp4", 9)
    (data / "bad.mp4").write_bytes(b"nothing")
    write_picture(data / "c.png", 96, 64)
    write_picture(data / "d.png", 96, 64)
    (data / "bad.png").write_bytes((data / "c.png").read_bytes()[:2000])
    entries = [
        {"file_path": "a.mp4", "text": "a person waves", "type": "video"},
        {"file_path": "b.mp4", "text": "x" * 1001, "type": "video", "width": 64, "height": 96},
        {"file_path": "c.png", "text": "", "type": "image"},
        {"file_path": "short.mp4", "text": "x", "type": "video"},
        {"file_path": "bad.mp4", "text": "x", "type": "video", "width": 64, "height": 64},
        {"file_path": "bad.png", "text": "x", "type": "image"},
        {"file_path": "d.png", "text": "x", "type": "image", "width": 64, "height": 96},
        {"file_path": "none.mp4", "text": "x", "type": "video"},
    ]
    return write_meta(tmp_path / "meta.json", entries), data


def check_captioned(*arguments):
    return check("--system", "easy_animate", *arguments)


def test_captioned_clips_are_reported_and_the_good_ones_written(captioned_data, tmp_path, capsys):
    (meta, data), names = captioned_data, (tmp_path / "cleaned.json", tmp_path / "sheet.png")
    assert check_captioned(meta, "--data-dir", data, "--meta", names[0], "--sheet", names[1]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:8]] == ["ok"] * 3 + ["problem"] * 5
    assert lines[0] == f"ok       {data}/a.mp4: 96x64, 12 frames, caption of 14 characters"
    assert "it has 9 frames, a sample needs 10" in lines[3]
    assert "is not a video" in lines[4] and "is not a picture" in lines[5]
    assert "it has 96x64 pixels, and 64x96 in the meta file" in lines[6]
    assert "none.mp4 does not exist" in lines[7]
    assert lines[8] == "can be trained on: 3 clips of 8, 2 videos of 32 frames and 1 picture"
    assert lines[9] == f"captions without any text: 1, of {data}/c.png"
    assert lines[10].startswith("captions of more than 1,000 characters") and lines[10].endswith("b.mp4")
    assert lines[11] == "bucket   608x416 at 512: 1 video and 1 picture"
    assert lines[12] == "bucket   416x608 at 512: 1 video and 0 pictures"
    clips = find_captioned_clips(names[0])
    assert [(clip.path.name, clip.is_video, clip.width, clip.height) for clip in clips] == [
        ("a.mp4", True, 96, 64), ("b.mp4", True, 64, 96), ("c.png", False, 96, 64),
    ]  # fmt: skip
    with PIL.Image.open(names[1]) as picture:
        assert picture.height > 192 and len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_wrong_meta_file_of_captioned_clips_is_refused(captioned_data, tmp_path, capsys):
    meta = write_meta(tmp_path / "wrong.json", [{"file_path": "a.mp4", "text": "x", "type": "vidoe"}])
    assert check_captioned(meta, "--sheet", tmp_path / "sheet.png") == 2
    assert "type 'vidoe'" in capsys.readouterr().err and not (tmp_path / "sheet.png").exists()
