"""The command that lays out test sets: what it runs, and what it answers to bad input."""

import pytest
import yaml

from ppdiffusers_ext.batch.job_list import read_job_list
from scripts import animate
from scripts.benchmark_dataset import make_parser, work
from scripts.command import run
from tests.support.evaluated import moving, write_frames


@pytest.fixture
def copy(tmp_path):
    write_frames(tmp_path / "copy" / "one", moving(0, 2))
    own = {"title": "one clip", "source": "a friend", "pattern": "*", "names": None, "count": 1}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    return tmp_path / "copy"


def lay_out(copy, *words):
    paths = (copy, copy.parent / "bench", "--set", copy.parent / "own.yaml")
    return run(make_parser(), work, [str(word) for word in (*paths, *words)])


def test_clips_are_laid_out_and_animated(copy, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(animate, "work", lambda options: seen.append(options) or 0)
    config = "configs/inference/demo.yaml"
    assert lay_out(copy, "--system", "animate_anyone", "--config", config) == 0
    (options,) = seen
    assert (options.system, options.config) == ("animate_anyone", config)
    (job,) = read_job_list(options.batch, ("animate",))
    assert job.output == str(copy.parent / "bench" / "results" / "animate_anyone" / "one.mp4")
    told = capsys.readouterr().out
    assert "one clip: 1 clip, 2 frames\nknown from: a friend\n" in told
    assert told.rstrip().endswith(f"{copy.parent / 'bench' / 'truth'} --protocol disco")


def test_layout_alone_runs_nothing_and_is_compared_with_anothers(copy, monkeypatch, capsys):
    monkeypatch.setattr(animate, "work", lambda options: pytest.fail("something ran"))
    assert lay_out(copy) == 0
    record = copy.parent / "bench" / "testset.json"
    assert lay_out(copy, "--same-as", record) == 0
    other = copy.parent / "other.json"
    other.write_text(record.read_text().replace('"num_frames": 2', '"num_frames": 3'))
    assert lay_out(copy, "--same-as", other) == 2
    assert "clip 'one' has num_frames 2, and 3 in" in capsys.readouterr().err


def test_bad_input_is_one_line(copy, capsys):
    assert lay_out(copy, "--config", "a.yaml") == 2
    assert capsys.readouterr().err == "error: --config needs --system, which is accepted with it\n"
    assert not (copy.parent / "bench").exists()
