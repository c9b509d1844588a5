"""The table of short trainings: what each row changes, and what is read of those that are finished."""

import json
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.data.animate_anyone.clips import check_clip, find_clips
from ppdiffusers_ext.data.synthetic import write_clips
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.training.animate_anyone.options import AutoencoderArguments, DataArguments, ModelArguments
from ppdiffusers_ext.training.options import SamplingTrainerOptions, TrainerOptions
from ppdiffusers_ext.training.parser import parse_options
from scripts import ablate_demo
from scripts.ablate_demo import ROWS, Options, linear_table, make_parser, settings_of, table, work
from scripts.command import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def folder(tmp_path):
    write_clips(tmp_path / "data", 0, [0, 1], 3, 16)
    return tmp_path


@pytest.mark.parametrize("name", ROWS)
def test_row_is_the_trainers_file_with_what_it_changes(folder, name):
    (folder / "ablation").mkdir()
    row, settings = ROWS[name], settings_of(name, Options(work=str(folder)))
    plain = read_yaml(f"configs/training/demo/{row.stage}.yaml")
    assert settings["output_dir"] == str(folder / "ablation" / name)
    changed = {
        key for key, value in settings.items() if plain.get(key) != value and "exp_output" not in str(plain[key])
    }
    changed -= {"max_steps", "validation_steps", "save_steps", "warmup_steps", "place_steps"}
    assert settings.get("place_steps", 1) < settings["max_steps"], "attention is let go before it is measured"
    expected = set(row.changes) - {"meta_paths"} | ({"vae_config_path"} if row.network else set())
    assert changed - {"per_device_train_batch_size"} == expected
    if "n_sample_frames" in row.changes:
        frames = [each["n_sample_frames"] * each["per_device_train_batch_size"] for each in (plain, settings)]
        assert frames[0] == frames[1]
    else:
        assert "per_device_train_batch_size" not in changed
    (folder / "row.yaml").write_text(json.dumps(settings))
    models = AutoencoderArguments if row.stage == "vae" else ModelArguments
    trainer = TrainerOptions if row.stage == "vae" else SamplingTrainerOptions
    parse_options([str(folder / "row.yaml")], (models, DataArguments, trainer))  # takes all of it


def test_other_networks_are_those_of_the_file_multiplied(folder):
    known = json.loads(Path("configs/training/demo/vae.json").read_text())
    for name, key, factor in (
        ("vae_narrow", "up_block_out_channels", 0.5),
        ("vae_few_latents", "latent_channels", 0.5),
        ("vae_many_latents", "latent_channels", 2),
    ):
        settings = settings_of(name, Options(work=str(folder)))
        made = json.loads(Path(settings["vae_config_path"]).read_text())
        whole = known.get(key, known["block_out_channels"])
        assert (np.array(made[key]) == factor * np.array(whole)).all()


def test_clips_without_poses_have_black_ones(folder):
    (folder / "ablation").mkdir()
    settings = settings_of("no_poses", Options(work=str(folder)))
    clips = find_clips(settings["meta_paths"])
    assert [clip.video.name for clip in clips] == ["00000.mp4", "00001.mp4"]
    assert all(not check_clip(clip).problems for clip in clips)
    assert all(not frame.any() for frame in read_frames(clips[1].pose))


def test_clips_without_joints_keep_their_poses(folder):
    (folder / "ablation").mkdir()
    write_clips(folder / "data", 0, [0, 1], 3, 16, figures="detailed")
    assert all(clip.keypoints for clip in find_clips(folder / "data"))
    clips = find_clips(settings_of("no_joints", Options(work=str(folder)))["meta_paths"])
    assert [clip.keypoints for clip in clips] == [None, None]
    assert [clip.pose.resolve() for clip in clips] == [clip.pose.resolve() for clip in find_clips(folder / "data")]


def test_linear_codes_are_of_the_clips(tmp_path):
    write_clips(tmp_path / "data", 0, range(4), 3, 32)
    lines = linear_table(tmp_path).splitlines()
    assert lines[:3] == ["", "| numbers of 4x4 pixels | PSNR of a linear code |", "|---|---|"]
    rows = [line.strip("| ").split(" | ") for line in lines[3:]]
    assert [count for count, _ in rows] == ["6", "12", "24"]
    decibels = [float(decibel) for _, decibel in rows]
    assert 10 < decibels[0] < decibels[1] < decibels[2]


def test_table_has_the_last_numbers_of_what_is_finished(tmp_path):
    (tmp_path / "min_snr").mkdir()
    curves = {"psnr": [[10, 12.0], [20, 13.25]], "loss": [[10, 0.5], [20, 0.25]]}
    (tmp_path / "min_snr" / "validation.json").write_text(json.dumps(curves))
    lines = table(tmp_path).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| `min_snr` | Min-SNR with gamma 5 | 20 | 13.25 |  |  |  | 0.25 |"


def test_rows_that_are_finished_are_not_trained_again(folder, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(ablate_demo, "train", lambda script, name, *_: trained.append((script, name)))
    call = ["--work", str(folder), "--row", "vae", "--steps", "0.01"]
    assert run(make_parser(), work, call) == 0
    (folder / "ablation" / "vae" / "validation.json").write_text(json.dumps({"psnr": [[15, 20.0]]}))
    assert run(make_parser(), work, call) == 0
    assert trained == [("trainer_vae", "vae")] and "| `vae` | autoencoder | 15 | 20 |" in capsys.readouterr().out


def test_folder_that_lacks_a_stage_is_refused(folder, capsys):
    assert run(make_parser(), work, ["--work", str(folder), "--row", "stage2"]) == 2
    error = capsys.readouterr().err
    assert "image_encoder" in error and "stage1/denoising_unet.safetensors" in error
    assert not (folder / "ablation").exists()
