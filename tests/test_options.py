"""Options: one declaration of kind, bounds and choices, one order of precedence, and seeds."""

import re
import typing
from dataclasses import dataclass, field, fields
from fractions import Fraction

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError, check_keys
from ppdiffusers_ext.options import (
    SEEDS,
    Option,
    any_of,
    by_field,
    check_number,
    check_options,
    check_values,
    choose_seed,
    declaration,
    field_of,
    inherited,
    key_names,
    kind_of,
    merge,
    option,
    path_option,
    read_options,
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


@dataclass
class Named:
    steps: int = option(30, 1, 1000, aliases=("num_steps",), keys=("N",), help="number of steps")
    code: str = option("ab", pattern="[a-z]+", accepted="a word of small letters")
    keep: bool = option(False)
    replace: bool = option(False, excludes=("code", "keep"))
    folders: list = option(list)
    sizes: dict = option(dict)
    plain: float = 1.0


def test_key_may_be_the_name_an_alias_or_an_old_key():
    steps = {"steps": "steps", "num_steps": "steps", "N": "steps"}
    others = ("code", "keep", "replace", "folders", "sizes", "plain")
    assert key_names(Named) == {**steps, **dict(zip(others, others))}
    assert by_field(Named, {"N": 3, "plain": 2}, "key") == ({"steps": 3, "plain": 2}, {"steps": "N", "plain": "plain"})


def test_two_names_of_one_option_and_names_that_are_not_known_are_refused():
    message = "^key in a.yaml: N and steps are names of one option; one of them is accepted$"
    with pytest.raises(InputError, match=message):
        by_field(Named, {"N": 3, "steps": 3}, "key in a.yaml")
    with pytest.raises(InputError, match="^unknown key in a.yaml: 'num_step'; did you mean 'num_steps'"):
        by_field(Named, {"num_step": 3}, "key in a.yaml")


def test_options_of_a_file_are_checked_under_the_names_that_it_has(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("N: 7\nkeep: true\n")
    assert read_options(Named, path) == {"steps": 7, "keep": True}
    path.write_text("N: 0\n")
    with pytest.raises(InputError, match="^N in .*a.yaml is 0; a whole number from 1 to 1000 is accepted$"):
        read_options(Named, path)
    path.write_text("M: 0\n")
    with pytest.raises(InputError, match="^unknown key in .*a.yaml: 'M'"):
        read_options(Named, path)


def test_options_that_exclude_each_other_are_named_as_they_were_given():
    check_values(Named, {"replace": True, "keep": False})
    check_values(Named, {"replace": False, "keep": True})
    with pytest.raises(InputError, match="^replace and keep are both given; one of them is accepted$"):
        check_values(Named, {"replace": True, "keep": True})
    with pytest.raises(InputError, match="^--new and --old are both given in a.yaml; one of them is accepted$"):
        check_values(Named, {"replace": True, "keep": True}, "a.yaml", {"replace": "--new", "keep": "--old"})


def test_text_with_a_pattern_is_of_it_as_a_whole():
    check_values(Named, {"code": "abc"})
    for value in ("", "abc1", "1abc"):
        with pytest.raises(InputError, match=f"^code '{value}' is not known; a word of small letters is accepted$"):
            check_values(Named, {"code": value})


def test_containers_are_new_ones_for_each_configuration_and_options_without_a_default_are_required():
    assert Named().folders == [] and Named().sizes == {} and Named().folders is not Named().folders

    @dataclass
    class Required:
        steps: int = option(lower=1)
        output: str = path_option()

    for given in ({}, {"steps": 1}, {"output": "a"}):
        with pytest.raises(TypeError, match="required positional argument"):
            Required(**given)
    assert declaration(field_of(Required, "output")).is_path and not declaration(field_of(Required, "steps")).is_path


def test_option_of_a_base_class_is_inherited_with_what_changes():
    @dataclass
    class Derived(Named):
        steps: int = inherited(Named, "steps", 4, upper=8)

    assert Derived().steps == 4 and Named().steps == 30
    declared = declaration(field_of(Derived, "steps"))
    assert (declared.lower, declared.upper, declared.help, declared.aliases) == (
        1,
        8,
        "number of steps",
        ("num_steps",),
    )


def test_field_that_declares_nothing_is_an_option_without_bounds():
    assert declaration(field_of(Named, "plain")) == Option()
    assert declaration(field_of(Config, "steps")) == Option(1, 1000)
    assert declaration(field_of(Config, "dtype")) == Option(choices=("fp32", "bf16", "fp16"))


@dataclass
class Kinds:
    plain: int
    or_none: float | None
    optional: typing.Optional[str]  # noqa: UP045 (what is tested)
    items: list[int]
    items_or_none: tuple[int, int] | None
    several: int | str
    text: "int"
    text_or_none: "str | None"
    text_of_several: "int | str"


def test_kind_is_the_type_without_none_and_none_of_several():
    kinds = [kind_of(item) for item in fields(Kinds)]
    assert kinds == [int, float, str, list, tuple, None, int, str, None]


@pytest.mark.parametrize("choices, words", [(("a",), "a"), (("a", "b"), "a or b"), ((1, 2, 3), "1, 2 or 3")])
def test_choices_are_told_as_a_sentence(choices, words):
    assert any_of(choices) == words


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("scale", "a", "scale is 'a'; a number from 0 to 100 is accepted"),
        ("interval", 3, "interval is 3; a list is accepted"),
        ("cases", [], "cases is []; a mapping is accepted"),
        ("output", 3, "output is 3; text is accepted"),
        ("dtype", "a\0", r"dtype 'a\x00' is not known; fp32, bf16 or fp16 is accepted"),
    ],
)
def test_message_names_the_kind(name, value, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_values(Config, {name: value})


def test_text_that_cannot_be_written_is_refused():
    for value in ("a\0b", "\ud800"):
        with pytest.raises(
            InputError, match="^code is .*, which is no text; characters of Unicode but NUL are accepted$"
        ):
            check_values(Named, {"code": value})


def test_name_of_a_file_that_cannot_be_one_is_refused():
    with pytest.raises(InputError, match="; the name of a file or a folder is accepted$"):
        check_values(Config, {"output": "a\0b"})


def test_numbers_are_those_of_python_and_numpy_alike():
    check_number("x", Fraction(1, 3))
    check_number("x", np.float32(3), 3, 3)
    with pytest.raises(InputError, match="^x is 0.5; a whole number is accepted$"):
        check_number("x", 0.5, is_whole=True)
    for value in (True, INFINITY, NAN, np.float32("inf")):
        with pytest.raises(InputError, match="; a number is accepted$"):
            check_number("x", value)
