"""The small model's training from the first clip to the model's card, a few steps of each."""

import json
from pathlib import Path

import pytest

from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.pipelines.animate_anyone.loading import load_pipeline
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.runtime import Runtime
from scripts.command import run
from scripts.train_demo import make_parser, work

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
    pipeline = load_pipeline(config, Runtime.choose("cpu", "fp32"))
    assert pipeline.denoising_unet.max_frames == 32
    assert sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) < 15e6


def test_card_tells_commands_steps_times_and_quality(folder):
    card = (folder / "model" / "README.md").read_text()
    assert "python -m scripts.train_demo --clips 8 --seed 0 --processes 1" in card
    for line in ("| vae | 2 of 2 |", "| stage1 | 2 of 8 |", "| stage2 | 2 of 6 |", "| stage 1 per frame |"):
        assert line in card
    assert set(json.loads((folder / "times.json").read_text())) == {"clips", "vae", "stage1", "stage2"}


def test_clips_are_drawn_with_their_poses(folder):
    for kind in ("video", "video_dwpose"):
        videos = sorted((folder / "data" / kind).iterdir())
        assert len(videos) == 8
        assert probe_video(videos[0]).num_frames == 36


def test_what_is_there_is_not_made_again(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    arguments = ["--quick", "--processes", "1", "--work", str(folder)]
    assert run(make_parser(), work, arguments) == 2
    assert "model is there already; another --output is accepted" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


def test_too_few_clips_are_refused(tmp_path, capsys):
    assert run(make_parser(), work, ["--clips", "3", "--work", str(tmp_path / "new")]) == 2
    assert "--clips 3 is too few; 8 or more is accepted, up to 1000000" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
