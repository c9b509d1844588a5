"""Commands and results that exist: none is taken for that of another input, and none is lost."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.holding import LOCK
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.records import RECORDS
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from scripts import (
    check_dataset,
    evaluate,
    extract_dwpose_from_vid,
    extract_frames,
    extract_meta_info,
    face_mask_extraction,
    make_demo_assets,
    make_video,
    skeleton_extraction,
    training_skeleton_extraction,
    vid2pose,
)
from scripts.command import run
from tests.support.holder import Holder
from tests.support.odd_videos import animation, encode, ramp
from tests.support.painted_faces import painted_faces, write_face_networks
from tests.support.people import painted, write_networks

HEIGHT, WIDTH, COUNT = 120, 96, 4


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {"poses": write_networks(folder / "DWPose"), "faces": write_face_networks(folder / "faces")}


def call(command, *arguments):
    return run(command.make_parser(), command.work, [str(argument) for argument in arguments])


def person(index, shift):
    left = 10 + 6 * index + shift * (index == 1)  # another motion, for where somebody stands is aligned
    return painted((HEIGHT, WIDTH), (left, 20, left + 30, 100))


def faces(index, shift):
    return painted_faces((HEIGHT, WIDTH), (10 + 6 * index + shift, 20, 40 + 6 * index + shift, 60))


def write_pictures(folder, draw, shift):
    for i in range(COUNT):
        write_image(folder / f"frame_{i}.png", draw(i, shift))
    return folder


def write_video(path, shift):
    with VideoWriter(path, 12, WIDTH, HEIGHT, crf=4) as writer:
        for i in range(COUNT):
            writer.write(person(i, shift))
    return path


# Each writes inputs into a folder, which differ in their content where `shift` does and in nothing else, and returns
# the command, its arguments, and the option, if any, and path of what it makes.


def of_vid2pose(folder, networks, out, shift):
    video = write_video(folder / "a.mp4", shift)
    return vid2pose, ["--video_path", video, "--dwpose", networks["poses"], "--output", out / "kps.mp4"]


def of_skeletons_as_pictures(folder, networks, out, shift):
    write_image(folder / "me.png", person(1, 0))
    video = write_video(folder / "a.mp4", shift)
    inputs = ["--target_image_folder_path", video, "--ref_image_path", folder / "me.png"]
    return skeleton_extraction, [*inputs, "--dwpose", networks["poses"], "--poses_folder_path", out]


def of_skeletons_as_a_video(folder, networks, out, shift):
    return of_skeletons_as_pictures(folder, networks, out / "poses.mp4", shift)


def of_training_skeletons(folder, networks, out, shift):
    """Its outputs lie beside the pictures."""
    images = out.parent / "images"
    write_pictures(images, person, shift)
    root = ["--root_path", out.parents[2], "--name", "rec", "--start", 1, "--end", 1]
    return training_skeleton_extraction, [*root, "--dwpose", networks["poses"]]


def of_face_masks(folder, networks, out, shift):
    images = write_pictures(folder / "images", faces, shift)
    return face_mask_extraction, ["--image_folder", images, "--faces", networks["faces"], "--output", out]


def of_frames(folder, networks, out, shift):
    return extract_frames, [write_video(folder / "a.mp4", shift), out]


def of_video(folder, networks, out, shift):
    return make_video, [write_pictures(folder / "images", person, shift), out / "a.mp4"]


def of_meta_file(folder, networks, out, shift):
    for kind in ("video", "video_dwpose"):
        write_video(folder / kind / "a.mp4", 0)
        if shift:
            write_video(folder / kind / "b.mp4", 0)
    root = ["--root_path", folder / "video", "--dataset_name", "x"]
    return extract_meta_info, [*root, "--output", out / "meta.json"]


def of_dataset(folder, networks, out, shift):
    for kind in ("video", "video_dwpose"):
        write_video(folder / kind / "a.mp4", shift)
        os.utime(folder / kind / "a.mp4", (shift, shift))
    return check_dataset, [folder, "--meta", out / "meta.json", "--sheet", out / "sheet.png"]


def of_scores(folder, networks, out, shift):
    videos = [write_video(folder / "a.mp4", shift), write_video(folder / "b.mp4", 0)]
    return evaluate, [*videos, "--json", out / "scores.json"]


def of_assets(folder, networks, out, shift):
    return make_demo_assets, ["--output", out, "--seed", shift]


COMMANDS = [of_vid2pose, of_skeletons_as_pictures, of_skeletons_as_a_video, of_training_skeletons, of_face_masks,
            of_frames, of_video, of_meta_file, of_dataset, of_scores, of_assets]  # fmt: skip
OF_MANY = [of_skeletons_as_pictures, of_training_skeletons, of_face_masks, of_frames, of_assets]


def prepared(make, tmp_path, networks, shift, name="one"):
    """Function of more arguments that calls the command; and the folder of its results."""
    folder, out = tmp_path / name / "in", tmp_path / name / "rec" / "00001" / "poses"
    command, arguments = make(folder, networks, out, shift)
    return lambda *more: call(command, *arguments, *more), out


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != RECORDS}


@pytest.fixture(autouse=True)
def small_assets(monkeypatch):
    monkeypatch.setattr(Drawing, "read", lambda folder: Drawing(side=16))
    monkeypatch.setattr(make_demo_assets, "NUM_FRAMES", 3)


@pytest.mark.parametrize("make", COMMANDS)
def test_results_are_refused_kept_and_replaced_by_one_rule(tmp_path, networks, capsys, make):
    again, out = prepared(make, tmp_path, networks, 0)
    assert again() == 0
    (out / "notes.txt").write_text("my own")
    (out / "frame_99.png").write_text("my own")
    before, records = content(out), (out / RECORDS).read_bytes()
    assert again() == 2
    error = capsys.readouterr().err
    assert "--overwrite replaces" in error and "--skip-existing keeps" in error and content(out) == before
    assert again("--skip-existing") == 0 and "kept" in capsys.readouterr().out
    assert (content(out), (out / RECORDS).read_bytes()) == (before, records)
    # The same names, but other contents.
    again, _ = prepared(make, tmp_path, networks, 14)
    assert again() == 2 and again("--skip-existing") == 2
    assert " was made of something else: " in capsys.readouterr().err and content(out) == before
    assert again("--overwrite") == 0
    replaced = content(out)
    assert replaced != before and replaced.pop("notes.txt") == replaced.pop("frame_99.png") == b"my own"
    if make in (of_meta_file, of_dataset, of_scores):
        return  # they hold the paths of their inputs
    fresh, other = prepared(make, tmp_path, networks, 14, "two")
    assert fresh() == 0 and content(other) == replaced


@pytest.fixture(scope="module")
def holder():
    made = Holder()
    yield made
    made.end()


@pytest.mark.parametrize("make", COMMANDS)
def test_results_that_another_run_makes_are_refused_whatever_is_asked_for(tmp_path, networks, capsys, holder, make):
    again, out = prepared(make, tmp_path, networks, 0)
    holder.hold(out / "any.png", pattern=".+")
    for how in ([], ["--overwrite"], ["--skip-existing"]):
        assert again(*how) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and f" is being written by process {holder.number}; another output" in error[0]
    assert list(content(out)) == [LOCK]


@pytest.mark.parametrize("make", OF_MANY)
def test_stopped_run_goes_on_and_ends_with_the_same_bits(tmp_path, networks, make, capsys):
    again, out = prepared(make, tmp_path, networks, 0)
    assert again() == 0
    whole = content(out)
    for name in list(whole)[1::2]:
        (out / name).unlink()
    assert again() == 2
    assert "as after a run that was stopped" in capsys.readouterr().err
    assert again("--skip-existing") == 0 and content(out) == whole


@pytest.mark.parametrize("make", OF_MANY)
def test_results_of_a_users_own_are_kept_and_said(tmp_path, networks, make, capsys):
    again, out = prepared(make, tmp_path, networks, 0)
    assert again() == 0
    whole = content(out)
    first = next(iter(whole))
    (out / first).write_bytes(b"my own")
    assert again("--skip-existing") == 0
    assert content(out) == {**whole, first: b"my own"}
    assert "kept as they are, without a record of what they were made of: 1 result (" in capsys.readouterr().err


@pytest.mark.parametrize("make", [of_frames, of_skeletons_as_pictures, of_training_skeletons, of_face_masks])
def test_end_of_a_longer_run_does_not_stay(tmp_path, networks, make, capsys, monkeypatch):
    again, out = prepared(make, tmp_path, networks, 0)
    assert again() == 0 and len(content(out)) == COUNT
    monkeypatch.setattr(sys.modules[__name__], "COUNT", 2)
    for images in (tmp_path / "one").rglob("images"):
        for path in images.iterdir():
            path.unlink()
    again, _ = prepared(make, tmp_path, networks, 0)
    assert again("--skip-existing") == 2
    assert again("--overwrite") == 0 and sorted(content(out)) == ["frame_0.png", "frame_1.png"]


def test_killed_extraction_goes_on(tmp_path):
    video, out = encode(tmp_path / "a.mp4", ramp(300, 64, 96)), tmp_path / "images"
    command = [sys.executable, "-m", "scripts.extract_frames", str(video), str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("frame_*.png")) if out.exists() else []) < 5:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert 5 <= len(list(out.glob("frame_*.png"))) < 300
    assert call(extract_frames, video, out, "--skip-existing") == 0
    assert call(extract_frames, video, tmp_path / "whole") == 0
    assert content(out) == content(tmp_path / "whole") and len(content(out)) == 300


@pytest.mark.parametrize(
    "before, after, is_kept",
    [
        ([], ["--frames", "1:"], False),
        (["--frames", ":3"], [], True),  # the longer one begins with the same frames
        ([], ["--fps", 12], False),
        (["--fps", 6], ["--fps", 24], False),
        ([], ["--background", "black"], False),
        ([], ["--background", "white"], True),
    ],
)
def test_frames_by_other_options_are_not_kept(tmp_path, capsys, before, after, is_kept):
    video = write_video(tmp_path / "a.mp4", 0)
    assert call(extract_frames, video, tmp_path / "out", *before) == 0
    assert call(extract_frames, video, tmp_path / "out", *after, "--skip-existing") == (0 if is_kept else 2)
    assert is_kept or "made of something else: --" in capsys.readouterr().err


def test_video_that_was_moved_is_the_same(tmp_path):
    video = write_video(tmp_path / "a.mp4", 0)
    assert call(extract_frames, video, tmp_path / "out") == 0
    moved = video.rename(tmp_path / "b.mp4")
    assert call(extract_frames, moved, tmp_path / "out", "--skip-existing") == 0


@pytest.mark.parametrize(
    "options, level", [((), 255), (("--background", "white"), 255), (("--background", "black"), 0)]
)
def test_transparent_frames_lie_on_the_background(tmp_path, options, level):
    frames = np.zeros((3, 32, 32, 4), np.uint8)
    frames[:, :8, :8] = np.arange(50, 200, 50)[:, None, None, None]
    path = animation(tmp_path / "a.webp", list(frames), 100)
    assert call(extract_frames, path, tmp_path / "out", *options) == 0
    assert all((frame[16:] == level).all() for frame in open_frames(tmp_path / "out"))


@pytest.mark.parametrize("fps", [8, 12.5, 29.97])
@pytest.mark.parametrize("kind", ["folder", "video"])
def test_video_is_made_of_all_frames_at_the_rate(tmp_path, kind, fps):
    source = tmp_path / "images"
    if kind == "folder":
        for i, frame in enumerate(ramp(11, 48, 64)):
            write_image(source / f"picture {i}.png", frame)
    else:
        source = encode(tmp_path / "b.mp4", ramp(30, 48, 64), crf=4)  # 30 a second
    assert call(make_video, source, tmp_path / "a.mp4", "--fps", fps, "--crf", 4) == 0
    info, count = probe_video(tmp_path / "a.mp4"), 11 if kind == "folder" else round(fps)
    assert info.num_frames == count and float(info.fps) == pytest.approx(fps, rel=1e-4)
    shown = [frame.mean() for frame in open_frames(tmp_path / "a.mp4")]
    expected = [frame.mean() for frame in (ramp(11, 48, 64) if kind == "folder" else ramp(30, 48, 64))]
    step = 1 if kind == "folder" else 30 / fps
    wanted = [expected[min(len(expected) - 1, int((i + 0.5) * step))] for i in range(count)]
    np.testing.assert_allclose(shown, wanted, atol=1.01 * abs(expected[1] - expected[0]) + 2)


def test_two_inputs_of_one_result_are_refused(tmp_path, networks, capsys):
    images = write_pictures(tmp_path / "images", faces, 0)
    write_image(images / "frame_1.jpg", faces(1, 9))
    assert call(face_mask_extraction, "--image_folder", images, "--faces", networks["faces"]) == 2
    assert "frame_1.jpg and frame_1.png would both become frame_1.png; " in capsys.readouterr().err
    for name in ("a.mp4", "a.mov"):
        write_video(tmp_path / "video" / name, 0)
    assert call(extract_dwpose_from_vid, "--video_root", tmp_path / "video", "--dwpose", networks["poses"]) == 2
    assert "would both become" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "video"]


def test_meta_file_is_still_json(tmp_path, networks):
    again, out = prepared(of_meta_file, tmp_path, networks, 0)
    assert again() == 0 and len(json.loads((out / "meta.json").read_text())) == 1
