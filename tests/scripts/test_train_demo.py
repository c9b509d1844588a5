"""The small model's training from the first clip to the model's card, a few steps of each."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.runtime import Runtime
from scripts import train_demo
from scripts.command import run
from scripts.train_demo import make_parser, work

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)  # where none of the configurations that ship are
        patch.setenv("PYTHONPATH", str(ROOT))  # for the processes of the trainings
        assert run(make_parser(), work, ["--quick", "--processes", "1", "--work", str(folder)]) == 0
    return folder


def test_model_folder_is_what_pose2vid_loads(folder):
    model = folder / "model"
    config = Pose2VidConfig(
        pretrained_base_model_path=str(model),
        pretrained_vae_path=str(model / "vae"),
        image_encoder_path=str(model / "image_encoder"),
        denoising_unet_path=str(model / "denoising_unet" / "diffusion_paddle_model.safetensors"),
        reference_unet_path=str(model / "unet" / "diffusion_paddle_model.safetensors"),
        pose_guider_path=str(model / "pose_guider" / "diffusion_paddle_model.safetensors"),
        inference_config="configs/inference/demo_model.yaml",
    )
    pipeline = Pose2VideoPipeline.open(config, Runtime.choose("cpu", "fp32"))
    assert pipeline.denoising_unet.max_frames == 32
    assert sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) < 15e6


def test_card_tells_commands_steps_times_and_quality(folder):
    card = (folder / "model" / "README.md").read_text()
    assert "python -m scripts.train_demo --clips 8 --seed 0 --processes 1" in card
    for name in ("vae", "stage1", "stage2"):
        settings = read_yaml(train_demo.CONFIGURATIONS / f"{name}.yaml")
        assert f"| {name} | 2 of {2 * settings['per_device_train_batch_size']} |" in card
    assert "| stage 1 per frame |" in card
    assert "detailed figures of `ppdiffusers_ext/data/synthetic.py` at 192x192" in card
    assert set(json.loads((folder / "times.json").read_text())) == {"clips", "vae", "stage1", "stage2"}


def test_model_says_how_its_clips_are_drawn_and_shows_some(folder):
    assert Drawing.read(folder / "model") == Drawing.read("configs/training/demo")
    width, height = read_image(folder / "model" / "samples.png").size
    assert width > (1 + 3 * 3) * 192 and height > 192  # and labels


def test_clips_are_drawn_with_their_poses(folder):
    for kind in ("video", "video_dwpose"):
        videos = sorted((folder / "data" / kind).iterdir())
        assert len(videos) == 8
        assert probe_video(videos[0]).num_frames == 36


def call(folder, *more):
    return run(make_parser(), work, ["--quick", "--processes", "1", "--work", str(folder), *more])


def test_what_is_there_is_refused_or_kept_and_not_made_again(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert call(folder) == 2
    assert "model exists; --overwrite replaces it, --skip-existing keeps it" in capsys.readouterr().err
    assert call(folder, "--skip-existing") == 0 and f"kept {folder / 'model'}" in capsys.readouterr().out
    assert call(folder, "--skip-existing", "--seed", "1") == 2
    assert "was made of something else: --seed was 0 and is 1; --overwrite replaces it" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_model_of_other_settings_does_not_go_on_with_what_is_there(folder, tmp_path, capsys):
    """A quick run, whose clips and stages are there, is nothing for a whole one to go on with."""
    shutil.copytree(folder, tmp_path / "work", ignore=shutil.ignore_patterns("model"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")}
    for options in ([], ["--clips", "8"], ["--quick", "--seed", "3"], ["--quick", "--processes", "2"]):
        arguments = ["--work", str(tmp_path / "work"), *options]
        assert run(make_parser(), work, [*arguments, "--skip-existing"]) == 2
        assert "begun.json was made of something else: --" in capsys.readouterr().err
    assert run(make_parser(), work, ["--quick", "--work", str(tmp_path / "work")]) == 2
    assert "begun.json exists; " in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")} == before


def test_stopped_training_goes_on(folder, tmp_path, monkeypatch, capsys):
    shutil.copytree(folder, tmp_path / "work", ignore=shutil.ignore_patterns("model", "stage2"))
    trained = []
    monkeypatch.setattr(train_demo, "train", lambda script, name, *_: trained.append(name) or sys.exit(9))
    with pytest.raises(SystemExit):
        call(tmp_path / "work", "--skip-existing")
    assert trained == ["stage2"]


def test_overwriting_begins_anew_and_leaves_a_users_files(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "work")
    (tmp_path / "work" / "notes.txt").write_text("my own")
    monkeypatch.setattr(train_demo, "draw", lambda *_, **__: sys.exit(9))
    with pytest.raises(SystemExit):
        call(tmp_path / "work", "--overwrite")
    assert (tmp_path / "work" / "notes.txt").read_text() == "my own"
    assert (tmp_path / "work" / "model" / "README.md").exists()  # until the new one is complete
    left = {path.name for path in (tmp_path / "work").glob("[!.]*")}
    assert left == {"notes.txt", "model", "begun.json", "times.json"}
    assert set(json.loads((tmp_path / "work" / "times.json").read_text())) == {"clips"}


def test_work_folder_without_a_record_is_gone_on_with_and_gets_none(tmp_path, capsys, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(train_demo, "draw", lambda *_, **__: sys.exit(9))
    with pytest.raises(SystemExit):
        call(tmp_path, "--skip-existing")
    assert "data has no record of what it was made of" in capsys.readouterr().err
    assert not (tmp_path / "begun.json").exists()


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_work_folder_of_a_user_is_left_alone(tmp_path, capsys, options):
    (tmp_path / "data" / "video").mkdir(parents=True)
    (tmp_path / "data" / "video" / "00001.mp4").write_text("my own")
    assert call(tmp_path, *options) == 2
    assert "data exists, without a record of what it was made of; another --work is" in capsys.readouterr().err
    assert (tmp_path / "data" / "video" / "00001.mp4").read_text() == "my own"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_too_few_clips_are_refused(tmp_path, capsys):
    assert run(make_parser(), work, ["--clips", "3", "--work", str(tmp_path / "new")]) == 2
    assert "--clips 3 is too few; 8 or more is accepted, up to 1000000" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
