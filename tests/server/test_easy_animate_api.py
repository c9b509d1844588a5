"""The routes of EasyAnimate's own REST, as its clients use them."""

import base64
import json
import threading
import time

import pytest

from ppdiffusers_ext.server.easy_animate_api import DEFAULTS, name_of, options_of
from tests.support.studio import picture, studio

INFER, EDITION, MODEL = (
    f"/easyanimate/{name}" for name in ("infer_forward", "update_edition", "update_diffusion_transformer")
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "easy_animate" / "EasyAnimateV4-XL-2-InP"
    folder.mkdir(parents=True)
    with studio(tmp_path_factory.mktemp("studio"), models=str(folder.parents[1])) as server:
        yield server


def error_of(answer):
    assert answer.status == 200
    message = answer.json["message"]
    assert message.startswith("Error. error information is ") and list(answer.json) == ["message"]
    return message.removeprefix("Error. error information is ")


def test_keys_are_the_original_s_with_its_defaults():
    """INTERFACES.md, section 2; the negative prompt is the model's own."""
    expected = {"lora_alpha_slider": 0.55, "sampler_dropdown": "Euler", "sample_step_slider": 30, "width_slider": 672,
                "height_slider": 384, "base_resolution": 512, "is_image": False, "length_slider": 144,
                "overlap_video_length": 4, "partial_video_length": 72, "cfg_scale_slider": 6, "denoise_strength": 0.7,
                "seed_textbox": 43, "resize_method": "Generate by", "generation_method": False}  # fmt: skip
    assert {name: DEFAULTS[name] for name in expected} == expected
    assert {name for name, value in DEFAULTS.items() if value == "none"} == {
        "base_model_path", "motion_module_path", "lora_model_path",
    }  # fmt: skip
    options = options_of({**DEFAULTS, "prompt_textbox": "a cat"}, None)
    assert options == {"prompt": "a cat", "scheduler": "Euler", "num_inference_steps": 30, "guidance_scale": 6,
                       "num_frames": 144, "seed": 43, "width": 672, "height": 384}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"is_image": True, "generation_method": "Long Video Generation"}, {"num_frames": 1}),  # is_image wins
        ({"generation_method": "Image Generation"}, {"num_frames": 1}),
        (
            {"generation_method": "Long Video Generation", "length_slider": 300},
            {"num_frames": 300, "segment": 72, "overlap": 4},
        ),
        ({"resize_method": "Resize according to Reference", "base_resolution": 768}, {"base": 768}),
        ({"seed_textbox": "17"}, {"seed": 17}),
        ({"seed_textbox": ""}, {"seed": -1}),
        ({"lora_model_path": "models/Personalized_Model/easy/minimal.safetensors"}, {"loras": [["minimal", 0.55]]}),
        ({"validation_video": "x", "denoise_strength": 0.5}, {"strength": 0.5}),
        ({"negative_prompt_textbox": "bad"}, {"negative_prompt": "bad"}),
    ],
)
def test_keys_become_options(given, options):
    made = options_of({**DEFAULTS, **given}, "v4")
    assert {name: made[name] for name in options} == options and made["model"] == "v4"
    assert ("width" in made) == ("base" not in made)


@pytest.mark.parametrize(
    ("path", "name"),
    [("none", None), (None, None), ("EasyAnimateV4-XL-2-InP", "EasyAnimateV4-XL-2-InP"), ("/etc/passwd", "passwd"),
     ("models/Diffusion_Transformer/EasyAnimateV4-XL-2-InP/", "EasyAnimateV4-XL-2-InP"), ("C:\\models\\v4", "v4")],
)  # fmt: skip
def test_of_a_path_only_the_name_counts(path, name):
    assert name_of(path, "key") == name


def test_a_model_is_one_of_the_server_s(found):
    assert found.ask(
        "POST", MODEL, {"diffusion_transformer_path": "models/Diffusion_Transformer/EasyAnimateV4-XL-2-InP"}
    ).json == {"message": "Success"}
    for path in ("/etc/passwd", "../../root", "..", "nothing", "", "/", 5, ["x"], {"a": 1}, "\0"):
        assert "accepted" in error_of(found.ask("POST", MODEL, {"diffusion_transformer_path": path}))
    assert found.ask("POST", MODEL, {"diffusion_transformer_path": "none"}).json == {"message": "Success"}
    assert found.ask("POST", MODEL, {}).json == {"message": "Success"}


def test_an_edition_is_one_of_the_known(found):
    for edition in ("v1", "v2", "v3", "v4"):
        assert found.ask("POST", EDITION, {"edition": edition}).json == {"message": "Success"}, edition
    assert found.ask("POST", EDITION, {}).json == {"message": "Success"}
    for edition in ("v9", "../v4", "v", "", None, 4, ["v4"], "demo"):
        assert "accepted" in error_of(found.ask("POST", EDITION, {"edition": edition}))


@pytest.mark.parametrize(
    "given",
    [{"base_model_path": "/etc/passwd"}, {"motion_module_path": "/tmp/x.pth"}, {"lora_model_path": "/etc/passwd"},
     {"start_image": "no base64!"}, {"start_image": 5}, {"start_image": "/etc/passwd"},
     {"validation_video": "aGFsbG8="},
     {"end_image": base64.b64encode(b"text").decode()}, {"sample_step_slider": 0}, {"width_slider": "x"},
     {"generation_method": "Nothing"}, {"resize_method": "Nothing"}, {"seed_textbox": "x"}, {"prompt_textbox": 5},
     {"sampler_dropdown": "Nothing"}, {"length_slider": 10**30}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_told_in_a_message(found, given):
    before = len(found.jobs.list(500))
    words = error_of(found.ask("POST", INFER, {"prompt_textbox": "a cat", **given}))
    assert "; " in words and "/work" not in words
    assert len(found.jobs.list(500)) == before


def test_bodies_that_are_no_objects_are_told_in_a_message(found):
    kind = {"Content-Type": "application/json"}
    for body in (b"", b"[]", b"{", b"NaN", b"\xff", b'"x"', b"[" * 5000):
        error_of(found.ask("POST", INFER, body, kind))
    error_of(found.ask("POST", INFER, b"{}", {"Content-Type": "text/plain"}))


def test_an_inference_is_a_job_whose_result_comes_in_base64(found, monkeypatch):
    """The job is ended by hand, in place of the worker."""
    monkeypatch.setattr(found.jobs, "_check", lambda *_: {})  # there are no weights here
    answers = []
    asked = {"prompt_textbox": "a cat", "unknown": 1, "is_image": True}
    thread = threading.Thread(target=lambda: answers.append(found.ask("POST", INFER, asked)))
    thread.start()
    job, attempt = next_job(found)
    assert found.jobs.get(job).options["prompt"] == "a cat"
    found.end(job, attempt, result=("result.png", picture()))
    thread.join(20)
    told = answers[0].json
    assert told["message"] == "Success" and base64.b64decode(told["base64_encoding"]) == picture()
    assert found.ask("GET", told["save_sample_path"]).body == picture()
    thread = threading.Thread(target=lambda: answers.append(found.ask("POST", INFER, asked)))
    thread.start()
    found.end(*next_job(found), "failed", "the memory does not suffice; a smaller size may do")
    thread.join(20)
    assert error_of(answers[1]) == "the memory does not suffice; a smaller size may do"


def next_job(found):
    deadline = time.monotonic() + 20
    while not found.store.counts().get("queued") and time.monotonic() < deadline:
        time.sleep(0.02)
    return found.run_next()


def test_a_client_that_goes_away_takes_its_job_along(found, monkeypatch):
    from ppdiffusers_ext.server import easy_animate_api

    monkeypatch.setattr(found.jobs, "_check", lambda *_: {})
    monkeypatch.setattr(easy_animate_api, "_LOOK", 0.05)
    body = json.dumps({"prompt_textbox": "gone"}).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: 127.0.0.1:{found.port}\r\nContent-Type: application/json\r\n"
    found.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, 0.5)
    deadline = time.monotonic() + 20
    while found.jobs.list(1)[0].state != "cancelled" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (found.jobs.list(1)[0].state, found.jobs.list(1)[0].options["prompt"]) == ("cancelled", "gone")
