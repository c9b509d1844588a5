"""The wheel, built from the source distribution and installed beside the packages at hand, works in any folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ppdiffusers_ext
from ppdiffusers_ext.commands import COMMANDS

ROOT = Path(__file__).parents[1]
NAMES = [name for names in COMMANDS.values() for name in names]
_BUILD = """
import sys
from setuptools import build_meta

print(getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2]))
"""
_SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
_SOURCES = ("ppdiffusers_ext", "scripts", "configs", "assets")


def built(kind, source, target):
    """The path of what setuptools builds, "sdist" or "wheel"."""
    command = [sys.executable, "-c", _BUILD, kind, str(target)]
    run = subprocess.run(command, cwd=source, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return target / run.stdout.splitlines()[-1]


def environment(**more):
    """The variables of this process without those by which Python would find the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in _SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    sdist = built("sdist", source, folder)
    shutil.unpack_archive(sdist, folder)
    return built("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


@pytest.fixture(scope="module")
def installed(wheel):
    """The folder of the programs of an environment with the wheel, and the packages that this one has."""
    folder = wheel.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    own = subprocess.check_output([programs / "python", "-c", _SITE_PACKAGES], env=environment(), text=True).strip()
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    # These folders are searched, but their own .pth files, as that of an editable installation, are not read.
    Path(own, "packages.pth").write_text("\n".join(packages) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--quiet", "--disable-pip-version-check", str(wheel)], check=True, env=environment())
    return programs


@pytest.fixture
def call(installed, tmp_path):
    """Call it to run a program of the environment in an empty folder: what it printed, and its exit code."""

    def call(program, *words):
        run = subprocess.run(
            [installed / program, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        return run.stdout + run.stderr, run.returncode

    return call


def members(wheel):
    """The files of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("ppdiffusers_ext/")}


def expected_members():
    """The files that a wheel of this checkout has to have."""
    expected = {f"ppdiffusers_ext/commands/{path.name}" for path in (ROOT / "scripts").glob("*.py")}
    for folder in ("ppdiffusers_ext", "configs", "assets"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        inside = ROOT if folder == "ppdiffusers_ext" else ROOT.parent
        expected |= {
            path.relative_to(ROOT).as_posix() if inside == ROOT else f"ppdiffusers_ext/{path.relative_to(ROOT)}"
            for path in files
        }
    return expected


def test_wheel_has_what_ships_and_no_more(wheel):
    assert members(wheel) == expected_members()
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"ppdiffusers_ext-{ppdiffusers_ext.__version__}.dist-info/entry_points.txt").decode()
    assert "ppdiffusers-ext = ppdiffusers_ext.commands:main" in metadata
    assert wheel.stat().st_size < 42e6  # of which 21 are networks that find people, 17 small models


def test_program_lists_its_commands_and_refuses_others(call):
    told, code = call("ppdiffusers-ext", "--help")
    assert code == 0 and all(f"\n  {name} " in told for name in NAMES)
    assert call("ppdiffusers-ext", "--version") == (f"ppdiffusers-ext {ppdiffusers_ext.__version__}\n", 0)
    assert call("ppdiffusers-ext", "pose2vide") == (
        "error: there is no command 'pose2vide'; did you mean pose2vid?\n",
        2,
    )


_EACH = """
import contextlib, sys
import ppdiffusers_ext
from ppdiffusers_ext.commands import COMMANDS, main

print(ppdiffusers_ext.__file__)
for names in COMMANDS.values():
    for name in names:
        for word in ("--help", "--wxyz"):
            try:
                main([name.replace("_", "-"), word])
            except SystemExit as stop:
                print(f"exit code of {name} {word}: {stop.code}")
assert "paddle" not in sys.modules
"""


def test_every_command_says_what_it_is_and_refuses_options_without_importing_paddle(call, installed):
    told, code = call("python", "-c", _EACH)
    assert code == 0, told[-2000:]
    assert told.startswith(str(installed.parent))
    for name in NAMES:
        assert f"exit code of {name} --help: 0" in told and f"exit code of {name} --wxyz: 2" in told
        assert name == "launch" or f"ppdiffusers-ext {name}" in told
    assert not re.findall(r".*\bscripts[./].*", told)
    assert "--wxyz" in told and "Traceback" not in told


_DEMO = """
import sys
import ppdiffusers_ext
from ppdiffusers_ext.commands import main

assert sys.prefix in ppdiffusers_ext.__file__
for words in (
    ["plan-memory", "--config", "configs/inference/demo.yaml", "-L", "4"],
    ["pose2vid", "-L", "4", "--steps", "2"],
    ["pose2vid", "--config", "configs/inference/demo.yaml", "-L", "1", "--steps", "1", "--output", "again",
     "--reference-image", "assets/reference.png", "--pose-video", "./assets/pose.mp4"],
    ["stable-animator", "--validation_image", "assets/reference.png", "--validation_control_folder", "assets/pose.mp4",
     "--output_dir", "out"],
):
    try:
        main(words)
    except SystemExit as stop:
        print("exit code", stop.code)
"""


def test_demo_runs_in_an_empty_folder(call, tmp_path):
    told, _ = call("python", "-c", _DEMO)
    assert re.findall("exit code (.*)", told) == ["0", "0", "0", "2"], told[-3000:]
    assert "192x192, 4 frames" in told and "memory minimal takes about" in told
    for folder in ("output/demo", "again"):
        video = tmp_path / folder / "reference_pose_192x192_1.mp4"
        assert video.stat().st_size > 1000
    assert "`ppdiffusers-ext download_weights --system stable_animator` fetches the released weights" in told
    assert {path.name for path in tmp_path.iterdir()} == {"output", "again"}
