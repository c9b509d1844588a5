"""The files around the code are whole, and what they call is there: workflows, hooks, templates, linters' settings."""

import ast
import configparser
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.pose2vid import make_parser, read_config
from tests.test_packaging import PYTHON_VERSIONS, names, read_extras

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.y*ml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.y*ml") if path.stem != "config")
HOOKS = ROOT / ".pre-commit-config.yaml"
YAML_FILES = sorted([*GITHUB.rglob("*.y*ml"), HOOKS, *(ROOT / "configs").rglob("*.yaml")])
# What a module is installed by, where the names differ.
PACKAGES = {"codespell_lib": "codespell"}
# Elements of an issue form, https://docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests
ELEMENTS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice, of which PyYAML keeps the last one only."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{sorted(map(str, keys))}: one of them stands twice"
        return super().construct_mapping(node, deep)


def read_yaml(path):
    return yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)


def makefile_recipe(target):
    """The lines of a target's recipe in the Makefile, with the prerequisites left out."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1].splitlines()


def modules_run_by(lines):
    """The modules that command lines run with `-m`."""
    return {found for line in lines for found in re.findall(r" -m ([\w.]+)", line)}


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_yaml_file_parses(path):
    assert isinstance(read_yaml(path), dict)


def test_yaml_reader_sees_a_key_that_stands_twice(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("jobs:\n  run: 1\n  run: 2\n")
    with pytest.raises(AssertionError, match="stands twice"):
        read_yaml(file)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_runs_what_is_there(path):
    for job in read_yaml(path)["jobs"].values():
        assert job["timeout-minutes"] <= 40
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", step["uses"]), "no version is pinned"
            for words in map(shlex.split, step.get("run", "").splitlines()):
                if "/" in words[0]:
                    assert os.access(ROOT / words[0], os.X_OK), words


def test_workflow_runs_continuous_integration_on_each_supported_python():
    (job,) = (
        job
        for path in WORKFLOWS
        for job in read_yaml(path)["jobs"].values()
        if any(step.get("run") == ".ci/run" for step in job["steps"])
    )
    versions = job["strategy"]["matrix"]["python-version"]
    assert versions == list(PYTHON_VERSIONS) and all(isinstance(version, str) for version in versions)
    # make takes the interpreter from its variable, which the environment sets.
    assert job["env"]["PYTHON"] == "python${{ matrix.python-version }}"


def test_continuous_integration_makes_targets_that_are_there():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([\w-]+)$", script, re.MULTILINE)
    assert {"test-all", "lint"} <= set(targets)
    subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("programs", "called", "told"),
    [
        ({"chromium": 0}, "", ""),
        ({"chromium-browser": 0}, "", ""),
        ({"apt-get": 0}, "-qq update;-qq install --yes --no-install-recommends chromium;", ""),
        ({"apt-get": 100}, "-qq update;", "will be skipped"),
        ({}, "", "will be skipped"),
    ],
)
def test_continuous_integration_installs_a_browser_where_it_can(programs, called, told, tmp_path):
    """With programs of these exit codes, which write down how they are called."""
    for name, code in {"id": 0, **programs}.items():
        write = "echo 0" if name == "id" else f'printf "%s;" "$*" >> {shlex.quote(str(tmp_path / "called"))}'
        (tmp_path / name).write_text(f"#!/bin/sh\n{write}\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    script = ROOT / ".ci" / "install_chromium"
    run = subprocess.run(["/bin/sh", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    calls = tmp_path / "called"
    assert run.returncode == 0 and run.stdout == ""
    assert (calls.read_text() if calls.exists() else "") == called
    assert told in run.stderr and bool(told) == bool(run.stderr)
    assert "\n.ci/install_chromium\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_form_is_one(path):
    form = read_yaml(path)
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "body", "labels", "title"}
    assert {element["type"] for element in form["body"]} <= ELEMENTS
    asked = [element for element in form["body"] if element["type"] != "markdown"]
    identifiers = [element["id"] for element in asked]
    assert asked and len(identifiers) == len(set(identifiers))
    for element in asked:
        assert element["attributes"]["label"]
        assert element["type"] != "dropdown" or len(element["attributes"]["options"]) > 1


def test_there_is_a_form_for_each_kind_of_issue():
    assert [path.stem for path in FORMS] == ["bug", "feature", "question"]


@pytest.mark.parametrize(
    "page", [*sorted(GITHUB.rglob("*.md")), *FORMS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name
)
def test_files_and_targets_that_contributors_are_sent_to_are_there(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:[A-Z]+\.md|(?:docs|assets|tests|ppdiffusers_ext)/[\w./]*\w)", text):
        assert (ROOT / name).exists(), name
    for target in re.findall(r"`make ([\w-]+)", text):
        assert makefile_recipe(target), target


def test_hooks_of_others_are_pinned_and_own_ones_are_those_of_make_lint():
    modules = set()
    for repository in read_yaml(HOOKS)["repos"]:
        if repository["repo"] != "local":
            assert repository["repo"].startswith("https://") and re.fullmatch(r"v\d+(\.\d+)+", repository["rev"])
            continue
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/python -m "), hook["entry"]
            modules |= modules_run_by([hook["entry"]])
    assert modules == modules_run_by(makefile_recipe("lint"))


def test_linters_are_installed_with_the_tests():
    modules = modules_run_by(makefile_recipe("lint"))
    assert {"ruff", "codespell_lib", "mypy"} <= modules
    assert {PACKAGES.get(module, module) for module in modules} <= names(read_extras()["test"])


def test_folders_and_modules_that_mypy_is_told_of_are_there():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "mypy.ini", encoding="utf-8")
    assert settings["mypy"]["files"].split(", ") == ["ppdiffusers_ext", "scripts"]
    assert settings["mypy"].getboolean("check_untyped_defs")
    for section in settings.sections()[1:]:
        for pattern in section.removeprefix("mypy-").split(","):
            path = ROOT / pattern.removesuffix(".*").replace(".", "/")
            if pattern.partition(".")[0] in ("ppdiffusers_ext", "scripts"):
                assert path.is_dir() or path.with_suffix(".py").is_file(), pattern
                # Nothing of ours is left out.
                assert not {"ignore_errors", "follow_imports", "disable_error_code"} & settings[section].keys()


def test_words_that_the_spelling_checker_passes_over_occur():
    """An exception that nothing needs any more hides a mistake."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / ".codespellrc", encoding="utf-8")
    texts = [
        path.read_text(encoding="utf-8").lower()
        for folder in ("ppdiffusers_ext", "scripts", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    unused = [
        word
        for word in re.split(r"[\s,]+", settings["codespell"]["ignore-words-list"])
        if not any(re.search(rf"\b{word}\b", text) for text in texts)
    ]
    assert unused == []


def public_functions(node):
    """The functions of a module, and of its classes, that are no details."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)
        elif isinstance(child, ast.FunctionDef) and (not child.name.startswith("_") or child.name == "__init__"):
            yield child


def test_mypy_asks_for_annotations_everywhere():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "mypy.ini", encoding="utf-8")
    assert settings.sections() == ["mypy"]  # no room is excepted
    assert settings["mypy"]["disallow_untyped_defs"] == settings["mypy"]["disallow_incomplete_defs"] == "True"


def test_public_functions_say_their_types():
    silent, count = [], 0
    for path in (path for folder in ("ppdiffusers_ext", "scripts") for path in (ROOT / folder).rglob("*.py")):
        for function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            count += 1
            parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            own = [item for item in parameters if item.arg not in ("self", "cls")]
            if function.returns is None or not all(item.annotation for item in own):
                silent.append(f"{path.relative_to(ROOT)}:{function.lineno} {function.name}")
    assert silent == [] and count > 1000


def test_the_demo_can_be_made_again():
    printed = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    words = next(shlex.split(line) for line in printed.splitlines() if "scripts.pose2vid" in line)
    options = make_parser().parse_args(words[words.index("scripts.pose2vid") + 1 :])
    assert read_config(options).overwrite and (ROOT / options.config).is_file()
