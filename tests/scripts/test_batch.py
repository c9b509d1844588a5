"""The command: what it refuses before any job, and what it makes, whatever the number of workers."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.batch.job_list import BatchJob
from ppdiffusers_ext.batch.manifest import Manifest, read_manifest
from ppdiffusers_ext.batch.run import IS_FULL, NAME, Batch
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.workers.local import LocalEngine
from scripts import batch_jobs
from scripts.batch import make_parser, work
from scripts.command import run
from tests.support.holder import Holder
from tests.support.prometheus import parsed

ROOT = Path(__file__).parents[2]
DEFAULTS = {
    "command": "pose2vid",
    "config": "configs/inference/demo.yaml",
    "reference_image": "assets/reference.png",
    "pose_video": "assets/pose.mp4",
    "num_frames": 2,
    "num_inference_steps": 1,
    "width": 64,
    "height": 64,
}

DEFAULTS_OF_JOB = {name: value for name, value in DEFAULTS.items() if name != "command"}


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def write(tmp_path, *jobs, **defaults):
    values = {"defaults": {**DEFAULTS, **defaults}, "jobs": [dict(job) for job in jobs]}
    for number, job in enumerate(values["jobs"]):
        job.setdefault("output", str(tmp_path / f"{number}.mp4"))
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(values))
    return str(tmp_path / "jobs.yaml")


def start(*arguments):
    return run(make_parser(), work, arguments)


@pytest.mark.parametrize(
    ("jobs", "arguments", "message"),
    [
        (({}, {"sed": 1}), (), "unknown option of pose2vid in job 2 of .*did you mean 'seed'"),
        (
            ({}, {"command": "predict_t2v"}),
            (),
            "job 2 of .*or in the defaults of all jobs: 'pose_video'",
        ),
        (({}, {"seed": "x"}), (), "job 2 of .*seed is 'x'; a whole number"),
        (({}, {"reference_image": "gone.png"}, {}), (), "job 2 of .*gone.png"),
        (({}, {"config": "gone.yaml"}), (), "job 2 of .*gone.yaml"),
        (({"output": "a.mp4"}, {"output": "./a.mp4"}), (), "have the same output"),
        (({"overwrite": True},), (), "unknown option of pose2vid .*'overwrite'"),
        (({"output": "assets/pose.mp4", "pose_video": "tests/data/__init__.py"}, {}), (), "job 1 of .* would replace"),
        (({"output": "tests/__init__.py"},), (), "job 1 of .* cannot write tests/__init__.py: .* no folder"),
        (({"output": os.devnull},), (), "job 1 of .* cannot write /dev/null"),
        (({}, {"sed": 1}), ("--shard", "1/2"), "unknown option of pose2vid in job 2 of .*did you mean 'seed'"),
        (({"output": "assets/pose.mp4", "pose_video": "tests/data/__init__.py"}, {}), ("--shard", "2/2"), "would rep"),
        (({},), ("--shard", "3/2"), "--shard 3/2 is above the number of parts"),
        (({},), ("--shard", "0/2"), "I/N with I from 1 to N"),
        (({},), ("--address", "127.0.0.1:1"), "--address is for --engine ray"),
        (({},), ("--engine", "ray", "--address", "127.0.0.1:1"), "--address 127.0.0.1:1 does not answer"),
    ],
)
def test_bad_jobs_are_refused_before_any_begins(tmp_path, capsys, jobs, arguments, message):
    path = write(tmp_path, *jobs)
    assert start(path, *arguments) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("error: ")
    assert re.search(message, told[0]), told[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["jobs.yaml"]


def test_ray_that_is_not_installed_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert start(write(tmp_path, {}), "--engine", "ray") == 2
    assert "pip install 'ppdiffusers_ext[ray]'" in capsys.readouterr().err


def test_second_run_on_a_manifest_is_refused(tmp_path, capsys):
    holder = Holder()
    holder.hold(str(tmp_path / "jobs_manifest.jsonl"))
    try:
        assert start(write(tmp_path, {})) == 2
        assert f"jobs_manifest.jsonl is being written by process {holder.number}" in capsys.readouterr().err
    finally:
        holder.hold()
        holder._process.kill()


@pytest.mark.parametrize(
    ("job", "report", "audio"),
    [
        ({}, None, True),
        ({"report": True, "no_audio": True}, "true", False),
        ({"report": "false", "no_audio": False}, "false", True),
        ({"report": False, "audio": False}, "false", False),
    ],
)
def test_switches_of_animate_are_what_the_job_says(job, report, audio):
    given = {"reference_image": "assets/reference.png", "driving_video": "assets/pose.mp4", "output": "a.mp4", **job}
    options = batch_jobs.options_of("animate", given)
    config, animated = batch_jobs.COMMANDS["animate"].checked(options)
    assert options.report == report and animated.audio is audio and config.report is (report == "true")


def test_old_names_and_switches_are_options_of_a_job():
    values = {"config": DEFAULTS["config"], "output": "a.mp4", "no_report": True}
    options = batch_jobs.options_of("pose2vid", values)
    assert options.given.report == "false" and options.given.output == "a.mp4"


@pytest.mark.parametrize("value", [True, False, "true", "false"])
def test_switch_of_a_job_is_what_the_job_says(value):
    values = {"config": DEFAULTS["config"], "output": "a.mp4", "report": value}
    given = batch_jobs.options_of("pose2vid", values).given
    assert str(given.report).lower() == str(value).lower()
    config = batch_jobs.COMMANDS["pose2vid"].checked(batch_jobs.options_of("pose2vid", {**DEFAULTS_OF_JOB, **values}))
    assert config.report is (value in (True, "true"))


def run_here(tmp_path, jobs, workers):
    """The jobs in this process, or in workers: the `Manifest`."""
    manifest = Manifest(tmp_path / "manifest.jsonl")
    manifest.begin([(job.output, job.digest) for job in jobs])
    engine = LocalEngine(workers, threads=1)
    try:
        work = batch_jobs.CommandWork(str(ROOT))
        Batch(jobs, manifest, batch_jobs.inputs_of, 3).run(engine, work, lambda entry, progress: None)
    finally:
        engine.close()
        manifest.close()
    return manifest


def jobs_in(folder, count):
    values = [{**DEFAULTS, "seed": number, "output": str(folder / f"{number}.mp4")} for number in range(count)]
    return [BatchJob(number, each.pop("command"), each, f"job {number}") for number, each in enumerate(values, 1)]


@pytest.mark.long
def test_results_have_the_bits_of_one_worker_with_two_and_failures_have_reasons(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run_here(one, jobs_in(one, 3), workers=1)
    jobs = jobs_in(two, 3)
    lost = BatchJob(4, "pose2vid", {**jobs[0].values, "reference_image": str(tmp_path / "lost.png"),
                                    "output": str(two / "lost.mp4")}, "job 4")  # fmt: skip
    manifest = run_here(two, [jobs[0], lost, *jobs[1:]], workers=2)
    assert [entry.state for entry in manifest.entries.values()] == ["made", "failed", "made", "made"]
    assert "lost.png" in manifest.entries[lost.output].reason
    made = [(folder / f"{number}.mp4").read_bytes() for number in range(3) for folder in (one, two)]
    assert made[::2] == made[1::2] and len(set(made)) == 3
    assert all(entry.memory > 10**7 and entry.seconds > 0 for entry in manifest.entries.values() if entry.memory)


def test_job_whose_file_is_lost_meanwhile_fails_alone(tmp_path):
    (job,) = jobs_in(tmp_path, 1)
    gone = {**job.values, "reference_image": str(tmp_path / "lost.png"), "output": str(tmp_path / "lost.mp4")}
    manifest = run_here(tmp_path, [BatchJob(1, "pose2vid", gone, "job 1"), job], workers=0)
    assert [entry.state for entry in manifest.entries.values()] == ["failed", "made"]
    assert "lost.png" in manifest.entries[gone["output"]].reason
    made = manifest.entries[job.output]
    assert made.memory > 10**7 and made.seconds > 0 and made.attempts == 1


def test_output_of_something_else_is_refused_and_the_same_one_is_kept(tmp_path):
    (job,) = jobs_in(tmp_path, 1)
    run_here(tmp_path, [job], workers=0)
    (tmp_path / "manifest.jsonl").unlink()
    assert run_here(tmp_path, [job], workers=0).entries[job.output].state == "kept"
    other = BatchJob(1, "pose2vid", {**job.values, "num_inference_steps": 2}, "job 1")
    entry = run_here(tmp_path, [other], workers=0).entries[job.output]
    assert entry.state == "failed" and "--overwrite replaces it" in entry.reason


def outcome_of(monkeypatch, work):
    """What becomes of a job whose command does other work."""
    command = batch_jobs.COMMANDS["pose2vid"]
    monkeypatch.setitem(
        batch_jobs.COMMANDS, "pose2vid", batch_jobs.Command(command.make_parser, command.checked, work)
    )
    doing = batch_jobs.CommandWork(str(ROOT))
    doing.open()
    return doing({"command": "pose2vid", "values": {"output": "a.mp4"}}, (NAME,))[NAME]


def failing(number):
    def work(options):
        raise OSError(number, os.strerror(number))

    return work


def test_output_is_made_again_where_it_is_gone_and_kept_with_a_word_where_it_was_changed(tmp_path):
    jobs = jobs_in(tmp_path, 2)
    first = run_here(tmp_path, jobs, workers=0)
    contents = (tmp_path / "0.mp4").read_bytes()
    (tmp_path / "0.mp4").unlink()
    (tmp_path / "1.mp4").write_bytes(b"something else")
    entries = list(run_here(tmp_path, jobs, workers=0).entries.values())
    assert [each.state for each in first.entries.values()] == ["made", "made"]
    assert [each.state for each in entries] == ["made", "kept"] and (tmp_path / "0.mp4").read_bytes() == contents
    assert [each.reason for each in entries] == ["", "no run has made it as it is; removed, it is made anew"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_as_one(monkeypatch, number):
    outcome = outcome_of(monkeypatch, failing(number))
    assert os.strerror(number) in outcome["error"] and outcome[IS_FULL]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EFBIG])
def test_place_that_cannot_be_written_fails_its_job_alone(monkeypatch, number):
    outcome = outcome_of(monkeypatch, failing(number))
    assert os.strerror(number) in outcome["error"] and IS_FULL not in outcome


def test_output_that_is_removed_meanwhile_fails_its_job_alone(monkeypatch):
    assert "a.mp4 was made, and something has removed it" in outcome_of(monkeypatch, lambda options: None)["error"]


def test_processes_of_a_launch_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    assert start(write(tmp_path, {})) == 2
    assert "a list of jobs is for one process" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--shard", "1/1")])
@pytest.mark.parametrize("given", ["--manifest=.", "--manifest=/", "--report=.", "--report=a/", "--report=.."])
def test_folder_in_the_place_of_a_file_of_the_run_is_refused(tmp_path, capsys, given, more):
    assert start(write(tmp_path, {}), given, *more) == 2
    assert re.match(r"error: .*(a folder|a file name).* is accepted\n$", capsys.readouterr().err)


@pytest.mark.parametrize("option", ["--manifest", "--metrics", "--report"])
def test_log_that_is_another_file_of_the_run_is_refused(tmp_path, capsys, option):
    given = str(tmp_path / "x.html")
    assert start(write(tmp_path, {}), option, given, "--log-json", f"{tmp_path}/./x.html") == 2
    assert re.search(f"--log-json and {option} are both .*; different files", capsys.readouterr().err)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["jobs.yaml"]


def test_log_that_is_an_output_is_refused(tmp_path, capsys):
    assert start(write(tmp_path, {}), "--log-json", str(tmp_path / "0.mp4")) == 2
    assert "job 1 of " in capsys.readouterr().err and not (tmp_path / "jobs_manifest.jsonl").exists()


def test_folder_that_fills_up_ends_the_run_with_the_reason(tmp_path, monkeypatch):
    def full(writer, frames):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppdiffusers_ext.data.video_writer.VideoWriter.write", full)
    with pytest.raises(InputError, match="no space left on the disk .*: the same command goes on"):
        run_here(tmp_path, jobs_in(tmp_path, 2), workers=0)
    states = [entry.state for entry in read_manifest(tmp_path / "manifest.jsonl")]
    assert states == ["waiting", "waiting"] and not list(tmp_path.glob("*.mp4"))


def test_inputs_are_what_a_result_is_made_of():
    values = {"output": "a.mp4", "engine_cache": "cache", "model": "v4", "lora": [["a.safetensors", 1]], "config": "c"}
    job = BatchJob(1, "predict_t2v", values, "job 1")
    assert sorted(batch_jobs.inputs_of(job)) == ["a.safetensors", "c", "v4"]
    values = {"output": "a.mp4", "driving_video": "b.mp4", "report": "true", "dwpose": "DWPose"}
    assert sorted(batch_jobs.inputs_of(BatchJob(1, "animate", values, "job 1"))) == ["DWPose", "b.mp4"]


def test_what_a_configuration_names_is_an_input(tmp_path):
    picture, config = tmp_path / "me.png", yaml.safe_load((ROOT / DEFAULTS["config"]).read_text())
    picture.write_bytes((ROOT / DEFAULTS["reference_image"]).read_bytes())
    config["test_cases"] = {str(picture): [DEFAULTS["pose_video"]]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    values = {"config": str(tmp_path / "config.yaml"), "output": str(tmp_path / "0.mp4")}
    inputs = batch_jobs.check_job(BatchJob(1, "pose2vid", values, "job 1"))
    weights = config["denoising_unet_path"]
    assert {str(picture), values["config"], DEFAULTS["pose_video"], weights} <= set(inputs)
    assert values["output"] not in inputs


def test_note_of_many_jobs_is_told_once(tmp_path, capsys):
    job = {"driving_video": "assets/pose.mp4", "reference_image": "assets/reference.png"}
    jobs = [{**job, "output": str(tmp_path / f"{number}.mp4")} for number in range(3)]
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump({"jobs": [*jobs, {**job, "output": os.devnull}]}))
    assert start(str(tmp_path / "jobs.yaml")) == 2  # the last one
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
    start(str(tmp_path / "jobs.yaml"), "--workers", "0", "--attempts", "1")
    assert capsys.readouterr().err.count("Model: the small demo model") == 1


def test_job_that_is_given_up_is_named_with_what_tries_it_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(batch_jobs.CommandWork, "_outcome", lambda work, command, values: {"error": "it is bad"})
    path = write(tmp_path, {}, {})
    assert start(path, "--workers", "0", "--attempts", "1") == 1
    capsys.readouterr()
    assert start(path, "--workers", "0", "--attempts", "1") == 1
    out, err = capsys.readouterr()
    assert [f"{number}.mp4: failed 1 time and is not tried again: it is bad" in err for number in (0, 1)] == [True] * 2
    assert "--retry-failed" in err and "2 of 2 jobs need no more work" in out
    assert start(path, "--workers", "0", "--attempts", "1", "--retry-failed") == 1
    assert "is not tried again" not in capsys.readouterr().err


def test_kept_output_keeps_what_is_known_of_its_making(tmp_path):
    path = write(tmp_path, {})
    assert start(path, "--workers", "0") == 0
    (made,) = read_manifest(tmp_path / "jobs_manifest.jsonl")
    os.utime(tmp_path / "0.mp4", ns=(1, 1))
    assert start(path, "--workers", "0") == 0
    (kept,) = read_manifest(tmp_path / "jobs_manifest.jsonl")
    assert (made.state, kept.state) == ("made", "kept") and made.seconds > 0
    assert (kept.seconds, kept.memory, kept.stages) == (made.seconds, made.memory, made.stages)


def test_value_of_another_kind_is_refused():
    for name, value in (("seed", [1]), ("guidance_interval", [[1], 2]), ("guidance_interval", 3), ("fps", {"a": 1})):
        with pytest.raises(InputError, match="accepted"):
            batch_jobs.check_job(BatchJob(1, "pose2vid", {**DEFAULTS, "output": "a.mp4", name: value}, "job 1"))


def test_part_without_jobs_is_no_failure(tmp_path, capsys):
    assert start(write(tmp_path, {}), "--shard", "3/3") == 0
    assert json.loads((tmp_path / "jobs_report_3-of-3.json").read_text())["jobs"] == []


def test_events_and_numbers_are_written_beside_the_report(tmp_path):
    arguments = ["--workers", "0", "--log-json", str(tmp_path / "log"), "--metrics", str(tmp_path / "a.prom")]
    assert start(write(tmp_path, {}), *arguments) == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [each["event"] for each in events] == ["run_started", "job_started", "job_finished", "run_finished"]
    assert set(events[2]["stages"]) == {"loading", "denoising", "decoding"}
    _, states = parsed((tmp_path / "a.prom").read_text())["ppdiffusers_ext_batch_jobs"]
    assert states[(("list", "jobs.yaml"), ("state", "made"))] == 1


def test_identity_and_pose_error_come_from_the_report_of_a_result(tmp_path):
    for mean, identity in ((0.5, {"identity": 0.5}), (-0.1, {"identity": -0.1}), (float("nan"), {}), ("x", {})):
        values = {"csim_x": {"mean": mean}, "poses": {"body": {"akd_pixels": 2.0}}}
        (tmp_path / "a_report.json").write_text(json.dumps(values))
        assert batch_jobs.figures_of(str(tmp_path / "a.mp4")) == {**identity, "pose_error": 2.0}
    assert batch_jobs.figures_of(str(tmp_path / "b.mp4")) == {}


@pytest.mark.long
def test_parts_and_a_run_that_puts_them_together(tmp_path):
    path = write(tmp_path, {"seed": 1}, {"seed": 2}, {"seed": 3})
    command = [sys.executable, "-m", "scripts.batch", path]
    for words in (["--shard", "1/2"], ["--shard", "2/2"], []):
        run = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    assert "3 made" in run.stdout and run.stderr == ""
    assert {entry.attempts for entry in read_manifest(tmp_path / "jobs_manifest.jsonl")} == {1}
    assert json.loads((tmp_path / "jobs_report.json").read_text())["states"] == {"made": 3}
    assert (tmp_path / "jobs_report_2-of-2.html").is_file()


@pytest.mark.long
def test_ray_makes_the_bits_of_the_local_engine(tmp_path):
    made = {}
    for engine in ("local", "ray"):
        folder = tmp_path / engine
        folder.mkdir()
        path = write(folder, {"seed": 1}, {"seed": 2}, {"seed": 3})
        command = [sys.executable, "-m", "scripts.batch", path, "--engine", engine, "--workers", "2", "--threads", "1"]
        subprocess.run(command, capture_output=True, check=True)
        made[engine] = [(folder / f"{number}.mp4").read_bytes() for number in range(3)]
    assert made["local"] == made["ray"]


def test_value_that_a_command_refuses_names_its_job():
    job = BatchJob(7, "predict_t2v", {"output": "a.mp4", "num_frames": -1}, "job 7 of jobs.csv")
    with pytest.raises(InputError, match=r"job 7 of jobs.csv: num_frames is -1"):
        batch_jobs.check_job(job)
