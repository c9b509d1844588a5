"""Nodes that work through a server: what goes up and comes down, interruption, and whatever a server may answer."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.comfyui.client import Client
from ppdiffusers_ext.comfyui.host import Watch
from ppdiffusers_ext.comfyui.orders import SERVER, Model, Order, choose_way
from ppdiffusers_ext.comfyui.rest import Server
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from tests.comfyui.test_animate_anyone import POSES, REFERENCE, SMALL, call
from tests.support import comfy_host
from tests.support.jobs_server import JobsServer

MODEL = Model("animate_anyone", "demo", {"device": "gpu:3", "memory": "low"}, name_there="demo")
PICTURE, FRAMES = np.zeros((1, 16, 16, 3), np.uint8), np.full((4, 16, 16, 3), 128, np.uint8)
ORDER = Order(MODEL, {"seed": 5, "report": True}, {"reference_image": PICTURE, "pose_video": FRAMES}, 8.0)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("result") / "result.mp4"
    with VideoWriter(path, 8, 16, 16) as writer:
        writer.write(FRAMES)
    return path.read_bytes()


def test_pictures_go_up_and_the_frames_of_the_job_come_down(host, result, tmp_path):
    with JobsServer(result) as server:
        made = Server(server.address, "the token").make(ORDER, Watch())
    assert made.frames.shape == (4, 16, 16, 3) and np.abs(made.frames.astype(int) - 128).max() < 4
    assert made.fps == 8.0 and made.report.values == {"colour": {"delta_e": 1.0}}
    assert all(headers["Authorization"] == "Bearer the token" for _, _, headers, _ in server.requests)
    (asked,) = server.sent("POST", "/jobs")
    assert json.loads(asked) == {
        "system": "animate_anyone",
        "options": {"memory": "low", "seed": 5, "report": True, "fps": 8.0, "model": "demo"},
        "files": {"reference_image": "upload1", "pose_video": "upload2"},
    }
    picture, video = server.sent("POST", "/uploads")
    assert b'name="file"; filename="reference_image.png"' in picture and b"\x89PNG" in picture
    path = tmp_path / "sent.mp4"
    path.write_bytes(video[video.index(b"\r\n\r\n") + 4 : video.rindex(b"\r\n--")])
    sent = open_frames(path)
    assert (sent.num_frames, sent.fps) == (4, 8) and np.abs(np.stack(list(sent)).astype(int) - 128).max() <= 1
    values = [value for value, _ in host.progress]
    assert values == sorted(values) and values[-1] == 1000 and len(values) >= 3


@pytest.mark.parametrize("after", [5, 8])  # as soon as the job is queued, and while it runs
def test_interruption_deletes_the_job_on_the_server(host, result, after):
    running = 200, {}, b'{"state": "running", "progress": 0.1}'
    with JobsServer(result, {("GET", "/jobs/one"): running, ("GET", "/jobs/one/events"): (200, {}, b"")}) as server:
        host.interrupts_after = after
        began = time.monotonic()
        with pytest.raises(comfy_host.Interrupted):
            Server(server.address).make(ORDER, Watch())
        assert server.sent("DELETE", "/jobs/one") == [b""] and time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("route", "answer", "told"),
    [
        (("POST", "/jobs"), (400, {}, b'{"error": "seed is -5; a whole number is accepted"}'), "seed is -5; a whole"),
        (("POST", "/uploads"), (413, {}, b'{"error": "too large"}'), "too large (the server http"),
        (("POST", "/jobs"), (401, {}, b'{"error": "no token"}'), "PPDIFFUSERS_EXT_TOKEN is to have its token"),
        (("POST", "/jobs"), (500, {}, b"<html>"), "HTTP status 500"),
        (("POST", "/jobs"), (302, {"Location": "http://127.0.0.1:9/"}, b""), "HTTP status 302"),
        (("POST", "/jobs"), (200, {}, b"<html>"), "is not JSON that can be read"),
        (("POST", "/jobs"), (200, {}, b"[]"), "the answer of the server"),
        (("POST", "/jobs"), (200, {}, b'{"state": "queued"}'), "the answer of the server"),
        (("POST", "/jobs"), (200, {}, b'{"id": "../../systems"}'), "the answer of the server"),
        (("POST", "/jobs"), (200, {}, b'{"id": "a b\\r\\nX: y"}'), "the answer of the server"),
        (("POST", "/uploads"), (200, {}, b'{"id": 5}'), "the answer of the server"),
        (
            ("GET", "/jobs/one"),
            (200, {}, b'{"state": "failed", "error": "no memory\\u001b[31m"}'),
            "failed: no memory",
        ),
        (("GET", "/jobs/one"), (200, {}, b'{"state": "cancelled"}'), "job cancelled: no reason is given"),
        (("GET", "/jobs/one"), (200, {}, b"5"), "the answer of the server"),
        (("GET", "/jobs/one"), (404, {}, b'{"error": "job is not known"}'), "job is not known"),
        (("GET", "/jobs/one/result"), (200, {"Content-Type": "text/html"}, b"<html>"), "sent 'text/html'; a video"),
        (("GET", "/jobs/one/result"), (200, {"Content-Type": "video/mp4"}, b"no video"), "result.mp4"),
        (("GET", "/jobs/one/result"), (200, {"Content-Type": "video/mp4", "Content-Length": "99"}, b"no"), "result"),
        (("GET", "/jobs/one/report"), (200, {}, b"[1, 2]"), "is [1, 2]"),
    ],
)
def test_whatever_a_server_answers_is_told_in_words(host, result, route, answer, told):
    with JobsServer(result, {route: answer}) as server, pytest.raises(InputError) as error:
        Server(server.address).make(ORDER, Watch())
    words = str(error.value)
    assert told in words and "\x1b" not in words and "/tmp/" not in words


def test_models_and_lora_files_that_a_server_lacks_are_told(host):
    with JobsServer() as server:
        way = Server(server.address)
        way.check(MODEL)
        way.check(Model("animate_anyone", "auto"))
        for model, told in (
            (Model("easy_animate", "x", name_there="x"), "has no model 'x'; demo, v4 is accepted"),
            (Model("easy_animate", "v4", name_there="v4"), "model v4 of the server .* lacks vae"),
            (Model("easy_animate", "demo", loras=(("a/style.safetensors", 1.0),)), "has no LoRA 'style'; it has none"),
        ):
            with pytest.raises(InputError, match=told):
                way.check(model)
    for answer in (b"[]", b"{}", b'{"animate_anyone": 5}', b'{"animate_anyone": {"models": [5, {"name": []}]}}',
                   b'{"animate_anyone": {"models": 5, "loras": 5}}',
                   b'{"animate_anyone": {"models": [{"name": "demo", "ready": false, "missing": 5}]}}'):  # fmt: skip
        with JobsServer(answers={("GET", "/systems"): (200, {}, answer)}) as server, pytest.raises(InputError):
            Server(server.address).check(MODEL)


def test_files_that_a_server_does_not_take_are_refused_before_they_go_up(host):
    with JobsServer() as server:
        for files, told in (
            ({"reference_image": PICTURE, "masks": FRAMES}, "takes no masks"),
            ({"start_image": FRAMES}, "start_image has 4 pictures; a server takes one"),
        ):
            with pytest.raises(InputError, match=told):
                Server(server.address).make(Order(MODEL, {}, files), Watch())
        assert server.sent("POST", "/jobs") == []


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "ftp://a", "http://", "file:///etc/passwd", "http://a:b", "http://a b", "http://u:p@a",
     "http://a?x=1", "http://a\r\nX: y", "http://[::1", "http://a:99999", 5],
)  # fmt: skip
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="is no address; an address such as http://127.0.0.1:7860 is accepted"):
        Client(address)


def test_server_that_is_not_there_and_one_that_says_nothing_are_told(host):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(InputError, match=r"does not answer .*`python -m scripts.serve` starts one"):
        Server(f"http://127.0.0.1:{port}").check(MODEL)
    with pytest.raises(InputError, match="token has letters that no token has"):
        Server("http://127.0.0.1:1", "a\r\nb")


def test_way_is_the_named_server_or_this_process(monkeypatch):
    monkeypatch.delenv(SERVER, raising=False)
    assert type(choose_way(MODEL)).__name__ == "InProcess"
    assert type(choose_way(Model("animate_anyone", "demo", server="http://a"))).__name__ == "Server"
    monkeypatch.setenv(SERVER, "http://127.0.0.1:7000")
    assert choose_way(MODEL)._client.address == "http://127.0.0.1:7000"


@pytest.fixture
def serving(tmp_path):
    """The address of `scripts.serve`, with a token."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "scripts.serve", "--port", "0", "--data", str(tmp_path / "data")]
    environment = {**os.environ, "PPDIFFUSERS_EXT_TOKEN": "0123456789abcdef"}
    process = subprocess.Popen(words, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://127.0.0.1:\d+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.wait(60)


def test_nodes_animate_through_the_real_server(host, nodes, serving, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_EXT_TOKEN", "0123456789abcdef")
    model = call(nodes, "PPDX_LoadAnimateAnyone", model="demo", server=serving)[0]
    given = {"model": model, "reference_image": REFERENCE, "pose_images": POSES, **SMALL}
    frames, _, fps, _ = call(nodes, "PPDX_AnimateAnyone", **given)
    assert frames.shape == (3, 64, 64, 3) and fps == 8.0 and frames.numpy().std() > 0.05
    with pytest.raises(InputError, match=r"guidance interval of \[0.8, 0.2\] is not accepted"):
        call(nodes, "PPDX_AnimateAnyone", **given, guidance_interval="0.8 0.2")
