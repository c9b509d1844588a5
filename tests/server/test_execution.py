"""From what clients ask for to a system's options: the same as the commands build, and nothing else."""

import dataclasses
import json
import math
import sys

import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server.catalogue import Catalogue
from ppdiffusers_ext.server.children import child_environment
from ppdiffusers_ext.server.execution import Given, build
from ppdiffusers_ext.server.modes import mode_of, modes_of
from ppdiffusers_ext.server.settings import ServerSettings
from scripts import animate
from tests.support.people import painted

ALL = [(system, mode) for system in SYSTEMS for mode in modes_of(system)]
IDS = [f"{system}-{mode.name}" for system, mode in ALL]


@pytest.fixture
def given(tmp_path):
    """A picture and a video."""
    write_image(tmp_path / "me.png", painted((192, 128), (24, 24, 104, 168)))
    (tmp_path / "dance.mp4").write_bytes(b"is not opened before the job runs")
    return {"image": Given(tmp_path / "me.png", "image"), "video": Given(tmp_path / "dance.mp4", "video", 30, 25.0)}


def made(system, options, files, tmp_path, **settings):
    settings = ServerSettings(device="cpu", **settings)
    return build(system, options, files, tmp_path / "out", Catalogue(settings), settings)


def driving(given):
    return {"reference_image": given["image"], "driving_video": given["video"]}


@pytest.mark.parametrize("system, mode", ALL, ids=IDS)
def test_a_client_cannot_name_a_file_or_a_place_of_the_server(system, mode):
    assert [name for name, item in mode.fields.items() if declaration(item).is_path] == []
    forbidden = {"output", "overwrite", "skip_existing", "resume", "device", "ignore_memory", "config", "test_cases"}
    forbidden |= {"transformer", "engine_cache", "dwpose", "batch", "svd", "vae_path", "recognizer", "embedding"}
    assert forbidden & set(mode.fields) == set()
    for name in forbidden:
        with pytest.raises(InputError, match=f"unknown option of {system} with {mode.name}: '{name}'"):
            mode.read({name: "/etc/passwd"})
    assert all(declaration(item).help for item in mode.fields.values())


WRONG = (
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    math.nan,
    math.inf,
    "",
    "x",
    "../x",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "x" * 10**5,
)
WRONG += ([], [[]], [1, "x", None], {}, {"a": {"b": []}}, [[["x", 1]]] * 3)


@pytest.mark.parametrize("system, mode", ALL, ids=IDS)
def test_any_value_of_any_option_is_read_or_refused_in_words(system, mode, given, tmp_path):
    files = {role: given[each.kinds[0]] for role, each in mode.roles.items()}
    for name in mode.fields:
        for value in WRONG:
            try:
                made(system, {"prompt": "x", name: value} if mode.name == "text" else {name: value}, files, tmp_path)
            except InputError as error:
                assert len(str(error)) < 3000, (name, value)
    for options in (
        None,
        [],
        "x",
        7,
        {"": 1},
        {"x" * 10**5: 1},
        {"seed": 1, "Seed": 2},
        {"steps": 1, "num_inference_steps": 2},
    ):
        with pytest.raises(InputError):
            mode.read(options)


@pytest.mark.parametrize("system", ["", "x", None, 7, [], "Animate_Anyone", "../x"])
def test_unknown_systems_are_refused(system):
    with pytest.raises(InputError, match="is accepted"):
        mode_of(system, {})


@pytest.mark.parametrize(
    "system, roles, mode",
    [
        ("animate_anyone", ("reference_image", "driving_video"), "driving_video"),
        ("stable_animator", ("reference_image", "pose_video"), "pose_video"),
        ("easy_animate", (), "text"),
        ("easy_animate", ("start_image", "end_image"), "pictures"),
        ("easy_animate", ("video",), "video"),
        ("easy_animate", ("mask", "video"), "video"),
        ("animate_anyone", (), None),
        ("animate_anyone", ("reference_image",), None),
        ("animate_anyone", ("reference_image", "driving_video", "pose_video"), None),
        ("animate_anyone", ("reference_image", "video"), None),
        ("easy_animate", ("end_image",), None),
        ("easy_animate", ("mask",), None),
        ("easy_animate", ("video", "start_image"), None),
        ("easy_animate", ("lora",), None),
    ],
)
def test_the_files_say_what_a_job_is(system, roles, mode):
    files = dict.fromkeys(roles, "id")
    if mode is None:
        with pytest.raises(InputError, match="accepted|did you mean"):
            mode_of(system, files)
    else:
        assert mode_of(system, files).name == mode


def test_a_video_where_a_picture_belongs_is_refused(given, tmp_path):
    with pytest.raises(InputError, match="reference_image is a video; a picture is accepted"):
        made("animate_anyone", {}, {**driving(given), "reference_image": given["video"]}, tmp_path)
    with pytest.raises(InputError, match="driving_video is a picture; a video is accepted"):
        made("animate_anyone", {}, {**driving(given), "driving_video": given["image"]}, tmp_path)


def test_options_are_those_that_the_command_builds(given, tmp_path):
    options = {"steps": 7, "width": 96, "height": 128, "person": 1, "align": "none", "seed": 3, "frames": "2:9"}
    task = made("animate_anyone", options, driving(given), tmp_path)
    words = ["--reference-image", given["image"].path, "--driving-video", given["video"].path, "--device", "cpu",
             "--output", tmp_path / "out" / "result.mp4", "--skip-existing"]  # fmt: skip
    words += [word for name, value in options.items() for word in (f"--{name}", value)]
    config, job = animate.read_config(animate.make_parser().parse_args([str(word) for word in words]))
    assert dataclasses.replace(task.animation, person="1") == dataclasses.replace(job, person="1")
    assert task.config == config


def test_the_small_model_is_taken_where_there_is_no_other_or_it_is_named(given, tmp_path):
    for options in ({}, {"model": "demo"}):
        task = made("animate_anyone", options, driving(given), tmp_path)
        assert task.model.is_demo and (task.config.width, task.config.height) == (192, 288)
        assert task.config.num_frames is None
    with pytest.raises(InputError, match="download_weights"):
        made("animate_anyone", {"model": "released"}, driving(given), tmp_path)
    with pytest.raises(InputError, match="model 'nothing' of animate_anyone is not known"):
        made("animate_anyone", {"model": "nothing"}, driving(given), tmp_path)


def test_models_and_lora_files_are_names_in_the_folders_that_are_set(given, tmp_path):
    models, loras = tmp_path / "models", tmp_path / "loras"
    (models / "easy_animate" / "mine").mkdir(parents=True)
    (models / "animate_anyone").mkdir()
    demo = SYSTEMS["animate_anyone"].demo_file.read_text(encoding="utf-8")
    (models / "animate_anyone" / "cartoon.yaml").write_text(demo)
    loras.mkdir()
    (loras / "style.safetensors").write_bytes(b"")
    (tmp_path / "secret.safetensors").write_bytes(b"")
    where = {"models": str(models), "loras": str(loras)}
    assert made("animate_anyone", {"model": "cartoon"}, driving(given), tmp_path, **where).config.num_frames == 24
    asked = {"prompt": "a cat", "model": "mine", "loras": [["style", 0.5]]}
    task = made("easy_animate", asked, {}, tmp_path, **where)
    assert (task.config.model, task.config.loras) == (
        str(models / "easy_animate" / "mine"),
        [[str(loras / "style.safetensors"), 0.5]],
    )
    for name in (
        "secret",
        "../secret",
        "../secret.safetensors",
        str(tmp_path / "secret.safetensors"),
        None,
        7,
        ["style"],
    ):
        with pytest.raises(InputError, match="is not known"):
            made("easy_animate", {**asked, "loras": [[name, 1]]}, {}, tmp_path, **where)
    for loras in ("style", [["style"]], [["style", "x"]], [["style", math.nan]], [["style", 1, 2]], {"style": 1}):
        with pytest.raises(InputError, match="accepted"):
            made("easy_animate", {**asked, "loras": loras}, {}, tmp_path, **where)
    for name in ("..", ".", "../models/easy_animate/mine", "MINE", str(models / "easy_animate" / "mine")):
        with pytest.raises(InputError, match="is not known"):
            made("easy_animate", {**asked, "model": name}, {}, tmp_path, **where)


def test_systems_tell_what_is_there_and_how_to_fetch_what_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Catalogue(ServerSettings()).describe()
    assert set(found) == set(SYSTEMS) and json.dumps(found)
    assert found["animate_anyone"]["default"] == "demo"
    released, demo = found["animate_anyone"]["models"]
    assert demo["ready"] and demo["is_demo"] and demo["problem"] is None
    assert not released["ready"] and "--system animate_anyone" in released["command"] and released["missing"]
    assert str(tmp_path) not in json.dumps(found)
    of_file = {"dtype": "fp32", "num_inference_steps": 8, "guidance_scale": 1.0}
    assert demo["defaults"] == of_file | dict.fromkeys(("width", "height", "num_frames"))  # None: of the files
    for system, each in found.items():
        known = set.union(*(set(mode.fields) for mode in modes_of(system)))
        assert all(set(model["defaults"]) <= known for model in each["models"])
    names = [model["name"] for model in found["easy_animate"]["models"]]
    assert names[0] == "v4" and found["easy_animate"]["loras"] == []


def test_nothing_of_the_server_imports_paddle():
    import subprocess

    code = "import sys; from ppdiffusers_ext.server.jobs import Jobs; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=child_environment(), check=False).returncode == 0


def easy_demo():
    """What is told of EasyAnimate, and of its small model."""
    found = Catalogue(ServerSettings()).describe()["easy_animate"]
    (demo,) = (model for model in found["models"] if model["is_demo"])
    return found, demo


def test_a_small_model_that_does_not_ship_is_told_in_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "configs").symlink_to(packaged.FOLDER / "configs")
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "package")
    demo = easy_demo()[1]
    assert (demo["ready"], demo["code"], demo["command"]) == (False, "model.demo", None)
    assert "does not ship" in demo["problem"] and demo["missing"] == []
    with pytest.raises(InputError, match="does not ship"):
        made("easy_animate", {"prompt": "a cat", "model": "demo"}, {}, tmp_path)


def test_the_small_model_that_ships_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, demo = easy_demo()
    assert demo["ready"] and found["default"] == "demo" and demo["defaults"]["num_frames"] == 16
    assert made("easy_animate", {"prompt": "a cat"}, {}, tmp_path).model.name == "demo"
