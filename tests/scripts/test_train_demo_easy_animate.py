"""The small text-to-video model's training from the first clip to the model's card, two steps of each."""

import json
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.pipelines.easy_animate.demo import WAYS
from scripts import evaluate, predict_i2v, predict_t2v, predict_v2v
from scripts.command import run
from scripts.train_demo_easy_animate import make_parser, work

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["--quick", "--processes", "1", "--work"]


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


@pytest.fixture(scope="module")
def config(folder):
    """The configuration that ships, of the model in the folder, with few steps."""
    text = (ROOT / "configs/inference/easy_animate/demo.yaml").read_text(encoding="utf-8")
    text = text.replace("assets/easy_animate_demo", str(folder / "model"))
    path = folder / "demo.yaml"
    path.write_text(text.replace("num_inference_steps: 20", "num_inference_steps: 1"), encoding="utf-8")
    return str(path)


def test_model_folder_is_what_the_three_commands_load(folder, config, tmp_path):
    words = ["--config", config, "--prompt", "穿红色衬衫的人挥手，背景是蓝色"]
    picture, video = tmp_path / "a" / "frame.png", tmp_path / "a.mp4"
    assert (
        predict_t2v.main([*words, "--output", str(video), "--lora", str(folder / "model/night.safetensors"), "1"]) == 0
    )
    assert np.stack(list(open_frames(video))).shape == (16, 64, 64, 3)
    assert predict_t2v.main([*words, "--output", str(picture), "--num-frames", "1"]) == 0
    assert predict_i2v.main([*words, "--start-image", str(picture), "--output", str(tmp_path / "b.mp4")]) == 0
    more = ["--video", str(video), "--strength", "1", "--output", str(tmp_path / "c.mp4")]
    assert predict_v2v.main([*words, *more]) == 0
    size = sum(path.stat().st_size for path in (folder / "model").rglob("*") if path.is_file())
    assert size < 12e6


def test_card_tells_commands_steps_times_and_quality(folder):
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "python -m scripts.train_demo_easy_animate --clips 16 --seed 0 --processes 1" in card
    for line in (
        "| vae_pictures | 2 of 2 |",
        "| vae | 2 of 2 |",
        "| transformer | 2 of 2 |",
        "| lora | 2 of 2 |",
        "| model with night.safetensors |",
    ):
        assert line in card
    times = json.loads((folder / "times.json").read_text())
    assert list(times) == ["clips", "texts", "vae_pictures", "vae", "transformer", "lora"]
    assert read_image(folder / "model" / "samples.png").size[0] > 8 * 64
    scores = json.loads((folder / "model" / "scores.json").read_text(encoding="utf-8"))
    assert list(scores["ways"])[: len(WAYS)] == list(WAYS)


def test_evaluation_measures_the_model_beside_what_can_be_reached(config, capsys):
    words = ["--demo-t2v", "--config", config, "--seed", "3", "--clips", "1", "--json", "-"]
    assert run(evaluate.make_parser(), evaluate.work, words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["classifier_accuracy"] >= 0.98 and result["ways"]["rendered"]["all"] == 1
    assert len(result["scores"]) == 1 and result["seed"] == 3


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
