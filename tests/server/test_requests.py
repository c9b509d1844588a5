"""300 malformed requests, and 200 at once: no failure of the server, no traceback, nothing lost."""

import json
import logging
import random
import threading

import pytest

from tests.support.studio import form, picture, studio

SEEDS = range(30)
OF_EACH = 12  # requests of a seed
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "X" * 50, "POST "]
PATHS = [
    "/",
    "/jobs",
    "/jobs/",
    "/jobs/ID",
    "/jobs/ID/events",
    "/jobs/ID/result",
    "/jobs/ID/preview",
    "/uploads",
    "/uploads/UP",
    "/plan",
    "/previews/poses",
    "/systems",
    "/health",
    "/login",
    "/docs",
    "/openapi.json",
    "/page/../app.py",
    "/page/%2e%2e/%2e%2e/etc/passwd",
    "/page//etc/passwd",
    "/page/app.js%00",
    "/easyanimate/infer_forward",
    "/easyanimate/update_edition",
    "/easyanimate/update_diffusion_transformer",
    "//jobs",
    "/%00",
    "/%ff",
    "/jobs?limit=%00",
    "/jobs?before=ID&limit=7",
    "/jobs?before=%ff",
    "/jobs/ID/result?name=%00",
    "*",
    "http://x/jobs",
    "/" + "a" * 9000,
    "",
    "/jobs?" + "a=1&" * 2000,
    "/jobs/ID?forget=%ff",
    "/?token=%ff%00",
    "/;/jobs",
    "/jobs/%2e%2e/health",
]
KINDS = [
    "application/json",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 300,
    "application/x-www-form-urlencoded",
    "text/plain",
    "",
    "\xff",
    ";;;",
    "application/json; charset=utf-7",
    'multipart/form-data; boundary="b',
    "multipart/mixed; boundary=b",
]
HEADERS = [
    ("Content-Length", "-1"),
    ("Content-Length", "1" * 30),
    ("Content-Length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("Transfer-Encoding", "gzip"),
    ("Range", "bytes=0-,-1"),
    ("Range", "bytes=" + "9" * 99 + "-"),
    ("Expect", "100-continue"),
    ("Cookie", "ppdiffusers_ext=" + "x" * 5000),
    ("Cookie", "\xff=;=;;"),
    ("Authorization", "Bearer \xe9"),
    ("Last-Event-ID", "-5"),
    ("Last-Event-ID", "9" * 50),
    ("Accept", "\x80"),
    ("X", "y" * 20_000),
    ("If-Range", '"'),
    ("Upgrade", "websocket"),
    ("Connection", "upgrade"),
    ("Content-Encoding", "gzip"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Host", ""),
    ("Origin", "\xff"),
    ("Sec-Fetch-Site", "\xff"),
    ("Connection", "close"),
]
VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**400,
    -(10**19),
    2**63,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "\ud800",
    "\u202e",
    "x" * 70_000,
    "../../etc/passwd",
    "/etc/passwd",
    [],
    {},
    [[]],
    {"a": 1},
    ["\ud83d"],
    "0",
    "nan",
    "1e9",
]
KEYS = [
    "system",
    "options",
    "files",
    "upload",
    "frame",
    "person",
    "prompt",
    "seed",
    "width",
    "loras",
    "model",
    "preset",
    "guidance_interval",
    "num_frames",
    "frames",
    "edition",
    "diffusion_transformer_path",
    "start_image",
    "seed_textbox",
    "validation_video",
    "lora_model_path",
    "generation_method",
    "reference_image",
    "pose_video",
    "__class__",
    "\ud800",
    "",
]
ALMOST = [
    b"{",
    b"",
    b"null",
    b"[]",
    b"NaN",
    b"\xff\xfe",
    b'{"a":' * 3000,
    b"[" * 100_000,
    b'{"a": 1, "a": 2}',
    b'{"system": "\\ud800"}',
    b"--b\r\n",
    b"--b--\r\n",
    b"--b\r\n\r\nx\r\n--b--\r\n",
    b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
    b"--b\nfoo",
    b"\r\n" * 500,
    b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n\xff\xfe\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="' + b"n" * 9000 + b'"\r\n\r\n',
    b"--b\r\n" + b"A: b\r\n" * 50,
    b'--b\r\nContent-Disposition: form-data; name="system"\r\n\r\neasy_animate\r\n' * 3 + b"--b--\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"zz\r\n",
    b"\0" * 5000,
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with studio(tmp_path_factory.mktemp("studio"), max_upload_bytes=100_000, max_queued=5000) as server:
        yield server


def made_json(draw, depth=0):
    """A JSON value that a client might send, or might not."""
    if depth > 3 or draw.random() < 0.4:
        return draw.choice(VALUES)
    if draw.random() < 0.3:
        return [made_json(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(KEYS): made_json(draw, depth + 1) for _ in range(draw.randrange(6))}


def made_body(draw, ids):
    chance = draw.random()
    if chance < 0.25:
        return draw.choice(ALMOST)
    if chance < 0.4:
        names = [draw.choice(KEYS).encode(errors="replace").decode() for _ in range(draw.randrange(4))]
        body, _ = form({name: draw.choice(["", "{}", ids[1], "[1]", ("a", b"x")]) for name in names})
        return body
    if chance < 0.5:
        return draw.randbytes(draw.randrange(3000))
    value = made_json(draw)
    if chance > 0.7:  # nearly right
        files = [{}, {"start_image": ids[1]}, {"reference_image": ids[1], "pose_video": ids[1]}, made_json(draw)]
        systems = ["easy_animate", "animate_anyone", "stable_animator"]
        value = {"system": draw.choice(systems), "options": value, "files": draw.choice(files)}
    return json.dumps(value).encode()


def made_request(draw, port, ids):
    """The bytes of a request, most of which are nearly right."""
    method, path = (
        draw.choice(METHODS[:3] * 4 + METHODS),
        draw.choice(PATHS).replace("ID", ids[0]).replace("UP", ids[1]),
    )
    body = made_body(draw, ids) if method != "GET" or draw.random() < 0.2 else b""
    headers = [("Host", f"127.0.0.1:{port}")] if draw.random() < 0.95 else []
    headers += [("Content-Length", str(len(body)))] if draw.random() < 0.9 else []
    headers += [("Content-Type", draw.choice(KINDS[:1] * 5 + KINDS[:2] * 3 + KINDS))] if draw.random() < 0.9 else []
    headers += [draw.choice(HEADERS) for _ in range(draw.choice([0, 0, 0, 1, 2]))]
    lines = [f"{method} {path} HTTP/1.{draw.choice('11110')}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def test_no_malformed_request_is_a_failure_of_the_server(found, caplog):
    """360 of 30 seeds: each is answered with a refusal, or cut off, and the server stays well."""
    ids, statuses = (found.job(), found.upload()), {}
    caplog.set_level(logging.ERROR)
    for seed in SEEDS:
        draw = random.Random(seed)
        for number in range(OF_EACH):
            request = made_request(draw, found.port, ids)
            answer = found.raw(request, 0.15)
            status = answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "none"
            statuses[status] = statuses.get(status, 0) + 1
            assert not status.startswith("5") or status == "503", (seed, number, request[:2000], answer[:2000])
            assert b"Traceback" not in answer and b"/work" not in answer and b"site-packages" not in answer
            if status[0] == "4" and b"application/json" in answer and b"HEAD" not in request[:5]:
                told = json.JSONDecoder().raw_decode(answer.partition(b"\r\n\r\n")[2].decode())[0]
                assert set(told) in ({"error"}, {"error", "code", "values"}), answer
    assert [record.getMessage() for record in caplog.records] == []
    assert found.ask("GET", "/openapi.json").status == 200
    assert statuses["400"] > 50 and sum(statuses.values()) == len(SEEDS) * OF_EACH >= 300
    assert set(statuses) & {"403", "404", "405", "415"} == {"403", "404", "405", "415"}


def test_200_at_once_are_all_answered_while_a_job_runs_and_nothing_is_lost(found):
    found.job()
    while True:  # those that other tests queued
        job, attempt = found.run_next()
        if found.store.counts().get("queued", 0) == 0:
            break
        found.end(job, attempt)
    files = dict.fromkeys(("reference_image", "pose_video"), found.upload(256))
    posed = {"system": "animate_anyone", "files": files}
    upload, answers, before = found.upload(), [], found.store.counts()
    body, headers = form({"file": ("x.png", picture())})
    asked = [("POST", "/jobs", {**posed, "options": {"model": "demo", "seed": n}}) for n in range(20)]
    asked += [("GET", f"/jobs/{job}/events", None)] * 20 + [("GET", f"/uploads/{upload}", None)] * 20
    asked += [("GET", "/jobs", None)] * 20 + [("GET", f"/jobs/{job}", None)] * 20 + [("GET", "/health", None)] * 98
    gate = threading.Barrier(200)

    def ask(method, path, value, more=()):
        gate.wait(30)
        answers.append((method, path.rpartition("/")[2], found.ask(method, path, value, more)))

    threads = [threading.Thread(target=ask, args=each) for each in asked]
    threads += [threading.Thread(target=ask, args=("POST", "/uploads", body, headers)) for _ in range(2)]
    for thread in threads:
        thread.start()
    found.store.update(job, attempt, "progress", {"progress": 0.5, "stage": "denoising", "seconds_left": 1.0})
    while len(answers) < 180 - 1:
        threading.Event().wait(0.05)
    found.end(job, attempt)
    for thread in threads:
        thread.join(60)
    assert len(answers) == 200
    statuses = {(method, path, answer.status) for method, path, answer in answers}
    assert {status for method, path, status in statuses if (method, path) == ("GET", "health")} == {
        503
    }  # no worker here
    assert {status for method, path, status in statuses if path != "health"} <= {200, 201}
    made = [answer.json["id"] for method, path, answer in answers if (method, path) == ("POST", "jobs")]
    assert len(set(made)) == 20 and found.store.counts()["queued"] == 20
    assert {json.loads(found.ask("GET", f"/jobs/{one}").body)["state"] for one in made} == {"queued"}
    assert before.get("running") == 1
    streams = [answer.body for _, path, answer in answers if path == "events"]
    assert len(streams) == 20 and all(b'"state":"done"' in body for body in streams)
