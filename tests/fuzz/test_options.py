"""The options of every command: their parsers, and the configurations that are made of them before any work."""

import argparse
import contextlib
import functools
import io
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from tests.support.fuzzing import bounded, fuzz
from tests.support.parsers import command_names, config_of, parser_of

ROOT = Path(__file__).parents[2]

VALUES = (
    *("", " ", "x", "0", "1", "-1", "2", "24", "64", "512", "1001", "8192", str(2**63), "9" * 30, "9" * 5000, "1e23"),
    *("1e-9", "nan", "inf", "-inf", "1e999", "0x10", "1_0", "²", "٣", "0.5", "1/3", "--", "-", "-x", "=", "[1, 2]"),
    *("{a: 1}", "&x *x", "!!int abc", "[" * 3000, "true", "null", "fast", "exact", "minimal", "high", "fp16", "bf16"),
    *("DDIM", "PNDM", "Euler A", "sliding", "uniform", "crop", "pad", "left", "3", "30:60", ":", "1:" + "9" * 5000),
    *("gpu:0", "gpu:²", "gpu:" + "9" * 5000, "cpu", "auto", "onnx", "openvino", "animate_anyone", "stable_animator"),
    *("easy_animate", "a.mp4", "a.png", "a/../b", "a" * 5000, "a/" * 3000, "a\0b", "\ud800", "\udcff", "\x1b[2J"),
    *("/dev/zero", "/tmp", "/", ".", "a.yaml", "configs/inference/demo.yaml", "configs/inference/animation.yaml"),
)
TEXTS = st.one_of(st.sampled_from(VALUES), st.text(max_size=20), st.integers().map(str), st.floats().map(str))


@functools.cache
def actions_of(name):
    return [action for action in parser_of(name)._actions if action.dest != "help"]


@st.composite
def words(draw, name):
    """Words of a command: what it must be given as a rule, and options with values of any kind."""
    given = []
    for action in actions_of(name):
        is_needed = action.required or action.dest in ("prompt", "reference_image", "driving_video", "output")
        if action.option_strings and is_needed and draw(st.integers(0, 7)):
            usual = "configs/inference/demo.yaml" if action.dest == "config" else "a.mp4"
            given += [action.option_strings[-1], usual]
    for action in draw(st.lists(st.sampled_from(actions_of(name)), max_size=4)):
        if not action.option_strings:
            given.append(draw(TEXTS))
        elif isinstance(action, (argparse._StoreTrueAction, argparse._StoreFalseAction)):
            given.append(action.option_strings[0])
        elif draw(st.booleans()) and action.nargs is None:
            given.append(f"{action.option_strings[-1]}={draw(TEXTS)}")
        else:
            count = action.nargs if isinstance(action.nargs, int) else 1
            given += [action.option_strings[0], *(draw(TEXTS) for _ in range(count))]
    return given


@pytest.mark.parametrize("name", command_names())
def test_words_come_to_a_configuration_or_are_refused(name, monkeypatch):
    monkeypatch.chdir(ROOT)

    @fuzz(given_words=words(name))
    def try_words(given_words):
        told = io.StringIO()
        with bounded(), contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            try:
                config_of(name, parser_of(name).parse_args(given_words))
            except InputError as error:
                assert len(str(error)) < 10_000
            except SystemExit as stop:
                if stop.code == 0:  # a word that was drawn after a switch, which takes none
                    assert {"-h", "--help"} & set(given_words) and told.getvalue().startswith("usage: ")
                    return
                assert stop.code == 2
                assert told.getvalue().startswith("error: ") and len(told.getvalue()) < 1000

    try_words()
