"""`python -m scripts.serve`: refusals in one line, a job from upload to result, and an orderly end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ppdiffusers_ext.server import serving
from scripts import serve
from scripts.command import run
from tests.support.studio import Client, form

ROOT = Path(__file__).parents[2]
SECONDS = 240


def tell(capsys, *words):
    """The one line with which a command refuses."""
    assert run(serve.make_parser(), serve.work, list(words)) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1 and "; " in error
    return error


def test_a_port_that_is_in_use_is_refused(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in tell(capsys, "--port", str(port), "--data", str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["file/data", "file", "\udcff"])
def test_a_data_folder_that_cannot_be_written_is_refused(capsys, tmp_path, name):
    (tmp_path / "file").write_text("x")
    folder = "/proc/studio" if name == "\udcff" else str(tmp_path / name)
    tell(capsys, "--port", "0", "--data", folder)
    assert (tmp_path / "file").read_text() == "x"


def test_a_second_server_on_a_data_folder_is_refused(capsys, tmp_path):
    from ppdiffusers_ext.server.jobs import Jobs
    from ppdiffusers_ext.server.settings import ServerSettings

    jobs = Jobs(tmp_path, ServerSettings())
    try:
        assert "another server" in tell(capsys, "--port", "0", "--data", str(tmp_path))
    finally:
        jobs.stop()


@pytest.mark.parametrize(
    "words",
    [("--port", "70000"), ("--port", "x"), ("--port", "-1"), ("--host", "256.1.1.1"), ("--host", ""),
     ("--host", "no such"),
     ("--host", "192.0.2.1"), ("--token", "short"), ("--token", "with a space in its middle"), ("--max-queued", "0"),
     ("--device", "tpu"), ("--data", ""), ("--keep-days", "-1"), ("--nothing",)],
    ids=" ".join,
)  # fmt: skip
def test_options_that_cannot_be_are_refused(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    try:
        tell(capsys, "--port", "0", *words)
    except SystemExit as stop:  # of words that are no options
        assert stop.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "_NEEDED", {"fastapi": "fastapi", "no_such_module": "no-such-package"})
    monkeypatch.chdir(tmp_path)
    error = tell(capsys, "--port", "0")
    assert "no-such-package" in error and "ppdiffusers_ext[server]" in error and "fastapi," not in error


class Served:
    """The command in a process of its own. `client`: asks it; `lines`: what it printed."""

    def __init__(self, folder, *words, **environment):
        command = [sys.executable, "-m", "scripts.serve", "--port", "0", "--data", str(folder), *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT
        )
        self.lines = [self.process.stdout.readline(), self.process.stdout.readline()]
        self.client = Client(int(re.search(r":(\d+)/", self.lines[0])[1]))

    def end(self, number=signal.SIGINT):
        """(exit code, output, errors) after a signal."""
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, "".join(self.lines) + out, error


def wait_for(condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_job_from_upload_to_result_while_200_ask_at_once(tmp_path):
    served = Served(tmp_path / "data")
    try:
        client = served.client
        assert wait_for(lambda: client.ask("GET", "/health").status == 200)
        files = {role: (name, (ROOT / "assets" / name).read_bytes())
                 for role, name in (("reference_image", "reference.png"), ("pose_video", "pose.mp4"))}  # fmt: skip
        options = {"model": "demo", "num_frames": 2, "num_inference_steps": 1}
        sent = client.ask(
            "POST", "/jobs", *form({"system": "animate_anyone", "options": json.dumps(options), **files})
        )
        assert sent.status == 201
        path = f"/jobs/{sent.json['id']}"
        wait_for(lambda: client.ask("GET", path).json["state"] == "running")
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(client.ask("GET", "/health"))) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [answer.status for answer in answers] == [200] * 200
        events = client.ask("GET", f"{path}/events", seconds=SECONDS).body.decode()
        assert events.rstrip().endswith('"state":"done","error":null,"position":null}')
        job = client.ask("GET", path).json
        assert (job["state"], job["progress"], job["error"]) == ("done", 1.0, None) and job["plan"]["peak_bytes"] > 0
        video = client.ask("GET", f"{path}/result")
        assert video.headers["content-type"] == "video/mp4" and video.body[4:8] == b"ftyp"
        maps = Path(f"/proc/{served.process.pid}/maps").read_text()
        assert "paddle" not in maps  # the worker alone imports it
    finally:
        code, out, error = served.end()
    assert (code, error) == (0, "") and out.splitlines()[-1].startswith("ended ")


def test_a_token_is_made_where_others_reach_the_server_and_sigterm_ends_it(tmp_path):
    served = Served(tmp_path / "data", "--host", "0.0.0.0")
    token = re.search(r"\?token=(\S+)", served.lines[0])[1]
    client = served.client
    assert client.ask("GET", "/jobs").status == 401
    assert client.ask("GET", "/jobs", headers={"Authorization": f"Bearer {token}"}).status == 200
    code, out, error = served.end(signal.SIGTERM)
    assert (code, error) == (0, "") and token in out


def test_a_token_of_the_environment_is_used_and_not_printed(tmp_path):
    token = "a-token-of-the-environment"
    served = Served(tmp_path / "data", PPDIFFUSERS_EXT_TOKEN=token)
    assert served.client.ask("GET", "/jobs").status == 401
    assert served.client.ask("GET", "/jobs", headers={"Authorization": f"Bearer {token}"}).status == 200
    code, out, error = served.end()
    assert (code, error) == (0, "") and token not in out
