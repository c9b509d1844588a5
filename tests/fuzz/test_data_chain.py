"""Configurations, tables and lists of the data chain: they are read, or refused by a named error."""

import pytest
import yaml
from hypothesis import strategies as st

from ppdiffusers_ext.data.chain.config import read_config, thresholds_of, with_settings
from ppdiffusers_ext.data.chain.filtering import judge
from ppdiffusers_ext.data.chain.listing import list_videos
from ppdiffusers_ext.data.chain.motion import Motion
from ppdiffusers_ext.data.chain.rows import joined
from ppdiffusers_ext.data.chain.split import Split
from tests.fuzz.test_weight_files import CHANGE, apply
from tests.fuzz.test_yaml_values import PLAIN, VALUES, mappings
from tests.support.fuzzing import EXAMPLES, fuzz, refused_or_read

FEW = EXAMPLES // 5  # `make fuzz` tries more
STEPS = (Motion(), Split())
BOUNDS = st.one_of(VALUES, mappings(["min", "max", "reduce"]))
SECTIONS = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {},
        optional={
            "settings": st.one_of(VALUES, mappings(["in_pixels", "short_side", "min_seconds", "crf", "preset"])),
            "thresholds": st.one_of(VALUES, st.dictionaries(st.sampled_from(["motion_score", "seconds"]), BOUNDS)),
        },
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chain")


@fuzz(FEW, sections=st.dictionaries(st.sampled_from(["motion", "split", "cuts"]), SECTIONS, max_size=3), value=PLAIN)
def test_configuration_of_any_values(folder, sections, value):
    path = folder / "config.yaml"
    with refused_or_read():
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        config = read_config(path, ["motion", "split", "cuts"])
        steps = [with_settings(step, config, path) for step in STEPS]
        bounds = thresholds_of([step.name for step in steps], config, {}, path)
        assert all(isinstance(reason, str) for each in bounds.values() for reason in judge({"seconds": value}, each))


TABLE = b'{"key": "a_1.mp4", "of": "1", "score": 2.5}\n{"key": "a_10.mp4", "of": "1", "error": "it broke"}\n'


@fuzz(FEW, changes=st.lists(CHANGE, max_size=6))
def test_tables_of_any_bytes(folder, changes):
    (folder / "a.jsonl").write_bytes(apply(TABLE, changes))
    (folder / "b.jsonl").write_bytes(TABLE)
    with refused_or_read():
        for item in joined({"a": folder / "a.jsonl", "b": folder / "b.jsonl"}):
            assert isinstance(item.row["key"], str)


@fuzz(FEW, changes=st.lists(CHANGE, max_size=6), ending=st.sampled_from([".txt", ".csv", ".json", ".jsonl"]))
def test_lists_of_any_bytes(folder, changes, ending):
    path = folder / f"list{ending}"
    path.write_bytes(apply(b"video_path,x\nclips/a.mp4,1\nb.mp4,2\n", changes))
    with refused_or_read():
        assert all(isinstance(row["key"], str) for row in list_videos(path, folder / "out")[1])
