"""Options: one declaration of kind, bounds and choices, one order of precedence, and seeds."""

import re
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError, check_keys
from ppdiffusers_ext.options import (
    SEEDS,
    check_number,
    check_options,
    check_values,
    choose_seed,
    merge,
    option,
    path_option,
)

NAN, INFINITY = float("nan"), float("inf")
GARBAGE = (
    None,
    NAN,
    INFINITY,
    -INFINITY,
    "",
    "x",
    "1",
    b"1",
    [],
    [1],
    {},
    {"a": 1},
    object(),
    1j,
    10**5000,
    -(10**5000),
)


@dataclass
class Config:
    steps: int = option(30, 1, 1000)
    scale: float | None = option(None, 0, 100)
    dtype: str = option("fp32", choices=("fp32", "bf16", "fp16"))
    audio: bool = True
    interval: list | None = None
    cases: dict = field(default_factory=dict)
    output: str | None = path_option(None)
    model: str = path_option("")
    person: int | str = "largest"
    seed: int = option(42, *SEEDS)


ACCEPTED = {
    "steps": (1, 1000, np.int64(7)),
    "scale": (None, 0, 100, 1.5, np.float32(2), Fraction(30000, 1001)),
    "dtype": ("fp32", "fp16"),
    "audio": (True, False),
    "interval": (None, [0, 1], (0, 1)),
    "cases": ({}, {"a": []}),
    "output": (None, "a.mp4", "狗/ .mp4"),
    "model": ("", "folder"),
    "person": ("left", 3),
    "seed": (-1, 0, 2**63 - 1),
}
REFUSED = {
    "steps": (0, 1001, -1, 1.0, 1e23, True, *GARBAGE),
    "scale": (-0.1, 100.1, True, *GARBAGE[1:]),
    "dtype": ("FP32", "int8", "a\0b", *GARBAGE),
    "audio": (0, 1, "yes", *GARBAGE),
    "interval": (3, "ab", *GARBAGE[1:6], {"a": 1}),
    "cases": ([], "a", None, 3),
    "output": ("", "a\0b", "a\ud800", "a" * 5000, "a/" * 3000, 3, b"a", ["a"]),
    "model": (None, "a\0b", 3),
    "seed": (-2, 2**63, 2**64, 10**5000, 1e23, 0.5, NAN, "1", None, True),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_values_within_bounds_are_accepted(name):
    for value in ACCEPTED[name]:
        check_options(Config(**{name: value}))


@pytest.mark.parametrize("name", REFUSED)
def test_values_of_another_kind_or_out_of_bounds_are_refused_in_a_line(name):
    for value in REFUSED[name]:
        with pytest.raises(InputError) as error:
            check_options(Config(**{name: value}))
        message = str(error.value)
        assert message.startswith(f"{name} ") and re.search("; .* (is|are) accepted$", message), message
        assert message.isprintable() and len(message) < 500


def test_message_names_bounds_choices_file_and_option():
    for values, path, names, message in (
        ({"steps": 2000}, None, None, "steps is 2000; a whole number from 1 to 1000 is accepted"),
        ({"scale": -1}, "a.yaml", None, "scale in a.yaml is -1; a number from 0 to 100 is accepted"),
        ({"dtype": "x"}, None, {"dtype": "--dtype"}, "--dtype 'x' is not known; fp32, bf16 or fp16 is accepted"),
        ({"audio": 1}, None, None, "audio is 1; true or false is accepted"),
        ({"seed": -2}, None, None, f"seed is -2; a whole number from 0 to {2**63 - 1}, or -1 for one that is drawn,"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            check_values(Config, values, path, names)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [((), "a number"), ((1,), "a number of 1 or more"), ((None, 3), "a number up to 3"), ((1, 3), "from 1 to 3")],
)
def test_bounds_are_said_as_far_as_there_are_any(bounds, words):
    with pytest.raises(InputError, match=f"x is 'a'; .*{words} is accepted"):
        check_number("x", "a", *bounds)


def test_unknown_keys_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown key in a.yaml: 'stpes'; did you mean 'steps'"):
        check_keys({"stpes": 1}, ["seed", "steps"], "key in a.yaml")
    check_keys({"steps": 1}, ["seed", "steps"], "key")


NO_KEYS = [*({key: 1} for key in (1, None, "x" * 10**6, "\x1b[2J", (1, 2), 10**5000)), [], "steps", None, 3]


@pytest.mark.parametrize("values", NO_KEYS, ids=range(len(NO_KEYS)))
def test_keys_of_any_kind_are_refused_in_a_line(values):
    with pytest.raises(InputError) as error:
        check_keys(values, ["seed", "steps"], "key")
    assert str(error.value).isprintable() and len(str(error.value)) < 300


def test_later_layers_go_before_earlier_ones_and_none_never_does():
    assert merge({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": None, "c": 0, "d": False}) == {
        "a": 1,
        "b": 3,
        "c": 0,
        "d": False,
    }


def test_seed_is_the_one_given_or_one_that_is_drawn_and_told(caplog):
    assert choose_seed(7) == 7 and not caplog.text
    drawn = {choose_seed(-1) for _ in range(4)}
    assert len(drawn) == 4 and all(0 <= seed < 2**32 for seed in drawn)
    assert all(f"seed {seed} was drawn; --seed {seed} makes the same again" in caplog.text for seed in drawn)


def test_seed_out_of_range_is_refused():
    for seed in REFUSED["seed"]:
        with pytest.raises(InputError, match="seed is"):
            choose_seed(seed)
