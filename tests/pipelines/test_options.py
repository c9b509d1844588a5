"""Options that the systems share: declared once, told at once, read by any of their names, in one precedence."""

import copy
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration, field_of, key_names, kind_of
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.pipelines.options import CONFIGS
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig
from ppdiffusers_ext.pipelines.systems import SYSTEMS

CLASSES = [*(system.options for system in SYSTEMS.values()), RefinementConfig, Job]
NEEDED = {"stable_animator": dict.fromkeys(("svd", "unet", "pose_net", "face_encoder"), "x")}
every_system = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture
def load(tmp_path):
    def write_and_load(name, values, **given):
        path = tmp_path / "options.yaml"
        named = {key_names(SYSTEMS[name].options).get(key) for key in values}
        needed = {key: value for key, value in NEEDED.get(name, {}).items() if key not in named}
        path.write_text(yaml.safe_dump({**needed, **values}))
        return SYSTEMS[name].options.load(path, **given)

    return write_and_load


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_has_a_sentence_and_a_group_and_no_two_share_a_name(cls):
    assert [item.name for item in fields(cls) if not (declaration(item).help and declaration(item).group)] == []
    names = [name for item in fields(cls) for name in {item.name, *declaration(item).aliases, *declaration(item).keys}]
    assert len(names) == len(set(names)) == len(key_names(cls))


@every_system
def test_option_goes_before_file_before_preset_before_default_and_none_never_does(name, load):
    def interval(values, **given):
        config = load(name, values, **given)
        return config.guidance_interval if name == "animate_anyone" else config.knobs["guidance_interval"]

    default, fast = interval({}), interval({"preset": "fast"})
    assert default == [0.0, 1.0]
    assert interval({}, preset="fast") == interval({"preset": "exact"}, preset="fast") == fast
    assert interval({"preset": "fast", "guidance_interval": [0.1, 0.9]}) == [0.1, 0.9]
    assert interval({"guidance_interval": [0.1, 0.9]}, preset="fast") == [0.1, 0.9]
    assert interval({"guidance_interval": [0.1, 0.9]}, guidance_interval=[0.3, 0.4]) == [0.3, 0.4]
    assert interval({"guidance_interval": [0.1, 0.9]}, guidance_interval=None) == [0.1, 0.9]
    assert interval({"guidance_interval": None, "preset": "fast"}) == fast
    assert load(name, {"seed": 5}).seed == load(name, {"seed": 5}, seed=None).seed == 5
    assert load(name, {"seed": 5}, seed=0).seed == 0


# Two values of fields whose type does not say them; the first is not the default.
PAIRS = {
    **dict.fromkeys(("device", "vae_device"), ("cpu", "gpu:1")),
    **dict.fromkeys(("width", "height", "vae_tile_size"), (128, 192)),
    "guidance_interval": ([0.1, 0.9], [0.2, 0.8]),
    "preset": ("fast", "balanced"),
    "context_schedule": ("sliding", "uniform"),
    "scheduler": ("DDIM", "PNDM"),
    "loras": ([["a", 1.0]], [["b", 0.5]]),
    "transformer": ({"a": 1}, {"b": 2}),
    "test_cases": ({"a": ["b"]}, {"c": ["d"]}),
}
# What else has to be said where a field is.
PARTNERS = {
    "reference_image": {"pose_video": "z"},
    "pose_video": {"reference_image": "z"},
    "driving_poses": {"reference_image": "z", "pose_video": "z", "report": True},
    "context_frames": {"context_overlap": 1},
}


def two_values(item):
    kind, declared = kind_of(item), declaration(item)
    if item.name in PAIRS:
        return PAIRS[item.name]
    if declared.choices:
        others = [choice for choice in declared.choices if choice not in (item.default, "fit")]
        return (others + [item.default or others[0]])[:2]  # None is no value, where there is but one
    if kind is bool:
        return not item.default, bool(item.default)
    if kind is str:
        return "x", "y"
    values = (0.25, 0.5, 0.75) if declared.upper == 1 else (2, 3, 5) if (declared.lower or 0) < 2 else (600, 700)
    return [kind(value) for value in values if value != item.default][:2]


FIELDS = [(name, item.name) for name, system in SYSTEMS.items() for item in fields(system.options)]


@pytest.mark.parametrize(("name", "field"), [pair for pair in FIELDS if pair[1] != "refinement"])
def test_every_option_goes_before_the_file_that_before_the_default_and_none_before_nothing(name, field, load):
    item = field_of(SYSTEMS[name].options, field)
    of_file, given = two_values(item)

    def value_of(values, option):
        return getattr(load(name, {**PARTNERS.get(field, {}), **values}, **{field: option}), field)

    assert of_file != item.default
    assert value_of({field: of_file}, given) == given
    assert value_of({field: of_file}, None) == of_file
    assert value_of({field: of_file}, of_file) == of_file
    if field not in NEEDED.get(name, {}) and field not in PARTNERS:
        assert value_of({}, None) != of_file
        assert item.default is not None or value_of({field: None}, None) == value_of({}, None)
        assert value_of({}, given) == given


# Values of fields that take no text, and have no default that is a number.
VALUES = {"num_frames": 8, "context_overlap": 3, "decode_chunk_size": 3, "segment": 9, "base": 600, "strength": 0.5}
VALUES |= {"loras": [["a", 1.0]], "reports": True, "channels": "bgr", "dtype": "bf16", "scheduler": "DDIM"}


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        (name, alias)
        for name, system in SYSTEMS.items()
        for alias, field in key_names(system.options).items()
        if alias != field
    ],
)
def test_old_name_is_read_as_the_new_one_and_both_at_once_are_refused(name, alias, load):
    field = key_names(SYSTEMS[name].options)[alias]
    item = next(item for item in fields(SYSTEMS[name].options) if item.name == field)
    default = item.default if isinstance(item.default, (int, float)) else "x"
    value = VALUES.get(field, default)
    given = {"pose_video": "x"} if field == "reference_image" else {"reference_image": "x"}
    given = given if field in ("reference_image", "pose_video") else {}
    assert getattr(load(name, {alias: value, **given}), field) == value
    assert getattr(load(name, given, **{alias: value}), field) == value
    with pytest.raises(InputError, match="names of one option"):
        load(name, {field: value, alias: copy.deepcopy(value)})


FILES = {
    **dict.fromkeys(sorted((CONFIGS / "easy_animate").glob("*.yaml")), "easy_animate"),
    CONFIGS / "animation.yaml": "animate_anyone",
    CONFIGS / "demo.yaml": "animate_anyone",
    CONFIGS / "stable_animator.yaml": "stable_animator",
}
OLD = Path(__file__).parents[1] / "goldens" / "old_configs"  # as they were before keys were the fields' names
OLD_FILES = sorted(OLD.rglob("*.yaml"))


@pytest.mark.parametrize("path", OLD_FILES, ids=lambda path: path.name)
def test_files_of_old_names_are_read_as_those_of_today(path):
    today = CONFIGS / path.relative_to(OLD)
    cls = SYSTEMS[FILES[today]].options
    assert cls.load(path) == cls.load(today)


def test_every_file_but_newer_ones_has_one_of_old_names_and_says_the_fields_names():
    newer = {CONFIGS / "easy_animate" / "demo.yaml"}
    assert {CONFIGS / path.relative_to(OLD) for path in OLD_FILES} == set(FILES) - newer
    for path, name in FILES.items():
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= {
            item.name for item in fields(SYSTEMS[name].options)
        }


BOTH = {"overwrite": True, "skip_existing": True}


@every_system
def test_existing_results_are_kept_or_replaced_but_not_both(name, load):
    def check(config):
        config.check("text") if name == "easy_animate" else config.check()

    extra = {"model": "x", "prompt": "x", "output": "x.mp4"} if name == "easy_animate" else {}
    for field in BOTH:
        check(load(name, {**extra, field: True}))
        assert not getattr(load(name, {field: True}, **{field: False}), field)
    for values, given in ((BOTH, {}), ({"overwrite": True}, {"skip_existing": True}), ({}, BOTH)):
        with pytest.raises(InputError, match="skip_existing and overwrite are both given"):
            check(load(name, {**extra, **values}, **given))
    check(load(name, {**extra, "overwrite": True}, overwrite=False, skip_existing=True))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_file_is_read(path):
    assert SYSTEMS[FILES[path]].options.load(path)


def test_parsers_and_mistakes_need_no_paddle():
    """All in one process: what is imported stays."""
    code = """
import json, sys
from scripts import animate, easy_animate, plan_memory, pose2vid, stable_animator
from scripts.command import run
demo = ["--config", "configs/inference/demo.yaml"]
codes = [
    run(pose2vid.make_parser(), pose2vid.work, [*demo, "--steps", "0"]),
    run(pose2vid.make_parser(), pose2vid.work, [*demo, "--reference-image", "no.png", "--pose-video", "no.mp4"]),
    run(pose2vid.make_parser(), pose2vid.work, [*demo, "--scheduler", "Eular"]),
    run(stable_animator.make_parser(), stable_animator.work, ["--width", "100"]),
    run(easy_animate.make_parser("p", "", "text"), easy_animate.make_work("text"), ["--output", "a.mp4"]),
    run(plan_memory.make_parser(), plan_memory.work, ["--memory", "some"]),
    run(animate.make_parser(), animate.work, ["--seed", "x"]),
]
print(json.dumps([codes, "paddle" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parents[1], capture_output=True, text=True)
    assert json.loads(done.stdout) == [[2] * 7, False], done.stderr
    assert done.stderr.count("error: ") == 7
