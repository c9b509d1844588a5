"""What the worker does, in this process: runs of the small model, plans, people, progress."""

import json
import time

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.pipelines.watching import RunStopped, Watch
from ppdiffusers_ext.server.catalogue import Catalogue
from ppdiffusers_ext.server.execution import Given, build
from ppdiffusers_ext.server.progress import PREVIEW, Progress
from ppdiffusers_ext.server.running import Runner, _name_files_alone, num_frames_of, plan, work_of
from ppdiffusers_ext.server.settings import ServerSettings
from tests.support.easy_folders import write_easy
from tests.support.real_people import cartoon

SETTINGS = ServerSettings(device="cpu")
SMALL = {"width": 64, "height": 96, "num_frames": 2, "steps": 2}


def task_of(folder, options, role="pose_video", video="assets/pose.mp4", frames=48, fps=15.0):
    files = {"reference_image": Given("assets/reference.png", "image"), role: Given(video, "video", frames, fps)}
    return build("animate_anyone", options, files, folder, Catalogue(SETTINGS), SETTINGS)


def test_runs_write_results_by_name_and_an_attempt_after_another_goes_on(tmp_path):
    runner, told = Runner(), []
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "result_sheet.png").write_bytes(b"half of an attempt that was killed")
    (folder / "result_side_by_side.mp4").write_bytes(b"the same")
    progress = Progress(told.append, folder, every=1, has_poses=False)
    results = runner.run(task_of(folder, {**SMALL, "report": True}), folder, progress)
    assert results == {
        "result": "result.mp4", "side_by_side": "result_side_by_side.mp4", "sheet": "result_sheet.png",
        "report": "result_report.json", "report_page": "result_report.html", "preview": PREVIEW,
    }  # fmt: skip
    assert len(list(open_frames(folder / "result.mp4"))) == 2
    written = (folder / "result_report.json").read_text() + (folder / "result_report.html").read_text()
    assert str(folder) not in written and '"output": "result.mp4"' in written  # clients read it
    assert PIL.Image.open(folder / PREVIEW).size == (64, 96)
    events = [message["event"] for message in told]
    assert events[0] == "plan" and events.count("preview") == 1
    done = [message["progress"] for message in told if message["event"] == "progress"]
    assert done == sorted(done) and 0 <= done[0] < 0.1 and done[-1] > 0.8
    stages = list(dict.fromkeys(message["stage"] for message in told if message["event"] == "progress"))
    assert stages == ["loading", "denoising", "decoding", "measuring"]
    assert set(progress.seconds) == {"loading", "denoising", "decoding"}
    before = (folder / "result.mp4").stat().st_mtime_ns
    again = runner.run(task_of(folder, {**SMALL, "report": True}), folder, Watch())
    assert again == results and (folder / "result.mp4").stat().st_mtime_ns == before


def test_texts_that_look_like_paths_leave_a_report_as_it_is(tmp_path):
    made = tmp_path / "made.mp4"
    made.touch()
    told = {"output": str(made), "prompts": ["/", "/t", "/td", "/tmp", "/no/such\0file"]}
    files = [tmp_path / "report.json", tmp_path / "report.html"]
    files[0].write_text(json.dumps(told))
    files[1].write_text(f"<td>{made}</td><td>/t</td>")
    _name_files_alone(files)
    assert json.loads(files[0].read_text()) == {**told, "output": "made.mp4"}
    assert files[1].read_text() == "<td>made.mp4</td><td>/t</td>"


def test_a_driving_video_is_animated_as_the_command_does_and_a_stop_is_within_a_step(tmp_path):
    with VideoWriter(tmp_path / "dance.mp4", 25, 256, 256) as writer:
        for _ in range(2):
            writer.write(np.asarray(PIL.Image.fromarray(cartoon()).resize((256, 256))))
    runner, told = Runner(), []
    video = str(tmp_path / "dance.mp4")
    options = {**SMALL, "steps": 900, "poses": "embedded", "frames": "0:2"}
    folder = tmp_path / "job"

    def send(message):
        told.append(message)
        if message.get("stage") == "denoising":
            progress.stop()

    progress = Progress(send, folder, every=0, has_poses=True)
    with pytest.raises(RunStopped):
        runner.run(task_of(folder, options, "driving_video", video, 2, 25.0), folder, progress)
    stages = list(dict.fromkeys(message["stage"] for message in told if message["event"] == "progress"))
    assert stages == ["poses", "loading", "denoising"]
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == []
    results = runner.run(task_of(folder, {**options, "steps": 1}, "driving_video", video, 2, 25.0), folder, Watch())
    assert set(results) == {"result", "side_by_side", "sheet"}


def test_a_video_is_made_of_a_text_with_a_model_of_the_folder(tmp_path):
    write_easy(tmp_path / "models" / "easy_animate" / "mine", "v4")
    settings = ServerSettings(device="cpu", models=str(tmp_path / "models"), preview_every=1)
    options = {"model": "mine", "prompt": "a cat", "width": 64, "height": 48, "num_frames": 8, "steps": 2}
    task = build("easy_animate", options, {}, tmp_path / "job", Catalogue(settings), settings)
    told = []
    progress = Progress(told.append, tmp_path / "job", every=1, has_poses=False)
    results = Runner().run(task, tmp_path / "job", progress)
    assert results == {"result": "result.mp4", "sheet": "result_sheet.png", "preview": PREVIEW}
    assert PIL.Image.open(tmp_path / "job" / PREVIEW).size == (64, 48)
    stages = list(dict.fromkeys(message["stage"] for message in told if message["event"] == "progress"))
    assert stages == ["loading", "denoising", "decoding"]
    assert plan(task, 0)["fits"] and plan(task, 0)["frames"] == 8


@pytest.mark.parametrize(
    "options, frames",
    [
        ({}, 48), ({"num_frames": 5}, 5), ({"num_frames": 500}, 48), ({"frames": "10:20"}, 10), ({"frames": "40:"}, 8),
        ({"fps": 7.5}, 24), ({"fps": 30, "num_frames": 5}, 10), ({"frames": "90:99"}, 1), ({"frames": "x"}, 48),
    ],
)  # fmt: skip
def test_frames_are_counted_without_opening_the_video(tmp_path, options, frames):
    assert num_frames_of(task_of(tmp_path, options, "driving_video", "assets/pose.mp4")) == frames


def test_plans_are_of_memory_and_of_the_amount_of_work(tmp_path):
    small, large = (plan(task_of(tmp_path, {**SMALL, "num_frames": count}), 0) for count in (2, 48))
    assert (small["frames"], small["width"], small["height"], small["rung"]) == (2, 64, 96, "high")
    assert small["fits"] and small["why"] is None and small["peak_bytes"] <= large["peak_bytes"]
    assert large["amount"] == 24 * small["amount"] == 48 * 64 * 96 * 2
    assert plan(task_of(tmp_path, SMALL), 10**9)["available_bytes"] > small["available_bytes"] + 0.5e9
    huge = plan(task_of(tmp_path, {"width": 8192, "height": 8192}), 0)
    assert not huge["fits"] and "GB are free" in huge["why"] and "accepted" in huge["why"]
    guided = work_of(task_of(tmp_path, {**SMALL, "guidance_scale": 3.0}))
    assert guided[1] == 2 * small["amount"] and guided[0] == small["kind"]


def test_a_preview_that_cannot_be_made_is_given_up_and_the_run_is_not(tmp_path, capsys):
    told = []
    progress = Progress(told.append, tmp_path / "missing", every=1, has_poses=False)
    progress.stage("denoising", 3)
    for step in (1, 2):
        progress.after_step(None, paddle.zeros([1, 4, 3, 8, 8]), step, 3)
    assert "preview" not in [message["event"] for message in told] and capsys.readouterr().err.count("Traceback") == 1


def test_time_left_shrinks_and_parts_of_a_long_video_follow_one_another(tmp_path, monkeypatch):
    told, clock = [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = Progress(told.append, tmp_path, every=0, has_poses=False)
    for part in range(3):
        progress.part(part, 3)
        for stage, total in (("denoising", 10), ("decoding", 5)):
            progress.stage(stage, total)
            for _ in range(total):
                clock[0] += 1.0
                progress.advance()
    done = [message["progress"] for message in told]
    assert done == sorted(done) and done[-1] == pytest.approx(0.999)
    assert done[len(done) // 3] == pytest.approx(1 / 3, abs=0.1)
    left = [message["seconds_left"] for message in told if message["seconds_left"] is not None]
    assert left[-1] < 1 and left[len(left) // 2] == pytest.approx(22, abs=8)
