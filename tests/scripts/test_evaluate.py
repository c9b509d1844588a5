"""The command that compares videos: what it prints and writes, and what it answers to bad input."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.metrics.video import METRICS, video_metrics
from scripts.command import run
from scripts.evaluate import make_parser, work

WIDTH, HEIGHT = 48, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of drawn people, not to be changed: pred/ and gt/ with two videos each, coded badly and well; frames/ and
    others of the first.
    """
    folder = tmp_path_factory.mktemp("clips")
    for index in range(2):
        clip = synthetic_clip(index, 4, WIDTH, HEIGHT)
        for kind, crf in (("pred", 40), ("gt", 8)):
            write_video(folder / kind / f"{index}.mp4", clip.target, crf)
    frames = synthetic_clip(0, 4, WIDTH, HEIGHT).target
    for index, frame in enumerate(frames):
        write_image(folder / "frames" / f"{index}.png", frame)
    write_video(folder / "short.mp4", frames[:3])
    write_video(folder / "large.mp4", synthetic_clip(0, 4, 2 * WIDTH, 2 * HEIGHT).target)
    (folder / "empty").mkdir()
    return folder


def write_video(path, frames, crf=18):
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, 15, frames.shape[2], frames.shape[1], crf=crf) as writer:
        writer.write(frames)


def evaluate(*arguments):
    return run(make_parser(), work, [str(argument) for argument in arguments])


def test_folders_of_videos_give_a_row_each_the_mean_and_json(tmp_path, capsys, folder):
    assert evaluate(folder / "pred", folder / "gt", "--json", tmp_path / "scores.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["frames", "0", "1", "mean", "wrote"]
    report = json.loads((tmp_path / "scores.json").read_text())
    expected = [
        video_metrics(*(list(read_frames(folder / kind / name)) for kind in ("pred", "gt")))
        for name in ("0.mp4", "1.mp4")
    ]
    assert [{name: pair[name] for name in scores} for pair, scores in zip(report["pairs"], expected)] == expected
    for name in METRICS:
        assert report["mean"][name] == pytest.approx(np.mean([scores[name] for scores in expected]))
    assert lines[1].split()[2:] == [
        f"{expected[0][name]:.{digits}f}" for name, digits in zip(METRICS, (2, 2, 4, 4, 3))
    ]


def test_video_against_frames_and_against_itself(capsys, folder):
    assert evaluate(folder / "gt" / "0.mp4", folder / "frames") == 0
    psnr = float(capsys.readouterr().out.splitlines()[1].split()[2])
    assert 30 < psnr < 60
    assert evaluate(folder / "frames", folder / "frames") == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == "frames 4 100.00 100.00 1.0000 0.0000 0.000".split()


def test_json_to_the_terminal_is_all_that_is_printed(capsys, folder):
    assert evaluate(folder / "frames", folder / "frames", "--json", "-", "--per-frame") == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["psnr"] == 100 and [frame["psnr"] for frame in pair["frames"]] == [None] * 4


def test_length_and_resize(capsys, folder):
    assert evaluate(folder / "short.mp4", folder / "frames", "-L", "2") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["short.mp4", "2"]
    assert evaluate(folder / "large.mp4", folder / "frames", "--resize") == 0
    assert "large.mp4 is resized from 96x128 to 48x64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "FOLDER/gt"), "nowhere does not exist; a video, a folder of frames"),
        (("FOLDER/empty", "FOLDER/gt"), "empty holds neither pictures nor videos"),
        (("FOLDER/pred", "FOLDER/gt/0.mp4"), "pred is a folder of videos"),
        (("FOLDER/short.mp4", "FOLDER/frames"), "short.mp4 has 3 frames"),
        (("FOLDER/short.mp4", "FOLDER/frames", "-L", "4"), "1 to 3 are accepted"),
        (("FOLDER/large.mp4", "FOLDER/frames"), "large.mp4 has 96x128 pixels"),
        (("FOLDER/frames", "FOLDER/frames", "--per-frame"), "--per-frame needs --json"),
        (("FOLDER/frames", "FOLDER/frames", "--json", "FOLDER"), "it is a folder"),
    ],
)
def test_bad_input_is_one_line(capsys, folder, arguments, message):
    assert evaluate(*(argument.replace("FOLDER", str(folder)) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_pair_that_cannot_be_compared_is_found_before_any_is_computed(tmp_path, capsys, folder):
    for kind in ("pred", "gt"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.mp4").write_bytes((folder / "gt" / "0.mp4").read_bytes())
    (tmp_path / "pred" / "b.mp4").write_bytes((folder / "short.mp4").read_bytes())
    (tmp_path / "gt" / "b.mp4").write_bytes((folder / "gt" / "1.mp4").read_bytes())
    assert evaluate(tmp_path / "pred", tmp_path / "gt", "--json", tmp_path / "scores.json") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "b.mp4 has 3 frames" in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt", "pred"]
