"""The small StableAnimator's training from the first clip to the model's card, two steps of each."""

import json
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.pipelines.stable_animator.demo import (
    IDENTITY,
    MODEL,
    OPTIMISED,
    OTHER_FACE,
    REPEATED,
    WINDOWS,
    WITHOUT_FACE,
)
from scripts import stable_animator
from scripts.command import run
from scripts.train_demo_stable_animator import make_parser, work

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["--quick", "--processes", "1", "--windows", "--work"]


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)  # where none of the configurations that ship are
        patch.setenv("PYTHONPATH", str(ROOT))  # for the processes of the trainings
        assert run(make_parser(), work, [*ARGUMENTS, str(folder)]) == 0
    return folder


def test_model_folder_is_what_stable_animator_loads(folder, tmp_path, capsys):
    model, clip = folder / "model", folder / "data" / "clips" / "00003"
    words = {
        "--pretrained_model_name_or_path": model / "svd",
        "--unet_model_name_or_path": model / "unet.safetensors",
        "--posenet_model_name_or_path": model / "pose_net.safetensors",
        "--face_encoder_model_name_or_path": model / "face_encoder.safetensors",
        "--face_embedding": clip / "face.npy",
        "--validation_image": clip / "images" / "frame_0.png",
        "--validation_control_folder": clip / "poses",
        "--output_dir": tmp_path / "out",
        "--width": 128,
        "--height": 128,
        "--num_inference_steps": 1,
        "--face_embedding_extractor_weight_path": model / "recognizer.safetensors",
        "--validation_image_mask": clip / "faces" / "frame_0.png",
        "--validation_control_mask_folder": clip / "faces",
    }
    words = [str(word) for pair in words.items() for word in pair]
    assert run(stable_animator.make_parser(), stable_animator.work, [*words, "--optimize-face"]) == 0
    frames = np.stack(list(open_frames(tmp_path / "out" / "animated_images")))
    assert frames.shape == (36, 128, 128, 3)
    history = json.loads((tmp_path / "out" / "face_optimization.json").read_text())
    assert len(history) == 3


def test_card_tells_commands_steps_times_and_quality(folder):
    card = (folder / "model" / "README.md").read_text()
    assert "python -m scripts.train_demo_stable_animator --clips 16 --seed 0 --processes 1" in card
    for line in (
        "| training | 2 of 2 |",
        "| vae | 2 of 2 |",
        "| two recognisers of heads | 2 of 32 |",
        f"| {WITHOUT_FACE} |",
    ):
        assert line in card
    assert set(json.loads((folder / "times.json").read_text())) == {"clips", "vae", "recognizer", "training"}
    picture = read_image(folder / "model" / "samples.png")
    assert picture.size[0] > 128 * (1 + 3 * 4) and picture.size[1] > 128  # and labels


def test_model_is_small_and_says_how_its_clips_are_drawn(folder):
    assert Drawing.read(folder / "model") == Drawing.read("configs/training/stable_animator_demo")
    assert sum(path.stat().st_size for path in (folder / "model").rglob("*") if path.is_file()) < 10e6


def test_scores_are_of_every_way(folder):
    scores = json.loads((folder / "model" / "scores.json").read_text())
    assert list(scores["ways"]) == [MODEL, OPTIMISED, WITHOUT_FACE, OTHER_FACE, REPEATED, *WINDOWS, "truth"]
    ways = scores["ways"]
    assert scores["psnr_above_reference"] == ways[MODEL]["psnr"] - ways[REPEATED]["psnr"]
    assert scores["identity_optimised"] == ways[OPTIMISED][IDENTITY] - ways[MODEL][IDENTITY]
    assert scores["identity_without_face"] == ways[WITHOUT_FACE][IDENTITY] - ways[MODEL][IDENTITY]
    assert all(-1 <= way[IDENTITY] <= 1 for way in ways.values())


def test_what_is_there_is_refused_or_kept_and_not_made_again(folder, capsys):
    assert run(make_parser(), work, [*ARGUMENTS, str(folder)]) == 2
    assert "model exists; --overwrite replaces it, --skip-existing keeps it" in capsys.readouterr().err
    assert run(make_parser(), work, [*ARGUMENTS, str(folder), "--skip-existing"]) == 0
    assert run(make_parser(), work, [*ARGUMENTS, str(folder), "--skip-existing", "--clips", "17"]) == 2
    assert "was made of something else: --clips was 16 and is 17; " in capsys.readouterr().err


def test_too_few_clips_are_refused(tmp_path, capsys):
    assert run(make_parser(), work, ["--clips", "3", "--work", str(tmp_path / "new")]) == 2
    assert "--clips 3 is too few; 16 or more is accepted, up to 1000000" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
