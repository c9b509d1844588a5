"""What a chat server, its model and files of answers may hold: a text that can be used, or a named error."""

import json

import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.chat.replies import read_reply
from ppdiffusers_ext.chat.rewriting import BEAUTIFY, REWRITE
from ppdiffusers_ext.data.chain.answers import read_answers
from ppdiffusers_ext.data.chain.networks import ClipTokenizer
from tests.fuzz.test_weight_files import CHANGE, apply
from tests.support.chat_server import says
from tests.support.fuzzing import EXAMPLES, fuzz, refused_or_read

FEW = EXAMPLES // 5  # `make fuzz` tries more
NAMES = st.sampled_from(
    ["choices", "message", "content", "text", "refusal", "finish_reason", "usage", "prompt_tokens"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
)
# Shapes that are nearly those of an answer.
ANSWERS = st.builds(
    lambda content, message, more: {"choices": [{"message": {"content": content, **message}}], **more},
    VALUES,
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.dictionaries(NAMES, VALUES, max_size=2),
)
PIECES = st.lists(
    st.sampled_from(
        ['{"rewritten description": "', '{"detailed description": "', '"}', "{", "}", '"', "\\", "\n", "A"]
    )
    | st.text(max_size=20),
    max_size=12,
).map("".join)
FILES = {
    "a.jsonl": b'{"key": "a.mp4", "answer": "A dog."}\n{"key": "b.mp4", "caption": ""}\n',
    "a.csv": b"key,caption\na.mp4,A dog.\n",
    "a.json": b'[{"file_path": "a.mp4", "text": "A dog."}]',
}


def is_usable(reply):
    assert any(letter.isalpha() for letter in reply.text) and reply.text == reply.text.strip()
    assert reply.prompt_tokens >= 0 and reply.completion_tokens >= 0


@fuzz(FEW, values=VALUES | ANSWERS)
def test_json_of_any_shape(values):
    with refused_or_read():
        is_usable(read_reply(json.dumps(values).encode()))


@fuzz(FEW, changes=st.lists(CHANGE, max_size=6), kind=st.sampled_from(["", "application/json", "text/html", "\x00"]))
def test_bytes_of_an_answer(changes, kind):
    with refused_or_read():
        is_usable(read_reply(apply(says("A dog runs."), changes), kind))


@fuzz(FEW, answer=PIECES)
def test_words_of_a_model(answer):
    for template in (REWRITE, BEAUTIFY):
        with refused_or_read():
            assert template.parse(answer)


@fuzz(FEW, name=st.sampled_from(sorted(FILES)), changes=st.lists(CHANGE, max_size=6))
def test_files_of_answers(tmp_path, name, changes):
    (tmp_path / name).write_bytes(apply(FILES[name], changes))
    with refused_or_read():
        found = read_answers(tmp_path / name, "file of answers")
        assert all(isinstance(text, str) for pair in found.items() for text in pair)


@pytest.fixture(scope="module")
def tokenizer_files(request):
    folder = request.config.rootpath / "tests/goldens/image_text/clip"
    return {name: (folder / name).read_bytes() for name in ("vocab.json", "merges.txt")}


@fuzz(FEW, changes=st.lists(CHANGE, max_size=6), damaged=st.sampled_from(["vocab.json", "merges.txt"]), text=st.text())
def test_files_of_a_tokenizer(tokenizer_files, tmp_path, changes, damaged, text):
    for name, content in tokenizer_files.items():
        (tmp_path / name).write_bytes(apply(content, changes) if name == damaged else content)
    with refused_or_read():
        assert ClipTokenizer(tmp_path, 12)(text).shape == (1, 12)
