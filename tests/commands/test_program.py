"""The program `ppdiffusers-ext`, as the checkout has it: which commands there are, and what it says of others."""

import ast
import sys

import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.commands import COMMANDS, main
from scripts import launch
from tests.support.parsers import FOLDER

NAMES = [name for names in COMMANDS.values() for name in names]


@pytest.fixture(autouse=True)
def own_form(monkeypatch):
    monkeypatch.setattr(packaged, "_is_program", packaged.is_program())
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def is_command(path):
    """True if running the module does something other than naming commands that there are."""
    text = path.read_text(encoding="utf-8")
    return '__name__ == "__main__"' in text and "sys.exit(no_command(" not in text


def test_every_command_is_listed_once():
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.py") if is_command(path))


def test_help_has_a_line_for_each(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in NAMES:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(".") and len(line) < 120 and "scripts" not in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a command is missing; `--help` lists the commands"),
        (["pose2vidd"], "there is no command 'pose2vidd'; did you mean pose2vid?"),
        (["trainer-stage3"], "there is no command 'trainer-stage3'; did you mean trainer_stage"),
        (["wxyz", "--help"], "there is no command 'wxyz'; `--help` lists the commands"),
        (["--hepl"], "there is no option '--hepl'; did you mean --help?"),
        (["poses"], "there is no command 'poses'"),
        (["command"], "there is no command 'command'"),
        (["__init__"], "there is no command '__init__'"),
        (["../animate"], "there is no command '../animate'"),
        (["animate.py"], "there is no command 'animate.py'"),
        (["ANIMATE"], "there is no command 'ANIMATE'; did you mean animate?"),
        ([""], "there is no command ''"),
        (["a\udcff\x1b"], "there is no command"),
        (["a" * 5000], "there is no command"),
    ],
)
def test_other_names_are_refused_with_the_nearest(words, message, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line and len(line) < 300


@pytest.mark.parametrize("name", ["make_video", "make-video"])
def test_command_gets_its_words_and_names_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: ppdiffusers-ext make_video") and "scripts" not in told


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["trainer_stage1", "a.yaml"], 0),
        (["--gpus", "0,1", "trainer-stage1", "a.yaml"], 2),
        (["--gpus=0,1", "trainer_vae", "--output_dir", "trainer_stage2"], 1),
        (["--log_dir", "trainer_vae", "trainer_stage2"], 2),
        (["--debug", "trainer_vae", "x.py"], 1),
        (["--log_dir", "trainer_vae"], 2),
        (["--nproc_per_node", "2", "own.py", "trainer_vae"], 2),
    ],
)
def test_launcher_finds_the_trainer_by_its_name(words, place):
    assert launch._place_of_trainer(words) == place


def test_launcher_runs_the_trainer_of_the_checkout_or_of_the_program(monkeypatch):
    started = []
    monkeypatch.setattr(launch, "_start", lambda words, *_: started.append(words))
    assert launch.main(["--nproc_per_node", "2", "trainer-vae", "a.yaml"]) == 0
    monkeypatch.setattr(launch, "__package__", "ppdiffusers_ext.commands")
    assert launch.main(["--nproc_per_node", "2", "trainer-vae", "a.yaml"]) == 0
    folder = packaged.FOLDER
    assert [words[-3:] for words in started] == [
        ["2", str(folder / "scripts/trainer_vae.py"), "a.yaml"],
        [str(folder / "ppdiffusers_ext/commands/__main__.py"), "trainer_vae", "a.yaml"],
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_modules_import_each_other_by_relative_names(path):
    """A wheel has them in another package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        assert not [name for name in names if name.partition(".")[0] == "scripts"]
