"""Results of inference that exist: refused before anything is computed, replaced by --overwrite, kept if the same."""

import numpy as np
import pytest

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from scripts import pose2vid
from scripts.command import run

DEMO = ["--config", "configs/inference/demo.yaml", "-W", "64", "-H", "64", "--steps", "1", "-L", "2"]


@pytest.fixture
def start(tmp_path):
    write_image(tmp_path / "me.png", np.full((64, 64, 3), 90, np.uint8))
    with VideoWriter(tmp_path / "poses.mp4", 8, 64, 64) as writer:
        writer.write(np.zeros((2, 64, 64, 3), np.uint8))

    def call(*options):
        case = ["--reference-image", tmp_path / "me.png", "--pose-video", tmp_path / "poses.mp4"]
        words = [*DEMO, *case, "--output", tmp_path / "out.mp4", *options]
        return run(pose2vid.make_parser(), pose2vid.work, list(map(str, words)))

    return call


def test_result_that_exists_is_refused_replaced_or_kept(start, tmp_path, capsys, monkeypatch):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"earlier")
    assert start() == 2
    expected = f"error: --output {target} exists; --overwrite replaces it, --skip-existing keeps it"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.png", "out.mp4", "poses.mp4"]
    assert start("--skip-existing") == 0 and target.read_bytes() == b"earlier"
    assert start("--overwrite") == 0
    made = target.read_bytes()
    assert made != b"earlier"
    monkeypatch.setattr("ppdiffusers_ext.pipelines.animate_anyone.run.open_pipeline", None)  # nothing needs it
    assert start("--skip-existing") == 0 and target.read_bytes() == made
    capsys.readouterr()
    assert start("--skip-existing", "--seed", "7") == 2
    assert "--seed was 42 and is 7; --overwrite replaces it" in capsys.readouterr().err
    write_image(tmp_path / "me.png", np.full((64, 64, 3), 10, np.uint8))
    assert start("--skip-existing") == 2
    assert "--reference-image has another content" in capsys.readouterr().err
    assert target.read_bytes() == made


def test_what_lies_beside_a_missing_result_is_not_replaced_unasked(start, tmp_path, capsys):
    (tmp_path / "out_sheet.png").write_bytes(b"mine")
    for options in ((), ("--skip-existing",)):
        assert start(*options) == 2
        assert (
            "out_sheet.png" in (error := capsys.readouterr().err.splitlines()[-1]) and "--overwrite replaces" in error
        )
    assert (tmp_path / "out_sheet.png").read_bytes() == b"mine"
    assert not (tmp_path / "out.mp4").exists()
