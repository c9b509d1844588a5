"""Forms follow from the declarations: every option of a client, in both languages, and no other."""

import dataclasses
import re

import pytest

from ppdiffusers_ext.options import check_values, declaration
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server import forms
from ppdiffusers_ext.server.modes import modes_of

MODES = [mode for system in SYSTEMS for mode in modes_of(system)]
every_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode.system}-{mode.name}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@every_mode
def test_a_form_has_every_option_that_a_client_may_give(mode):
    form = forms.form_of(mode)
    assert [field["name"] for field in form["fields"]] == list(mode.fields)
    assert [role["name"] for role in form["roles"]] == list(mode.roles)
    for field, item in zip(form["fields"], mode.fields.values()):
        declared = declaration(item)
        assert (field["min"], tuple(field["choices"]), field["help_en"]) == (
            declared.lower,
            declared.choices,
            declared.help,
        )
        assert field["kind"] in ("int", "float", "bool", "str", "list")
        assert declared.upper is None or field["max"] == min(declared.upper, 2**53 - 1)


@every_mode
def test_nothing_that_names_a_file_or_a_place_of_the_server_is_a_client_s(mode):
    for item in mode.fields.values():
        assert not declaration(item).is_path, item.name
    assert not {"output", "device", "config", "overwrite", "skip_existing", "resume", "transformer"} & set(mode.fields)


@every_mode
def test_defaults_of_a_form_are_accepted_as_they_are(mode):
    """So that a form that is sent back unchanged is accepted."""
    fields = {field["name"]: field["default"] for field in forms.form_of(mode)["fields"]}
    given = {name: value for name, value in fields.items() if value is not None}
    assert given
    check_values(mode.options, given)
    assert set(mode.read(given)) == set(given)


@every_mode
def test_every_sentence_is_there_in_chinese(mode):
    form = forms.form_of(mode)
    for field in form["fields"]:
        assert _CHINESE.search(field["help_zh"]), field
        if " " in field["unset_en"]:
            assert _CHINESE.search(field["unset_zh"]), field
    for group in form["groups"]:
        assert _CHINESE.search(group["title_zh"]), group


@every_mode
def test_what_stands_in_front_is_little_and_is_there(mode):
    front = [field["name"] for field in forms.form_of(mode)["fields"] if not field["advanced"]]
    assert {"preset", "seed", "width", "height"} <= set(front) and len(front) <= 14


def test_schemas_say_what_the_declarations_say():
    schemas = forms.job_schemas()
    assert len(schemas) == len(MODES)
    for mode in MODES:
        schema = schemas[f"{mode.system}.{mode.name}"]["properties"]
        assert list(schema["options"]["properties"]) == list(mode.fields)
        assert set(schema["files"]["required"]) == {name for name, role in mode.roles.items() if role.is_needed}
        assert all(each["description"] for each in schema["options"]["properties"].values())
    steps = schemas["easy_animate.text"]["properties"]["options"]["properties"]["num_inference_steps"]
    assert (steps["type"], steps["minimum"], steps["maximum"]) == ("integer", 1, 1000)


def test_a_new_option_is_in_the_form_without_another_word():
    """The form has no list of options of its own."""
    item = next(
        item for item in dataclasses.fields(SYSTEMS["easy_animate"].options) if item.name == "clip_apply_ratio"
    )
    assert forms.field_of(item) == {
        "name": "clip_apply_ratio", "kind": "float", "default": 0.4, "min": 0, "max": 1, "choices": [],
        "help_en": declaration(item).help, "help_zh": forms.chinese()[declaration(item).help],
        "unset_en": "", "unset_zh": "", "group": "Sampling", "advanced": True,
    }  # fmt: skip
