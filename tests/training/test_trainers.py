"""The table of trainers: each has its command, its options have one place, and what it has not is refused."""

import ast
from pathlib import Path

import pytest

from ppdiffusers_ext import commands
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.bounds import fields_of
from ppdiffusers_ext.training.options import DataOptions, ModelOptions, TrainerOptions
from ppdiffusers_ext.training.parser import parse_options
from ppdiffusers_ext.training.trainers import COMMANDS, TRAINERS

ROOT = Path(__file__).parents[2]
NEEDED = {"stable_animator": ["--data_path=a.txt"]}


def parse(name, tmp_path, *words):
    return parse_options([*NEEDED.get(name, ()), f"--output_dir={tmp_path / 'out'}", *words], TRAINERS[name].kinds)


def test_every_trainer_has_a_command_and_every_command_of_a_trainer_is_in_the_table():
    files = {path.stem for path in (ROOT / "scripts").glob("trainer_*.py")}
    listed = {name for names in commands.COMMANDS.values() for name in names if name.startswith("trainer_")}
    assert files == listed == set(COMMANDS)


@pytest.mark.parametrize("name", TRAINERS)
def test_command_starts_the_trainer_of_its_name(name):
    tree = ast.parse((ROOT / "scripts" / f"trainer_{name}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "main"]
    assert [call.args[0].value for call in calls] == [name]


@pytest.mark.parametrize("name", TRAINERS)
def test_options_of_model_data_and_training_have_no_name_in_common(name):
    kinds = TRAINERS[name].kinds
    assert [issubclass(*pair) for pair in zip(kinds, (ModelOptions, DataOptions, TrainerOptions))] == [True] * 3
    assert len(fields_of(kinds)) == sum(len(fields_of([kind])) for kind in kinds)


@pytest.mark.parametrize("name", TRAINERS)
def test_paddlenlps_word_for_gradient_checkpointing_is_used_or_refused(tmp_path, name):
    has_it = "gradient_checkpointing" in fields_of(TRAINERS[name].kinds[:1])
    if has_it:
        assert parse(name, tmp_path, "--recompute")[0].gradient_checkpointing
    else:
        with pytest.raises(InputError, match="--recompute has no use in this training"):
            parse(name, tmp_path, "--recompute")


@pytest.mark.parametrize("name", TRAINERS)
def test_validation_on_nothing_is_refused(tmp_path, name):
    parse(name, tmp_path, "--validation_clips=0")
    with pytest.raises(InputError, match="--validation_clips of 1 or more"):
        parse(name, tmp_path, "--validation_steps=5", "--validation_clips=0")
