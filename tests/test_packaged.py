"""Files that ship are found where the user has none of that name, and commands are named as they can be called."""

import os
from pathlib import Path

import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import check_all_there, check_file, check_folder, read_yaml
from ppdiffusers_ext.metrics.sources import open_clip
from ppdiffusers_ext.weights.folders import find_weights, read_config

ROOT = Path(__file__).parents[1]
DEMO = "configs/inference/demo.yaml"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [DEMO, f"./{DEMO}", f".//{DEMO}", Path(DEMO), "assets/demo_model", "assets/pose.mp4"])
def test_what_ships_is_found_from_another_folder(name):
    assert packaged.located(name) == ROOT / name


@pytest.mark.parametrize(
    "name",
    [
        "configs/nothing.yaml",
        "configs",
        "assets",
        "scripts/command.py",
        "setup.py",
        "../configs/inference/demo.yaml",
        "configs/../setup.py",
        "configs/../../setup.py",
        f"/{DEMO}",
        f"x/{DEMO}",
        "",
        "configs/\0",
        "configs/" + "a" * 5000,
    ],
)
def test_other_names_stay_as_they_are(name):
    assert packaged.located(name) is name


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_the_user_has_goes_first(kind, tmp_path):
    path = tmp_path / DEMO
    path.parent.mkdir(parents=True)
    {"file": path.touch, "folder": path.mkdir, "dangling link": lambda: path.symlink_to("nowhere")}[kind]()
    assert packaged.located(DEMO) == DEMO
    with pytest.raises(InputError):
        read_yaml(DEMO)


def test_every_reader_finds_what_ships():
    assert check_file(DEMO, "", "") == ROOT / DEMO
    assert check_folder("assets/demo_model", "", "") == ROOT / "assets/demo_model"
    check_all_there([("", DEMO), ("", "assets/demo_model/vae")], "")
    with pytest.raises(MissingFileError, match="configs/x does not exist"):
        check_all_there([("", DEMO), ("", "configs/x")], "")
    assert read_yaml(DEMO)["width"] == 192
    assert read_config("assets/demo_model/vae") == read_config("assets/demo_model/vae/config.json")
    assert find_weights("assets/demo_model/vae").parent == ROOT / "assets/demo_model/vae"
    assert open_frames("assets/pose.mp4").num_frames == open_clip("assets/pose.mp4").num_frames
    assert read_image("assets/reference.png").size == (384, 384)
    for name in (DEMO, "configs/training/demo"):
        assert digest(name) == digest(ROOT / name)


def test_nothing_is_written_to_what_ships(tmp_path):
    from ppdiffusers_ext.data.outputs import output_file

    with output_file("assets/reference.png") as temporary:
        Path(temporary).write_bytes(b"x")
    assert (tmp_path / "assets/reference.png").read_bytes() == b"x"
    assert os.path.getsize(ROOT / "assets/reference.png") > 1


CALLS = {
    "python -m scripts.pose2vid --config a": "ppdiffusers-ext pose2vid --config a",
    "`python scripts/download_weights.py --only X` does it": "`ppdiffusers-ext download_weights --only X` does it",
    "python -m\nscripts.animate": "ppdiffusers-ext animate",
    "python -m scripts.launch --gpus 0,1 scripts/trainer_vae.py a.yaml": "ppdiffusers-ext launch --gpus 0,1 "
    "trainer_vae a.yaml",
    "such as scripts.vid2pose makes": "such as vid2pose makes",
    "scripts.pose2vid, scripts/trainer_stage1.py": "pose2vid, trainer_stage1",
    "my/scripts/pose2vid.py and scripts/data.txt": "my/scripts/pose2vid.py and scripts/data.txt",
    "python -m http.server": "python -m http.server",
}


@pytest.mark.parametrize("text", CALLS)
def test_commands_are_named_as_they_are_called(text, monkeypatch):
    monkeypatch.setattr(packaged, "_is_program", False)
    assert packaged.as_called(text) == text
    packaged.use_program()
    assert packaged.as_called(text) == CALLS[text] == packaged.as_called(CALLS[text])
    for kind in (InputError, MissingFileError):
        assert str(kind(text)) == CALLS[text]
