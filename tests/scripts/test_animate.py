"""From a picture and a video with sound to an animation, with the demo model and networks that find painted people."""

import errno
import functools
import json
import signal
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.records import RECORDS, Records
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines import animation, kept_poses
from ppdiffusers_ext.pipelines.animate_anyone import run as pose2vid
from scripts import animate, poses
from scripts.command import run
from scripts.signals import Stopped
from tests.data.test_frames import sound_of, with_sound
from tests.support.people import DIM_PAINT, painted, write_networks
from tests.support.real_people import CARTOON, cartoon, sample

MODEL = ("--config", "configs/inference/demo.yaml", "--steps", "1", "-W", "64", "-H", "96")
SIZE = (160, 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """me.png, dance.mp4 (25 frames a second, a click after a second) and DWPose."""
    folder = tmp_path_factory.mktemp("some files")
    write_networks(folder / "DWPose")
    write_image(folder / "me.png", painted((192, 128), (24, 24, 104, 168)))
    write_dance(folder / "dance.mp4", 30, Audio(with_sound(folder / "sound.mp4", "aac")))
    return folder


def write_dance(path, count, audio=None, size=SIZE):
    with VideoWriter(path, 25, size[1], size[0], crf=4, audio=audio) as writer:
        for i in range(count):
            writer.write(painted(size, (10 + 2 * i, 40, 58 + 2 * i, 110)))
    return path


def call(folder, *arguments, reference="me.png", driving="dance.mp4", output="out.mp4"):
    inputs = ("--reference-image", folder / reference, "--driving-video", folder / driving, "--output", output)
    return start(folder, *inputs, *arguments)


def start(folder, *arguments):
    arguments = [str(argument) for argument in (*MODEL, "--dwpose", folder / "DWPose", *arguments)]
    return run(animate.make_parser(), functools.partial(animate.work, workers=0), arguments)


def test_picture_and_video_become_an_animation_with_sound(folder, tmp_path, capsys):
    target = tmp_path / "new" / "out.mp4"
    assert call(folder, "--frames", "10:30", "--fps", "12.5", output=target) == 0
    assert f"video         {target}" in capsys.readouterr().out
    info = probe_video(target)
    assert (info.width, info.height, info.num_frames, info.fps) == (64, 96, 10, 12.5)
    when, _ = sound_of(target)
    assert when == pytest.approx(1.0 - 10 / 25, abs=0.07)
    names = sorted(path.name for path in target.parent.iterdir() if path.name != RECORDS)
    assert names == ["out.mp4", "out_sheet.png", "out_side_by_side.mp4"]
    # The skeleton stands where the picture's person stands, and goes to the right.
    middle = [row[:, 64:128] for row in open_frames(target.with_name("out_side_by_side.mp4"))]
    columns = [np.nonzero(frame.max(axis=(0, 2)) > 60)[0].mean() for frame in middle]
    assert np.median(columns) == pytest.approx(32, abs=5) and columns[-1] > columns[0] + 10
    rows = np.nonzero(middle[5].max(axis=(1, 2)) > 60)[0]
    assert np.ptp(rows) == pytest.approx(0.9 * 72, abs=6)


@pytest.mark.parametrize("overlay", [(), ("--debug",)])
def test_picture_and_video_are_opened_once(folder, tmp_path, opened, overlay):
    assert call(folder, "--frames", "0:2", *overlay, output=tmp_path / "out.mp4") == 0
    assert opened.pop("parts") == 5
    assert {path: count for path, count in opened.items() if path.startswith(str(folder))} == {
        str(folder / "me.png"): 1,
        str(folder / "dance.mp4"): 1,
    }


def test_inputs_of_a_batch_are_opened_once_for_each_job(folder, tmp_path, opened):
    assert start(folder, *write_batch(folder, tmp_path, tmp_path / "a.mp4", tmp_path / "b.mp4")) == 0
    assert (opened[str(folder / "me.png")], opened[str(folder / "dance.mp4")]) == (2, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--frames", "5:99"), "A:B with 0 <= A < B <= 30"),
        (("--fps", "60"), "with 60 fps; up to 50 fps"),
        (("--reference-image", "bad.png"), "bad.png"),
        (("--driving-video", "bad.mp4"), "bad.mp4"),
    ],
)
def test_what_is_wrong_with_inputs_is_told_before_estimators_load(
    folder, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.setattr(poses, "make_estimator", lambda *_, **__: pytest.fail("networks are loaded"))
    for name in ("bad.png", "bad.mp4"):
        (tmp_path / name).write_bytes(b"neither a picture nor a video")
    arguments = [tmp_path / word if word.startswith("bad") else word for word in arguments]
    assert call(folder, *arguments, output=tmp_path / "out.gif") == 2
    assert_told(capsys, message)


def test_estimator_that_cannot_be_used_is_told_once_before_a_batch(folder, tmp_path, capsys):
    batch = write_batch(folder, tmp_path, tmp_path / "a.mp4", tmp_path / "b.mp4")
    (tmp_path / "DWPose").mkdir()
    assert start(folder, *batch, "--dwpose", tmp_path / "DWPose") == 2
    assert_told(capsys, "DWPose")
    assert not (tmp_path / "report.json").exists()


def test_report_holds_the_result_against_the_driving_poses(folder, tmp_path, capsys):
    target = tmp_path / "out.mp4"
    assert call(folder, "--frames", "0:4", "--report", "--no-hands", "--seed", "5", output=target) == 0
    assert f"report        {tmp_path / 'out_report.html'}" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out.mp4", "out_side_by_side.mp4", "out_sheet.png", "out_report.html", "out_report.json", RECORDS}
    values = json.loads((tmp_path / "out_report.json").read_text())
    assert (values["command"], values["seed"], values["options"]["seed"], values["num_frames"]) == ("animate", 5, 5, 4)
    assert set(values["seconds"]) == {"poses", "loading", "denoising", "decoding and writing", "measuring"}
    assert (values["networks"]["poses"], values["networks"]["driving_poses"]) == ("dwpose", "dwpose")
    assert values["poses"]["frames_with_driver"] == 4 and values["poses"]["body"]["points"] > 50
    assert values["poses"]["body"]["mkr"] is not None and values["poses"]["hands"]["points"] == 0
    records = Records(tmp_path)
    assert records.of("out_report.html") == records.of("out_report.json") == records.of("out.mp4")
    plain = tmp_path / "plain"
    assert call(folder, "--frames", "0:4", "--no-hands", "--seed", "5", output=plain / "out.mp4") == 0
    assert (plain / "out.mp4").read_bytes() == target.read_bytes()
    with PIL.Image.open(plain / "out_sheet.png") as sheet, PIL.Image.open(tmp_path / "out_sheet.png") as captioned:
        assert captioned.width == sheet.width and captioned.height > sheet.height
        assert captioned.crop((0, 0, *sheet.size)).tobytes() == sheet.tobytes()
        assert np.asarray(captioned.crop((0, sheet.height, *captioned.size))).min() < 60
    assert not (plain / "out_report.html").exists()


def test_driver_of_the_report_is_where_the_skeleton_is_drawn(folder, tmp_path, monkeypatch):
    """A result that shows the driving person in the place where it was aligned to has no error."""
    drivers, report = [], animation.ResultReport
    monkeypatch.setattr(
        animation, "ResultReport", lambda *given, driver, **more: drivers.append(driver) or report(*given, **more)
    )
    assert call(folder, "--frames", "0:3", "--report", output=tmp_path / "out.mp4") == 0
    middle = [row[:, 64:128] for row in open_frames(tmp_path / "out_side_by_side.mp4")]
    for skeleton, points in zip(middle, drivers[0].poses, strict=True):
        rows, columns = np.nonzero(skeleton.max(axis=2) > 60)
        body = points.xy[:18][points.seen[:18]]
        assert body.min(axis=0) == pytest.approx([columns.min(), rows.min()], abs=4)
        assert body.max(axis=0) == pytest.approx([columns.max(), rows.max()], abs=4)


def test_reports_that_exist_are_refused_and_replaced(folder, tmp_path, capsys):
    (tmp_path / "out_report.json").write_text("mine")
    arguments = ("--frames", "0:2", "--report")
    assert call(folder, *arguments, output=tmp_path / "out.mp4") == 2
    assert_told(capsys, "out_report.json")
    assert (tmp_path / "out_report.json").read_text() == "mine" and not (tmp_path / "out.mp4").exists()
    assert call(folder, *arguments, "--overwrite", output=tmp_path / "out.mp4") == 0
    assert json.loads((tmp_path / "out_report.json").read_text())["num_frames"] == 2


def test_report_of_jobs_needs_jobs(folder, tmp_path, capsys):
    assert call(folder, "--report", tmp_path / "rows.json", output=tmp_path / "out.mp4") == 2
    assert_told(capsys, "rows.json is for the jobs of --batch")
    assert list(tmp_path.iterdir()) == []


def test_batch_has_a_page_for_each_job(folder, tmp_path):
    """Names without a suffix that are the same lie in two folders; all else is each job's own."""
    other = tmp_path / "you.png"
    write_image(other, painted((160, 200), (20, 20, 80, 140)))
    shared = {"driving_video": str(folder / "dance.mp4"), "frames": "0:2"}
    jobs = [
        {**shared, "reference_image": str(folder / "me.png"), "output": str(tmp_path / "a.mp4"), "seed": 1},
        {**shared, "reference_image": str(other), "output": str(tmp_path / "x" / "a.mp4"), "frames": "1:4"},
    ]
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
    assert start(folder, "--batch", tmp_path / "jobs.yaml", "--report", "--no-audio", "--seed", "5") == 0
    assert not (tmp_path / "true").exists()
    for job, count, seed in zip(jobs, (2, 3), (1, 5)):
        output = Path(job["output"])
        values = json.loads(output.with_name("a_report.json").read_text())
        assert (values["num_frames"], values["seed"], values["result"]) == (count, seed, "a.mp4")
        assert values["options"]["reference_image"] == job["reference_image"]
        assert values["options"]["frames"] == job["frames"]
        page = output.with_name("a_report.html").read_text()
        assert job["reference_image"] in page and len(values["colour"]["frames"]["lab"]) == count
    assert len({path.read_text() for path in tmp_path.rglob("a_report.json")}) == 2


def test_batch_whose_reports_would_have_one_name_is_refused(folder, tmp_path, capsys):
    batch = write_batch(folder, tmp_path, tmp_path / "a.mp4", tmp_path / "a.webm")
    assert start(folder, *batch[:2], "--report", "--no-audio") == 2
    assert_told(capsys, "job 2 of .* and job 1 would both write")
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.yaml"]


def test_report_that_cannot_be_measured_keeps_the_result(folder, tmp_path, capsys, monkeypatch):
    def fail(*arguments):
        raise ValueError("cannot be measured")

    monkeypatch.setattr(animation.ResultReport, "measure", fail)
    assert call(folder, "--frames", "0:2", "--report", output=tmp_path / "out.mp4") == 2
    assert_told(capsys, "cannot be measured .*out.mp4 is complete")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out.mp4", "out_side_by_side.mp4", "out_sheet.png", RECORDS}


def test_overlay_is_written_where_it_is_asked_for(folder, tmp_path):
    target = tmp_path / "out.mp4"
    assert call(folder, "--frames", "0:2", "--debug", "--no-audio", output=target) == 0
    overlay = probe_video(tmp_path / "out_overlay.mp4")
    assert overlay.num_frames == 2 and (overlay.height, overlay.width) == (160, 200 + 3 * 107 + 1)  # even
    assert sound_of(target) is None


def test_batch_loads_once_goes_on_and_reports(folder, tmp_path, capsys, monkeypatch):
    write_image(tmp_path / "nobody.png", painted((64, 64)))
    (tmp_path / "there.mp4").write_bytes(b"made earlier")
    shared = {"reference_image": str(folder / "me.png"), "driving_video": str(folder / "dance.mp4"), "frames": "0:2"}
    jobs = [
        {**shared, "output": str(tmp_path / "a.mp4"), "seed": 1},
        {**shared, "output": str(tmp_path / "b.mp4"), "reference_image": str(tmp_path / "nobody.png")},
        {**shared, "output": str(tmp_path / "there.mp4")},
        {**shared, "output": str(tmp_path / "c.mp4"), "seed": 2, "align": "none", "resize": "pad"},
    ]
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
    loaded, load = [], pose2vid.Pose2VideoPipeline.open
    monkeypatch.setattr(pose2vid.Pose2VideoPipeline, "open", lambda *arguments: loaded.append(1) or load(*arguments))
    assert (
        start(folder, "--batch", tmp_path / "jobs.yaml", "--skip-existing", "--report", tmp_path / "report.json") == 1
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["state"] for row in report] == ["made", "failed", "was there", "made"]
    assert "nobody is found in the reference picture" in report[1]["error"]
    assert "2 made, 1 kept, 1 failed" in capsys.readouterr().out
    assert loaded == [1] and (tmp_path / "there.mp4").read_bytes() == b"made earlier"
    frames = [next(iter(open_frames(tmp_path / name))).astype(int) for name in ("a.mp4", "c.mp4")]
    assert (frames[0] != frames[1]).any()


class Strange(BaseException):
    """What no `except Exception` catches."""


def write_batch(folder, tmp_path, *outputs):
    shared = {"reference_image": str(folder / "me.png"), "driving_video": str(folder / "dance.mp4"), "frames": "0:2"}
    jobs = [{**shared, "output": str(output)} for output in outputs]
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump({"jobs": jobs}, allow_unicode=True))
    return "--batch", tmp_path / "jobs.yaml", "--report", tmp_path / "report.json", "--no-audio"


RAISED = [
    RuntimeError("(External) CUDA error 719"),
    MemoryError(),
    OSError(errno.EIO, "Input/output error"),
    KeyError("x"),
    AssertionError(),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    StopIteration(),
    SystemExit(3),
    GeneratorExit(),
    Strange("\ud800 \x1b[31m"),
]


def test_batch_goes_on_whatever_a_job_raises(folder, tmp_path, capsys, monkeypatch):
    raised, write_case = iter([*RAISED, None]), pose2vid.write_case

    def fail(*arguments):
        if (error := next(raised)) is not None:
            raise error
        return write_case(*arguments)

    monkeypatch.setattr(pose2vid, "write_case", fail)
    outputs = [tmp_path / f"{i}.mp4" for i in range(len(RAISED) + 1)]
    assert start(folder, *write_batch(folder, tmp_path, *outputs)) == 1
    *failed, made = json.loads((tmp_path / "report.json").read_text())
    assert made["state"] == "made" and {row["state"] for row in failed} == {"failed"}
    for error, row in zip(RAISED, failed):
        assert type(error).__name__ in row["error"] or "out of memory" in row["error"]
    output = capsys.readouterr()
    assert "1 made, 11 failed" in output.out and output.err.count("error: ") == len(RAISED)
    assert "Traceback" not in output.err and "\x1b" not in output.err
    names = {path.name for path in tmp_path.iterdir()} - {RECORDS}
    made_of = {"jobs.yaml", "jobs_manifest.jsonl", "jobs_report.html", "jobs_report.json"}
    assert names == made_of | {"report.json", "11.mp4", "11_side_by_side.mp4", "11_sheet.png"}


@pytest.mark.parametrize("stop, code", [(KeyboardInterrupt(), 130), (Stopped(signal.SIGTERM), 143)])
def test_batch_that_is_stopped_reports_what_was_done(folder, tmp_path, capsys, monkeypatch, stop, code):
    write_case, done = pose2vid.write_case, []

    def fail(*arguments):
        if done:
            raise stop
        done.append(1)
        return write_case(*arguments)

    monkeypatch.setattr(pose2vid, "write_case", fail)
    assert start(folder, *write_batch(folder, tmp_path, *[tmp_path / f"{i}.mp4" for i in range(3)])) == code
    assert [row["state"] for row in json.loads((tmp_path / "report.json").read_text())] == [
        "made", "stopped", "not begun",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir() if path.name[0] in ".12"} <= {RECORDS}


@pytest.mark.parametrize(
    "outputs, message",
    [
        (["a.mp4", "a.mp4"], "job 2 of .* and job 1 have the same output"),
        (["a.mp4", "a_side_by_side.mp4"], "job 2 of .* and job 1 would both write .*a_side_by_side.mp4"),
        (["a.mp4", "x/../A.mp4"], "job 2 of .* and job 1 have the same output"),
        (["report.json.mp4", "b.mp4"], None),
    ],
)
def test_jobs_that_would_write_one_file_are_refused_before_any_work(folder, tmp_path, capsys, outputs, message):
    arguments = write_batch(folder, tmp_path, *[tmp_path / name for name in outputs])
    if message is None:
        arguments = (*arguments[:3], tmp_path / "b_sheet.png", "--no-audio")
        message = "job 2 of .* and the run would both write .*b_sheet.png"
    assert start(folder, *arguments) == 2
    assert_told(capsys, message)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.yaml"]


def test_report_that_would_replace_an_input_is_refused(folder, tmp_path, capsys):
    batch = write_batch(folder, tmp_path, tmp_path / "a.mp4")
    for report in (tmp_path / "jobs.yaml", folder / "me.png"):
        before = report.read_bytes()
        assert start(folder, *batch[:3], report) == 2
        assert_told(capsys, "it is the input|the report would replace")
        assert report.read_bytes() == before


@pytest.mark.parametrize("key, value", [("fps", "fast"), ("gap", 1.5), ("audio", "yes"), ("output", 3), ("seed", [1])])
def test_value_of_another_kind_in_a_batch_is_refused(folder, tmp_path, capsys, key, value):
    batch = write_batch(folder, tmp_path, tmp_path / "a.mp4")
    jobs = yaml.safe_load((tmp_path / "jobs.yaml").read_text())
    jobs["jobs"][0][key] = value
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(jobs))
    assert start(folder, *batch) == 2
    assert_told(capsys, f"job 1 of .*jobs.yaml.*{key}.* is accepted")


@pytest.mark.parametrize("name", ["长" * 83, "a" * 251, "é" * 120 + "x", "💃" * 60])
def test_long_and_chinese_names_of_outputs_and_all_that_lies_beside_them(folder, tmp_path, name):
    target = tmp_path / f"{name}.mp4"
    assert call(folder, "--frames", "0:2", "--no-audio", "--debug", output=target) == 0
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != RECORDS)
    assert len(names) == 4 and f"{name}.mp4" in names
    for ending in ("_side_by_side.mp4", "_sheet.png", "_overlay.mp4"):
        assert sum(each.endswith(ending) for each in names) == 1


def test_name_that_does_not_fit_is_refused_before_any_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pose2vid.Pose2VideoPipeline, "open", lambda *arguments: pytest.fail("something was loaded"))
    for name in ("长" * 84, "a" * 252, "💃" * 63):
        assert call(folder, "--frames", "0:2", output=tmp_path / f"{name}.mp4") == 2
        assert_told(capsys, "is too long: up to 255 bytes")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["me.png", "dance.mp4"])
def test_output_that_is_an_input_is_refused_before_any_work(folder, tmp_path, capsys, option):
    (tmp_path / "out.mp4").symlink_to(folder / option)
    before = (folder / option).read_bytes()
    assert call(folder, output=tmp_path / "out.mp4") == 2
    assert_told(capsys, f"it is the input .*{option}; an output that is no input is accepted")
    assert (folder / option).read_bytes() == before


def test_folder_that_is_lost_while_frames_are_made_costs_no_result(folder, tmp_path, capsys, monkeypatch):
    target = tmp_path / "new" / "out.mp4"
    write_case = pose2vid.write_case

    def lose(case, *arguments):
        (case.target.parent / "out.mp4").mkdir()
        (case.target.parent / "out.mp4" / "x").touch()
        return write_case(case, *arguments)

    monkeypatch.setattr(pose2vid, "write_case", lose)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert call(folder, "--frames", "0:2", "--no-audio", output=target) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    (kept,) = (tmp_path / "temporary").glob("*/out.mp4")
    assert "it is a folder" in error and f"(the result was kept as {kept})" in error
    assert probe_video(kept).num_frames == 2


@pytest.mark.parametrize(
    "content, message",
    [
        ("jobs: [{reference_image: a, driving_video: b, output: c.mp4, colour: red}]", "colour"),
        ("jobs: [{reference_image: a, output: c.mp4}]", "job 1 of .*: --driving-video is missing"),
        ("jobs: []", "lists no jobs"),
        ("work: []", "work"),
        ("jobs: [{reference_image: a, driving_video: b, output: c.avi}]", "ends in .mp4, .mov, .webm or .gif"),
        ("jobs: [{reference_image: a, driving_video: b, output: c.mp4, person: tallest}]", "person 'tallest'"),
    ],
)
def test_bad_batch_files_are_refused_as_a_whole(folder, tmp_path, capsys, content, message):
    (tmp_path / "jobs.yaml").write_text(content)
    assert start(folder, "--batch", tmp_path / "jobs.yaml") == 2
    assert_told(capsys, message)


def assert_told(capsys, message):
    import re

    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--frames", "5:99"), r"A:B with 0 <= A < B <= 30 is accepted"),
        (("--resize", "squeeze"), "resize 'squeeze' is not known; stretch, crop, pad or fit is accepted"),
        (("--align", "never"), "align 'never' is not known; shape, original or none is accepted"),
        (("--system", "stable"), "system 'stable' is not known; animate_anyone or stable_animator is accepted"),
        (("--person", "9"), "no frame of the driving video shows one person"),
        (("--batch", "jobs.yaml"), "it or the three options is accepted"),
    ],
)
def test_bad_options_are_refused(folder, tmp_path, capsys, arguments, message):
    assert call(folder, *arguments, output=tmp_path / "out.mp4") == 2
    assert_told(capsys, message)
    assert list(tmp_path.iterdir()) == []


def test_missing_inputs_are_named(folder, capsys):
    assert start(folder, "--output", "out.mp4") == 2
    assert_told(capsys, "--reference-image, --driving-video is missing; both, or --batch, are needed")


def test_video_of_one_frame_and_one_of_another_shape(folder, tmp_path):
    wide = write_dance(tmp_path / "wide.mp4", 1, size=(120, 320))
    assert call(folder, driving=wide, output=tmp_path / "out.mp4") == 0
    info = probe_video(tmp_path / "out.mp4")
    assert (info.num_frames, info.width, info.height) == (1, 64, 96)


def test_output_that_cannot_be_written_is_told_before_any_work(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert call(folder, output=tmp_path / "file" / "out.mp4") == 2
    assert_told(capsys, "cannot write .*is a file, not a folder")


def part_of_a_body(share, size=(192, 128), box=(24, 24, 104, 168)):
    """A picture whose person is seen down to a share of the height; the rest is painted dimly."""
    picture = painted(size, box)
    left, top, right, bottom = box
    picture[top + round(share * (bottom - top)) : bottom, left:right] = DIM_PAINT
    return picture


@pytest.mark.parametrize(
    "share, shown, missing",
    [
        (0.6, "r_hip", "r_knee, r_ankle, l_knee, l_ankle"),
        (0.15, "nose", "neck, r_shoulder"),  # a face alone
    ],
)
def test_joints_that_the_picture_does_not_show_are_named(folder, tmp_path, capsys, share, shown, missing):
    write_image(tmp_path / "part.png", part_of_a_body(share))
    target = tmp_path / "out.mp4"
    assert call(folder, "--frames", "0:2", "--no-audio", reference=tmp_path / "part.png", output=target) == 0
    assert probe_video(target).num_frames == 2
    (note,) = (line for line in capsys.readouterr().err.splitlines() if "does not show" in line)
    assert missing in note and shown not in note and note.endswith("aligned by the other joints")


def test_half_a_body_is_aligned_like_the_whole(folder, tmp_path):
    frames = []
    for name, share in (("whole", 1.0), ("half", 0.6)):
        write_image(tmp_path / f"{name}.png", part_of_a_body(share))
        target = tmp_path / f"{name}.mp4"
        assert call(folder, "--frames", "0:2", "--no-audio", reference=tmp_path / f"{name}.png", output=target) == 0
        frames.append(next(iter(open_frames(tmp_path / f"{name}_side_by_side.mp4")))[:, 64:128])
    rows = [np.nonzero(frame.max(axis=(1, 2)) > 60)[0] for frame in frames]
    assert abs(rows[0][0] - rows[1][0]) <= 2 and abs(rows[0][-1] - rows[1][-1]) <= 2


@pytest.mark.parametrize("picture, video, way", [((192, 96), (90, 240), "pad"), ((80, 220), (240, 100), "crop")])
def test_picture_and_video_of_opposite_shapes(folder, tmp_path, picture, video, way):
    height, width = picture
    tall = min(0.8 * height, 0.8 * width * 4 / 3)  # people three wide and four high, as the pose network's crops
    box = [round(x) for x in (width / 2 - tall * 3 / 8, 0.05 * height, width / 2 + tall * 3 / 8, 0.05 * height + tall)]
    write_image(tmp_path / "me.png", painted(picture, box))
    middle = video[1] // 2
    with VideoWriter(tmp_path / "v.mp4", 25, video[1], video[0], crf=4) as writer:
        for _ in range(2):
            writer.write(painted(video, (middle - 24, 10, middle + 24, 74)))
    target = tmp_path / "out.mp4"
    inputs = {"reference": tmp_path / "me.png", "driving": tmp_path / "v.mp4", "output": target}
    assert call(folder, "--resize", way, "-W", "128", "-H", "192", **inputs) == 0
    skeleton = next(iter(open_frames(tmp_path / "out_side_by_side.mp4")))[:, 128:256]
    rows, columns = (np.nonzero(skeleton.max(axis=axes) > 60)[0] for axes in ((1, 2), (0, 2)))
    # The figure of the video, 48 wide and 64 high, keeps its shape wherever it goes. Joints are dots of radius 4.
    body_height, body_width = (np.ptp(rows) - 8) / 0.9, (np.ptp(columns) - 8) / 0.52
    assert body_height / body_width == pytest.approx(64 / 48, rel=0.15)


def test_failure_beside_the_result_keeps_the_result(folder, tmp_path, capsys, monkeypatch):
    write = VideoWriter.write

    def fail(self, frames):
        if "side_by_side" in self.path.name and self.num_frames == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, frames)

    monkeypatch.setattr(VideoWriter, "write", fail)
    assert call(folder, "--frames", "0:4", "--no-audio", output=tmp_path / "out.mp4") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no space left on the disk while writing" in error and "out_side_by_side.mp4" in error
    assert error.endswith(f"({tmp_path / 'out.mp4'} is complete)")
    assert probe_video(tmp_path / "out.mp4").num_frames == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORDS, "out.mp4", "out_sheet.png"]


def test_full_disk_is_told_and_leaves_no_file(folder, tmp_path, capsys, monkeypatch):
    def fail(self, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoWriter, "write", fail)
    assert call(folder, "--frames", "0:2", output=tmp_path / "out.mp4") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "no space left on the disk" in error
    assert list(tmp_path.iterdir()) == []


# Without weights, DWPose or options: the networks that ship find the drawn woman that ships.


def write_walk(path, count=12, audio=None):
    """The drawn woman, who goes to the right."""
    woman = cartoon()[:, 30:150]
    with VideoWriter(path, 25, 200, 256, crf=4, audio=audio) as writer:
        for i in range(count):
            frame = np.full((256, 200, 3), 74, np.uint8)
            frame[:, 10 + 4 * i : 130 + 4 * i] = woman
            writer.write(frame)
    return path


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A folder without weights in which one works, with dance.mp4."""
    (tmp_path / "clips").mkdir()
    write_walk(tmp_path / "clips" / "dance.mp4", audio=Audio(with_sound(tmp_path / "sound.mp4", "aac")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start_fresh(*arguments):
    return run(animate.make_parser(), animate.work, [str(argument) for argument in arguments])


def test_picture_and_video_alone_are_enough(fresh, capsys):
    inputs = ("--reference-image", CARTOON, "--driving-video", "clips/dance.mp4")
    assert start_fresh(*inputs, "--steps", 2) == 0
    out, err = capsys.readouterr()
    target = "reference_dance.mp4"
    assert f"video         {target}" in out
    told = [line for line in err.splitlines() if line.startswith(("Model:", "Poses:"))]
    assert "draws cartoon people" in told[0] and "download_weights.py --system animate_anyone" in told[0]
    assert told[1].startswith("Poses: MediaPipe (embedded); DWPose's files are not in") and len(told) == 2
    assert sorted(path.name for path in fresh.glob("reference*")) == [
        "reference_dance.mp4",
        "reference_dance_sheet.png",
        "reference_dance_side_by_side.mp4",
    ]
    info = probe_video(target)
    assert (info.width, info.height, info.num_frames, info.fps) == (192, 192, 12, 25)
    assert sound_of(target) is not None
    middle = [row[:, 192:384] for row in open_frames("reference_dance_side_by_side.mp4")]
    columns = [np.nonzero(frame.max(axis=(0, 2)) > 60)[0].mean() for frame in middle]
    assert columns[-1] > columns[0] + 15, "the skeleton goes to the right"
    recorded = json.loads((fresh / RECORDS).read_text().splitlines()[0])
    assert "pose_landmark_full.onnx" in json.dumps(recorded), "the networks are part of what it is made of"


@pytest.mark.parametrize(
    "size, expected",
    [((256, 256), (192, 192)), ((200, 300), (192, 288)), ((300, 200), (288, 192)), ((100, 900), (192, 384))],
)
def test_demo_model_draws_in_the_shape_of_the_picture(fresh, size, expected):
    write_image("me.png", np.zeros((size[1], size[0], 3), np.uint8))
    options = animate.make_parser().parse_args(["--reference-image", "me.png", "--driving-video", "clips/dance.mp4"])
    config, job = animate.read_config(options)
    assert (config.width, config.height, config.num_frames) == (*expected, None) and job.output == "me_dance.mp4"


@pytest.mark.parametrize(
    "arguments", [("--config", "configs/inference/animation.yaml"), ("--system", "stable_animator")]
)
def test_what_was_asked_for_is_not_replaced_by_the_demo_model(fresh, capsys, arguments):
    inputs = ("--reference-image", CARTOON, "--driving-video", "clips/dance.mp4")
    assert start_fresh(*inputs, *arguments) == 2
    assert "Model:" not in (err := capsys.readouterr().err) and "do not exist" in err


def test_weights_that_are_not_whole_are_told(fresh, capsys):
    (fresh / "pretrained_weights" / "sd-vae-ft-mse").mkdir(parents=True)
    assert start_fresh("--reference-image", CARTOON, "--driving-video", "clips/dance.mp4") == 2
    assert "Model:" not in (err := capsys.readouterr().err) and "reference_unet" in err


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORDS and path.is_file()}


def test_stopped_run_does_not_estimate_again_and_has_the_same_bits(folder, tmp_path, capsys, monkeypatch):
    options = ("--frames", "0:6")
    assert call(folder, *options, output=tmp_path / "whole" / "out.mp4") == 0
    monkeypatch.setattr(kept_poses, "WORTH", 0.0)
    run_to = functools.partial(call, folder, *options, output=tmp_path / "out" / "out.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(pose2vid, "open_pipeline", stop)
        assert run_to() == 130
    assert "does not estimate the poses of 6 frames again" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(poses, "make_estimator", lambda *_, **__: pytest.fail("networks are loaded"))
        assert run_to() == 0
    assert "the poses of 6 frames are those that an earlier run has kept" in capsys.readouterr().err
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole") and len(list((tmp_path / "out").iterdir())) == 4


def stop(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "options, words",
    [
        ({"driving": "other.mp4"}, "--driving-video has another content"),
        ({"reference": "other.png"}, "--reference-image has another content"),
        ({"more": ("--frames", "1:4")}, "--frames was"),
        ({"more": ("--smoothing", "0")}, "--smoothing was 1.0 and is 0.0"),
        ({"more": ("--person", "left")}, "--person was 'largest' and is 'left'"),
        ({"more": ("-W", "80")}, "width was 64 and is 80"),
        ({"more": ("--overwrite",)}, None),
        ({"more": ("--seed", "3", "--unseen-joints", "none")}, "are those that an earlier run has kept"),
    ],
    ids=str,
)
def test_kept_poses_of_something_else_are_not_used(folder, tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.setattr(kept_poses, "WORTH", 0.0)
    monkeypatch.setattr(pose2vid, "open_pipeline", stop)
    write_dance(folder / "other.mp4", 20)
    write_image(folder / "other.png", painted((192, 128), (24, 24, 100, 160)))
    more = ("--frames", "0:3")
    assert call(folder, *more, output=tmp_path / "out.mp4") == 130
    capsys.readouterr()
    names = {"driving": "dance.mp4", "reference": "me.png", "more": ()} | options
    more = (*more, *names.pop("more"))
    assert call(folder, *more, output=tmp_path / "out.mp4", **names) == 130
    told = capsys.readouterr().err
    assert words is None or words in told
    assert ("Poses: " in told) == (words is None or "earlier run has kept" not in words), "networks estimate again"


def test_refused_run_keeps_no_poses(folder, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise InputError("it does not fit; less is accepted")

    monkeypatch.setattr(kept_poses, "WORTH", 0.0)
    monkeypatch.setattr(pose2vid, "open_pipeline", refuse)
    assert call(folder, "--frames", "0:2", output=tmp_path / "out.mp4") == 2
    assert list(tmp_path.iterdir()) == []


def test_talking_head_leaves_the_person_of_the_picture_whole(fresh, capsys, monkeypatch):
    inputs = ("--reference-image", sample("reference_images/younglady.png"), "--frames", "0:4", "--steps", 1)
    inputs += ("--driving-video", sample("driving_videos/talking_head.mp4"))
    assert start_fresh(*inputs, "--report", "--output", "out.mp4") == 0
    info = probe_video("out.mp4")
    assert (info.width, info.height, info.num_frames) == (192, 288, 4)
    line = "joints not seen in the driving video are taken from the picture: neck, r_shoulder, r_elbow"
    assert line in capsys.readouterr().err
    report = json.loads((fresh / "out_report.json").read_text())
    assert report["options"]["unseen_joints"] == "picture" and "l_ankle" in report["poses"]["joints_from_picture"]
    assert "taken from the pose of the picture: neck" in (fresh / "out_report.html").read_text()
    skeleton = np.stack(list(open_frames("out_side_by_side.mp4")))[:, :, 192:384]
    assert np.ptp(np.nonzero(skeleton.max(axis=(0, 2, 3)) > 60)[0]) > 0.7 * 288
    monkeypatch.setattr(pose2vid, "open_pipeline", stop)
    assert start_fresh(*inputs, "--unseen-joints", "none", "--output", "none.mp4") == 130
    assert line not in capsys.readouterr().err
