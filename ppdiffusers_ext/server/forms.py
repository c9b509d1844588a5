"""From declared options to forms: what the page shows, and the schemas of OpenAPI. No option is named but as a choice
of what stands in front."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.options import declaration, kind_of
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server.modes import Mode, modes_of

WORDS = Path(__file__).with_name("options_zh.yaml")  # Chinese words for each English sentence of a declaration
_LARGEST = 2**53 - 1  # that a number of JavaScript can be and be exact
# What a user changes first; everything else is "advanced".
_IN_FRONT = frozenset(
    "model preset prompt negative_prompt loras person width height num_frames num_inference_steps guidance_scale seed "
    "strength optimize_face report".split()
)
_NAMES = {int: "int", float: "float", bool: "bool", str: "str", list: "list", tuple: "list", dict: "dict"}
_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "list": {"type": "array", "items": {}},
    "dict": {"type": "object"},
}


@cache
def chinese() -> Mapping[str, str]:
    """English sentence of a declaration -> Chinese one."""
    return read_yaml(WORDS)


def _in_chinese(text: str) -> str:
    return chinese().get(text, text) if text else ""


def field_of(item: dataclasses.Field) -> dict[str, Any]:
    """A declared option as a form has it.

    Returns:
        name; kind: "int", "float", "bool", "str" or "list"; default (None for none, which unset_en and unset_zh say);
        min, max (None for none); choices (a list, empty for none); help_en, help_zh; unset_en, unset_zh; group (its
        English title); advanced (bool).
    """
    declared = declaration(item)
    default = item.default
    if default is dataclasses.MISSING:
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else None
    return {
        "name": item.name,
        "kind": _NAMES.get(kind_of(item) or str, "str"),
        "default": list(default) if isinstance(default, tuple) else default,
        "min": declared.lower,
        "max": None if declared.upper is None else min(declared.upper, _LARGEST),
        "choices": list(declared.choices),
        "help_en": declared.help,
        "help_zh": _in_chinese(declared.help),
        "unset_en": declared.unset,
        "unset_zh": _in_chinese(declared.unset),
        "group": declared.group,
        "advanced": item.name not in _IN_FRONT,
    }


def form_of(mode: Mode) -> dict[str, Any]:
    """A mode as the page has it.

    Returns:
        name; roles: of files, each {"name", "kinds", "needed"}; groups: each {"name", "title_en", "title_zh"}, in the
        order in which they are shown; presets: names; fields: see `field_of`.
    """
    fields = [field_of(item) for item in mode.fields.values()]
    groups = dict.fromkeys(field["group"] for field in fields if field["group"])
    presets: list[str] = next((field["choices"] for field in fields if field["name"] == "preset"), [])
    return {
        "name": mode.name,
        "roles": [
            {"name": name, "kinds": list(role.kinds), "needed": role.is_needed} for name, role in mode.roles.items()
        ],
        "groups": [{"name": name, "title_en": name, "title_zh": _in_chinese(name)} for name in groups],
        "presets": presets,
        "fields": fields,
    }


@cache
def forms_of(system: str) -> list[dict[str, Any]]:
    """The forms of a system's modes, the usual one first. Not to be changed by whoever gets them."""
    return [form_of(mode) for mode in modes_of(system)]


def roles() -> list[str]:
    """The roles of files, of all systems."""
    return list(dict.fromkeys(role for system in SYSTEMS for mode in modes_of(system) for role in mode.roles))


def schema_of(item: dataclasses.Field) -> dict[str, Any]:
    """A declared option as JSON schema."""
    field = field_of(item)
    found = dict(_TYPES[field["kind"]])
    if kind_of(item) is None:  # of several types
        found = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if field["choices"]:
        found["enum"] = field["choices"]
    if field["kind"] in ("int", "float"):
        found |= {name: field[key] for name, key in (("minimum", "min"), ("maximum", "max")) if field[key] is not None}
    found["description"] = field["help_en"] + (f" (left out: {field['unset_en']})" if field["unset_en"] else "")
    if field["default"] is not None:
        found["default"] = field["default"]
    return found


def job_schema(mode: Mode) -> dict[str, Any]:
    """The body of POST /jobs, of one mode, as JSON schema."""
    needed = [name for name, role in mode.roles.items() if role.is_needed]
    files = {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": f"id of an upload: {' or '.join(role.kinds)}"}
            for name, role in mode.roles.items()
        },
        "required": needed,
        "additionalProperties": False,
    }
    options = {
        "type": "object",
        "properties": {name: schema_of(item) for name, item in mode.fields.items()},
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "title": f"{mode.system} with {mode.name}",
        "properties": {"system": {"const": mode.system}, "options": options, "files": files},
        "required": ["system", *(["files"] if needed else [])],
    }


def job_schemas() -> dict[str, dict[str, Any]]:
    """Name of a schema -> the body of POST /jobs, for each mode of each system."""
    return {f"{system}.{mode.name}": job_schema(mode) for system in SYSTEMS for mode in modes_of(system)}
