"""scripts.beautify_prompt, and predict_t2v with --beautify-prompt."""

import json
from types import SimpleNamespace

import pytest

import ppdiffusers_ext.pipelines.easy_animate.run as easy_run
from ppdiffusers_ext.chat.rewriting import BEAUTIFY
from scripts import beautify_prompt, easy_animate, predict_t2v
from tests.support.chat_server import ChatServer
from tests.support.server import clean_environment

KEY = "sk-very-secret"
GOOD = json.dumps({BEAUTIFY.key: "A red fox trots through snow."})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def call(*options):
    return beautify_prompt.main(["--prompt", "a fox", "--model", "writer", *map(str, options)])


def test_prints_the_description_of_the_first_answer_that_is_one(capsys):
    with ChatServer("no", GOOD) as server:
        assert call("--base-url", server.url, "--api-key", KEY) == 0
        assert len(server.asked) == 2
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert capsys.readouterr().out == "A red fox trots through snow.\n"


def test_all_answers_without_use_exit_with_a_reason_and_print_nothing(capsys):
    with ChatServer("None") as server:
        assert call("--base-url", server.url) == 2
        assert len(server.asked) == 5
    out, err = capsys.readouterr()
    assert (
        out == ""
        and "gave no description of the prompt: none of 5 answers can be used, the last: the answer holds no" in err
    )


def test_flags_go_before_the_environment(monkeypatch):
    with ChatServer(GOOD) as server, ChatServer(GOOD) as other:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
        assert call() == 0 and call("--base-url", other.url, "--api-key", KEY) == 0
        assert [each.headers[0]["Authorization"] for each in (server, other)] == [
            "Bearer sk-environment",
            f"Bearer {KEY}",
        ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "there is no server"),
        (("--base-url", "x"), "'x' is not an address"),
        (("--prompt", " "), "prompt is empty"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, words, capsys):
    more = ("--base-url", "http://127.0.0.1:9") if "--prompt" in options else ()
    assert call(*more, *options) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def made(monkeypatch):
    """The configurations that videos are made with, in the place of videos."""
    found = []

    def make(config, task):
        found.append(config)
        return SimpleNamespace(num_frames=8, video="a.mp4", contact_sheet="a.png", report=None)

    monkeypatch.setattr(easy_run, "make", make)
    monkeypatch.setattr(easy_animate, "check_files", lambda config: None)
    return found


def predict(*options):
    return predict_t2v.main(["--prompt", "a fox", "--output", "a.mp4", *options])


def test_video_is_made_of_the_description_which_is_printed(made, capsys):
    with ChatServer(GOOD) as server:
        more = ("--beautify-prompt", server.url, "--beautify-model", "writer", "--beautify-key", KEY)
        assert predict(*more) == 0 and predict() == 0
    assert [config.prompt for config in made] == ["A red fox trots through snow.", "a fox"]
    assert capsys.readouterr().out.startswith("prompt   A red fox trots through snow.\n")
    assert KEY not in repr(made[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--beautify-model", "m"), "--beautify-model is given without --beautify-prompt"),
        (("--beautify-prompt", "http://127.0.0.1:9"), "there is no model; --beautify-prompt and --beautify-model"),
        (("--beautify-prompt", "http://127.0.0.1:9", "--skip-existing"), "--prompt takes it"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_a_video_is_made(made, options, words, capsys):
    assert predict(*options) == 2
    assert words in capsys.readouterr().err and made == []


def test_no_video_is_made_of_a_prompt_without_an_answer(made, capsys):
    with ChatServer("I'm sorry, I can't.") as server:
        assert predict("--beautify-prompt", server.url, "--beautify-model", "writer") == 2
    assert "the model refuses" in capsys.readouterr().err and made == []
