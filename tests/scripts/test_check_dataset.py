"""The command that checks training data: what it prints and writes, and what it answers to bad input."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips, choose_video
from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
from ppdiffusers_ext.data.stable_animator.synthetic import write_animation_clips
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter
from scripts.check_dataset import make_parser, work
from scripts.command import run


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
    ],
)
def test_options_of_the_other_system_are_refused(animation_data, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert check(*arguments, *([] if "nowhere.txt" in arguments else [animation_data])) == 2
    assert message in capsys.readouterr().err


def test_folders_whose_names_lists_cannot_have_are_problems(animation_data, tmp_path, capsys):
    os.rename(animation_data / "00000", os.path.join(os.fsencode(animation_data), b"\xff"))
    shutil.copytree(animation_data / "00001", animation_data / "two\nlines")
    assert check_animation(animation_data, "--list", tmp_path / "list.txt") == 1
    assert capsys.readouterr().out.count("its path is not text in UTF-8 on one line") == 2
    assert not (tmp_path / "list.txt").exists()
