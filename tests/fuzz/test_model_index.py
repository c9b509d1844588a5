"""The index of a pipeline's folder, and the configurations of its parts, made of garbage or of sound ones changed."""

import json
import sys

import pytest
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines import model_index
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.model_index import INDEX, read_index
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from tests.support.fuzzing import fuzz, refused_or_read

PIPELINES = [Pose2VideoPipeline, StableAnimatorPipeline, EasyAnimatePipeline, EasyAnimateInpaintPipeline]
CLASSES = st.sampled_from(PIPELINES)
KNOWN = sorted(
    {
        name
        for cls in PIPELINES
        for accepted in cls.folder_parts.values()
        for libraries, classes in accepted.items()
        for name in (*libraries, *classes)
    }
)
NAMES = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(["os", "this", "payload", "..", "", "builtins", "eval", "a.b.c", "\0", "\x1b[2J", "x" * 5000]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
PART_NAMES = st.one_of(st.sampled_from(sorted({part for cls in PIPELINES for part in cls.folder_parts})), NAMES)
NOTES = st.sampled_from(["_class_name", "_module", "_name_or_path", "auto_map", "custom_pipeline", "architectures"])
CHANGES = st.dictionaries(st.one_of(PART_NAMES, NOTES), st.one_of(VALUES, st.lists(NAMES, max_size=3)), max_size=4)
MODULES = frozenset(sys.modules)


def sound(cls):
    parts = {name: next(iter(accepted.items())) for name, accepted in cls.folder_parts.items() if accepted}
    pairs = {name: [libraries[0], classes[0]] for name, (libraries, classes) in parts.items()}
    return {"_class_name": cls.__name__, **pairs}


def imported():
    """Modules of the names that examples have, imported since the beginning."""
    return {name.partition(".")[0] for name in set(sys.modules) - MODULES} & {"this", "payload", "a"}


@fuzz(cls=CLASSES, content=st.one_of(st.binary(), VALUES.map(lambda value: json.dumps(value).encode())))
def test_index_of_anything(tmp_path, cls, content):
    (tmp_path / INDEX).write_bytes(content)
    with refused_or_read():
        cls.from_pretrained(tmp_path)
    assert imported() == set()


@fuzz(cls=CLASSES, changes=CHANGES)
def test_sound_index_with_changes(tmp_path, cls, changes):
    (tmp_path / INDEX).write_text(json.dumps({**sound(cls), **changes}))
    with refused_or_read():
        for part, name in read_index(tmp_path, cls).items():  # what is read is in the list
            assert any(name in classes for classes in cls.folder_parts[part].values())
    with pytest.raises(InputError):  # of the index, or since there are no parts
        cls.from_pretrained(tmp_path)
    assert imported() == set()


@fuzz(config=st.one_of(st.binary(), CHANGES.map(lambda value: json.dumps(value).encode())), scheduler=st.booleans())
def test_configuration_of_a_part(tmp_path, config, scheduler):
    folder = tmp_path / ("scheduler" if scheduler else "vae")
    for name in ("scheduler", "vae"):
        (tmp_path / name).mkdir(exist_ok=True)
        for path in (tmp_path / name).iterdir():
            path.unlink()
    (folder / ("scheduler_config.json" if scheduler else "config.json")).write_bytes(config)
    with refused_or_read():
        if scheduler:
            model_index.load_scheduler("DDIMScheduler", folder)
        else:
            model_index._check_class(folder / "config.json", "AutoencoderKL")
    assert imported() == set()
