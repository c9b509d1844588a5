"""What the pages claim: their commands, code spans, tables, links and snippets, and the parsers that commands have."""

import argparse
import contextlib
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

from ppdiffusers_ext.packaged import PROGRAM

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("README*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(ROOT.glob(".github/**/*.md")),
    ROOT / "assets" / "demo_model" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("examples/*/README*.md")),
]
# Tools of others whose options pages name.
FOREIGN = {
    "tests/mutate.py": {"--show"},
    "pip": {"--upgrade", "--no-deps"},
    "paddle.distributed.launch": {"--gpus", "--nproc_per_node", "--backend", "--log_dir"},
    "scripts.launch": {
        *("--gpus", "--nproc_per_node", "--backend", "--log_dir"),
        *("--nnodes", "--rank", "--master", "--max_restart", "--elastic_timeout"),
    },
    "visualdl": {"--logdir"},
    "tests.support.clean_root": {"--serve"},
    "docker": {"--profile", "--tag", "--file", "--rm", "--volume", "--gpus"},
    "wget": {"--header", "--input-file", "--continue"},
    "curl": {"--header", "--config", "--parallel"},
    "sbatch": {"--array", "--nodes", "--requeue"},
    "kubectl": {"--filename"},
    "kubernetes-validate": {"--strict"},
    "aria2c": {"--header", "--input-file"},
}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"(\.venv/bin/)?python3?(\.\d+)?$")
_PLACEHOLDER = re.compile(r"\.\.\.|[\[\]<>|]")


def read(page):
    return page.read_text(encoding="utf-8")


def fences(text, language=None):
    """The fenced blocks of a page, all of them or those of one language."""
    return [found[3] for found in _FENCE.finditer(text) if language is None or found[2] == language]


def indented(text):
    """The indented blocks: code that is not fenced."""
    prose = _FENCE.sub("", text)
    return [block for block in re.split(r"\n\s*\n", prose) if block.strip("\n").startswith("    ")]


def spans(text):
    """The code spans in the prose and the tables of a page."""
    return re.findall(r"`([^`]+)`", _FENCE.sub("", text).replace(r"\|", "|"))


def commands(text):
    """The commands of a text, as lists of words, each of those that are joined by `&&` or a pipe by itself."""
    found = []
    for block in [*fences(text), *indented(text), *(" ".join(span.split()) for span in spans(text))]:
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            with contextlib.suppress(ValueError):  # quotes that are not closed: prose
                words = shlex.split(re.sub(r"^\s*(?:- )?`?", "", line), comments=True)
                found += [part for part in _parts(words) if _is_command(part)]
    return found


def written_commands(text):
    """The commands in the blocks of a page, in their order, with a word in the place of what is in some language."""
    blocks = "\n\n".join(f"```\n{block}```" for block in [*fences(text, "bash"), *indented(text)])
    return [_without_prompt(words) for words in commands(blocks)]


def _without_prompt(words):
    """A command whose prompts are all the same."""
    before = ["", *words]
    return ["PROMPT" if option in ("--prompt", "--negative-prompt") else word for option, word in zip(before, words)]


def translation_of(page):
    """Where a page, or a link to it, is in Chinese: docs/NAME.md in docs/NAME_zh.md."""
    page = Path(page)
    return page.with_name(f"{page.stem}_zh.md")


def _parts(words):
    part = []
    for word in [*words, "&&"]:
        if word in ("&&", ";", "||", "|"):
            while part and re.match(r"[A-Z_]+=", part[0]):
                part = part[1:]
            yield part
            part = []
        else:
            part.append(word)


def _is_command(words):
    if len(words) < 2:
        return False
    if _PYTHON.match(words[0]):
        return words[1] in ("-m", "-u") or words[1].endswith(".py")
    return words[0].rpartition("/")[2] in ("pip", "make", "visualdl", PROGRAM) or (
        words[0] == "sh" and words[1].endswith(".sh")
    )


@dataclass(frozen=True)
class Call:
    """A call of a module: its name, and its words. `whole` unless there are placeholders among them."""

    module: str
    words: tuple
    whole: bool


def call_of(words):
    """The `Call` of a Python command; None for a command of another kind. Launched trainers count as themselves."""
    if words[0].rpartition("/")[2] == PROGRAM and not words[1].startswith("-"):
        words = ["python", "-m", f"scripts.{words[1].replace('-', '_')}", *words[2:]]
    if not _PYTHON.match(words[0]):
        return None
    words = [word for word in words[1:] if word != "-u"]
    if words[0] in ("-m",):
        module, words = words[1], words[2:]
    else:
        module, words = _module(words[0]), words[1:]
    if module in ("paddle.distributed.launch", "scripts.launch"):
        place = next((place for place, word in enumerate(words) if re.search(r"\.py$|^trainer_\w+$", word)), None)
        if place is None:
            return None
        path = words[place] if words[place].endswith(".py") else f"scripts/{words[place]}.py"
        module, words = _module(path), words[place + 1 :]
    if module == "scripts.NAME":  # any of them
        return None
    return Call(module, tuple(words), not any(_PLACEHOLDER.search(word) for word in words))


def _module(path):
    return path.removesuffix(".py").replace("/", ".")


def calls_of_example(path, words):
    """The calls that an example script makes, with a printer of its words in the place of Python."""
    with tempfile.TemporaryDirectory() as folder:
        printer = Path(folder) / "python"
        printer.write_text("#!/bin/sh\nprintf '%s\\0' python \"$@\" ''\n")
        printer.chmod(0o755)
        environment = {**os.environ, "PYTHON": str(printer)}
        run = subprocess.run(
            ["sh", str(path), *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
    return [call_of(given.split("\0")) for given in run.stdout.split("\0\0") if given]


class _Captured(Exception):
    pass


@cache
def parser_of(module):
    """The parser that a command of this project parses its words with."""
    kept = []

    def keep(parser, *_, **__):
        kept.append(parser)
        raise _Captured

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", keep),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", keep),
        mock.patch.object(sys, "argv", [module]),
        contextlib.suppress(_Captured),
    ):
        runpy.run_module(module, run_name="__main__")
    return kept[0]


def options_of(parser):
    """All option strings of a parser and of its commands."""
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found |= options_of(inner)
    if parser.__class__.__module__.startswith("ppdiffusers_ext.training"):
        found |= {"--help", "--help-all", "--debug", "-h"}  # which the trainers look for themselves
    return found


def modules_of(text):
    """The modules of this project's commands that a page names, in whichever way."""
    names = {f"scripts.{name}" for name in re.findall(rf"(?:scripts[./]|{PROGRAM} )(\w+)", text)}
    names |= {f"scripts.{name}" for script in examples_of(text) for name in named_by(script)}
    names = {name for name in names if (ROOT / f"{name.replace('.', '/')}.py").is_file()}
    names -= {"scripts.launch", "scripts.training", "scripts.command"}
    names |= {name for name in ("benchmarks", "tests.parity") if f"-m {name}" in text}
    return sorted(names)


def examples_of(text):
    paths = (ROOT / path for path in re.findall(r"examples/\w+/\w+\.sh", text))
    folders = (ROOT / path for path in re.findall(r"examples/\w+", text))
    scripts = {path for path in paths if path.is_file()}
    return scripts | {script for folder in folders for script in folder.glob("*.sh")}


def named_by(script):
    return re.findall(r"scripts[./](\w+)", script.read_text(encoding="utf-8"))


def sections(text):
    """(heading, text below it) of a page, in which the code is left out of the headings."""
    parts = re.split(r"^(#+ .*)$", _FENCE.sub(lambda found: found[0].replace("\n#", "\n "), text), flags=re.MULTILINE)
    return list(zip(["", *parts[1::2]], parts[::2]))


def tables(text):
    """The tables of a text as lists of rows, each a list of cells; the header first."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.strip().startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").replace(r"\|", "¦").split("|")])
        elif rows:
            found.append([row for row in rows if not set("".join(row)) <= set("-: ")])
            rows = []
    return found


def anchor(heading):
    """GitHub's anchor of a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return text.replace(" ", "-")
