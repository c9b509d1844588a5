"""What messages quote: bounded, on one line, and without what a terminal obeys."""

import ast
import re
import time
from pathlib import Path

import pytest

from ppdiffusers_ext.errors import (
    InputError,
    MissingFileError,
    check_keys,
    counted,
    nearest,
    printable,
    shown,
    shown_path,
    suggestion,
)

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


KNOBS = ("guidance_interval", "step_cache_interval", "step_cache_depth", "context_overlap", "context_schedule")


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [
        ("stpes", ("steps", "width"), "steps"),
        ("WIDTH", ("steps", "width"), "width"),
        ("context-overlap", KNOBS, "context_overlap"),
        ("--max_stepz", ("max_steps", "save_steps"), "max_steps"),
        ("steps", ("max_steps", "width"), "max_steps"),
        ("overlap", KNOBS, "context_overlap"),
        ("seed", KNOBS, None),
        ("foo", KNOBS, None),
        ("", KNOBS, None),
        ("x" * 10**6, KNOBS, None),
        ("seed", (), None),
    ],
)
def test_nearest_name_is_one_that_was_meant_or_none(text, known, expected):
    assert nearest(text, known) == expected


def test_suggestion_without_a_near_name_says_what_there_is():
    assert suggestion("seed", ["depth", "width"]) == "depth or width is accepted"
    assert suggestion("seed", ["depth"]) == "depth is accepted"
    assert suggestion("seed", []) == "nothing is accepted"
    assert len(suggestion("seed", [f"other{i}" for i in range(10**4)])) <= 180
    with pytest.raises(InputError, match="'seed'; guidance_interval, .* or context_schedule is accepted"):
        check_keys({"seed": 1}, KNOBS, "knob")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((0, "frame"), "0 frames"),
        ((1, "frame"), "1 frame"),
        ((12000, "frame"), "12,000 frames"),
        ((1, "process", "processes"), "1 process"),
        ((2, "process", "processes"), "2 processes"),
    ],
)
def test_count_has_the_noun_that_fits(words, expected):
    assert counted(*words) == expected


NOUNS = "clip|face|file|folder|frame|job|mask|number|part|skeleton|step|tensor|token|video"


def told(call):
    """The texts that a call of a logger or of print has, a mark in the place of each value."""
    for node in ast.walk(call):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "%d" for part in node.values)
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_note_counts_with_a_noun_that_is_always_of_many():
    root = Path(__file__).parents[1]
    found = []
    for path in [*root.glob("ppdiffusers_ext/**/*.py"), *root.glob("scripts/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func if isinstance(node, ast.Call) else None
            is_note = isinstance(name, ast.Attribute) and name.attr in ("info", "warning")
            if is_note or (isinstance(name, ast.Name) and name.id in ("print", "_fail")):
                found += [(path.name, text) for text in told(node) if re.search(rf"%d ({NOUNS})s\b", text)]
    # More than one as a rule: of so many frames a second, of faces where one is told of nowhere.
    allowed = ("frames at %g", "shows %d faces")
    assert [text for text in found if not any(word in text[1] for word in allowed)] == []
