"""Values that people write into YAML files, checked key by key."""

from dataclasses import fields

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.errors import check_keys as check_keys

_KINDS = {int: int, float: (int, float), str: str, bool: bool, dict: dict, list: list}
_KINDS.update({kind | None: _KINDS[kind] for kind in (int, float, str, bool)})
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_WORDS.update({kind | None: word for kind, word in _WORDS.items()} | {dict: "a mapping", list: "a list"})


def check_kinds(cls, values, path=None):
    """Refuse values that are of another kind than a dataclass' fields, or None where that is no default.

    Args:
        cls: dataclass.
        values: names of its fields -> values.
        path: of the file that they are from, if they are all from one.

    Raises:
        InputError: there is such a value.
    """
    for item in fields(cls):
        known, value = _KINDS.get(item.type), values.get(item.name)
        if item.name not in values or known is None or (value is None and item.default is None):
            continue
        if not isinstance(value, known) or isinstance(value, bool) != (known is bool):
            where = f" in {path}" if path else ""
            raise InputError(f"{item.name}{where} is {value!r}; {_WORDS[item.type]} is accepted")
