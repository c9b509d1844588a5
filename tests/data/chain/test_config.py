"""Settings of steps are held against what each of them takes, before anything is computed."""

import pytest

from ppdiffusers_ext.data.chain import catalogue
from ppdiffusers_ext.data.chain.config import read_config, with_settings
from ppdiffusers_ext.data.chain.filtering import bounds_of
from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.split import Split
from ppdiffusers_ext.errors import InputError

STEPS = ("cuts", "split", "sharpness", "motion", "text", "people", "fingerprint", "duplicates")


def configured(path, name):
    step = catalogue.STEPS[name](ChainOptions(source="in", output="out", system="easy_animate"))
    return with_settings(step, read_config(path, catalogue.STEPS), path)


@pytest.mark.parametrize(
    ("name", "setting", "told"),
    [
        ("sharpness", "num_frames: 0", "a whole number from 1 to 10000"),
        ("sharpness", "num_frames: 1.5", "a whole number from 1 to 10000"),
        ("sharpness", "short_side: null", "a whole number from 16 to 4320"),
        ("motion", "short_side: 0", "a whole number from 16 to 4320"),
        ("motion", "in_pixels: 1", "true or false"),
        ("text", "min_score: 2", "a number from 0 to 1"),
        ("people", "num_frames: many", "a whole number"),
        ("fingerprint", "num_frames: -1", "a whole number"),
        ("duplicates", "max_distance: 65", "a number from 0 to 64"),
        ("cuts", "threshold: -1", "a number from 0 to 255"),
        ("cuts", "min_scene_len: 0", "a whole number"),
        ("split", "crf: 99", "a number from 0 to 51"),
        ("split", "preset: nonsense", "ultrafast, superfast"),
        ("split", "max_seconds: 0", "a number from 0.1"),
        ("split", "min_pixels: 0", "a whole number from 1"),
    ],
)
def test_setting_that_no_step_takes_is_refused(tmp_path, name, setting, told):
    (tmp_path / "c.yaml").write_text(f"{name}: {{settings: {{{setting}}}}}")
    with pytest.raises(InputError, match=rf"{name}\.{setting.partition(':')[0]} .*{told}"):
        configured(tmp_path / "c.yaml", name)


@pytest.mark.parametrize("file", ["default", "original"])
def test_files_that_ship_are_accepted(file):
    assert [configured(f"configs/data_chain/{file}.yaml", name).name for name in STEPS] == [*STEPS]


def test_lengths_that_no_clip_has_are_refused():
    with pytest.raises(InputError, match=r"min_seconds 9 is above split\.max_seconds 3; .* accepted"):
        Split(min_seconds=9, max_seconds=3).check()


def test_reduce_may_be_anything_in_a_file():
    with pytest.raises(InputError, match=r"reduce of it is \[1\]; mean, min or max is accepted"):
        bounds_of({"max": 1, "reduce": [1]}, "it")
