"""scripts.animate with StableAnimator: skeletons and the face are found, small networks of random weights animate."""

import json

import pytest
import yaml

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video import probe_video
from scripts import animate
from scripts.command import run
from tests.data.test_frames import sound_of, with_sound
from tests.scripts.test_animate import write_dance
from tests.scripts.test_stable_animator import folder as stable_folder
from tests.scripts.test_stable_animator import pipeline
from tests.support.painted_faces import painted_faces
from tests.support.people import painted, write_networks

__all__ = ["pipeline", "stable_folder"]  # fixtures


@pytest.fixture(scope="module")
def folder(stable_folder):
    """As scripts.stable_animator's, with DWPose, dance.mp4, person.png and stable.yaml."""
    folder = stable_folder
    write_networks(folder / "DWPose")
    person = painted((128, 128), (24, 24, 104, 104))
    person[0:20, 0:20] = painted_faces((20, 20), (2, 2, 18, 18))
    write_image(folder / "person.png", person)
    write_dance(folder / "dance.mp4", 6, Audio(with_sound(folder / "sound.mp4", "aac")))
    paths = {"svd": "svd", **{name: f"{name}.safetensors" for name in ("unet", "pose_net", "face_encoder")}}
    values = {name: str(folder / path) for name, path in paths.items()}
    write_config(folder / "stable.yaml", **values, faces=str(folder), width=64, height=64, steps=1)
    return folder


def write_config(path, **values):
    path.write_text(yaml.safe_dump(values))


def call(folder, output, *arguments, config="stable.yaml"):
    given = {
        "--system": "stable_animator",
        "--config": folder / config,
        "--reference-image": folder / "person.png",
        "--driving-video": folder / "dance.mp4",
        "--dwpose": folder / "DWPose",
        "--output": output,
    }
    words = [str(word) for pair in given.items() for word in pair]
    return run(animate.make_parser(), animate.work, [*words, *map(str, arguments)])


def test_picture_and_video_become_an_animation_with_sound(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "out.mp4", "-W", 128, "--frames", "1:5") == 0
    assert "shows no face" not in capsys.readouterr().err
    info = probe_video(tmp_path / "out.mp4")
    assert (info.width, info.height, info.num_frames, info.fps) == (128, 64, 4, 25)
    assert sound_of(tmp_path / "out.mp4") is not None
    names = sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".")
    assert names == ["out.mp4", "out_sheet.png", "out_side_by_side.mp4"]
    assert next(iter(open_frames(tmp_path / "out.mp4"))).std() > 1


def test_faces_are_optimised_where_the_configuration_says_so(folder, tmp_path):
    values = yaml.safe_load((folder / "stable.yaml").read_text())
    refinement = {"recognizer": str(folder / "recognizer.pth"), "iterations": 1}
    write_config(tmp_path / "refined.yaml", **values, refinement=refinement)
    assert call(folder, tmp_path / "out.mp4", "--frames", "0:2", config=tmp_path / "refined.yaml") == 0
    (entry,) = json.loads((tmp_path / "out_faces.json").read_text())
    assert entry["step"] == 0 and len(entry["cosines"]) == 2 and any(entry["cosines"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"colour": "red"}, "unknown key in .*: 'colour'"),
        ({"imag": "me.png"}, "unknown key in .*: 'imag'"),
        ({"unet": None}, "unet in .* is None; text is accepted"),
        ({"unet": "none.pth"}, "none.pth does not exist"),
        ({"steps": "many"}, "steps in .* is 'many'; a whole number from 1 to 1000 is accepted"),
        ({"anchored": 1}, "anchored in .* is 1; true or false is accepted"),
        ({"width": 100}, "100x64 does not fit; multiples of 64 are accepted"),
        ({"refinement": {"recognizer": "none.pth"}}, "recognizer none.pth does not exist"),
        ({"refinement": {"loss": 1}}, "unknown key under refinement in .*: 'loss'"),
    ],
)
def test_bad_configurations_are_told(folder, tmp_path, capsys, change, message):
    import re

    values = yaml.safe_load((folder / "stable.yaml").read_text())
    write_config(tmp_path / "bad.yaml", **{**values, **change})
    assert call(folder, tmp_path / "out.mp4", config=tmp_path / "bad.yaml") == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out.mp4").exists()


def test_options_of_the_other_system_are_told(folder, tmp_path, capsys):
    assert call(folder, tmp_path / "out.mp4", "--scheduler", "DDIM", "--vae-tile-size", 64) == 2
    assert "--scheduler, --vae-tile-size are no options of stable_animator" in capsys.readouterr().err
