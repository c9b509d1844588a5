"""A Python without the packages is told in a line by every command, before anything is imported of them."""

import re
import subprocess
import sys

import pytest

from ppdiffusers_ext import requirements
from ppdiffusers_ext.commands import COMMANDS
from tests.support.parsers import FOLDER
from tests.test_packaging import GPU_SUBSTITUTE, installed_version, modules_of, names, read_requirements

ROOT = FOLDER.parent
NAMES = sorted(name for names in COMMANDS.values() for name in names)
STARTED_AS_FILES = [name for name in NAMES if "if not __package__" in (FOLDER / f"{name}.py").read_text("utf-8")]


def run(*words):
    """A command in a Python without packages: -S leaves their folder out."""
    return subprocess.run([sys.executable, "-S", "-E", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "scripts.animate", "--help"),
        ("-m", "scripts.launch", "--nproc_per_node", "2", "trainer_vae"),
        ("-m", "benchmarks", "clip"),
        ("-m", "ppdiffusers_ext.commands", "pose2vid"),
        ("ppdiffusers_ext/commands/__main__.py", "trainer_vae"),
        *((f"scripts/{name}.py",) for name in STARTED_AS_FILES),
    ],
    ids=" ".join,
)
def test_python_without_the_packages_is_told_in_a_line(words):
    done = run(*words)
    count = len(requirements._MODULES) - 1
    said = f"error: paddle and {count} more are not installed in this Python ({sys.executable}); "
    assert done.stderr == f"{said}.venv/bin/python, after `make install`, is accepted\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_one_package_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(requirements, "_MODULES", ("sys", "no_such_package"))
    monkeypatch.setattr(requirements, "IS_CHECKOUT", False)
    with pytest.raises(SystemExit) as stop:
        requirements.check_packages()
    assert stop.value.code == 2
    said = r"error: the package no_such_package is not installed in this Python \(.*\); one with .* is accepted"
    assert re.fullmatch(said, capsys.readouterr().err.strip())


def test_setuptools_can_be_imported_after_the_packages_were_looked_for():
    code = "from ppdiffusers_ext import requirements; requirements.check_packages(); import setuptools as s; print(s)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("<module 'setuptools'"), done.stderr


def test_every_requirement_is_looked_for():
    left = set(requirements._MODULES)
    for name in names(read_requirements("requirements.txt")) - {"pip"}:
        modules = modules_of(name if installed_version(name) else GPU_SUBSTITUTE[name]) & left
        assert modules, f"no module of {name} is looked for"
        left -= modules
    assert left == set()
