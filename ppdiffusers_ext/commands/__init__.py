"""The program `ppdiffusers-ext NAME ...`, which runs the commands of scripts wherever the package is installed.

A wheel has the modules of scripts in this folder. In a checkout they are found where they are.
"""

import importlib
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from ppdiffusers_ext import packaged
from ppdiffusers_ext.errors import nearest, shown
from ppdiffusers_ext.requirements import check_packages
from ppdiffusers_ext.version import __version__

if packaged.IS_CHECKOUT:
    __path__.append(str(packaged.FOLDER / "scripts"))

# Heading of --help -> commands.
COMMANDS = {
    "Animate": (
        *("animate", "pose2vid", "stable_animator", "predict_t2v", "predict_i2v", "predict_v2v"),
        *("batch", "beautify_prompt"),
    ),
    "Weights and memory": ("download_weights", "convert_weights", "plan_memory"),
    "Serve": ("serve",),
    "Poses and videos": ("estimate_poses", "vid2pose", "skeleton_extraction", "extract_frames", "make_video"),
    "Training data": (
        "prepare_videos",
        *("extract_dwpose_from_vid", "extract_meta_info", "training_skeleton_extraction", "face_mask_extraction"),
        *("check_dataset", "cache_latents"),
    ),
    "Training": (
        *("launch", "trainer_stage1", "trainer_stage2", "trainer_vae", "trainer_stable_animator"),
        *("trainer_easy_animate", "trainer_easy_animate_vae", "trainer_easy_animate_lora"),
    ),
    "Evaluation and demo": (
        *("evaluate", "benchmark_dataset"),
        "train_demo",
        "train_demo_stable_animator",
        "train_demo_easy_animate",
        "ablate_demo",
        "make_demo_assets",
        "make_pose_assets",
    ),
}
_NAMES = [name for names in COMMANDS.values() for name in names]
_MOST_OF_SUMMARY = 88
_HELP = "`--help` lists the commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or list them. Returns the exit code; a command ends the process with its own.

    Args:
        arguments: list of texts; those of the process if left out.
    """
    packaged.use_program()
    check_packages()
    words = sys.argv[1:] if arguments is None else list(arguments)
    name = words[0].replace("-", "_") if words else ""
    if name not in _NAMES:
        return importlib.import_module(f"{__name__}.command").guarded(lambda: _answer(words))
    sys.argv = [packaged.PROGRAM, *words[1:]]
    runpy.run_module(f"{__name__}.{name}", run_name="__main__", alter_sys=True)
    return 0


def _answer(words: Sequence[str]) -> int:
    """Print what was asked for without a command. Returns the exit code."""
    fail = importlib.import_module(f"{__name__}.command").fail
    if not words:
        return fail(f"a command is missing; {_HELP}")
    if words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"{packaged.PROGRAM} {__version__}")
        return 0
    what = "option" if words[0].startswith("-") else "command"
    near = nearest(words[0], ["--help", "--version"] if what == "option" else _NAMES)
    return fail(f"there is no {what} {shown(words[0])}; " + (f"did you mean {near}?" if near else _HELP))


def _help() -> str:
    lines = [
        f"usage: {packaged.PROGRAM} NAME [options]",
        "",
        "Human image animation for PaddlePaddle. The options of a command: NAME --help.",
    ]
    for heading, names in COMMANDS.items():
        lines += ["", f"{heading}:", *(f"  {name:<30}{_summary(name)}" for name in names)]
    return "\n".join([*lines, "", "Hyphens in a name are as good as underscores. --version prints the version."])


def _summary(name: str) -> str:
    """The first line of a command's docstring, or its first part, read without importing the module."""
    path = next(file for folder in __path__ if (file := Path(folder, f"{name}.py")).is_file())
    line = packaged.as_called(path.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0])
    return line if len(line) <= _MOST_OF_SUMMARY else re.split(r"[,:] ", line)[0].rstrip(".") + "."
