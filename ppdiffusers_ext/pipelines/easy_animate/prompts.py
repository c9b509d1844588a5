"""Texts to tokens.

Tokens are those of transformers' `BertTokenizer` and `T5Tokenizer` (version 4.46, not the fast ones), with which
EasyAnimate's networks were trained. Tokenizers come from the files of a folder, none of which is a program: a
vocabulary and options.
"""

import bisect
import io
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import sentencepiece
from tokenizers.models import WordPiece

from ppdiffusers_ext.errors import InputError, MissingFileError, counted, printable, shown
from ppdiffusers_ext.files import check_name, read_bytes, read_text
from ppdiffusers_ext.models.rules import Choice, Either, Flag, ListOf, Nested, Number, Rules, Text, Whole
from ppdiffusers_ext.weights.folders import read_config

_BERT, _T5 = "vocab.txt", "spiece.model"
_OPTIONS = "tokenizer_config.json"
_CLASSES = {
    _BERT: ("BertTokenizer", "BertTokenizerFast"),
    _T5: ("T5Tokenizer", "T5TokenizerFast", "MT5Tokenizer", "MT5TokenizerFast"),
}
# Options of which one value is known here, which is the one that they have where they are left out.
_FIXED = {
    "padding_side": "right",
    "truncation_side": "right",
    "split_special_tokens": False,
    "do_basic_tokenize": True,
    "never_split": None,
    "sp_model_kwargs": {},
}
_TOKEN = Text(1, 500)
_NAME_OF_TOKEN = Either(None, _TOKEN, Nested({"content": _TOKEN}))
# T5 has 100 extra ids, mT5 none; BERT's vocabulary for many languages has 120,000 tokens, mT5's 250,000.
_RULES = Rules(
    {
        "extra_ids": Whole(0, 10_000),
        "additional_special_tokens": Either(None, ListOf(Either(_TOKEN, Nested({"content": _TOKEN})), 0, 10_000)),
        "model_max_length": Either(None, Number(4, 1e40)),  # some say 1e30 for none
        **{f"{name}_token": _NAME_OF_TOKEN for name in ("unk", "sep", "pad", "cls", "mask", "eos")},
        **dict.fromkeys(("do_lower_case", "tokenize_chinese_chars", "add_prefix_space"), Flag()),
        **dict.fromkeys(("strip_accents", "legacy"), Choice(None, True, False)),
    }
)
_MOST_ADDED = 10_000
_MOST_TOKENS = 1_000_000
_SPACE = "▁"  # what SentencePiece writes for a space
# What changes a serialised model, to which it is appended: normalizer_spec { add_dummy_prefix: false }.
_NO_SPACE_BEFORE = b"\x1a\x02\x18\x00"
_QUOTED = 80  # characters of a text in a message
# Planes of Unicode whose characters are words of their own: ideographs, those for compatibility included.
_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)

logger = logging.getLogger(__name__)


def read_tokenizer(folder: str | os.PathLike, length: int) -> "Tokenizer":
    """The tokenizer in a folder: BERT's, of a vocab.txt, or T5's or mT5's, of a spiece.model.

    Args:
        folder: with one of these files, and maybe a tokenizer_config.json.
        length: tokens that a text is padded and cut to; fewer, if the folder's own limit is lower.

    Returns:
        a `Tokenizer`.

    Raises:
        MissingFileError: there is no such folder, or neither file in it.
        InputError: a file is damaged, or its options are of a kind that is not known.
    """
    folder = check_name(folder, "folder of a tokenizer", f"a folder with {_BERT} or {_T5} is needed")
    found = [name for name in (_BERT, _T5) if os.path.lexists(folder / name)]
    if not found:
        raise MissingFileError(
            f"there is no tokenizer in {folder}; its file {_BERT} (of BERT) or {_T5} (of T5) is needed"
        )
    options = read_config(folder / _OPTIONS) if os.path.lexists(folder / _OPTIONS) else {}
    _check_options(folder / _OPTIONS, options, _CLASSES[found[0]])
    length = min(length, options.get("model_max_length") or length)
    try:
        tokenizer = (BertTokenizer if found[0] == _BERT else T5Tokenizer)(folder, options, length)
        names = [name for name in (found[0], _OPTIONS) if os.path.lexists(folder / name)]
        tokenizer.files = {name: read_bytes(folder / name, "file of a tokenizer", "one is needed") for name in names}
        return tokenizer
    except InputError:
        raise
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise InputError(
            f"the options in {folder / _OPTIONS} do not fit ({printable(error, 300)}); those of a "
            f"{_CLASSES[found[0]][0]} are needed"
        ) from error


def _check_options(path: Path, options: dict[str, Any], classes: Sequence[str]) -> None:
    name = options.get("tokenizer_class") or classes[0]
    if name not in classes:
        raise InputError(f"tokenizer_class {shown(name)} in {path} is not known; {' or '.join(classes)} is accepted")
    for key, value in _FIXED.items():
        if key in options and (options[key] or None) != (value or None):
            raise InputError(f"{key} {shown(options[key])} in {path} is not known; {value!r} is accepted")
    _RULES.check(options, path)


@dataclass(frozen=True)
class _Special:
    """A token that a text can name; whether the spaces before and behind it are left out."""

    id: int
    strips_before: bool = False
    strips_behind: bool = False


class Tokenizer:
    """
    Args:
        kind: of network that the tokens are for, in messages.
        specials: name -> `_Special`.
        opening, closing: ids of the tokens around each text.
        padding: id of the token behind it.
        length: tokens that a text becomes, with all of these.

    Attributes:
        files: name -> content, bytes, of each file that it was read from.
        tells: whether texts that are cut are told in the log.
    """

    files: dict[str, bytes] = {}
    tells = True

    def save_pretrained(self, folder: str) -> None:
        """Write the files that it was read from into a folder, which is made."""
        os.makedirs(folder, exist_ok=True)
        for name, content in self.files.items():
            Path(folder, name).write_bytes(content)

    def __init__(
        self,
        kind: str,
        specials: dict[str, _Special],
        opening: list[int],
        closing: list[int],
        padding: int,
        length: int,
    ) -> None:
        self.kind, self.length = kind, int(length)
        self._specials, self._opening, self._closing, self._padding = specials, opening, closing, padding
        names = sorted(specials, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(re.escape(name) for name in names) + ")")

    def __call__(self, texts: str | Sequence[str]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The tokens of texts; a warning for each that is cut says what of it is not seen.

        Args:
            texts: a list of str, which may be empty.

        Returns:
            ids, mask: int64 tensors of shape (batch, length); the mask is 1 for tokens and 0 for padding.

        Raises:
            InputError: something is no text.
        """
        rows = [self._row(text) for text in ([texts] if isinstance(texts, str) else texts)]
        ids = np.full((len(rows), self.length), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        return paddle.to_tensor(ids), paddle.to_tensor(mask)

    def _row(self, text: str) -> list[int]:
        _check_text(text)
        ids = self.ids(text)
        room = self.length - len(self._opening) - len(self._closing)
        if len(ids) > room:
            if self.tells:
                self._tell(text, ids, room)
            ids = ids[:room]
        return self._opening + self._close(ids)

    def _close(self, ids: list[int]) -> list[int]:
        return ids + self._closing

    def ids(self, text: str) -> list[int]:
        """Ids of all tokens of a text, without those around it."""
        parts = self._pattern.split(text)  # what is between the names of special tokens, and at odd places the names
        for i in range(1, len(parts), 2):
            special = self._specials[parts[i]]
            parts[i - 1] = parts[i - 1].rstrip() if special.strips_before else parts[i - 1]
            parts[i + 1] = parts[i + 1].lstrip() if special.strips_behind else parts[i + 1]
        ids: list[int] = []
        for i, part in enumerate(parts):
            ids += [self._specials[part].id] if i % 2 else self._pieces(part)
        return ids

    def _pieces(self, text: str) -> list[int]:
        """Ids of a text without special tokens."""
        raise NotImplementedError

    def _tell(self, text: str, ids: list[int], room: int) -> None:
        # About where the tokens are too many, and then the longest beginning that has just these. (A beginning may
        # have more tokens than a longer one, if it ends in a word.)
        about = bisect.bisect(range(len(text)), room, key=lambda end: len(self.ids(text[:end])))
        beginnings = ((end, self.ids(text[:end])) for end in range(min(about + _QUOTED, len(text)), -1, -1))
        seen = next(end for end, row in beginnings if len(row) <= room and row == ids[: len(row)])
        around = len(self._opening) + len(self._closing)
        logger.warning(
            "the prompt %s has %s and %s sees %d of them; not seen is its end: %s",
            _quote(text, _QUOTED // 2),
            counted(len(ids) + around, "token"),
            self.kind,
            room + around,
            _quote(text[seen:], _QUOTED),
        )


class BertTokenizer(Tokenizer):
    """BERT's WordPiece: words without accents, ideographs and punctuation apart, in the longest pieces known.

    For arguments and errors see `read_tokenizer`.
    """

    def __init__(self, folder: Path, options: dict[str, Any], length: int) -> None:
        path = folder / _BERT
        vocabulary = _read_vocabulary(path)
        names = ("unk", "sep", "pad", "cls", "mask")
        unknown, closing, padding, opening, mask = (_token_text(options, name, f"[{name.upper()}]") for name in names)
        for name in (unknown, closing, padding, opening):
            if name not in vocabulary:
                raise InputError(f"{path} has no token {name}; the vocabulary of a BERT, one token a line, is needed")
        named = (unknown, closing, padding, opening, mask, *(options.get("additional_special_tokens") or ()))
        specials = {name: _Special(vocabulary[name]) for name in named if name in vocabulary}
        specials |= _read_specials(folder / _OPTIONS, options, len(vocabulary))
        around = [vocabulary[opening]], [vocabulary[closing]]
        super().__init__("BERT", specials, *around, vocabulary[padding], length)
        self._lowers = options.get("do_lower_case", True)
        self._strips = options.get("strip_accents")
        self._strips = self._lowers if self._strips is None else self._strips
        self._parts_ideographs = options.get("tokenize_chinese_chars", True)
        self._model = WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100)

    def _pieces(self, text: str) -> list[int]:
        return [token.id for word in self._words(text) for token in self._model.tokenize(word)]

    def _words(self, text: str) -> Iterator[str]:
        if self._lowers:
            text = "".join(letter.lower() for letter in text)  # letter by letter: a sigma at a word's end is as others
        text = "".join(self._clean(letter) for letter in text)
        for word in unicodedata.normalize("NFC", text).split():
            if self._strips:
                parts = unicodedata.normalize("NFD", word)
                word = "".join(letter for letter in parts if unicodedata.category(letter) != "Mn")
            yield from "".join(f" {letter} " if _is_punctuation(letter) else letter for letter in word).split()

    def _clean(self, letter: str) -> str:
        if letter in "\t\n\r":
            return " "
        if letter == "\ufffd" or unicodedata.category(letter).startswith("C"):
            return ""
        if self._parts_ideographs and any(first <= ord(letter) <= last for first, last in _IDEOGRAPHS):
            return f" {letter} "
        return letter


class T5Tokenizer(Tokenizer):
    """T5's and mT5's SentencePiece.

    For arguments and errors see `read_tokenizer`.
    """

    def __init__(self, folder: Path, options: dict[str, Any], length: int) -> None:
        path = folder / _T5
        # transformers' newer way puts the space before a text itself, and none behind a special token.
        self._newer = options.get("legacy") is False
        self._before = _SPACE if options.get("add_prefix_space", True) else ""
        self._model = _read_sentencepiece(path, _NO_SPACE_BEFORE if self._newer else b"")
        size = self._model.get_piece_size()
        names = {name: _token_text(options, name, text) for name, text in (("eos", "</s>"), ("pad", "<pad>"))}
        self._unknown = _token_text(options, "unk", "<unk>")
        for name in names.values():
            if self._model.is_unknown(self._model.piece_to_id(name)):
                raise InputError(f"{path} has no token {name}; the SentencePiece model of a T5 or mT5 is needed")
        ids = {name: self._model.piece_to_id(name) for name in (*names.values(), self._unknown)}
        specials = {name: _Special(number) for name, number in ids.items()}
        given = [name for name in options.get("additional_special_tokens") or () if "<extra_id_" in str(name)]
        extra = options.get("extra_ids", 100)
        specials |= {f"<extra_id_{i}>": _Special(size - 1 + extra - i, True, True) for i in range(len(given) or extra)}
        specials |= _read_specials(folder / _OPTIONS, options, size + max(extra, len(given)))
        self._end = ids[names["eos"]]
        super().__init__("T5", specials, [], [self._end], ids[names["pad"]], length)

    def ids(self, text: str) -> list[int]:
        if not self._newer or not text:
            return super().ids(text)
        text = self._before + text.replace(_SPACE, " ")
        before, *special = self._pattern.split(text, maxsplit=1)
        starts_with_special = special and self._pieces(before) == [self._model.piece_to_id(_SPACE)]
        return super().ids(text)[1 if starts_with_special else 0 :]

    def _pieces(self, text: str) -> list[int]:
        if self._newer and text.startswith((_SPACE, " ")):  # where SentencePiece would take the space away
            before = len(self._model.encode(self._unknown))
            return self._model.encode(self._unknown + text)[before:]
        return self._model.encode(text)

    def _close(self, ids: list[int]) -> list[int]:
        return ids if ids[-1:] == [self._end] else super()._close(ids)


def _read_vocabulary(path: str | os.PathLike) -> dict[str, int]:
    """Token -> id."""
    lines = io.StringIO(read_text(path, "vocabulary", "one token a line, in UTF-8, is needed"), newline=None)
    vocabulary = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    if len(vocabulary) > _MOST_TOKENS:
        raise InputError(f"vocabulary {path} has {len(vocabulary)} tokens; {_MOST_TOKENS} at most are accepted")
    return vocabulary


def _read_sentencepiece(path: str | os.PathLike, changes: bytes) -> Any:
    content = read_bytes(path, "SentencePiece model", "a T5's or mT5's is needed")
    try:
        model = sentencepiece.SentencePieceProcessor()
        model.load_from_serialized_proto(content + changes)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path} is damaged or no SentencePiece model; a T5's or mT5's is needed") from error
    return model


def _token_text(options: dict[str, Any], name: str, default: str) -> str:
    token = options.get(f"{name}_token") or default
    return token.get("content", default) if isinstance(token, dict) else token


def _read_specials(path: str | os.PathLike, options: dict[str, Any], size: int) -> dict[str, _Special]:
    """Name -> `_Special` of those that options list with their ids."""
    specials, added = {}, options.get("added_tokens_decoder") or {}
    if not isinstance(added, dict) or len(added) > _MOST_ADDED:
        raise InputError(f"added_tokens_decoder in {path} is no mapping of at most {_MOST_ADDED}; one is accepted")
    for number, token in added.items():
        plain = isinstance(token, dict) and _TOKEN.fits(token.get("content"))
        if not plain or not re.fullmatch("[0-9]{1,9}", number) or token.get("single_word") or not token.get("special"):
            raise InputError(
                f"added token {printable(number, 100)} in {path} is not known; special tokens with an id are accepted"
            )
        if int(number) < size:
            specials[token["content"]] = _Special(int(number), bool(token.get("lstrip")), bool(token.get("rstrip")))
    return specials


def _is_punctuation(letter: str) -> bool:
    # All of ASCII that is neither letter nor digit is punctuation, also what Unicode calls a symbol.
    return (letter.isascii() and letter.isprintable() and not letter.isalnum() and letter != " ") or (
        unicodedata.category(letter).startswith("P")
    )


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"{text!r} is a {type(text).__name__} and no prompt; a text is accepted, which may be empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the prompt {_quote(text, _QUOTED)} is no valid text ({error.reason})") from error


def _quote(text: str, length: int) -> str:
    """A text on one line, in quotation marks, of at most so many characters."""
    text = " ".join(text.split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return '"' + "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text) + '"'
