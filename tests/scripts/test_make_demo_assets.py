"""The shipped demo model and clip are what the script that made them makes."""

from pathlib import Path

import numpy as np
import yaml

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.weights import load_tensors
from scripts.command import run
from scripts.make_demo_assets import make_parser, work

ROOT = Path(__file__).parents[2]


def test_makes_the_shipped_assets_again(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert run(make_parser(), work, ["--output", str(tmp_path)]) == 0
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    shipped = sorted(path.relative_to(ROOT / "assets") for path in (ROOT / "assets").rglob("*") if path.is_file())
    assert made == shipped
    for path in made:
        if path.suffix == ".safetensors":
            ours, theirs = load_tensors(tmp_path / path), load_tensors(ROOT / "assets" / path)
            assert {name: tensor.shape for name, tensor in ours.items()} == {
                name: tensor.shape for name, tensor in theirs.items()
            }
    picture, shipped_picture = (
        np.asarray(read_image(folder / "reference.png")) for folder in (tmp_path, ROOT / "assets")
    )
    assert np.array_equal(picture, shipped_picture)
    assert probe_video(tmp_path / "pose.mp4") == probe_video(ROOT / "assets" / "pose.mp4")


def test_the_demo_says_that_its_model_is_untrained():
    demo = yaml.safe_load((ROOT / "configs/inference/demo.yaml").read_text())
    assert "untrained" in demo["notice"]
