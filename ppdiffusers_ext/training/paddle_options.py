"""paddlenlp's TrainingArguments as a dataclass that needs no Paddle, made of the fields in paddlenlp's source.

Importing paddlenlp takes seconds; its source says names, types, defaults and help texts at once. Bounds and choices,
which it does not declare, are those of `bounds`.
"""

import ast
import dataclasses
import importlib.util
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option
from ppdiffusers_ext.training.bounds import PADDLE_BOUNDS, PADDLE_CHOICES

_PACKAGE = "paddlenlp"


def read_paddle_options() -> Any:
    """Returns a dataclass with the fields of paddlenlp's TrainingArguments, and none of its methods.

    Raises:
        InputError: paddlenlp is not installed.
    """
    names: dict[str, Any] = {**vars(typing), **vars(dataclasses), "ExplicitEnum": Enum}
    _define("trainer_utils", lambda node: any(getattr(base, "id", "") == "ExplicitEnum" for base in node.bases), names)
    _define("training_args", lambda node: node.name == "TrainingArguments", names)
    choices = {**PADDLE_CHOICES, "lr_scheduler_type": tuple(each.value for each in names["SchedulerType"])}
    fields = dataclasses.fields(names["TrainingArguments"])
    declared = [(item.name, item.type, _declare(item, choices.get(item.name, ()))) for item in fields]
    return dataclasses.make_dataclass("PaddleOptions", declared)


def _declare(item: dataclasses.Field, choices: tuple) -> Any:
    lower, upper = PADDLE_BOUNDS.get(item.name, (None, None))
    return option(item.default, lower, upper, choices, help=item.metadata.get("help", ""))


def _define(module: str, is_wanted: typing.Callable[[ast.ClassDef], bool], names: dict[str, Any]) -> None:
    """Define the classes of a module of `paddlenlp.trainer` that are wanted, without methods, in `names`."""
    path = _folder() / "trainer" / f"{module}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and is_wanted(node)]
    for node in classes:
        node.body = [item for item in node.body if isinstance(item, ast.AnnAssign) or _is_constant(item)]
    exec(compile(ast.Module(list[ast.stmt](classes), []), str(path), "exec"), names)


def _is_constant(item: ast.stmt) -> bool:
    """True for a value of an Enum."""
    return isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)


def _folder() -> Path:
    """The folder of the package, which is found without being imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {_PACKAGE} is not installed; requirements.txt lists what is needed")
    return Path(spec.origin).parent
