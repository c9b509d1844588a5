"""Texts made anew by a language model, whose answers may be anything."""

import json

import pytest

from ppdiffusers_ext.chat.client import Client, Server
from ppdiffusers_ext.chat.replies import ChatError
from ppdiffusers_ext.chat.rewriting import BEAUTIFY, REWRITE, beautify, rewritten
from ppdiffusers_ext.errors import InputError
from tests.support.chat_server import ChatServer
from tests.support.server import clean_environment

TEMPLATES = [REWRITE, BEAUTIFY]


def of(template, text):
    return json.dumps({template.key: text})


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("HERE", "A dog runs."),
        ("Sure! It is:\n```json\nHERE\n```\nEnjoy.", "A dog runs."),
        ('{"other": 1} HERE', "A dog runs."),
        ("HERE", "A {small} dog.\nIt runs."),
    ],
)
def test_text_is_found_wherever_it_stands(template, answer, text):
    assert template.parse(answer.replace("HERE", of(template, text))) == text


@pytest.mark.parametrize("template", TEMPLATES)
def test_quotation_marks_that_are_not_escaped_are_borne(template):
    assert template.parse(f'{{"{template.key}": "A sign says "stop" to a dog."}}') == 'A sign says "stop" to a dog.'


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("answer", ["A dog runs.", '{"description": "A dog."}', '{"KEY": 3}', '{"KEY": ""}', "{" * 99])
def test_answers_of_another_form_are_refused(template, answer):
    with pytest.raises(ChatError):
        template.parse(answer.replace("KEY", template.key))


@pytest.mark.parametrize("template", TEMPLATES)
def test_answer_that_repeats_an_example_is_refused(template):
    for _, made in template.examples:
        assert template.parse(of(template, f"{made} A dog."))
        with pytest.raises(ChatError, match="repeats an example"):
            template.parse(of(template, made.upper()))


def test_question_is_the_template_and_the_text():
    system, user = REWRITE.messages("A dog.")
    assert system == {"role": "system", "content": "You are a helpful assistant."}
    assert user["role"] == "user" and user["content"].endswith("\nA dog.")
    for given, made in REWRITE.examples:
        assert given in user["content"] and of(REWRITE, made) in user["content"]


def test_asks_again_until_an_answer_can_be_used():
    answers = ["no", of(REWRITE, "I'm sorry, no."), of(REWRITE, "A dog.")]
    asked = []
    assert rewritten(REWRITE, lambda attempt: asked.append(attempt) or answers[attempt], 10) == "A dog."
    assert asked == [0, 1, 2]


def test_none_of_all_answers_tells_how_many_and_the_last_reason():
    with pytest.raises(ChatError, match="none of 3 answers can be used, the last: the answer holds no"):
        rewritten(BEAUTIFY, lambda attempt: "no", 3)


def test_server_without_an_answer_is_not_asked_ten_times_over():
    def ask(attempt):
        assert attempt == 0
        raise ChatError("gone", "server")

    with pytest.raises(ChatError, match="^gone$"):
        rewritten(REWRITE, ask, 10)


def test_prompt_becomes_a_description_with_a_new_seed_for_each_attempt(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    with ChatServer("no", of(BEAUTIFY, "A dog in the sun.")) as server:
        assert beautify("a dog", Client(Server(url=server.url, model="m")), seed=5) == "A dog in the sun."
        assert [(asked["seed"], asked["temperature"], asked["max_tokens"]) for asked in server.asked] == [
            (5, 0.7, 1024),
            (6, 0.7, 1024),
        ]
        with pytest.raises(InputError, match="the prompt is empty"):
            beautify(" ", Client(Server(url=server.url, model="m")))
