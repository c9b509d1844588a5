"""What is read of the options' sources is what their dataclasses have, and mistyped names are told without Paddle."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.declared import check_names, read_aliases, read_declared
from ppdiffusers_ext.training.parser import make_parser, read_options
from scripts.training import classes_of, kinds_of

STAGES = (1, 2, "vae", "stable_animator")
COMPUTED = {"scale_loss", "expert_max_capacity", "noise_d_low", "noise_d_high"}  # defaults that are no literals


def is_same(declared, default):
    return declared == getattr(default, "value", default) or (declared is None and default is dataclasses.MISSING)


@pytest.mark.parametrize("stage", STAGES)
def test_options_are_those_of_the_dataclasses(stage):
    declared, kinds = read_declared(classes_of(stage)), kinds_of(stage)
    fields = {item.name: item for kind in kinds for item in dataclasses.fields(kind)}
    assert list(declared) == list(fields)
    assert {name for name, item in declared.items() if not is_same(item.default, fields[name].default)} <= COMPUTED
    assert {name for name, item in declared.items() if item.text != fields[name].metadata.get("help", "")} == set()
    assert read_aliases(classes_of(stage)) == {k: v for kind in kinds for k, v in getattr(kind, "ALIASES", {}).items()}


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_of_the_parser_is_accepted(stage):
    strings = [string for action in make_parser(kinds_of(stage))._actions for string in action.option_strings]
    assert "--no_do_train" in strings or stage != "stable_animator"
    check_names([word for string in strings for word in (string, "x", f"{string}=x")], classes_of(stage))
    check_names([f"--{name}=1" for name in read_aliases(classes_of(stage))], classes_of(stage))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("word", ["--max_step", "--max_step=3", "--nonsense", "--no_max_steps", "--wxyz", "--\udcff"])
def test_other_options_are_refused_in_the_parsers_words(stage, word):
    told = []
    for check in (lambda: check_names([word, "1"], classes_of(stage)), lambda: read_options([word], kinds_of(stage))):
        with pytest.raises(InputError) as error:
            check()
        told.append(str(error.value))
    assert told[0] == told[1]


def test_files_are_read_for_their_keys(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("max_steps: 1\nlearning_rte: 1\n")
    with pytest.raises(InputError, match=r"unknown keys in .*learning_rte \(did you mean learning_rate\?\)"):
        check_names([str(path)], classes_of(1))
    with pytest.raises(InputError, match="does not exist"):
        check_names([str(tmp_path / "b.yaml")], classes_of(1))
    with pytest.raises(InputError, match="'--max_step'"):
        check_names(["configs/training/stage1.yaml", "--max_step", "3"], classes_of(1))


def test_values_that_look_like_options_are_left_to_the_parser():
    check_names(["--output_dir", "--", "--max_steps", "-1", "--a b", "x"], classes_of(1))


def test_paddle_is_not_imported():
    code = """
import sys
from scripts.training import main
assert main("stable_animator", ["--help"], "usage") == 0
assert main(1, ["configs/training/stage1.yaml", "--max_step", "1"]) == 2
assert "paddle" not in sys.modules and "paddlenlp" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True)
