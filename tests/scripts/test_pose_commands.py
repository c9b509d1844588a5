"""The commands that estimate poses, from files to files, with small networks that find a painted person."""

import json
import sys

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.metrics.driving import read_driver
from scripts import (
    extract_dwpose_from_vid,
    extract_frames,
    extract_meta_info,
    face_mask_extraction,
    make_video,
    poses,
    skeleton_extraction,
    training_skeleton_extraction,
    vid2pose,
)
from scripts.command import run
from tests.support.painted_faces import painted_faces, write_face_networks
from tests.support.people import painted, write_networks
from tests.support.real_people import CARTOON, cartoon

SIZE, FRAMES = (240, 180), 6


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return write_networks(tmp_path_factory.mktemp("DWPose"))


@pytest.fixture(scope="module")
def dance(tmp_path_factory):
    """A video of a painted person who goes to the right."""
    return write_dance(tmp_path_factory.mktemp("my videos") / "tänzer 1.mp4")


def walking(frames=FRAMES):
    return [painted(SIZE, (10 + 12 * i, 30, 70 + 12 * i, 150)) for i in range(frames)]


def write_dance(path, frames=FRAMES, fps=12):
    with VideoWriter(path, fps, SIZE[1], SIZE[0], crf=4) as writer:
        for frame in walking(frames):
            writer.write(frame)
    return path


def call(command, *arguments):
    return run(command.make_parser(), command.work, [str(argument) for argument in arguments])


def middle(frame):
    """The middle of what is drawn, as a fraction of the width."""
    return np.nonzero(frame.max(axis=(0, 2)) > 60)[0].mean() / frame.shape[1]


def test_vid2pose_draws_the_person(tmp_path, networks, dance, capsys):
    target = tmp_path / "out" / "kps.mp4"
    assert call(vid2pose, "--video_path", dance, "--output", target, "--dwpose", networks) == 0
    assert f"wrote {target}" in capsys.readouterr().out
    info = probe_video(target)
    # The shorter side is 512, both are multiples of 64.
    assert (info.width, info.height, info.num_frames, info.fps) == (512, 704, FRAMES, 12)
    middles = [middle(frame) for frame in open_frames(target)]
    assert np.diff(middles) == pytest.approx([12 / SIZE[1]] * (FRAMES - 1), abs=0.015)
    assert middles[0] == pytest.approx(40 / SIZE[1], abs=0.03)


def assert_poses_of(drawing, numbers, fewest=10):
    """The JSON has the joints that are drawn, in pixels of the drawing."""
    frames, driver = list(open_frames(drawing)), read_driver(numbers)
    assert len(frames) == len(driver.poses)
    for frame, one in zip(frames, driver.inside(frames[0].shape[1], frames[0].shape[0]).poses):
        joints = one.xy[:18][one.seen[:18]].round().astype(int)
        assert len(joints) >= fewest
        for x, y in joints:
            assert frame[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max() > 40, (x, y)


@pytest.mark.parametrize("options", [(), ("--no-hands", "--no-face")])
def test_vid2pose_saves_the_poses_that_it_draws(tmp_path, networks, dance, capsys, options):
    target, numbers = tmp_path / "kps.mp4", tmp_path / "kps_poses.json"
    command = ("--video_path", dance, "--output", target, "--dwpose", networks, "--save-poses", *options)
    assert call(vid2pose, *command) == 0
    assert f"wrote {numbers}" in capsys.readouterr().out
    assert_poses_of(target, numbers)
    assert read_driver(numbers).poses[0].seen[18:].any() == (not options)
    assert call(vid2pose, *command) == 2 and "exist" in capsys.readouterr().err


def test_vid2pose_makes_the_one_that_is_missing(tmp_path, networks, dance, capsys):
    target, numbers = tmp_path / "kps.mp4", tmp_path / "kps_poses.json"
    command = ("--video_path", dance, "--output", target, "--dwpose", networks)
    assert call(vid2pose, *command) == 0 and not numbers.exists()
    both = (*command, "--save-poses", "--skip-existing")
    for gone, kept in ((numbers, target), (target, numbers)):
        before = kept.stat().st_mtime_ns
        gone.unlink(missing_ok=True)
        assert call(vid2pose, *both) == 0 and kept.stat().st_mtime_ns == before
        assert f"wrote {gone}" in capsys.readouterr().out
        assert_poses_of(target, numbers)
    assert call(vid2pose, *both) == 0 and "wrote" not in capsys.readouterr().out


def test_vid2pose_puts_its_file_beside_the_video(tmp_path, networks):
    video = write_dance(tmp_path / "a.mp4", 2)
    assert call(vid2pose, "--video_path", video, "--dwpose", networks) == 0
    assert probe_video(tmp_path / "a_kps.mp4").num_frames == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--video_path", "none.mp4"), "none.mp4 does not exist; a video file or a folder of pictures is accepted"),
        (
            ("--video_path", "DANCE", "--person", "tallest"),
            "person 'tallest' is not known; largest, surest, left, right",
        ),
        (
            ("--video_path", "DANCE", "--dwpose", "none"),
            "`python scripts/download_weights.py --only DWPose` fetches them",
        ),
        (
            ("--video_path", "DANCE", "--output", "kps.avi"),
            "ends in .mp4, .mov, .webm or .gif is accepted",
        ),
    ],
)
def test_vid2pose_answers_to_bad_input(tmp_path, networks, dance, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    arguments = [dance if argument == "DANCE" else argument for argument in arguments]
    assert call(vid2pose, "--dwpose", networks, *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_folder_of_videos_goes_on_after_a_failure_and_keeps_what_is_its_own(tmp_path, networks, capsys):
    root = tmp_path / "data" / "video"
    for name in ("a.mp4", "deeper/b.mp4", "c.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_dance(root / name, 3)
    command = ("--video_root", root, "--dwpose", networks, "-j", "2")
    (root / "c.mp4").write_bytes((root / "c.mp4").read_bytes()[:900])
    assert call(extract_dwpose_from_vid, *command) == 1
    output = capsys.readouterr()
    assert "2 videos made, kept: 0, failed: 1" in output.out and "c.mp4" in output.err
    save = tmp_path / "data" / "video_dwpose"
    assert sorted(str(path.relative_to(save)) for path in save.rglob("*.mp4")) == ["a.mp4", "deeper/b.mp4"]
    write_dance(root / "c.mp4", 3)
    assert call(extract_dwpose_from_vid, *command) == 2
    assert "a.mp4 and 1 more result of 3 exist; --overwrite replaces what is there" in capsys.readouterr().err
    assert call(extract_dwpose_from_vid, *command, "--skip-existing") == 0
    assert "1 video made, kept: 2, failed: 0" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in save.rglob("*.mp4")}
    write_dance(root / "a.mp4", 4)
    assert call(extract_dwpose_from_vid, *command, "--skip-existing") == 2
    assert "a.mp4 was made of something else: its video has another content; " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in save.rglob("*.mp4")} == before
    assert call(extract_dwpose_from_vid, *command, "--overwrite") == 0
    assert probe_video(save / "a.mp4").num_frames == 4


def test_meta_file_has_the_pairs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("fashion/a.mp4", "fashion/b.mp4", "fashion_dwpose/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"a video")
    assert call(extract_meta_info, "--root_path", "fashion", "--dataset_name", "fashion") == 0
    entries = json.loads((tmp_path / "data" / "fashion_meta.json").read_text())
    assert entries == [{"video_path": "fashion/a.mp4", "kps_path": "fashion_dwpose/a.mp4"}]
    assert "left out without a skeleton video" in capsys.readouterr().err
    (tmp_path / "fashion_dwpose/a.mp4").unlink()
    assert call(extract_meta_info, "--root_path", "fashion", "--dataset_name", "fashion") == 2
    assert "extract_dwpose_from_vid --video_root` makes them" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["fashion", "fashion/", "./fashion", "ABSOLUTE"])
@pytest.mark.parametrize("output", ["data/meta.json", "meta.json", "ELSEWHERE/meta.json"])
def test_meta_file_is_read_from_any_folder(tmp_path, capsys, monkeypatch, root, output):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("fashion/a, b.mp4", "fashion/动作.mp4", "fashion/\\.mp4", "fashion/\udcff.mp4"):
        for folder in ("fashion", "fashion_dwpose"):
            (tmp_path / "work" / folder).mkdir(exist_ok=True)
            (tmp_path / "work" / name.replace("fashion", folder, 1)).write_bytes(b"a video")
    root = root.replace("ABSOLUTE", str(tmp_path / "work" / "fashion"))
    output = output.replace("ELSEWHERE", str(tmp_path / "a" / "b" / "c" / "d"))
    assert call(extract_meta_info, "--root_path", root, "--dataset_name", "x", "--output", output) == 0
    captured = capsys.readouterr()
    assert "3 clips" in captured.out and "left out with a name that is not text in UTF-8: 1 video\n" in captured.err
    meta = (tmp_path / "work" / output).resolve()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    clips = find_clips([meta])
    assert sorted(clip.video.name for clip in clips) == ["\\.mp4", "a, b.mp4", "动作.mp4"]
    assert all(clip.video.exists() and clip.pose.exists() for clip in clips)


@pytest.fixture
def picture(tmp_path):
    """A person twice as large, in a picture of another shape."""
    write_image(tmp_path / "me.png", painted((480, 480), (180, 120, 300, 360)))
    return tmp_path / "me.png"


@pytest.mark.parametrize("options", [(), ("--original",)])
@pytest.mark.parametrize("target", ["poses", "poses.mp4"])
def test_aligned_skeletons_fit_the_picture(tmp_path, networks, dance, picture, options, target):
    result = tmp_path / "out" / target
    inputs = ("--target_image_folder_path", dance, "--ref_image_path", picture, "--dwpose", networks)
    assert call(skeleton_extraction, *inputs, "--poses_folder_path", result, "--save-poses", *options) == 0
    source = open_frames(result)
    assert (source.width, source.height, source.num_frames) == (480, 480, FRAMES)
    rows = np.nonzero(next(iter(source)).max(axis=(1, 2)) > 60)[0]
    numbers = result / "poses.json" if target == "poses" else tmp_path / "out" / f"{result.stem}_poses.json"
    assert_poses_of(result, numbers)
    if not options:  # the painted body's height, of which the figure is nine tenths, as in the picture
        assert np.ptp(rows) == pytest.approx(0.9 * 240, abs=12)


def test_original_takes_no_joints_from_the_picture(tmp_path, networks, dance, picture, capsys):
    inputs = ("--target_image_folder_path", dance, "--ref_image_path", picture, "--dwpose", networks, "--original")
    assert call(skeleton_extraction, *inputs, "--poses_folder_path", tmp_path / "a", "--unseen-joints", "picture") == 2
    assert "--unseen-joints none or no --original is accepted" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_picture_without_a_person_is_refused(tmp_path, networks, dance, capsys):
    write_image(tmp_path / "empty.png", painted((64, 64)))
    inputs = ("--target_image_folder_path", dance, "--ref_image_path", tmp_path / "empty.png", "--dwpose", networks)
    assert call(skeleton_extraction, *inputs, "--poses_folder_path", tmp_path / "poses") == 2
    assert "error: nobody is found in the reference picture; " in capsys.readouterr().err
    assert not (tmp_path / "poses").exists()


def test_training_skeletons_have_the_names_of_the_pictures(tmp_path, networks, capsys):
    for folder in ("00001", "00003"):
        for i, frame in enumerate(walking(3)):
            write_image(tmp_path / "rec" / folder / "images" / f"frame_{i}.png", frame)
    command = ("--root_path", tmp_path, "--name", "rec", "--start", "1", "--end", "3", "--dwpose", networks)
    assert call(training_skeleton_extraction, *command) == 0
    output = capsys.readouterr()
    assert "00001/poses: 3 made, kept: 0" in output.out and "without images/: 1 folder of 3" in output.err
    poses = tmp_path / "rec" / "00001" / "poses"
    assert sorted(path.name for path in poses.glob("*.png")) == [f"frame_{i}.png" for i in range(3)]
    assert open_frames(poses).width == SIZE[1]
    (poses / "frame_1.png").unlink()
    assert call(training_skeleton_extraction, *command, "--skip-existing") == 0
    assert "00001/poses: 1 made, kept: 2" in capsys.readouterr().out and (poses / "frame_1.png").exists()


def test_frames_of_a_video_and_back(tmp_path, dance, capsys):
    folder = tmp_path / "frames"
    assert call(extract_frames, dance, folder, "--frames", "1:5") == 0
    assert "4 frames made, kept: 0" in capsys.readouterr().out
    assert call(extract_frames, dance, folder, "--frames", "1:", "--skip-existing") == 0
    assert "1 frame made, kept: 4" in capsys.readouterr().out
    assert call(make_video, folder, tmp_path / "again.mp4", "--fps", "12") == 0
    info = probe_video(tmp_path / "again.mp4")
    assert (info.num_frames, info.fps, info.width) == (5, 12, SIZE[1])
    before, after = (list(open_frames(path)) for path in (dance, tmp_path / "again.mp4"))
    assert np.abs(before[1].astype(int) - after[0]).mean() < 2
    assert call(extract_frames, dance, folder, "--frames", "4:2") == 2
    assert "A:B with 0 <= A < B <= 6 is accepted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [vid2pose, extract_dwpose_from_vid, extract_meta_info, skeleton_extraction, training_skeleton_extraction,
     extract_frames, make_video],
    ids=lambda command: command.__name__.rpartition(".")[2],
)  # fmt: skip
def test_help_is_given_without_paddle(command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ppdiffusers_ext.preprocess", None)
    with pytest.raises(SystemExit) as stopped:
        call(command, "--help")
    assert stopped.value.code == 0 and "python -m scripts." in capsys.readouterr().out


@pytest.fixture(scope="module")
def face_networks(tmp_path_factory):
    return write_face_networks(tmp_path_factory.mktemp("faces"))


BOX, OTHER = (40, 30, 80, 90), (100, 30, 130, 60)


def write_pictures(folder, *pictures):
    folder.mkdir(parents=True)
    for i, boxes in enumerate(pictures):
        write_image(folder / f"frame_{i}.png", painted_faces(SIZE, *boxes))
    return folder


def expected_mask(*boxes):
    mask = np.zeros(SIZE, bool)
    for left, top, right, bottom in boxes:
        mask[top : bottom + 1, left : right + 1] = True  # corners belong to it
    return mask


def read_mask(path):
    with PIL.Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_face_masks_lie_beside_the_pictures_and_are_white_where_faces_are(tmp_path, face_networks, capsys):
    images = write_pictures(tmp_path / "00001" / "images", [BOX], [BOX, OTHER], [])
    assert call(face_mask_extraction, "--image_folder", images, "--faces", face_networks) == 0
    masks = [read_mask(tmp_path / "00001" / "faces" / f"frame_{i}.png") for i in range(3)]
    for mask, boxes in zip(masks, ([BOX], [BOX, OTHER])):
        assert set(np.unique(mask)) == {0, 255}
        # The detector sees the picture in another size, so edges may be off by one.
        assert ((mask > 0) != expected_mask(*boxes)).sum() <= 2 * 2 * (60 + 90)
    assert masks[2].min() == 255
    assert "no face was found in 1 of them" in capsys.readouterr().err


def test_face_masks_of_pictures_of_several_sizes_have_their_sizes(tmp_path, face_networks):
    images = write_pictures(tmp_path / "images", [BOX])
    write_image(images / "frame_1.png", painted_faces((SIZE[0] + 40, SIZE[1] + 20), BOX))
    assert call(face_mask_extraction, "--image_folder", images, "--faces", face_networks) == 0
    for path in images.iterdir():
        assert read_mask(tmp_path / "faces" / path.name).shape[:2] == np.asarray(read_image(path)).shape[:2]


def test_face_masks_of_a_users_own_are_kept(tmp_path, face_networks, capsys):
    images = write_pictures(tmp_path / "images", [BOX], [BOX])
    (tmp_path / "faces").mkdir()
    write_image(tmp_path / "faces" / "frame_1.png", np.zeros((*SIZE, 3), np.uint8))
    arguments = ("--image_folder", images, "--faces", face_networks, "--skip-existing")
    assert call(face_mask_extraction, *arguments) == 0
    assert "1 made, kept: 1" in capsys.readouterr().out
    with PIL.Image.open(tmp_path / "faces" / "frame_1.png") as image:
        assert np.asarray(image).max() == 0
    assert call(face_mask_extraction, *arguments) == 0
    assert "0 made, kept: 2" in capsys.readouterr().out


def test_face_masks_of_a_video_are_named_by_its_frames(tmp_path, face_networks):
    with VideoWriter(tmp_path / "v.mp4", 10, SIZE[1], SIZE[0], crf=1) as writer:
        for _ in range(3):
            writer.write(painted_faces(SIZE, BOX))
    arguments = ("--image_folder", tmp_path / "v.mp4", "--faces", face_networks, "--output", tmp_path / "out")
    assert call(face_mask_extraction, *arguments) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"frame_{i}.png" for i in range(3)]


def test_retinaface_looks_where_insightface_sees_no_face(tmp_path, face_networks, monkeypatch, capsys):
    class Finder:
        def __init__(self, path):
            assert path == tmp_path / "retinaface.pth"

        def find(self, frame):
            return np.array([OTHER], np.float32)

    monkeypatch.setattr("ppdiffusers_ext.preprocess.retinaface.FaceFinder", Finder)
    (tmp_path / "retinaface.pth").write_bytes(b"weights")
    images = write_pictures(tmp_path / "images", [BOX], [])
    arguments = ("--image_folder", images, "--faces", face_networks, "--retinaface", tmp_path / "retinaface.pth")
    assert call(face_mask_extraction, *arguments) == 0
    assert np.array_equal(read_mask(tmp_path / "faces" / "frame_1.png") > 0, expected_mask(OTHER))
    assert not expected_mask(OTHER)[60, 60] and read_mask(tmp_path / "faces" / "frame_0.png")[60, 60] == 255
    assert "no face was found" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        (("--faces", "nowhere"), "--only antelopev2"),
        (("--image_folder", "nowhere"), "nowhere does not exist"),
        (("--retinaface", "nowhere.pth"), "nowhere.pth"),
    ],
)
def test_face_masks_say_what_is_missing(tmp_path, face_networks, capsys, change, message):
    arguments = {"--image_folder": write_pictures(tmp_path / "images", [BOX]), "--faces": face_networks}
    arguments.update([change])
    assert call(face_mask_extraction, *(part for pair in arguments.items() for part in pair)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "faces").exists()


# With the networks that ship, on the drawn woman that ships.


@pytest.fixture(scope="module")
def woman(tmp_path_factory):
    """A video of three frames, videos/woman.mp4, and the same as pictures, data/rec/00001/images."""
    folder = tmp_path_factory.mktemp("woman")
    (folder / "videos").mkdir()
    with VideoWriter(folder / "videos" / "woman.mp4", 12, 256, 256, crf=4) as writer:
        for i in range(3):
            writer.write(cartoon())
            write_image(folder / "data" / "rec" / "00001" / "images" / f"frame_{i}.png", cartoon())
    return folder


def of_woman(drawn):
    """Whether a skeleton stands where the woman stands, who is from 0.12 to 0.88 of the picture's height."""
    rows = np.nonzero(drawn.max(axis=(1, 2)) > 60)[0] / len(drawn)
    return rows.min() == pytest.approx(0.2, abs=0.06) and rows.max() == pytest.approx(0.85, abs=0.05)


def test_skeletons_are_drawn_with_the_networks_that_ship(tmp_path, woman, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without pretrained_weights
    video, pictures = woman / "videos" / "woman.mp4", woman / "data" / "rec" / "00001" / "images"
    calls = [
        (vid2pose, "--video_path", video, "--output", "kps.mp4"),
        (
            skeleton_extraction,
            *("--target_image_folder_path", pictures, "--ref_image_path", CARTOON, "--poses_folder_path", "poses"),
        ),
        (training_skeleton_extraction, "--root_path", woman / "data", "--name", "rec", "--start", 1, "--end", 1),
    ]
    for command, *arguments in calls:
        assert call(command, *arguments) == 0
        assert capsys.readouterr().err.count("Poses: MediaPipe (embedded)") == 1
    made = ["kps.mp4", "poses", woman / "data/rec/00001/poses"]
    assert all(of_woman(frame) for path in made for frame in open_frames(path))


def test_workers_do_not_tell_again_which_networks_estimate(capsys, monkeypatch):
    options = extract_dwpose_from_vid.make_parser().parse_args(["--video_root", "videos", "--poses", "embedded"])
    monkeypatch.setattr(poses.estimators, "open_estimator", lambda *arguments: arguments)
    assert poses.make_estimator(options, "bgr", "cpu", 1, is_told=False) == ("embedded", None, "cpu", "bgr", 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments, code", [(("--poses", "embedded"), "DWPose, as StableAnimator does"), ((), "yolox")]
)
def test_original_skeletons_need_the_originals_networks(tmp_path, woman, capsys, monkeypatch, arguments, code):
    monkeypatch.chdir(tmp_path)
    inputs = ("--target_image_folder_path", woman / "videos" / "woman.mp4", "--ref_image_path", CARTOON)
    assert call(skeleton_extraction, *inputs, "--poses_folder_path", "poses", "--original", *arguments) == 2
    assert code in capsys.readouterr().err and not (tmp_path / "poses").exists()


def test_faces_are_masked_with_the_networks_that_ship(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image("images/1.png", cartoon())
    write_image("images/2.png", np.full((256, 256, 3), 90, np.uint8))
    assert call(face_mask_extraction, "--image_folder", "images") == 0
    told = capsys.readouterr()
    assert "Faces: MediaPipe (embedded); antelopev2's files are not in" in told.err and "2 made" in told.out
    assert "no face was found in 1 of them" in told.err
    mask = next(iter(open_frames("faces/1.png")))[..., 0]
    assert mask[62, 89] == 255 and 0.003 < (mask == 255).mean() < 0.03
    assert call(face_mask_extraction, "--image_folder", "images", "--detector", "antelopev2", "--overwrite") == 2
    assert "scrfd_10g_bnkps.onnx" in capsys.readouterr().err
