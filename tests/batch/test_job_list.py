"""Lists of jobs: what is read of them, and what is refused before any job begins."""

import os

import pytest

from ppdiffusers_ext.batch.job_list import check_files_apart, check_place, read_job_list, shard_of
from ppdiffusers_ext.errors import InputError

COMMANDS = ("animate", "pose2vid")


def read(tmp_path, text, name="jobs.yaml"):
    (tmp_path / name).write_text(text)
    return read_job_list(tmp_path / name, COMMANDS)


def test_defaults_go_behind_what_a_job_says(tmp_path):
    text = "defaults: {command: pose2vid, seed: 1}\njobs:\n- {output: a.mp4}\n- {output: b.mp4, seed: 2}\n"
    jobs = read(tmp_path, text)
    assert [(job.command, job.values["seed"], job.output) for job in jobs] == [
        ("pose2vid", 1, "a.mp4"),
        ("pose2vid", 2, "b.mp4"),
    ]
    assert jobs[0].digest != jobs[1].digest


def test_csv_says_what_yaml_says_and_empty_cells_say_nothing(tmp_path):
    jobs = read(tmp_path, 'command,output,prompt\npose2vid,a.mp4,"a, b"\n\n,b.mp4,\n', "jobs.csv")
    assert [(job.command, dict(job.values)) for job in jobs] == [
        ("pose2vid", {"output": "a.mp4", "prompt": "a, b"}),
        ("animate", {"output": "b.mp4"}),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfoutput,prompt\r\na.mp4,b\r\n",
        b"output;prompt\na.mp4;b\n",
        b"\n\noutput,prompt\n,\n\na.mp4,b\n\n",
        b'"output","prompt"\n"a.mp4","b"',
        b" output , prompt \n a.mp4 , b \n",
        b'output;prompt\na.mp4;"b"\n',
    ],
)
def test_csv_of_spreadsheets_is_read(tmp_path, content):
    (tmp_path / "jobs.csv").write_bytes(content)
    (job,) = read_job_list(tmp_path / "jobs.csv", COMMANDS)
    assert job.values == {"output": "a.mp4", "prompt": "b"}


def test_quoted_cell_may_have_lines_and_both_marks(tmp_path):
    (job,) = read(tmp_path, 'output,prompt\na.mp4,"a, b; ""c""\nd"\n', "jobs.csv")
    assert job.values["prompt"] == 'a, b; "c"\nd'


def test_lists_that_are_too_long_are_refused(tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs:\n" + "".join(f"- {{output: {n}.mp4}}\n" for n in range(40_000)))
    with pytest.raises(InputError, match=r"is larger than 512 KiB; .* or a CSV file .* is accepted"):
        read_job_list(tmp_path / "jobs.yaml", COMMANDS)
    (tmp_path / "jobs.csv").write_text("output\n" + "a\n" * 100_001)
    with pytest.raises(InputError, match="has 100,001 jobs; up to 100,000 are accepted"):
        read_job_list(tmp_path / "jobs.csv", COMMANDS)


@pytest.mark.parametrize("content", ["output\nä.mp4\n".encode("latin-1"), "output\na.mp4\n".encode("utf-16")])
def test_csv_in_another_encoding_is_refused(tmp_path, content):
    (tmp_path / "jobs.csv").write_bytes(content)
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_job_list(tmp_path / "jobs.csv", COMMANDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: []", "lists no jobs"),
        ("jobs: 3", "has no list of jobs"),
        ("job: []", "unknown key in .*did you mean 'jobs'"),
        ("jobs: [{output: a.mp4, command: animat}]", "command of job 1 of .*did you mean 'animate'"),
        ("jobs: [{output: a.mp4}, {seed: 1}]", "job 2 of .* has no output"),
        ("jobs: [{output: a.mp4}, {output: ./A.mp4}]", "job 2 of .* and job 1 have the same output"),
        ("jobs: [{output: a/b.mp4}, {output: a}]", "output of job 1 of .* lies in that of job 2"),
        ("defaults: 3\njobs: [{output: a.mp4}]", "defaults of .* mapping"),
        ("jobs: [{output: a}, {output: b, a-b: 1, a_b: 2}]", "job 2 of .* has the option 'a_b' twice"),
        ("defaults: {a-b: 1, a_b: 2}\njobs: [{output: a}]", "defaults of .* has the option 'a_b' twice"),
    ],
)
def test_lists_that_cannot_be_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output,output\na,b\n", "a name twice"),
        ("output,a-b,a_b\na,b,c\n", "a name twice"),
        ("output\na\0.mp4\n", "a character of code 0"),
        ("output,seed\na.mp4\n", "line 2 of .* has 1 cells, its heading 2"),
        ('output\n"a\n', "is not CSV"),
        ("", "lists no jobs"),
    ],
)
def test_csv_that_cannot_be_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, "jobs.csv")


def test_jobs_that_would_write_what_others_write_or_read_are_refused(tmp_path):
    jobs = read(tmp_path, "jobs: [{output: a.mp4, pose_video: x.mp4}, {output: b.mp4, pose_video: ./a.mp4}]")

    def check(jobs, beside=(), files=()):
        check_files_apart(jobs, lambda job: [job.output, *beside], lambda job: [job.values["pose_video"]], files)

    check(jobs[:1])
    with pytest.raises(InputError, match=r"job 1 of .* would replace ./a.mp4, which job 2 reads"):
        check(jobs)
    with pytest.raises(InputError, match="job 2 of .* and job 1 would both write sheet.png"):
        check(jobs, beside=["sheet.png"])
    with pytest.raises(InputError, match="job 1 of .* and the run would both write a.mp4"):
        check(jobs[:1], files=["A.mp4"])
    with pytest.raises(
        InputError, match="job 1 of .* would write x.mp4/sheet.png among the pictures that job 1 reads"
    ):
        check(jobs[:1], beside=["x.mp4/sheet.png"])
    with pytest.raises(InputError, match="./log would be two of the files that the run itself writes"):
        check(jobs[:1], files=["log", "./log"])


def test_places_where_no_output_can_be_made_are_refused(tmp_path):
    (tmp_path / "file.mp4").write_text("x")
    (tmp_path / "folder").mkdir()
    for output, is_of_file in (("file.mp4", True), ("new/a.mp4", True), ("folder", False), ("new/a", False)):
        check_place(tmp_path / output, is_of_file)
    wrong = [
        ("folder", True, "no regular file"),
        ("file.mp4", False, "no folder"),
        ("file.mp4/a.mp4", True, "no folder"),
    ]
    for output, is_of_file, why in wrong:
        with pytest.raises(InputError, match=f"cannot write .*{output}: .*{why}.* is accepted"):
            check_place(tmp_path / output, is_of_file)
    with pytest.raises(InputError, match="it is there, and is no regular file"):
        check_place(os.devnull)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file.mp4", "folder"]


def test_place_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    with pytest.raises(InputError, match="nothing can be made in "):
        check_place(tmp_path / "new" / "a.mp4")


def test_options_of_the_command_line_go_behind_those_of_the_file(tmp_path):
    (tmp_path / "jobs.yaml").write_text("defaults: {seed: 1}\njobs:\n- {output: a.mp4}\n- {output: b.mp4, fps: 3}\n")
    jobs = read_job_list(tmp_path / "jobs.yaml", COMMANDS, {"seed": "5", "fps": "9"})
    assert [(job.values["seed"], job.values["fps"]) for job in jobs] == [(1, "9"), (1, 3)]


def test_shards_are_all_jobs_each_once(tmp_path):
    jobs = read(tmp_path, "jobs: [{output: a}, {output: b}, {output: c}, {output: d}, {output: e}]")
    parts = [shard_of(f"{number}/3", jobs) for number in (1, 2, 3)]
    assert [[job.output for job in part] for part in parts] == [["a", "d"], ["b", "e"], ["c"]]
    with pytest.raises(InputError, match="--shard 4/3 is above the number of parts"):
        shard_of("4/3", jobs)
