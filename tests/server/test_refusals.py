"""Refusals of the server: a code with values beside the words, which the page tells in its other language."""

import ast
import json
import math
import re
import string
from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.server import refusals
from ppdiffusers_ext.server.modes import modes_of
from ppdiffusers_ext.server.page_files import FOLDER
from ppdiffusers_ext.server.refusals import REASONS, WORDS, Refusal
from ppdiffusers_ext.server.words import told_of
from tests.support.studio import form, picture, studio

SERVER = Path(refusals.__file__).parent
CHINESE = json.loads((FOLDER / "texts" / "zh.json").read_text(encoding="utf-8"))
KINDS = {name for name, kind in vars(refusals).items() if isinstance(kind, type) and issubclass(kind, Refusal)}
# Values that are told beside those that the English words have places for.
MORE = {
    "option.": {"option", "value", "bounds", "choices"},
    "memory": {"needed", "free", "rung"},
    "model.missing": {"model", "system"},
}
MORE |= {"adviser": {"why"}, "again": {"why"}, "twice": {"why"}}
TOKEN = "a token that is long enough".replace(" ", "-")


def places(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def raised():
    """(file, code, names of the values) of each refusal in the server's sources whose code stands there."""
    for path in SERVER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "id", None)
            if isinstance(node, ast.Call) and name in KINDS and node.args and isinstance(node.args[0], ast.Constant):
                yield path.name, node.args[0].value, {word.arg for word in node.keywords}


@pytest.mark.parametrize("code", WORDS)
def test_each_code_has_a_text_in_both_languages_with_places_for_the_same_values(code):
    chinese = CHINESE[f"refusal.{code}"]
    assert re.search("[\u4e00-\u9fff]", chinese)
    more = set().union(*(names for start, names in MORE.items() if code.startswith(start)))
    assert places(chinese) <= places(WORDS[code]) | more


def test_each_reason_is_told_in_both_languages_and_no_text_is_of_nothing():
    assert all(places(CHINESE[f"why.{why}"]) <= places(words) for why, words in REASONS.items())
    assert {key.removeprefix("refusal.") for key in CHINESE if key.startswith("refusal.")} == set(WORDS)
    assert {key.removeprefix("why.") for key in CHINESE if key.startswith("why.")} == set(REASONS)


def test_sources_raise_codes_that_are_there_with_the_values_that_their_words_need():
    found = list(raised())
    assert len(found) > 30
    for file, code, names in found:
        assert code in WORDS, (file, code)
        assert None in names or places(WORDS[code]) <= names, (file, code)
    sources = "".join(path.read_text(encoding="utf-8") for path in SERVER.glob("*.py") if path.name != "refusals.py")
    unused = {
        code
        for code in WORDS
        if f'"{code}"' not in sources and not code.startswith(("option.", "memory", "files", "program"))
    }
    assert unused == set()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_refusals_keep_kind_words_and_values_between_processes(kind):
    error = getattr(refusals, kind)("disk", name="a.png", reason="full")
    told = json.loads(json.dumps(told_of(error)))
    again = type(error).told(told["error"], told["code"], told["values"])
    assert type(again) is type(error) and isinstance(again, InputError)
    assert (str(again), again.code, again.values) == (str(error), error.code, error.values)
    assert str(error) == "a.png cannot be stored: full; the same later is accepted"


@pytest.mark.parametrize(
    "error, code",
    [(MemoryError(), "memory.out"), (OSError(28, "No space", "/srv/x"), "files"), (KeyError("/srv/x"), "program"),
     (InputError("bad; good is accepted"), None), (MissingFileError("/srv/x is gone"), None)],
)  # fmt: skip
def test_other_errors_are_told_by_their_kind(error, code):
    told = told_of(error)
    assert told.get("code") == code and "/srv" not in json.dumps(told)


def test_values_are_what_json_has_and_name_no_place_of_the_server():
    error = Refusal.told("x", "disk", {"name": "/srv/data/a.png", "reason": math.inf, "parts": ["/srv/data/b"]})
    assert told_of(error)["values"] == {"name": "a.png", "reason": None, "parts": ["b"]}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with studio(
        tmp_path_factory.mktemp("studio"), max_upload_bytes=50_000, max_queued=2, max_picture_pixels=5000
    ) as server:
        yield server


def wrong_values():
    """(system, files of the mode, option, value, kind) for an option of each kind and each way to be wrong."""
    for system, mode in (
        ("animate_anyone", modes_of("animate_anyone")[1]),
        ("easy_animate", modes_of("easy_animate")[0]),
    ):
        for name in mode.fields:
            for value in (-7, 10**30, 0.5, "x", [], True, {}, "\ud800"):
                yield system, mode.name, name, value


def test_any_wrong_value_of_any_option_is_told_with_the_option_and_what_it_takes(found):
    codes = set()
    upload = found.upload()
    for system, mode, name, value in wrong_values():
        files = dict.fromkeys(("reference_image", mode), upload) if mode == "pose_video" else {}
        options = {name: value} if files else {"prompt": "x", name: value}
        try:
            found.jobs._check(system, options, files)
            continue
        except InputError as error:
            answer = told_of(error)
        if "code" not in answer:
            continue  # refused by what several options say together
        codes.add(answer["code"])
        if answer["code"].startswith("option."):
            assert answer["values"]["option"] == name and answer["error"].startswith(name), (name, value)
            assert {"min", "max", "choices", "value"} <= set(answer["values"])
    assert codes >= {"option.int", "option.float", "option.bool", "option.str", "option.choice"}


def asked(found):
    """Name -> answer of each kind of refusal that a visitor of the page can meet."""
    upload, job = found.upload(64), found.job()
    files = {"reference_image": upload}
    big = {"file": ("big.png", picture(256) + bytes(60_000))}
    yield "bytes", found.send_form("/uploads", big)
    yield "pixels", found.send_form("/uploads", {"file": ("large.png", picture(200))})
    yield "media", found.send_form("/uploads", {"file": ("dance.mp4", b"This is no video.\n" * 100)})
    yield "media.empty", found.send_form("/uploads", {"file": ("dance.mp4", b"")})
    yield "job", found.ask("GET", "/jobs/nothing")
    yield "upload", found.ask("GET", "/uploads/nothing")
    yield "result", found.ask("GET", f"/jobs/{job}/result")
    yield "job.ended", found.ask("DELETE", f"/jobs/{job}?forget=true")
    yield "role.missing", found.ask("POST", "/jobs", {"system": "animate_anyone", "files": files})
    yield "role.none", found.ask("POST", "/jobs", {"system": "animate_anyone"})
    driven = {"reference_image": upload, "driving_video": upload}
    yield "role.kind", found.ask("POST", "/jobs", {"system": "animate_anyone", "files": driven})
    posed = {"system": "animate_anyone", "files": {"reference_image": upload, "pose_video": upload}}
    yield "model", found.ask("POST", "/jobs", {**posed, "options": {"model": "nothing"}})
    yield "model.missing", found.ask("POST", "/jobs", {**posed, "options": {"model": "released"}})
    yield "alignment", found.ask("POST", "/previews/alignment", posed)
    yield "option.int", found.ask("POST", "/plan", {**posed, "options": {"seed": "x"}})
    words = {"system": "easy_animate", "options": {"prompt": "a cat", "loras": [["style", 1]]}}
    yield "lora", found.ask("POST", "/jobs", words)
    found.job()
    yield "queue", found.ask("POST", "/jobs", posed)
    body, headers = form({"options": "x" * 300_000})
    yield "text", found.ask("POST", "/jobs", body, headers)


def test_each_refusal_that_a_visitor_can_meet_has_its_code(found, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # in which no weights are
    for code, answer in asked(found):
        assert answer.status >= 400 and answer.json.get("code") == code, (code, answer.body)
        assert set(answer.json) == {"error", "code", "values"} and "; " in answer.error
        assert str(found.jobs._folder.path) not in answer.body.decode()


def test_requests_that_the_guard_refuses_have_codes_too(tmp_path):
    with studio(tmp_path / "studio", {"token": TOKEN}) as closed:
        unknown = closed.ask("GET", "/jobs")
        foreign = closed.ask("GET", "/jobs", headers={"Host": "elsewhere.example"}, token=TOKEN)
    assert (unknown.status, unknown.json["code"]) == (401, "token")
    assert (foreign.status, foreign.json["code"]) == (403, "origin")
