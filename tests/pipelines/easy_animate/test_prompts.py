"""Tokens of prompts are those of transformers' tokenizers; what of a prompt is not seen is told."""

import json
import logging
import os
import pickle

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines.easy_animate.prompts import read_tokenizer
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import encode, make_bert, make_t5
from tests.support.vocabularies import write_bert, write_t5

PROMPTS = (
    "",
    "A dog is running on the grass!",
    "一只狗在跑，一只 Dog。",
    "Cafés, CAFÉ (cafe\u0301)",
    "１ 🐶 ΣΣ Σ II \u200bxx\tx\u3000?",
    "the [SEP] dog </s> <extra_id_1>  a",
    "é ééA1",
)
# What transformers 4.46.3 makes of them with the files of `tests.support.vocabularies`, the special tokens included.
BERT = (
    [3, 4],
    [3, 6, 7, 8, 9, 10, 16, 12, 17, 18, 21, 4],
    [3, 25, 26, 27, 28, 29, 30, 25, 26, 7, 31, 4],
    [3, 13, 18, 19, 13, 23, 13, 24, 4],
    [3, 32, 38, 35, 36, 35, 33, 34, 39, 40, 39, 22, 4],
    [3, 12, 4, 7, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 6, 4],
    [3, 2, 2, 4],
)
CASED = (
    [3, 4],
    [3, 2, 7, 8, 9, 10, 16, 12, 17, 18, 21, 4],
    [3, 25, 26, 27, 28, 29, 30, 25, 26, 15, 31, 4],
    [3, 2, 19, 2, 23, 14, 24, 4],
    [3, 32, 38, 2, 2, 2, 39, 40, 39, 22, 4],
    [3, 12, 4, 7, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 6, 4],
    [3, 2, 2, 4],
)
T5 = (
    [1],
    [35, 5, 6, 7, 8, 12, 10, 11, 28, 1],
    [3, 29, 30, 31, 2, 29, 3, 2, 16, 17, 2, 1],
    [3, 2, 14, 2, 32, 9, 26, 3, 2, 34, 2, 3, 2, 25, 14, 2, 20, 2, 1],
    [3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 39, 39, 2, 39, 2, 1],
    [10, 3, 2, 5, 1, 138, 4, 1],
    [3, 32, 3, 32, 32, 34, 33, 1],
)
NEWER_T5 = (*T5[:5], [10, 3, 2, 5, 1, 138, 14, 1], T5[6])

FILES = {
    "bert": (write_bert, {}, BERT),
    "cased": (write_bert, {"do_lower_case": False}, CASED),
    "t5": (write_t5, {}, T5),
    "newer t5": (write_t5, {"legacy": False}, NEWER_T5),
}


@pytest.mark.parametrize("kind", FILES)
def test_tokens_are_those_of_transformers(tmp_path, kind):
    write_files, options, expected = FILES[kind]
    write_files(tmp_path, **options)
    ids, mask = read_tokenizer(tmp_path, 24)(list(PROMPTS))
    assert ids.dtype == mask.dtype == paddle.int64 and list(ids.shape) == [len(PROMPTS), 24]
    assert mask.sum(axis=1).tolist() == [len(row) for row in expected]
    assert ids.tolist() == [row + [0] * (24 - len(row)) for row in expected]


def test_special_tokens_are_those_that_the_options_list(tmp_path):
    size = write_t5(tmp_path, extra_ids=0, additional_special_tokens=[])
    without = [10, 3, 2, 5, 1, 3, 37, 20, 39, 21, 23, 14, 2, 19, 15, 2, 33, 38, 4, 1]
    assert read_tokenizer(tmp_path, 20)([PROMPTS[5]])[0].tolist() == [without]
    token = {"content": "<extra_id_1>", "lstrip": False, "rstrip": False, "single_word": False, "special": True}
    write_t5(tmp_path, extra_ids=100, added_tokens_decoder={str(size + 98): token})
    assert read_tokenizer(tmp_path, 24)([PROMPTS[5]])[0][0, :8].tolist() == [10, 3, 2, 5, 1, size + 98, 4, 1]


def test_a_long_word_is_unknown_to_bert(tmp_path):
    write_bert(tmp_path)
    assert read_tokenizer(tmp_path, 120)(["x" * 101])[0][0, :3].tolist() == [3, 2, 4]
    assert read_tokenizer(tmp_path, 120)(["x" * 100])[0][0, :4].tolist() == [3, 39, 40, 40]


@pytest.mark.parametrize(
    "write_files, cut, end",
    [
        (write_bert, [3, 6, 7, 8, 9, 4], 'BERT sees 6 of them; not seen is its end: "ning on the grass!"'),
        (write_t5, [35, 5, 6, 7, 8, 1], 'T5 sees 6 of them; not seen is its end: "on the grass!"'),
    ],
)
def test_a_prompt_that_is_cut_is_told(tmp_path, caplog, write_files, cut, end):
    write_files(tmp_path)
    tokenizer = read_tokenizer(tmp_path, 6)
    with caplog.at_level(logging.WARNING):
        ids, mask = tokenizer(["a dog", PROMPTS[1]])
    assert ids[1].tolist() == cut and mask[1].tolist() == [1] * 6
    (message,) = caplog.messages
    tokens = len((BERT if write_files is write_bert else T5)[1])
    assert message == f'the prompt "{PROMPTS[1]}" has {tokens} tokens and {end}'


def test_a_quoted_prompt_is_short_and_printable(tmp_path, caplog):
    write_bert(tmp_path)
    read_tokenizer(tmp_path, 6)(["a\x1b[31m dog\n" * 200])
    (message,) = caplog.messages
    assert message.isprintable() and "\\x1b" in message and message.count("…") == 2 and len(message) < 250


def test_the_tokenizers_own_limit_is_kept(tmp_path):
    write_bert(tmp_path, model_max_length=9)
    assert read_tokenizer(tmp_path, 77)(["a"])[0].shape == [1, 9]
    write_t5(tmp_path / "t5", model_max_length=1e30)
    assert [read_tokenizer(tmp_path / "t5", length).length for length in (77, 256, 120)] == [77, 256, 120]


def test_missing_files_are_named(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            MissingFileError, match=r"no tokenizer in .*its file vocab.txt \(of BERT\) or spiece.model"
        ):
            read_tokenizer(folder, 77)


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("vocab.txt", b"\x80\x02not text", "vocab.txt is not text"),
        ("vocab.txt", b"", r"vocab.txt has no token \[UNK\]"),
        ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n", r"vocab.txt has no token \[SEP\]"),
        ("spiece.model", b"", "spiece.model is damaged or no SentencePiece model"),
        ("spiece.model", b"<html>not found</html>", "spiece.model is damaged"),
        ("spiece.model", None, "spiece.model is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, message):
    write_t5(tmp_path / "whole")
    half = (tmp_path / "whole" / "spiece.model").read_bytes()[:-30]
    (tmp_path / file).write_bytes(half if content is None else content)
    with pytest.raises(InputError, match=message):
        read_tokenizer(tmp_path, 77)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tokenizer_class": "Qwen2Tokenizer"}, "tokenizer_class 'Qwen2Tokenizer' in .*BertTokenizer or"),
        ({"padding_side": "left"}, "padding_side 'left' in .*; 'right' is accepted"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize False in .*; True is accepted"),
        ({"never_split": ["dog"]}, r"never_split \['dog'\] in .*; None is accepted"),
        ({"model_max_length": "long"}, "model_max_length is 'long'; null or a number from 4"),
        ({"model_max_length": 0}, "model_max_length is 0; null or a number from 4"),
        ({"added_tokens_decoder": {"7": {"content": "dog"}}}, "added token 7 in .*; special tokens with an id"),
        ({"added_tokens_decoder": ["dog"]}, "tokenizer_config.json"),
        ({"additional_special_tokens": 3}, "tokenizer_config.json"),
        ({"cls_token": "<s>"}, "vocab.txt has no token <s>"),
    ],
)
def test_options_that_are_not_known_are_told(tmp_path, options, message):
    write_bert(tmp_path, **options)
    with pytest.raises(InputError, match=message):
        read_tokenizer(tmp_path, 77)


def test_options_that_are_no_json_are_told(tmp_path):
    write_bert(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer_config.json is not JSON"):
        read_tokenizer(tmp_path, 77)


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "None is a NoneType and no prompt; a text is accepted"),
        (b"a dog", "b'a dog' is a bytes and no prompt"),
        (["a"], r"\['a'\] is a list and no prompt"),
        ("a \ud800 dog", r'the prompt "a \\ud800 dog" is no valid text'),
    ],
)
def test_what_is_no_text_is_told(tmp_path, text, message):
    write_t5(tmp_path)
    with pytest.raises(InputError, match=message):
        read_tokenizer(tmp_path, 8)(["a dog", text])


class _Trap:
    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def test_nothing_in_the_folder_is_run(tmp_path):
    trap = tmp_path / "sprung"
    options = {"auto_map": {"AutoTokenizer": ["tokenizer.Tokenizer", None]}, "trust_remote_code": True}
    write_bert(tmp_path, **options)
    (tmp_path / "tokenizer.py").write_text(f"import os\nos.mkdir({str(trap)!r})")
    for name in ("tokenizer.pkl", "added_tokens.json", "special_tokens_map.json"):
        (tmp_path / name).write_bytes(pickle.dumps(_Trap(trap)))
    assert read_tokenizer(tmp_path, 24)([PROMPTS[1]])[0][0, :12].tolist() == BERT[1]
    (tmp_path / "vocab.txt").write_bytes(pickle.dumps(_Trap(trap)))
    with pytest.raises(InputError):
        read_tokenizer(tmp_path, 24)
    assert not trap.exists()


def encoders(tmp_path):
    """A tokenizer and its encoder, of BERT and of T5, of random weights."""
    paddle.seed(0)
    words, pieces = write_bert(tmp_path / "bert"), write_t5(tmp_path / "t5")
    bert = {"vocab_size": words, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = make_bert({**bert, "intermediate_size": 12, "max_position_embeddings": 12})
    t5 = make_t5({"vocab_size": pieces, "d_model": 8, "d_kv": 3, "d_ff": 12, "num_layers": 2, "num_heads": 2})
    for folder, encoder in (("bert", bert), ("t5", t5)):
        for parameter in encoder.parameters():
            parameter.set_value(paddle.randn(parameter.shape) * 0.5)
            parameter.stop_gradient = True
        encoder.eval()
        yield read_tokenizer(tmp_path / folder, 12), encoder


def test_texts_are_seen_without_their_padding(tmp_path):
    for tokenizer, encoder in encoders(tmp_path):
        states, mask = encode(tokenizer, encoder, ["", "a dog", PROMPTS[1]])
        assert list(states.shape) == [3, 12, 8] and states.stop_gradient
        for i, text in enumerate(("", "a dog")):
            count = int(mask[i].sum())
            assert count == (2, 4)[i] if tokenizer.kind == "BERT" else (1, 3)[i]
            ids = tokenizer([text])[0][:, :count]
            alone = encoder(ids, attention_mask=paddle.ones_like(ids))[0]
            np.testing.assert_allclose(states[i, :count].numpy(), alone[0].numpy(), atol=1e-5)
        assert float((states[0, 0] - states[2, 0]).abs().max()) > 1e-3


def test_trained_parameters_of_an_encoder_have_gradients(tmp_path):
    for tokenizer, encoder in encoders(tmp_path):
        learns = encoder.parameters()[-1]
        learns.stop_gradient = False
        states, _ = encode(tokenizer, encoder, ["a dog"])
        states.square().sum().backward()
        assert float(learns.grad.abs().max()) > 0


def test_a_tokenizer_of_another_model_is_told(tmp_path):
    for tokenizer, encoder in encoders(tmp_path):
        folder = tmp_path / tokenizer.kind.lower()
        size = encoder.get_input_embeddings().weight.shape[0]
        token = {"content": "unheard", "special": True}
        options = json.loads((folder / "tokenizer_config.json").read_text()) if tokenizer.kind == "BERT" else {}
        (write_bert if tokenizer.kind == "BERT" else write_t5)(
            folder, **{**options, "added_tokens_decoder": {size: token}}
        )
        if tokenizer.kind == "BERT":
            with open(folder / "vocab.txt", "a", encoding="utf-8") as file:
                file.write("unheard\n")
        with pytest.raises(InputError, match=f"gives token {size} and the {tokenizer.kind} knows {size}"):
            encode(read_tokenizer(folder, 12), encoder, ["unheard"])
