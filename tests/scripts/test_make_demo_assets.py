"""The shipped demo picture and poses are what the script that drew them draws."""

from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.video import probe_video, read_frames
from scripts.command import run
from scripts.make_demo_assets import make_parser, work

ASSETS = Path(__file__).parents[2] / "assets"


def test_draws_the_shipped_picture_and_poses_again(tmp_path):
    assert run(make_parser(), work, ["--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["pose.mp4", "reference.png"]
    pictures = (np.asarray(read_image(folder / "reference.png")) for folder in (tmp_path, ASSETS))
    assert np.array_equal(*pictures)
    assert probe_video(tmp_path / "pose.mp4") == probe_video(ASSETS / "pose.mp4")
    videos = (read_frames(folder / "pose.mp4", stride=20) for folder in (tmp_path, ASSETS))
    for ours, shipped in zip(*videos):
        assert np.abs(ours.astype(int) - shipped).max() <= 2
