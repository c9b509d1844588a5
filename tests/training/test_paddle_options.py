"""What is read of paddlenlp's source is what paddlenlp's own classes and its own parser have."""

import argparse
import dataclasses

import pytest
from paddlenlp.trainer import PdArgumentParser, TrainingArguments

from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.training.arguments import TrainingArguments as OwnArguments
from ppdiffusers_ext.training.bounds import PADDLE_BOUNDS, PADDLE_CHOICES
from ppdiffusers_ext.training.options import PaddleOptions
from ppdiffusers_ext.training.parser import make_parser


def test_fields_are_those_of_the_class():
    read, theirs = dataclasses.fields(PaddleOptions), dataclasses.fields(TrainingArguments)
    assert [(item.name, item.default) for item in read] == [(item.name, item.default) for item in theirs]
    assert [declaration(item).help for item in read] == [item.metadata.get("help", "") for item in theirs]
    assert not set(PADDLE_BOUNDS) | set(PADDLE_CHOICES) > {item.name for item in read}


def test_schedules_are_those_of_the_class():
    from paddlenlp.trainer.trainer_utils import SchedulerType

    (item,) = (item for item in dataclasses.fields(PaddleOptions) if item.name == "lr_scheduler_type")
    assert declaration(item).choices == tuple(each.value for each in SchedulerType)


ATTRIBUTES = ("option_strings", "dest", "nargs", "const", "default", "required", "help", "metavar")
SAMPLES = ("1", "-3", "0.5", "1e-3", "true", "No", "text", "steps", "linear")


@pytest.mark.parametrize("own", make_parser((PaddleOptions,))._actions, ids=lambda action: action.option_strings[0])
def test_option_is_parsed_as_by_the_parser_of_paddlenlp(own):
    parser = PdArgumentParser((TrainingArguments,), add_help=False)
    (theirs,) = (action for action in parser._actions if action.option_strings == own.option_strings)
    assert type(own) is type(theirs)
    for name in ATTRIBUTES:
        if (name, own.dest) != ("default", "output_dir"):
            assert getattr(own, name) == getattr(theirs, name), name
    if own.type is None:
        return
    for text in SAMPLES:
        try:
            value = own.type(text)
        except argparse.ArgumentTypeError:
            continue  # choices and finite numbers are held to more strictly than by paddlenlp
        assert value == theirs.type(text) and type(value) is type(theirs.type(text))


def test_arguments_for_paddle_have_all_options_of_their_class():
    names = {item.name for item in dataclasses.fields(OwnArguments)}
    assert names >= {item.name for item in dataclasses.fields(TrainingArguments)}
    assert {"validation_steps", "ema_decay", "checkpoint_key"} <= names
