"""The command that predicts memory, as a user meets it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.pipelines.easy_animate.size_table import MODES
from ppdiffusers_ext.pipelines.memory import RUNGS
from scripts.command import run
from scripts.plan_memory import make_parser, work
from tests.support.easy_folders import write_easy

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "configs/inference/demo.yaml"


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def plan(*arguments):
    return run(make_parser(), work, ["--config", *map(str, arguments)])


def test_a_line_for_each_rung_and_the_same_figures_as_json(capsys, tmp_path):
    assert plan(DEMO, "-W", "256", "-H", "320", "-L", "48", "--json", tmp_path / "plan.json") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "256x320, 48 frames, engine auto on cpu"
    fields = json.loads((tmp_path / "plan.json").read_text())
    assert list(fields["rungs"]) == list(RUNGS)
    for line, (rung, figures) in zip(lines, fields["rungs"].items(), strict=True):
        assert line.startswith(f"memory {rung} takes about {figures['host'] / 1e9:.1f} GB, most of all in the")


def test_json_that_exists_is_refused_kept_or_replaced(tmp_path, capsys):
    path = tmp_path / "plan.json"
    arguments = (DEMO, "-W", "256", "-H", "320", "-L", "48", "--json", path)
    assert plan(*arguments) == 0
    before = path.read_text()
    assert plan(*arguments) == 2 and f"--json {path} exists; --overwrite replaces it" in capsys.readouterr().err
    assert plan(*arguments, "--skip-existing") == 0 and path.read_text() == before
    assert plan(*arguments, "--skip-existing", "-L", "24") == 2
    assert "plan.json was made of something else: num_frames was 48 and is 24" in capsys.readouterr().err
    assert plan(*arguments, "--overwrite", "-L", "24") == 0 and path.read_text() != before


def test_what_is_more_than_the_machine_has_is_said(capsys):
    assert plan(DEMO, "-W", "8192", "-H", "8192") == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("memory minimal takes about") and last.endswith("GB that are free")


def test_easy_animate_is_planned_too(tmp_path, capsys):
    write_easy(tmp_path / "v4", "v4")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"model": str(tmp_path / "v4")}))
    given = ("--system", "easy_animate", "-W", "64", "-H", "48", "-L", "8", "--cfg", "1")
    assert plan(tmp_path / "c.yaml", *given) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "64x48, 8 frames, engine auto on cpu"
    assert len(lines) == len(RUNGS)
    assert plan(tmp_path / "c.yaml", *given, "--context-frames", "8") == 2
    assert "--context-frames is no option of easy_animate" in capsys.readouterr().err


def test_the_table_says_which_mode_a_gpu_takes_for_a_size(capsys):
    assert run(make_parser(), work, ["--system", "easy_animate", "--table"]) == 0
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("| GPU memory | 384x672x72 | ")
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [row[0] for row in cells] == ["12 GB", "16 GB", "24 GB", "40 GB", "80 GB"]
    order = ["no", *reversed(MODES)]
    for column in list(zip(*cells))[1:]:  # more memory is never for less
        ranks = [order.index(mode) for mode in column]
        assert ranks == sorted(ranks)
    assert run(make_parser(), work, ["--table"]) == 2
    assert "no --table of animate_anyone" in capsys.readouterr().err


def test_weights_need_not_be_there(tmp_path, capsys):
    values = yaml.safe_load(DEMO.read_text())
    for path in (ROOT / "assets/demo_model").rglob("config.json"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    values = {
        key: str(tmp_path / value) if str(value).startswith("assets/demo_model") else value
        for key, value in values.items()
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert plan(tmp_path / "config.yaml") == 0
    without = capsys.readouterr().out
    assert plan(DEMO) == 0
    assert capsys.readouterr().out == without


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        ([DEMO, "-W", "3"], "-W is 3; a whole number from 64 to 8192"),
        ([DEMO, "--memory", "hgih"], "memory 'hgih' is not known"),
        ([DEMO, "--json", "/proc/plan.json"], "/proc"),
    ],
)
def test_bad_input_is_refused(capsys, arguments, words):
    assert plan(*arguments) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert words in line
