"""Uploads and jobs over HTTP: what is accepted, what is answered, what is refused in which words."""

import json
import time

import pytest

from ppdiffusers_ext.pipelines.systems import SYSTEMS
from tests.support.studio import form, picture, studio

TOLD = ({"error"}, {"error", "code", "values"})  # of a refusal


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with studio(tmp_path_factory.mktemp("studio"), max_upload_bytes=200_000, max_queued=1000) as server:
        yield server


def posed(found, **options):
    """A job of Animate Anyone on the demo model, whose files are uploads."""
    files = {"reference_image": found.upload(256), "pose_video": found.upload(256)}
    return {"system": "animate_anyone", "options": {"model": "demo", **options}, "files": files}


def test_an_upload_is_answered_with_what_it_is(found):
    answer = found.send_form("/uploads", {"file": ("C:\\fakepath\\../../etc/my <b>picture</b>.png", picture(48))})
    assert answer.status == 201
    told = answer.json
    assert (told["kind"], told["width"], told["height"], told["frames"]) == ("image", 48, 48, 1)
    assert len(told["id"]) >= 20 and "/" not in told["name"]
    assert found.ask("GET", f"/uploads/{told['id']}").json == told
    assert found.jobs.upload_path(told["id"]).read_bytes() == picture(48)


def test_an_upload_of_no_name_or_of_any_letters_is_accepted(found):
    for name in ("", "图片\u202egnp\x00" + "a" * 3000 + ".png"):
        assert found.send_form("/uploads", {"file": (name, picture())}).status == 201, name


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"file": ("x.mp4", b"this is no video")}, 415, "x.mp4 is not a video"),
        ({"file": ("x.png", b"")}, 415, "is empty"),
        ({"file": ("x.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 100)}, 415, "x.png"),
        ({"file": ("x.png", b"\0" * 300_000)}, 413, "too large"),
        ({"file": "text"}, 400, "no file"),
        ({"files": ("x.png", picture())}, 400, "'files' of the form is not known"),
        ({}, 400, "no file"),
    ],
)
def test_what_is_no_picture_and_no_video_is_refused_in_words(found, fields, status, words):
    answer = found.send_form("/uploads", fields)
    assert answer.status == status and words in answer.error and "; " in answer.error
    assert list(found.jobs._folder.incoming.iterdir()) == []  # nothing of it stays


def test_an_upload_is_refused_as_soon_as_it_is_too_long_whatever_it_says_of_its_length(found):
    body, headers = form({"file": ("x.png", b"\0" * 3_000_000)})
    kind = headers["Content-Type"]
    host = f"Host: 127.0.0.1:{found.port}\r\nContent-Type: {kind}\r\n"
    told = found.raw(f"POST /uploads HTTP/1.1\r\n{host}Content-Length: {10**14}\r\n\r\n".encode(), 2)
    assert told.startswith(b"HTTP/1.1 413 ")
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (body[i : i + 60_000] for i in range(0, len(body), 60_000))
    )
    told = found.raw(f"POST /uploads HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks, 2)
    assert told.startswith(b"HTTP/1.1 413 ")
    assert list(found.jobs._folder.incoming.iterdir()) == []


@pytest.mark.parametrize("at", [1, 60, 150, 2000])
def test_nothing_stays_of_an_upload_that_is_cut_off(found, at):
    body, headers = form({"file": ("x.png", b"\0" * 100_000)})
    before = len(found.store.uploads())
    head = f"POST /uploads HTTP/1.1\r\nHost: 127.0.0.1:{found.port}\r\nContent-Length: {len(body)}\r\n"
    found.raw(f"{head}Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body[:at], 0.2)
    assert found.send_form("/uploads", {"file": ("x.png", picture())}).status == 201
    assert len(found.store.uploads()) == before + 1
    for _ in range(100):
        if not list(found.jobs._folder.incoming.iterdir()) and not found.service.uploads.borrowed_tokens:
            break
        time.sleep(0.05)
    assert list(found.jobs._folder.incoming.iterdir()) == [] and not found.service.uploads.borrowed_tokens


def test_a_job_of_json_and_one_of_a_form_are_the_same(found):
    asked = posed(found, num_frames=1, num_inference_steps=2, seed=7)
    first = found.ask("POST", "/jobs", asked)
    assert first.status == 201 and first.headers["location"] == f"/jobs/{first.json['id']}"
    fields = {"system": asked["system"], "options": json.dumps(asked["options"]), **asked["files"]}
    second = found.send_form("/jobs", fields)
    assert second.status == 201
    sent = {**fields, "reference_image": ("a.png", picture(256))}
    third = found.send_form("/jobs", sent)  # a file, and the id of an upload
    assert third.status == 201
    jobs = [found.ask("GET", f"/jobs/{answer.json['id']}").json for answer in (first, second, third)]
    for job in jobs:
        assert (job["state"], job["options"], job["system"]) == ("queued", asked["options"], "animate_anyone")
    assert jobs[0]["files"] == jobs[1]["files"] and jobs[2]["files"].keys() == jobs[0]["files"].keys()
    assert jobs[2]["files"]["reference_image"] != jobs[0]["files"]["reference_image"]
    listed = found.ask("GET", "/jobs?limit=3").json["jobs"]
    assert [job["id"] for job in listed] == [job["id"] for job in reversed(jobs)]
    assert [job["id"] for job in found.ask("GET", f"/jobs?before={jobs[1]['id']}&limit=1").json["jobs"]] == [
        jobs[0]["id"]
    ]


REFUSED = [
    ({"system": "x"}, 400, "system"),
    ({}, 400, "system"),
    ({"system": ["animate_anyone"]}, 400, "system"),
    ({"options": []}, 400, "options"),
    ({"options": {"output": "/tmp/x.mp4"}}, 400, "output"),
    ({"options": {"config": "/etc/passwd"}}, 400, "config"),
    ({"options": {"device": "gpu:7"}}, 400, "device"),
    ({"options": {"vae_path": "/etc/passwd"}}, 400, "vae_path"),
    ({"options": {"denoising_unet_path": "x.pth"}}, 400, "denoising_unet_path"),
    ({"options": {"preset": "/etc/passwd"}}, 400, "preset"),
    ({"options": {"engine_cache": "/tmp"}}, 400, "engine_cache"),
    ({"options": {"model": "../../etc/passwd"}}, 400, "model"),
    ({"options": {"model": "nothing"}}, 400, "model"),
    ({"options": {"seed": 1.5}}, 400, "seed is 1.5"),
    ({"options": {"seed": 2**70}}, 400, "seed"),
    ({"options": {"num_inference_steps": 0}}, 400, "num_inference_steps is 0"),
    ({"options": {"num_inference_steps": True}}, 400, "num_inference_steps"),
    ({"options": {"context_overlap": 24, "context_frames": 24}}, 400, "context_overlap"),
    ({"options": {"guidance_interval": ["a", "b"]}}, 400, "interval"),
    ({"options": {"x" * 5000: 1}}, 400, "unknown option"),
    ({"files": []}, 400, "files"),
    ({"files": {"reference_image": "nothing"}}, 400, "pose_video"),
    ({"files": {"reference_image": "nothing", "pose_video": "nothing"}}, 404, "no upload"),
    ({"files": {"reference_image": "/etc/passwd", "pose_video": "../uploads"}}, 404, "no upload"),
    ({"files": {"reference_image": 5, "pose_video": ["x"]}}, 404, "no upload"),
    ({"files": {"mask": "x"}}, 400, "mask"),
    ({"more": 1}, 400, "more"),
]


@pytest.mark.parametrize(("changes", "status", "words"), REFUSED, ids=[str(row[0])[:60] for row in REFUSED])
@pytest.mark.parametrize("path", ["/jobs", "/plan"])
def test_a_job_that_cannot_be_is_refused_before_it_is_queued(found, path, changes, status, words):
    before = len(found.jobs.list(500))
    asked = posed(found) if "options" in changes or "more" in changes else {"system": "animate_anyone", "options": {}}
    answer = found.ask("POST", path, {**asked, **changes} if changes else {})
    assert answer.status == status and set(answer.json) in TOLD
    assert words in answer.error and "; " in answer.error
    assert str(found.jobs._folder.path) not in answer.error and "/work" not in answer.error
    assert len(found.jobs.list(500)) == before


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "limit=-1", "limit=1e3", "limit=", "limit=%D9%A3", "limit=" + "9" * 30],
)
def test_a_list_of_no_possible_length_is_refused(found, query):
    assert found.ask("GET", f"/jobs?{query}").status == 400


@pytest.mark.parametrize(
    "job_id", ["x", "..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "'%20OR%201=1--", "x" * 5000, "%F0%9F%98%80"]
)
def test_ids_that_are_not_there_are_not_found(found, job_id):
    for method, path in (
        ("GET", "/jobs/{}"), ("DELETE", "/jobs/{}"), ("DELETE", "/jobs/{}?forget=true"), ("GET", "/jobs/{}/events"),
        ("GET", "/jobs/{}/result"), ("GET", "/jobs/{}/preview"), ("GET", "/jobs/{}/report"), ("GET", "/uploads/{}"),
    ):  # fmt: skip
        answer = found.ask(method, path.format(job_id))
        assert answer.status == 404 and set(answer.json) in TOLD, path


def test_ids_cannot_be_guessed(found):
    ids = [found.job() for _ in range(200)]
    assert len(set(ids)) == len(ids) and min(map(len, ids)) >= 20
    assert len({one[:4] for one in ids}) > 190  # they do not count up


def test_a_job_that_waits_is_stopped_and_forgotten(found):
    job = found.job()
    assert found.ask("DELETE", f"/jobs/{job}?forget=true").status == 409
    assert found.ask("DELETE", f"/jobs/{job}?forget=maybe").status == 400
    assert found.ask("DELETE", f"/jobs/{job}").json["state"] == "cancelled"
    assert found.ask("DELETE", f"/jobs/{job}").json["state"] == "cancelled"
    assert found.ask("DELETE", f"/jobs/{job}?forget=true").status == 200
    assert found.ask("GET", f"/jobs/{job}").status == 404


def test_a_full_queue_and_a_full_folder_are_told(tmp_path):
    with studio(tmp_path, max_queued=1) as found:
        asked = posed(found)
        assert found.ask("POST", "/jobs", asked).status == 201
        answer = found.ask("POST", "/jobs", asked)
        assert answer.status == 429 and answer.headers["retry-after"]
    with studio(tmp_path / "small", quota=1 << 20) as found:
        (found.jobs._folder.jobs / "rest").write_bytes(b"\0" * (1 << 20))
        answer = found.send_form("/uploads", {"file": ("x.png", picture())})
        assert answer.status == 503 and "full" in answer.error


def test_systems_come_with_their_forms(found):
    told = found.ask("GET", "/systems").json
    assert list(told) == list(SYSTEMS)
    for name, system in told.items():
        assert system["models"] and system["default"] in [model["name"] for model in system["models"]]
        for mode in system["modes"]:
            assert mode["fields"] and {"name", "roles", "groups", "presets"} <= set(mode)
        assert "/work" not in json.dumps(system), name


@pytest.mark.parametrize(
    "asked",
    [{}, {"upload": 5}, {"upload": "x", "frames": 1}, {"upload": "ID", "frame": -1}, {"upload": "ID", "frame": "0"},
     {"upload": "ID", "person": []}, {"upload": "ID", "person": True}],
)  # fmt: skip
def test_a_preview_of_nothing_is_refused(found, asked):
    asked = {name: found.upload() if value == "ID" else value for name, value in asked.items()}
    answer = found.ask("POST", "/previews/poses", asked)
    assert answer.status in (400, 404) and "; " in answer.error


def test_the_description_names_every_route(found):
    told = found.ask("GET", "/openapi.json").json
    assert {"/jobs", "/jobs/{job_id}/events", "/uploads", "/plan", "/previews/poses", "/systems", "/health"} <= set(
        told["paths"]
    )
    assert "422" not in json.dumps(
        [list(route["responses"]) for path in told["paths"].values() for route in path.values()]
    )
    page = found.ask("GET", "/docs").body.decode()
    for path in told["paths"]:
        assert path in page
    assert "<script" not in page and "http" not in page.replace("http:", "").split("</head>")[0]
    assert "style=" not in page and "num_inference_steps" in page
