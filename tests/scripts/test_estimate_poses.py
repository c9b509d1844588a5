"""Poses as numbers: the form that docs/poses.md promises."""

import json

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.records import RECORDS
from ppdiffusers_ext.data.video_writer import VideoWriter
from scripts import estimate_poses
from scripts.command import run
from tests.support.people import painted, write_networks
from tests.support.real_people import CARTOON, cartoon, group

LENGTHS = {"body": 18, "left_hand": 21, "right_hand": 21, "face": 68}


def call(*arguments):
    return run(estimate_poses.make_parser(), estimate_poses.work, [str(argument) for argument in arguments])


def read(path):
    content = json.loads(path.read_text())
    assert set(content) == {"estimator", "frames"}
    for frame in content["frames"]:
        assert set(frame) == {"people"}
        for one in frame["people"]:
            assert set(one) == set(LENGTHS)
            for part, points in one.items():
                assert points is None or len(points) == LENGTHS[part]
                assert all(point is None or (len(point) == 3 and 0 <= point[2] <= 1) for point in points or [])
    return content


def test_picture_of_a_person(tmp_path, capsys):
    target = tmp_path / "new" / "poses.json"
    assert call(CARTOON, "--json", target, "--poses", "embedded") == 0
    out, err = capsys.readouterr()
    assert f"wrote {target}" in out and err.startswith("Poses: MediaPipe (embedded)\n")
    content = read(target)
    ((woman,),) = [frame["people"] for frame in content["frames"]]
    assert content["estimator"] == "embedded" and woman["left_hand"] is None
    assert woman["body"][0] == pytest.approx([209, 100, 1], abs=4), "pixels"
    assert woman["body"][4][0] < woman["body"][7][0] and len(woman["face"]) == 68


def test_six_people_and_nobody(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, frame in enumerate((group(), np.zeros_like(group()))):
        PIL.Image.fromarray(frame).save(pictures / f"{number}.png")
    assert call(pictures, "--json", tmp_path / "poses.json", "--poses", "embedded") == 0
    assert [len(frame["people"]) for frame in read(tmp_path / "poses.json")["frames"]] == [6, 0]


def test_turned_photograph_is_read_upright(tmp_path):
    image, exif = PIL.Image.fromarray(np.rot90(cartoon()).copy()), PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert call(tmp_path / "turned.png", "--json", tmp_path / "poses.json", "--poses", "embedded") == 0
    ((woman,),) = [frame["people"] for frame in read(tmp_path / "poses.json")["frames"]]
    assert woman["body"][0][:2] == pytest.approx([89, 64], abs=4)


def test_dwpose_where_its_folder_is_given(tmp_path):
    video = tmp_path / "dance.mp4"
    with VideoWriter(video, 12, 180, 240, crf=4) as writer:
        for left in (10, 40, 70):
            writer.write(painted((240, 180), (left, 30, left + 90, 150)))
    assert call(video, "--json", tmp_path / "poses.json", "--dwpose", write_networks(tmp_path / "DWPose")) == 0
    content = read(tmp_path / "poses.json")
    xs = [frame["people"][0]["body"][0][0] for frame in content["frames"]]
    assert content["estimator"] == "dwpose" and np.diff(xs) == pytest.approx([30, 30], abs=2)


def test_results_are_kept_replaced_and_refused(tmp_path, capsys):
    target = tmp_path / "poses.json"
    assert call(CARTOON, "--json", target, "--poses", "embedded") == 0
    made = target.read_bytes()
    assert call(CARTOON, "--json", target, "--poses", "embedded") == 2
    assert "exists; --overwrite replaces it" in capsys.readouterr().err and target.read_bytes() == made
    assert call(CARTOON, "--json", target, "--poses", "embedded", "--skip-existing") == 0
    assert "kept" in capsys.readouterr().out
    folder = write_networks(tmp_path / "DWPose")
    assert call(CARTOON, "--json", target, "--dwpose", folder, "--skip-existing") == 2
    assert "--poses has another content" in capsys.readouterr().err
    assert call(CARTOON, "--json", target, "--dwpose", folder, "--overwrite") == 0 and target.read_bytes() != made


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((CARTOON, "--json", "{}/a.json", "--poses", "openpose"), "auto, dwpose or embedded"),
        ((CARTOON, "--json", "{}/a.json", "--poses", "dwpose", "--dwpose", "{}"), "yolox_l.onnx"),
        (("{}/missing.png", "--json", "{}/a.json"), "missing.png"),
        (("{}/bad.mp4", "--json", "{}/a.json"), "bad.mp4"),
        ((CARTOON, "--json", CARTOON), "reference.png"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(tmp_path, capsys, arguments, message):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    before, picture = sorted(tmp_path.iterdir()), CARTOON.read_bytes()
    assert call(*(str(argument).replace("{}", str(tmp_path)) for argument in arguments)) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: ") and "Traceback" not in err
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != RECORDS] == before
    assert CARTOON.read_bytes() == picture


def test_numbers_are_printed_alone(capsys):
    assert call(CARTOON, "--json", "-", "--poses", "embedded") == 0
    content = json.loads(capsys.readouterr().out)
    assert [len(frame["people"]) for frame in content["frames"]] == [1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--device", "tpu"), "--device 'tpu' is not known; cpu or gpu is accepted"),
        (("--device", "gpu:1"), "--device 'gpu:1' is not known; cpu or gpu is accepted"),
        (("--poses", "embedded", "--dwpose", "folder"), "dwpose folder is given with poses embedded"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, capsys, arguments, message):
    target = tmp_path / "poses.json"
    assert call(CARTOON, "--json", target, *arguments) == 2
    assert message in capsys.readouterr().err and not target.exists()
