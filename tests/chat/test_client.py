"""A client of chat servers that are slow, busy, broken, or no chat servers at all."""

import contextlib
import socket
import threading
import time

import pytest

from ppdiffusers_ext.chat.client import Client, Server, ServerDownError
from ppdiffusers_ext.chat.replies import ChatError, usable_text
from ppdiffusers_ext.errors import InputError
from tests.support.chat_server import ChatServer, says, slowly
from tests.support.server import clean_environment

KEY = "sk-very-secret"
MESSAGES = [{"role": "user", "content": "What is there?"}]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


def client_of(url, **options):
    return Client(Server(url=url, model="small", api_key=KEY, **{"first_wait": 0.01, "attempts": 3, **options}))


def ask(server, **options):
    client = client_of(server.url, **options)
    return client, client.ask(MESSAGES, 0.0, 64, seed=3)


def refused(*answers, kind="server", **options):
    """The reason of a request that fails, and how often the server was asked."""
    with ChatServer(*answers) as server:
        client = client_of(server.url, **options)
        with pytest.raises(ChatError) as caught:
            client.ask(MESSAGES, 0.0, 64)
        assert caught.value.kind == kind
        reason = str(caught.value)
        assert KEY not in reason and "127.0.0.1" not in reason and caught.value.__cause__ is None
        return reason, len(server.asked)


def test_asks_as_the_protocol_has_it_and_counts_tokens():
    with ChatServer("A dog runs.") as server:
        client, reply = ask(server)
        assert reply.text == "A dog runs."
        assert server.asked == [
            {"model": "small", "temperature": 0.0, "max_tokens": 64, "seed": 3, "messages": MESSAGES}
        ]
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert client.usage.told(2.0, 10.0) == (
        "1 request, 1 answer, 0 refusals, 0 failures, 100 + 10 tokens (prompts + answers), cost 0.0003"
    )


def test_no_key_sends_no_header():
    with ChatServer("A dog.") as server:
        Client(Server(url=f"{server.url}/chat/completions", model="m")).ask(MESSAGES, 0, 9)
        assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("trouble", [(500, {}, b""), (503, {}, b"<html>"), None])
def test_what_may_pass_is_asked_again(trouble):
    with ChatServer(trouble, trouble, "A dog.") as server:
        client, reply = ask(server)
        assert (reply.text, client.usage.requests) == ("A dog.", 3)


def test_waits_as_long_as_a_busy_server_asks_for():
    with ChatServer((429, {"Retry-After": "1"}, b"{}"), "A dog.") as server:
        began = time.monotonic()
        ask(server)
        assert time.monotonic() - began >= 1


def test_what_stays_broken_is_given_up_with_its_status():
    reason, count = refused((500, {}, b'{"error": {"message": "out of memory"}}'))
    assert (reason, count) == ("the server answers 500 (out of memory) (3 attempts)", 3)


@pytest.mark.parametrize(
    ("body", "words"),
    [(b'{"error": {"message": "bad key sk-very-secret"}}', " (bad key ...)"), (b"no JSON", ""), (b"[1]", "")],
)
def test_refused_requests_are_not_repeated_and_do_not_tell_the_key(body, words):
    assert refused((401, {}, body)) == (f"the server answers 401{words}", 1)


def test_a_redirect_is_not_followed():
    with ChatServer("A dog.") as other:
        reason, _ = refused((302, {"Location": f"{other.url}/chat/completions"}, b""))
        assert reason == "the server answers 302" and other.asked == []


def test_slow_server_is_given_up_in_time():
    reason, _ = refused(slowly("A dog.", 0.5), timeout=0.1, attempts=1)
    assert reason == "the server does not answer in time (1 attempt)"


def test_server_that_is_not_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as line:
        port = line.getsockname()[1]
    with pytest.raises(ChatError, match=r"Connection refused \(2 attempts\)$"):
        client_of(f"http://127.0.0.1:{port}/v1", attempts=2).ask(MESSAGES, 0, 9)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"", "server", "is empty"),
        (b"<!doctype html><html>hello</html>", "server", "web page"),
        ((200, {"Content-Type": "text/html; charset=utf-8"}, b"hello"), "server", "web page"),
        (b"\x00\xff\x12garbage", "server", "not JSON"),
        (b'{"choices": [', "server", "not JSON"),
        (b"[]", "server", "no choices"),
        (b'{"choices": []}', "server", "no choices"),
        (b'{"choices": {"0": 1}}', "server", "no choices"),
        (b'{"choices": [{"message": "A dog"}]}', "server", "no choices"),
        (b'{"choices": [{"message": {"content": 7}}]}', "server", "no text"),
        (b'{"choices": [{"message": {"content": null}}]}', "answer", "answer is empty"),
        (b'{"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}', "refusal", "filter"),
        (says(None, refusal="No."), "refusal", "refuses: No."),
        (says("I'm sorry, but I can't assist with that."), "refusal", "refuses"),
        (says("抱歉，我无法描述。"), "refusal", "refuses"),
        (says("  \n "), "answer", "answer is empty"),
        (says("?!... 12"), "answer", "no words"),
        (says("a\x00b"), "answer", "characters"),
        (says("bad \ufffd\ufffd"), "answer", "characters"),
        (says("word " * 5000), "answer", "too long"),
    ],
)
def test_what_is_no_caption_is_a_reason(answer, kind, words):
    reason, count = refused(answer, kind=kind)
    assert words in reason and count == 1


def test_reasoning_is_left_out_and_parts_are_joined():
    assert usable_text("<think>\nIs it a dog?\n</think>\n A dog. ") == "A dog."
    parts = [{"type": "text", "text": "A "}, {"type": "text", "text": "dog 👩‍🚀."}]
    with ChatServer(says(parts)) as server:
        assert ask(server)[1].text == "A dog 👩‍🚀."


def test_captions_that_speak_of_sorrow_are_none_of_refusals():
    assert usable_text("A sorry sight: I-beams in the rain") and usable_text("Assorted cups, as an aide pours")


def test_server_that_is_down_is_left_alone_after_some_failures_in_a_row():
    with ChatServer((500, {}, b"")) as server:
        client = client_of(server.url, attempts=1, most_failures=2)
        with pytest.raises(ChatError):
            client.ask(MESSAGES, 0, 9)
        for _ in range(3):
            with pytest.raises(ServerDownError, match="2 requests in a row got no answer, the last: .* 500"):
                client.ask(MESSAGES, 0, 9)
        assert len(server.asked) == 2


def test_an_answer_begins_the_count_of_failures_anew():
    with ChatServer((500, {}, b""), "A dog.", (500, {}, b""), "I cannot say.", (500, {}, b"")) as server:
        client = client_of(server.url, attempts=1, most_failures=2)
        for _ in range(5):
            with contextlib.suppress(ChatError):
                client.ask(MESSAGES, 0, 9)
        assert (client.usage.failures, client.usage.refusals, client.usage.answers) == (3, 1, 1)


def test_who_waits_for_another_attempt_goes_on_when_the_server_is_down():
    with ChatServer((500, {"Retry-After": "30"}, b"")) as server:
        client, began = client_of(server.url, attempts=2, most_failures=1), time.monotonic()
        errors = []

        def wait():
            try:
                client.ask(MESSAGES, 0, 9)
            except InputError as error:
                errors.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not server.asked:
            time.sleep(0.01)
        client._count_failure(ChatError("gone", "server"))
        waiting.join()
        assert isinstance(errors[0], ServerDownError) and time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "localhost:8000"}, "not an address"),
        ({"url": "ftp://host/v1"}, "not an address"),
        ({"url": "http://me:pass@host/v1"}, "a user or a password"),
        ({"model": " "}, "no model"),
        ({"api_key": "a b"}, "characters that no key has"),
        ({"api_key": "clé"}, "characters that no key has"),
    ],
)
def test_bad_server_is_refused_at_once(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        Server(**{"url": "http://host/v1", "model": "m", **changes})
    assert "pass@" not in str(caught.value)


def test_key_is_in_no_text_of_a_server():
    assert KEY not in repr(Server(url="http://host/v1", model="m", api_key=KEY))
