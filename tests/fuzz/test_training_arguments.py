"""The trainers' options, on command lines and in files, made of their names and of anything. Nothing is trained."""

import json

import yaml
from hypothesis import strategies as st

from ppdiffusers_ext.training.arguments import parse_arguments
from ppdiffusers_ext.training.parser import read_options
from ppdiffusers_ext.training.trainers import TRAINERS
from scripts.training import kinds_of
from tests.support.fuzzing import fuzz, refused_or_read

OF_TRAINERS = st.sampled_from(sorted(TRAINERS))
NAMES = sorted({name for trainer in TRAINERS for name in read_options([], kinds_of(trainer))})
VALUES = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "true", "none", "all", "-1", "0", "1e999", "9" * 5000, "a/" * 5000, "x" * 300, "/dev/null/x", "\x1b[2J"]
    ),
    st.sampled_from(["stage1", "stage2 offload", "O2", "constant", "polynomial", "adamw", "visualdl", "tensorboard"]),
    st.sampled_from(["a.txt:64x64:1", "a:9x9:.", "a.txt:512x512:" + "1" * 400, "gpu:0", "cpu", "latest", "--", "-x"]),
)
WORDS = st.one_of(
    st.tuples(st.sampled_from(NAMES), VALUES).map(lambda pair: [f"--{pair[0]}", pair[1]]),
    st.tuples(st.sampled_from(NAMES), VALUES).map(lambda pair: [f"--{pair[0]}={pair[1]}"]),
    st.sampled_from(NAMES).map(lambda name: [f"--{name}"]),
    st.text(max_size=10).map(lambda text: [text]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), VALUES)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
FILES = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), st.one_of(SCALARS, TREES), max_size=5),
    st.dictionaries(st.one_of(st.text(max_size=10), st.integers(), st.none()), TREES, max_size=3),
    TREES,
)


def parse(folder, trainer, words):
    """Parse as a trainer does, with what it needs and a folder of the test's."""
    needed = ["--data_path=a.txt"] if trainer == "stable_animator" else []
    with refused_or_read():
        parse_arguments([*words, *needed, f"--output_dir={folder / 'out'}"], kinds_of(trainer))
    assert not (folder / "out").exists()


@fuzz(trainer=OF_TRAINERS, words=st.lists(WORDS, max_size=4))
def test_command_line(tmp_path, monkeypatch, trainer, words):
    monkeypatch.chdir(tmp_path)
    parse(tmp_path, trainer, [word for part in words for word in part])


@fuzz(trainer=OF_TRAINERS, words=st.lists(WORDS, max_size=3), name=st.sampled_from(["output_dir", "logging_dir"]))
def test_folders(tmp_path, monkeypatch, trainer, words, name):
    monkeypatch.chdir(tmp_path)
    with refused_or_read():
        parse_arguments([word for part in words for word in part] + [f"--{name}"], kinds_of(trainer))


@fuzz(trainer=OF_TRAINERS, values=FILES, suffix=st.sampled_from([".yaml", ".json"]))
def test_file(tmp_path, monkeypatch, trainer, values, suffix):
    monkeypatch.chdir(tmp_path)
    write = json.dumps if suffix == ".json" else yaml.dump
    path = tmp_path / f"training{suffix}"
    path.write_text(write(values), encoding="utf-8", errors="replace")
    parse(tmp_path, trainer, [str(path)])


@fuzz(trainer=OF_TRAINERS, text=st.text(), suffix=st.sampled_from([".yaml", ".json"]))
def test_text_of_a_file(tmp_path, monkeypatch, trainer, text, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"training{suffix}"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    parse(tmp_path, trainer, [str(path)])
