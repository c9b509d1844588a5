"""What messages quote: bounded, on one line, and without what a terminal obeys."""

import time

import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError, printable, shown, shown_path

DEEP = []
for _ in range(900):
    DEEP = [DEEP]
WIDE = [["lol"] * 9] * 9
for _ in range(7):
    WIDE = [WIDE] * 9

VALUES = {
    "huge integer": 10**5000,
    "huge integer in a list": [1, -(10**5000)],
    "true": True,
    "deep list": DEEP,
    "bomb of nine levels": WIDE,
    "bomb of mappings": {"a": {"b": WIDE}},
    "long text": "x" * 10**6,
    "long bytes": b"x" * 10**6,
    "many keys": dict.fromkeys(range(10**5)),
    "escapes": "\x1b[31m\x07\x9b2J" * 50,
    "lines": "a\nb\r\nerror: b\u2028c",
    "right to left": "\u202egpj.exe",
    "halves of characters": "\ud800" * 50,
    "nothing": None,
    "nan": float("nan"),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_value_is_shown_on_one_bounded_line_at_once(value):
    start = time.monotonic()
    text = shown(value)
    assert time.monotonic() - start < 1
    assert 0 < len(text) <= 80
    assert text.isprintable()
    text.encode()


def test_small_values_are_shown_as_python_writes_them():
    values = (1, 2.5, "a'b", [1, "x"], {"a": [1, 2]}, (1, 2), None, True, -3, "狗")
    assert [shown(value) for value in values] == [repr(value) for value in values]


def test_shown_says_how_long_a_huge_integer_is():
    assert shown(10**5000) == "a whole number of about 5000 digits"
    assert shown([10**5000]) == "[a whole number of about 5000 digits]"


def test_printable_keeps_lines_and_letters_of_all_languages():
    text = "狗 é\nzweite Zeile"
    assert printable(text) == text
    assert printable("a\x1b[2Jb\x00\u202e") == "a\\x1b[2Jb\\x00\\u202e"


@pytest.mark.parametrize("text", ["x" * 100, "\x1b" * 100, "\U000e0001" * 100, "x" * 29 + "\x1b"])
def test_printable_is_cut_after_escapes_are_written(text):
    assert len(printable(text, 30)) == 30
    assert printable(text, 30).endswith("...")
    assert printable("x" * 30, 30) == "x" * 30


def test_path_is_shown_on_one_line_and_bounded():
    assert shown_path("a/狗.png") == "a/狗.png"
    assert shown_path("a\nerror: b") == "a\\nerror: b"
    assert len(shown_path("a" * 5000)) == 300


def test_named_errors_are_pythons_too():
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingFileError, (InputError, FileNotFoundError))
    assert str(MissingFileError("a.png does not exist")) == "a.png does not exist"
