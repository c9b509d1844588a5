"""The command that compares videos: what it prints and writes, and what it answers to bad input."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.metrics.video import METRICS, video_metrics
from ppdiffusers_ext.preprocess.pose import PoseEstimator
from scripts.command import run
from scripts.evaluate import make_parser, work
from tests.support.people import painted, write_networks

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


def test_results_without_a_truth_are_measured_against_a_picture(tmp_path, capsys, folder):
    write_image(tmp_path / "person.png", next(iter(read_frames(folder / "gt" / "0.mp4"))))
    arguments = (folder / "pred", "--reference-image", tmp_path / "person.png", "--json", tmp_path / "out.json")
    assert evaluate(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["frames", "0", "1", "mean", *["not"] * 3, "wrote"]
    why = "the result has 4 frames; a change per 100 frames is computed over 24 and more"
    assert f"not measured: drift: {why}" in lines
    report = json.loads((tmp_path / "out.json").read_text())
    assert [values["num_frames"] for values in report["results"]] == [4, 4]
    assert report["mean"]["delta_e"] == pytest.approx(np.mean([r["colour"]["delta_e"] for r in report["results"]]))
    assert evaluate(*arguments) == 2
    assert evaluate(*arguments, "--skip-existing") == 0
    capsys.readouterr()
    assert evaluate(*arguments[:-1], "-", "--per-frame") == 0
    assert len(json.loads(capsys.readouterr().out)["results"][0]["colour"]["frames"]["delta_e"]) == 4


def test_results_are_measured_against_driving_poses_by_dwpose(tmp_path, capsys):
    write_networks(tmp_path / "DWPose")
    frames = np.stack([painted((96, 72), (10, 10, 50, 80))] * 3)
    write_video(tmp_path / "result.mp4", frames, crf=1)
    write_image(tmp_path / "person.png", frames[0])
    (pose,) = PoseEstimator(tmp_path / "DWPose")([frames[0]])
    body = [[*point, 0.9] for point in (pose.body[0] * (72, 96) + (3, 4)).tolist()]
    poses = {"estimator": "dwpose", "frames": [{"people": [{"body": body}]}] * 3}
    (tmp_path / "poses.json").write_text(json.dumps(poses))
    arguments = ("--reference-image", tmp_path / "person.png", "--driving-poses", tmp_path / "poses.json")
    assert evaluate(tmp_path / "result.mp4", *arguments, "--dwpose", tmp_path / "DWPose", "--json", "-") == 0
    (values,) = json.loads(capsys.readouterr().out)["results"]
    assert values["networks"]["poses"] == values["networks"]["driving_poses"] == "dwpose"
    assert values["poses"]["body"]["akd_pixels"] == pytest.approx(5, abs=1.5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--driving-poses", "a.json"), "--driving-poses needs --reference-image"),
        (("--dwpose", "a"), "--dwpose needs --reference-image"),
        (("pred", "gt", "--protocol", "disco", "--dwpose", "a"), "--dwpose needs --reference-image"),
        (("--reference-image", "a.png"), "needs results"),
        (("pred", "gt", "--reference-image", "a.png"), "takes no GT"),
        (("pred", "--reference-image", "a.png", "--length", "2"), "takes no GT"),
        (("pred", "--reference-image", "a.png"), "a.png does not exist"),
        (("--demo", "--reference-image", "a.png"), "--demo takes no"),
        (("--demo-t2v", "pred", "gt"), "--demo-t2v takes no"),
        (("--demo-t2v", "--demo"), "--demo and --demo-t2v are two models"),
        (("--demo-t2v", "--per-frame", "--json", "-"), "--demo-t2v takes no"),
        (("pred", "--reference-image", "empty", "--json", "out.json"), "has no picture for 0, 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, monkeypatch, capsys, folder, arguments, message):
    monkeypatch.chdir(tmp_path)
    words = [folder / word if word in ("pred", "gt", "empty") else word for word in arguments]
    assert evaluate(*words) == 2
    told = capsys.readouterr().err
    assert message in told and "accepted" in told and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_protocol_evaluates_folders_of_videos(tmp_path, capsys, folder):
    words = (folder / "pred", folder / "gt", "--protocol", "disco", "--metrics", "embedded", "--paired")
    assert evaluate(*words, "--csv", tmp_path / "scores.csv", "--json", "-") == 0
    values = json.loads(capsys.readouterr().out.rpartition("wrote")[0])
    assert [clip["name"] for clip in values["clips"]] == ["0", "1"] and values["protocol"]["name"] == "disco"
    assert (tmp_path / "scores.csv").read_text().count("\n") == 1 + 2 * 4 + 4
    assert evaluate(folder / "pred", folder / "gt", "--protocol", "disco", "--weights", tmp_path) == 2
    told = capsys.readouterr()
    assert told.out == "" and "fvd needs" in told.err and "download_weights.py --only" in told.err


def test_no_input_is_replaced_by_the_numbers(tmp_path, capsys):
    result, truth, picture = tmp_path / "result.mp4", tmp_path / "truth.mp4", tmp_path / "person.png"
    for path in (result, truth):
        write_video(path, np.zeros((2, 32, 32, 3), np.uint8))
    write_image(picture, np.zeros((32, 32, 3), np.uint8))
    ways = [
        (result, truth, result),
        (result, truth, truth),
        (result, "--reference-image", picture, result),
        (result, "--reference-image", picture, picture),
    ]
    before = {path: path.read_bytes() for path in (result, truth, picture)}
    for *arguments, target in ways:
        assert evaluate(*arguments, "--json", target, "--overwrite") == 2
        assert "input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
