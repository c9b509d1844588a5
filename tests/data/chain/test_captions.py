"""The steps of captions and of their rewriting."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppdiffusers_ext.chat.replies import ChatError
from ppdiffusers_ext.chat.rewriting import REWRITE
from ppdiffusers_ext.data.chain.caption_options import CaptionOptions
from ppdiffusers_ext.data.chain.captions import Captions
from ppdiffusers_ext.data.chain.rewriting import Rewriting
from ppdiffusers_ext.data.chain.steps import StopRun
from ppdiffusers_ext.errors import InputError
from tests.data.chain.caption_clips import KEY, make_place, options_of, row_of
from tests.support.chat_server import ChatServer, slowly
from tests.support.server import clean_environment


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def opened(step, place):
    step.check()
    step.open(place)
    return step


def of_rewriting(text):
    return json.dumps({REWRITE.key: text})


def test_settings_have_what_captions_depend_on_but_neither_address_nor_key(tmp_path):
    with ChatServer("x") as server:
        one, other = (Captions(options=options_of(server, model=model)) for model in ("seer", "other"))
        text = json.dumps(one.settings())
        assert one.settings() != other.settings()
        assert KEY not in text and "127.0.0.1" not in text and KEY not in repr(one)
        same = Captions(options=options_of(server, api_key="x", caption_jobs=9, caption_timeout=3.0))
        assert same.settings() == one.settings()


def test_settings_of_a_file_follow_its_content(tmp_path):
    path = tmp_path / "answers.jsonl"
    step, found = Captions(options=CaptionOptions(captioner=f"replay:{path}")), []
    for answer in ("A dog.", "A cat."):
        path.write_text(json.dumps({"key": "a.mp4", "answer": answer}))
        found.append(step.settings())
    assert found[0] != found[1] and str(tmp_path) not in json.dumps(found)


def test_several_clips_are_captioned_at_a_time(tmp_path):
    keys = [f"{number}_0.mp4" for number in range(4)]
    place = make_place(tmp_path, keys, num_frames=2)
    with ChatServer(slowly("A wall.", 0.2)) as server:
        step = opened(Captions(options=options_of(server, caption_jobs=3)), place)
        assert step.is_waiting and step.concurrency == 3
        with ThreadPoolExecutor(step.concurrency) as threads:
            found = list(threads.map(lambda key: step({"key": key, "video": "v.mp4"}, place), keys))
        assert [columns["caption"] for columns in found] == ["A wall."] * 4
        assert 2 <= server.busiest <= 3


def test_server_that_is_down_ends_the_run_and_not_each_clip(tmp_path):
    place = make_place(tmp_path)
    with ChatServer((500, {}, b"")) as server:
        step = opened(Captions(options=options_of(server, caption_failures=2)), place)
        for error in (ChatError, StopRun, StopRun):
            with pytest.raises(error) as caught:
                step(row_of(), place)
            assert "127.0.0.1" not in str(caught.value)
        assert str(caught.value).startswith("the server of --captioner does not answer: 2 requests in a row")
        assert len(server.asked) == 2


def test_caption_is_rewritten_and_kept(tmp_path):
    place = make_place(tmp_path, ())
    with ChatServer("no JSON", of_rewriting("A dog runs.")) as server:
        options = options_of(server, rewriter_model="writer")
        for _ in range(2):
            step = opened(Rewriting(options=options), place)
            columns = step(row_of(caption="The video shows a dog."), place)
            assert columns == {"caption": "A dog runs.", "rewriting_model": "writer"}
        assert len(server.asked) == 2 and server.asked[0]["model"] == "writer"
        assert server.asked[0]["messages"][1]["content"].endswith("\nThe video shows a dog.")
        [line] = step.summary()
        assert line.startswith("rewriting: 0 requests") and line.endswith("1 answer of earlier runs")
        assert KEY not in json.dumps(step.settings())


def test_caption_without_a_usable_answer_fails_with_the_last_reason(tmp_path):
    place = make_place(tmp_path, ())
    with ChatServer("no JSON") as server:
        step = opened(Rewriting(options=options_of(server, rewrite_attempts=3)), place)
        with pytest.raises(InputError, match="none of 3 answers can be used"):
            step(row_of(caption="A dog."), place)
        assert len(server.asked) == 3
        with pytest.raises(InputError, match="no caption"):
            step(row_of(), place)


def test_rewriting_is_replayed(tmp_path):
    (tmp_path / "r.jsonl").write_text(
        "".join(json.dumps({"key": key, "answer": answer}) + "\n"
                for key, answer in (("a.mp4", of_rewriting("A dog.")), ("b.mp4", "no")))
    )  # fmt: skip
    step = opened(Rewriting(options=CaptionOptions(rewriter=f"replay:{tmp_path / 'r.jsonl'}")), make_place(tmp_path))
    assert step.needs == ("captions",)
    assert step({"key": "a.mp4", "caption": "x"}, None) == {"caption": "A dog.", "rewriting_model": "replay"}
    with pytest.raises(InputError, match="holds no"):
        step({"key": "b.mp4", "caption": "x"}, None)
