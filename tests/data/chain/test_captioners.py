"""Who captions clips: what a server is asked, what a file says, and what lies beside a clip."""

import base64
import io
import json

import pytest
from PIL import Image

from ppdiffusers_ext.data.chain.caption_options import CaptionOptions, Source, caption_source, rewriting_source
from ppdiffusers_ext.data.chain.captioners import Given, Replay, choose_frames, open_captioner
from ppdiffusers_ext.errors import InputError, MissingFileError
from tests.data.chain.caption_clips import KEY, make_place, options_of, row_of
from tests.support.chat_server import ChatServer
from tests.support.server import clean_environment


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_frames_are_at_equal_distances_and_each_is_sent_once():
    assert choose_frames(100, 4) == [0, 25, 50, 75]
    assert choose_frames(3, 8) == [0, 1, 2] and choose_frames(1, 8) == [0]


def test_server_is_asked_about_the_frames_in_their_order(tmp_path):
    place = make_place(tmp_path)
    with ChatServer("A grey wall.") as server:
        options = options_of(server, caption_prompt="What is there?", caption_seed=7)
        columns = open_captioner(caption_source(options), options, place).caption(row_of(), place)
        asked, headers = server.asked[0], server.headers[0]
    assert columns == {"caption": "A grey wall.", "caption_model": "seer", "caption_temperature": 0.0,
                       "caption_seed": 7}  # fmt: skip
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (asked["model"], asked["temperature"], asked["max_tokens"], asked["seed"]) == ("seer", 0.0, 512, 7)
    [message] = asked["messages"]
    assert message["role"] == "user"
    *frames, last = message["content"]
    assert last == {"type": "text", "text": "What is there?"}
    assert [part["text"] for part in frames[::2]] == ["Frame1:", "Frame2:", "Frame3:"]
    prefix, greys = "data:image/jpeg;base64,", []
    for part in frames[1::2]:
        assert part["type"] == "image_url" and part["image_url"]["url"].startswith(prefix)
        image = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].removeprefix(prefix))))
        assert (image.format, image.size) == ("JPEG", (48, 32))
        greys.append(image.convert("L").getpixel((20, 15)))
    assert all(abs(grey - wanted) < 6 for grey, wanted in zip(greys, (20, 60, 100)))


def test_answers_are_kept_so_that_only_what_changed_is_asked(tmp_path):
    place = make_place(tmp_path, ("a_0.mp4", "b_0.mp4"))
    with ChatServer("A wall.") as server:

        def caption(key, **changes):
            options = options_of(server, **changes)
            captioner = open_captioner(caption_source(options), options, place)
            captioner.caption(row_of(key), place)
            return captioner.summary()[0]

        assert caption("a_0.mp4").endswith("1 request, 1 answer, 0 refusals, 0 failures, 100 + 10 tokens (prompts + "
                                           "answers); 0 answers of earlier runs")  # fmt: skip
        assert caption("a_0.mp4").startswith("captions: 0 requests") and len(server.asked) == 1
        for number, changes in enumerate(
            [{"model": "other"}, {"caption_prompt": "Why?"}, {"caption_size": 32}, {"caption_temperature": 0.5}], 2
        ):
            caption("a_0.mp4", **changes)
            assert len(server.asked) == number
        caption("b_0.mp4")
        assert len(server.asked) == 6
    kept = sorted((place.output / "answers").rglob("*.json"))
    assert len(kept) == 6
    assert not any(secret in path.read_text() for path in kept for secret in (KEY, "127.0.0.1"))


def test_kept_answer_that_is_damaged_is_asked_for_again(tmp_path):
    place = make_place(tmp_path)
    with ChatServer("A wall.") as server:
        options = options_of(server)
        captioner = open_captioner(caption_source(options), options, place)
        captioner.caption(row_of(), place)
        [path] = (place.output / "answers").rglob("*.json")
        for content in ('{"answer": "Wrong"}', "{", ""):
            path.write_text(content)
            assert captioner.caption(row_of(), place)["caption"] == "A wall."
        assert len(server.asked) == 4 and json.loads(path.read_text())["answer"] == "A wall."


def test_refusals_are_not_kept(tmp_path):
    place = make_place(tmp_path)
    with ChatServer("I'm sorry, I can't.", "A wall.") as server:
        options = options_of(server)
        captioner = open_captioner(caption_source(options), options, place)
        with pytest.raises(InputError, match="refuses"):
            captioner.caption(row_of(), place)
        assert captioner.caption(row_of(), place)["caption"] == "A wall."


@pytest.mark.parametrize("content", ["", "not a video"])
def test_clip_that_cannot_be_read_is_not_sent(tmp_path, content):
    place = make_place(tmp_path)
    (place.clips / "a/dog_0.mp4").write_text(content)
    with ChatServer("A wall.") as server:
        options = options_of(server)
        with pytest.raises(InputError):
            open_captioner(caption_source(options), options, place).caption(row_of(), place)
        assert server.asked == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"key": "a.mp4", "answer": "A dog."}\n{"key": "b.mp4", "answer": ""}\n'),
        ("a.json", '[{"file_path": "a.mp4", "text": "A dog.", "type": "video"}, {"key": "b.mp4", "caption": ""}]'),
        ("a.csv", "key,caption\na.mp4,A dog.\nb.mp4,\n"),
    ],
)
def test_replay_answers_by_key_as_a_server_would(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    replay = Replay(str(tmp_path / name))
    assert replay.caption({"key": "a.mp4"}, None) == {"caption": "A dog.", "caption_model": "replay"}
    with pytest.raises(InputError, match="the model's answer is empty"):
        replay.caption({"key": "b.mp4"}, None)
    with pytest.raises(InputError, match=r"no answer for 'c\.mp4'"):
        replay.caption({"key": "c.mp4"}, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"key": "a.mp4"}', "entry|line"),
        ('{"key": "a", "answer": "x"}\n{"key": "a", "answer": "y"}', "another answer for 'a'"),
        ('{"key": "", "answer": "x"}', "are accepted"),
        ('{"key": "a", "answer": 3}', "are accepted"),
    ],
)
def test_bad_file_of_answers_is_refused(tmp_path, text, words):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        Replay(str(tmp_path / "a.jsonl"))


def test_long_captions_of_a_file_are_whole(tmp_path):
    (tmp_path / "a.csv").write_text("key,caption\na.mp4," + "A dog. " * 500)
    assert len(Given(str(tmp_path / "a.csv")).caption({"key": "a.mp4"}, make_place(tmp_path, ()))["caption"]) == 3499


def test_captions_beside_the_clip_go_before_those_beside_the_video(tmp_path):
    place = make_place(tmp_path, ())
    for path, text in ((place.source / "a/dog.txt", "A dog.\n"), (place.clips / "a/dog_1.txt", "A clip.")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    given = Given(None)
    assert given.caption(row_of("a/dog_0.mp4"), place)["caption"] == "A dog."
    assert given.caption(row_of("a/dog_1.mp4"), place)["caption"] == "A clip."
    (place.source / "a/dog.txt").write_text(" \n")
    with pytest.raises(InputError, match="is empty"):
        given.caption(row_of("a/dog_0.mp4"), place)
    (place.source / "a/dog.txt").unlink()
    with pytest.raises(MissingFileError, match=r"there is no file dog\.txt beside the video"):
        given.caption(row_of("a/dog_0.mp4"), place)


@pytest.mark.parametrize("named", ["a/dog_0.mp4", "a/dog.mp4", "PATH"])
def test_listed_captions_name_a_clip_or_its_video(tmp_path, named):
    place = make_place(tmp_path, ())
    name = str(place.source / "a/dog.mp4") if named == "PATH" else named
    (tmp_path / "meta.json").write_text(json.dumps([{"file_path": name, "text": "A dog."}]))
    given = Given(str(tmp_path / "meta.json"))
    assert given.caption(row_of(), place)["caption"] == "A dog."
    with pytest.raises(InputError, match="no caption of 'b_0.mp4'"):
        given.caption({"key": "b_0.mp4", "video": "b.mp4"}, place)


def test_key_of_the_flag_goes_before_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    options = {"captioner": "http://host/v1", "model": "m"}
    assert caption_source(CaptionOptions(**options)).server.api_key == "sk-environment"
    assert caption_source(CaptionOptions(**options, api_key="sk-flag")).server.api_key == "sk-flag"
    assert caption_source(CaptionOptions(**options, api_key="")).server.api_key == ""


def test_key_of_the_captioner_is_not_sent_to_another_rewriter():
    options = {"captioner": "http://host/v1", "model": "m", "api_key": "sk-flag"}
    assert rewriting_source(CaptionOptions(**options)).server.api_key == "sk-flag"
    assert rewriting_source(CaptionOptions(**options, rewriter="http://other/v1")).server.api_key == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"captioner": "http://host/v1"}, "without --model"),
        ({"captioner": "vila"}, "'vila' is not known; the base of an API"),
        ({"captioner": "replay:nowhere.jsonl"}, "nowhere.jsonl"),
        ({"captions": "nowhere.json"}, "nowhere.json"),
        ({"captioner": "replay:a", "captions": "b"}, "both given"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        caption_source(CaptionOptions(**options))


def test_rewriting_without_a_model_is_refused():
    assert caption_source(CaptionOptions()) == Source()
    with pytest.raises(InputError, match="no --rewriter"):
        rewriting_source(CaptionOptions())
