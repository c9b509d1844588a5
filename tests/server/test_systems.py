"""Jobs of every system and every mode through REST, run by the server's own worker on small networks."""

import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.server.modes import modes_of
from tests.scripts.test_stable_animator import folder as stable_folder
from tests.scripts.test_stable_animator import pipeline
from tests.support.server_models import write_easy_models, write_media, write_stable_model
from tests.support.studio import studio

__all__ = ["pipeline", "stable_folder"]  # fixtures

SECONDS = 300.0  # that a job may take on a busy machine
POSED = {"poses": "embedded", "frames": "0:2"}
FACES = {"optimize_face": True, "last_step": 0, "iterations": 1}
DEMO = {"model": "demo", "num_frames": 2, "num_inference_steps": 2, "width": 64, "height": 64}
ME, START = {"reference_image": "me.png"}, {"start_image": "start.png"}
SKELETONS = {"reference_image": "face.png", "pose_video": "skeletons.mp4"}
# Name -> system, options, files, results that there must be beside "result" and "sheet".
JOBS = {
    "text": ("easy_animate", {"prompt": "a cat"}, {}, ("preview",)),
    "style": ("easy_animate", {"prompt": "a cat", "loras": [["style", 1.0]]}, {}, ("preview",)),
    "one_frame": ("easy_animate", {"prompt": "a cat", "num_frames": 1}, {}, ("preview",)),
    "of_folder": ("easy_animate", {"prompt": "a cat", "model": "tiny", "width": 64, "height": 48, "num_frames": 8,
                                   "num_inference_steps": 2, "dtype": "fp32"}, {}, ("preview",)),
    "picture": ("easy_animate", {"prompt": "a cat", "report": True}, START, ("preview", "report", "report_page")),
    "pictures": ("easy_animate", {"prompt": "a cat"}, {**START, "end_image": "end.png"}, ("preview",)),
    "video": ("easy_animate", {"prompt": "a cat"}, {"video": "video.mp4"}, ()),
    "mask": ("easy_animate", {"prompt": "a cat"}, {"video": "video.mp4", "mask": "mask.png"}, ("preview",)),
    "skeletons": ("stable_animator", {}, SKELETONS, ("gif",)),
    "faces": ("stable_animator", FACES, SKELETONS, ("gif", "faces")),
    "dance": ("stable_animator", {**POSED, "width": 64}, {**ME, "driving_video": "dance.mp4"}, ("side_by_side",)),
    "small": ("animate_anyone", {**DEMO, **POSED}, {**ME, "driving_video": "dance.mp4"}, ("side_by_side", "preview")),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory, stable_folder):
    """A server with a worker, models, a LoRA file, and `ids`: file -> id of its upload."""
    folder = tmp_path_factory.mktemp("systems")
    write_easy_models(folder)
    write_stable_model(folder, stable_folder)
    write_media(folder)
    (folder / "face.png").write_bytes((stable_folder / "me.png").read_bytes())
    where = {name: str(folder / name) for name in ("models", "loras")}
    write_skeletons(folder / "skeletons.mp4", stable_folder / "poses")
    with studio(folder / "data", preview_every=1, device="cpu", **where) as found:
        found.jobs.start()
        found.ids = {}
        names = ("start.png", "end.png", "mask.png", "video.mp4", "me.png", "dance.mp4", "face.png", "skeletons.mp4")
        for name in names:
            answer = found.send_form("/uploads", {"file": (name, (folder / name).read_bytes())})
            assert answer.status == 201, answer.body
            found.ids[name] = answer.json["id"]
        yield found


def write_skeletons(path, poses):
    from ppdiffusers_ext.data.video_writer import VideoWriter

    with VideoWriter(path, 8, 96, 96, crf=0) as writer:
        writer.write(np.stack(list(open_frames(poses))))


def job_of(server, name):
    system, options, files, _ = JOBS[name]
    options = options if "model" in options else {"model": "small", **options}
    return {"system": system, "options": options, "files": {role: server.ids[file] for role, file in files.items()}}


def run(server, job):
    """A job to its end: what is told of it then, and its events."""
    made = server.ask("POST", "/jobs", job)
    assert made.status == 201, made.body
    told = server.ask("GET", f"/jobs/{made.json['id']}/events", seconds=SECONDS).body.decode()
    events = re.findall(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n", told)
    return server.ask("GET", f"/jobs/{made.json['id']}").json, events


@pytest.fixture(scope="module")
def ended():
    """Name -> frames of the result of jobs that have run."""
    return {}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_from_rest_to_its_results(server, ended, tmp_path, name):
    job, events = run(server, job_of(server, name))
    assert job["state"] == "done", job["error"]
    wanted = {"result", *JOBS[name][3]} | ({"sheet"} if name not in ("skeletons", "faces") else set())
    assert wanted <= set(job["results"]), job["results"]
    kinds = [kind for _, kind, _ in events]
    assert {"state", "progress", "plan"} <= set(kinds) and json.loads(events[-1][2])["state"] == "done"
    assert [int(number) for number, _, _ in events] == sorted(int(number) for number, _, _ in events)
    assert ("preview" in kinds) == ("preview" in job["results"])
    for each in job["results"]:
        answer = server.ask("GET", f"/jobs/{job['id']}/result?name={each}")
        assert answer.status == 200 and len(answer.body) > 50, each
        if answer.headers["content-type"].startswith(("video/", "image/")):
            path = tmp_path / f"{each}.{answer.headers['content-type'].partition('/')[2]}"
            path.write_bytes(answer.body)
            frames = np.stack(list(open_frames(path)))
            assert frames.std() > 0.5, each
            ended.setdefault(name, frames if each == "result" else None)
            ended[name] = frames if each == "result" else ended[name]
    if "preview" in job["results"]:
        picture = PIL.Image.open(io.BytesIO(server.ask("GET", f"/jobs/{job['id']}/preview").body))
        assert picture.size == (job["plan"]["width"], job["plan"]["height"])
    plan = server.ask("POST", "/plan", job_of(server, name), seconds=SECONDS)
    assert plan.status == 200 and plan.json["fits"] and plan.json["seconds"] > 0, plan.body


def test_every_mode_of_every_system_was_among_them():
    modes = {(system, mode.name) for system in ("easy_animate", "stable_animator") for mode in modes_of(system)}
    files = [(system, set(files)) for system, _, files, _ in JOBS.values()]
    of_roles = {"text": set(), "pictures": {"start_image"}, "video": {"video"}}
    of_roles |= {name: {name} for name in ("driving_video", "pose_video")}
    run = {(system, name) for system, roles in files for name, needed in of_roles.items() if needed <= roles}
    assert modes <= run


def test_styles_optimised_faces_pictures_and_masks_change_the_result(ended):
    for one, other in (("text", "style"), ("skeletons", "faces"), ("picture", "pictures"), ("video", "mask")):
        assert ended[one].shape == ended[other].shape
        assert np.abs(ended[one].astype(int) - ended[other]).max() > 1, (one, other)
    assert ended["one_frame"].shape == (1, 48, 64, 3)
    assert ended["text"].shape == ended["of_folder"].shape == (8, 48, 64, 3)


def align(server, frame=0, **options):
    job = {"system": "animate_anyone", "options": {"model": "demo", "poses": "embedded", **options}}
    files = {"reference_image": server.ids["me.png"], "driving_video": server.ids["dance.mp4"]}
    return server.ask("POST", "/previews/alignment", {**job, "files": files, "frame": frame}, seconds=SECONDS)


def test_the_alignment_is_shown_before_the_run(server):
    answer = align(server)
    assert answer.status == 200, answer.body
    found = answer.json
    picture = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(found.pop("picture")))))
    assert found["frames"] == found["of"] == 6 and found["is_exact"] and found["has_person"]
    assert picture.shape[1] / picture.shape[0] == pytest.approx(found["width"] / found["height"], rel=0.02)
    assert (picture.max(axis=-1) > 140).sum() > 50  # the skeleton is brighter than the picture, which is dimmed
    moved, unmoved = (align(server, 5, **options).json["picture"] for options in ({}, {"align": "none"}))
    assert len({answer.json["picture"], moved, unmoved}) == 3
    assert align(server, 10**6).json["picture"] == moved  # the nearest that there is


@pytest.mark.parametrize(
    "frame, options, words",
    [(-1, {}, "frame is -1"), ("x", {}, "frame is 'x'"), (0, {"frames": "7:9"}, "has no frames"),
     (0, {"align": "x"}, "align 'x'"), (0, {"model": "released"}, "download_weights")],
)  # fmt: skip
def test_alignments_that_cannot_be_shown_are_refused(server, monkeypatch, tmp_path, frame, options, words):
    monkeypatch.chdir(tmp_path)  # in which no weights are
    answer = align(server, frame, **options)
    assert answer.status in (400, 409) and words in answer.error, answer.body
