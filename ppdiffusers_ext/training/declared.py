"""The trainers' options as the sources of their dataclasses declare them, read without importing Paddle.

So --help is shown, and a mistyped option is answered, at once. `training.parser` reads the options themselves.
"""

import ast
import functools
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, nearest, printable, shown
from ppdiffusers_ext.files import read_json, read_yaml

ACCEPTED = "--help-all lists what is accepted"
FILES: dict[str, Callable] = {".yaml": read_yaml, ".yml": read_yaml, ".json": read_json}
_MOST_MESSAGE = 400
_FUNCTIONS = ("field", "option")  # which declare an option, of dataclasses and of `arguments`


@dataclass(frozen=True)
class Declared:
    """An option: its name, its default (None for one that is computed), and its help ("" for one that is computed)."""

    name: str
    default: Any
    text: str


def read_declared(classes):
    """Returns the options of dataclasses, those that they inherit included: name -> `Declared`.

    Args:
        classes: names with modules, as "ppdiffusers_ext.training.arguments.TrainingArguments".
    """
    return {name: item for path in classes for name, item in _fields_of(*path.rsplit(".", 1)).items()}


def read_aliases(classes):
    """Returns the other names of options of dataclasses: name -> the option's own name."""
    return read_mappings(classes, "ALIASES")


def read_mappings(classes, attribute):
    """Returns the entries of a class attribute, a dict of text, of all dataclasses that have it themselves."""
    found: dict[str, str] = {}
    for module, name in (path.rsplit(".", 1) for path in classes):
        tree = _parse(module)
        node = next((value for target, value in _assigned(_class_of(tree, name)) if target == attribute), None)
        if isinstance(node, ast.Name):
            node = next(value for target, value in _assigned(tree) if target == node.id)
        found |= ast.literal_eval(node) if node is not None else {}
    return found


def check_names(arguments, classes):
    """Raise InputError for an option, or a key of the file that comes first, that there is not.

    Args:
        arguments: list of texts.
        classes: see `read_declared`.
    """
    fields, aliases = read_declared(classes), read_aliases(classes)
    if arguments and is_file(arguments[0]):
        read_file(arguments[0], fields)
        arguments = arguments[1:]
    known = {*fields, *aliases, *(f"no_{item.name}" for item in fields.values() if item.default is True)}
    for word in arguments:
        name = word.partition("=")[0]
        if name.startswith("--") and len(name) > 2 and " " not in name and name.removeprefix("--") not in known:
            raise InputError(f"{unknown_option([word], [*fields, *aliases])}; {ACCEPTED}")


def is_file(word):
    """True if a word names a YAML or JSON file of options."""
    return os.path.splitext(word)[1].lower() in FILES and not word.startswith("-")


def read_file(path, known):
    """Returns the keys and values of a YAML or JSON file of options, a dict.

    Args:
        path: str.
        known: names of options.

    Raises:
        InputError: it cannot be read, or has other keys.
    """
    reader = FILES[os.path.splitext(path)[1].lower()]
    values = reader(path, "training configuration", "a YAML or JSON file of options is needed")
    if not isinstance(values, dict):
        raise InputError(f"training configuration {path} holds {type(values).__name__}; keys and values are needed")
    if unknown := sorted(set(values) - set(known), key=str):
        told = printable(", ".join(_with_nearest(key, sorted(known)) for key in unknown), _MOST_MESSAGE)
        raise InputError(f"unknown keys in {path}: {told}; {ACCEPTED}")
    return values


def _with_nearest(key, known):
    near = nearest(key, known) if isinstance(key, str) else None
    return (printable(key, 80) if isinstance(key, str) else shown(key)) + (f" (did you mean {near}?)" if near else "")


def unknown_option(words, known):
    """Returns what is said of words that no option takes: the first option, and which is the nearest to it."""
    word = next((word for word in words if word.startswith("-")), None)
    if word is None:
        return f"{shown(words[0])} is neither an option nor the value of one"
    name = word.partition("=")[0]
    near = nearest(name, known)
    return f"there is no option {shown(name)}" + (f"; did you mean --{near}?" if near else "")


def _fields_of(module, name):
    """The options of a class by name, those of its bases first, as dataclasses order them."""
    tree = _parse(module)
    node = _class_of(tree, name)
    found: dict[str, Declared] = {}
    for base in (base.id for base in node.bases if isinstance(base, ast.Name)):
        found |= _fields_of(*_origin_of(tree, module, base))
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            found[item.target.id] = _declared(item)
    return found


def _declared(item):
    default, text = item.value, None
    if isinstance(item.value, ast.Call) and getattr(item.value.func, "id", "") in _FUNCTIONS:
        given: dict = dict(zip(("default", "text"), item.value.args))
        given |= {keyword.arg: keyword.value for keyword in item.value.keywords}
        default, text = given.get("default"), given.get("text")
        if "metadata" in given:
            metadata = given["metadata"]
            text = next((value for key, value in zip(metadata.keys, metadata.values) if _value(key) == "help"), None)
    return Declared(item.target.id, _value(default), _value(text) or "")


def _value(node):
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _class_of(tree, name):
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _assigned(node):
    """Pairs of a name and what a module or a class assigns to it."""
    targets = [(item.targets[0], item.value) for item in node.body if isinstance(item, ast.Assign)]
    return [(target.id, value) for target, value in targets if isinstance(target, ast.Name)]


def _origin_of(tree, module, name):
    """The module and the name of a class that a module defines or imports."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return node.module, alias.name
    return module, name


@functools.cache
def _parse(module):
    return ast.parse(_source_of(module).read_text(encoding="utf-8"))


def _source_of(module):
    """The file of a module, found without importing the packages that it is in, but for the outermost."""
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {package} is not installed; requirements.txt lists what is needed")
    path = Path(spec.origin).parent.joinpath(*inner)
    if module == "paddlenlp.trainer":  # which has its classes from here
        return path / "training_args.py"
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
