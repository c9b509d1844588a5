"""The small StableAnimator that ships: it runs at once, follows poses, keeps faces, and is small."""

import json
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.drawings import Drawing
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.metrics.video import video_metrics
from scripts import animate, stable_animator
from scripts.command import run

ASSETS = Path(__file__).parents[2] / "assets"
MODEL = ASSETS / "stable_animator_demo"
SIDE, FRAMES, SEED = 128, 12, 7  # of its picture and its motion


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def clip():
    return Drawing.read(MODEL).clip(SEED, SIDE, SIDE, FRAMES)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def call(*words):
    return run(stable_animator.make_parser(), stable_animator.work, list(map(str, words)))


def test_small_models_are_small():
    sizes = [size_of(ASSETS / name) for name in ("demo_model", "stable_animator_demo", "easy_animate_demo")]
    assert sizes[0] <= 15e6 and sizes[1] <= 10e6 and sum(sizes) <= 30e6


def test_all_can_read_it():
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in MODEL.rglob("*") if path.is_file())


def test_model_runs_without_an_option_and_draws_the_person_in_the_motion(tmp_path, clip, capsys):
    assert call("--frames", f"0:{FRAMES}") == 0
    assert "Model: the small demo model, which draws cartoon people" in capsys.readouterr().err
    frames = np.stack(list(open_frames(tmp_path / "output" / "stable_animator_demo" / "animated_images")))
    assert frames.shape == (FRAMES, SIDE, SIDE, 3)
    repeated = np.repeat(clip.reference[None], FRAMES, axis=0)
    psnr, of_reference = (video_metrics(each, clip.target)["psnr"] for each in (frames, repeated))
    assert psnr > of_reference + 1


def test_optimised_faces_are_more_like_the_pictures(tmp_path):
    assert call("--frames", "0:4", "--optimize-face", "--output", "out") == 0
    history = json.loads((tmp_path / "out" / "face_optimization.json").read_text())
    assert len(history) == 9, "three iterations in each of three steps"
    for number in range(3):
        first, *_, last = (entry for entry in history if entry["step"] == number)
        assert None not in first["cosines"] and np.mean(last["cosines"]) > np.mean(first["cosines"])


@pytest.mark.parametrize(("height", "width"), [(256, 256), (340, 256)])
def test_a_picture_and_a_video_are_enough(tmp_path, height, width, capsys):
    drawn = Drawing.read(MODEL).clip(SEED, width, height, 4)
    write_image(tmp_path / "me.png", drawn.reference)
    with VideoWriter(tmp_path / "dance.mp4", 8, width, height) as writer:
        writer.write(drawn.target)
    words = ["--system", "stable_animator", "--reference-image", "me.png", "--driving-video", "dance.mp4"]
    assert run(animate.make_parser(), animate.work, [*words, "--output", "out.mp4", "--poses", "embedded"]) == 0
    assert "small demo model" in capsys.readouterr().err
    frames = np.stack(list(open_frames(tmp_path / "out.mp4")))
    assert frames.shape == (4, 192 if height > width else SIDE, SIDE, 3) and frames.std() > 20


def test_picture_of_it_is_its_card(clip):
    picture = np.asarray(read_image(MODEL / "reference.png").resize((SIDE, SIDE)))
    assert np.abs(picture.astype(int) - clip.reference).mean() < 6
    assert "identity" in (MODEL / "README.md").read_text(encoding="utf-8")
