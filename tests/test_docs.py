"""The pages' claims are true: commands parse, options, keys, presets and files exist, figures name their commands.

Nothing is listed here that the code knows: parsers, configurations, extras and targets are asked.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import re

import pytest
import yaml

from ppdiffusers_ext.options import key_names
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.presets import preset_names
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
from ppdiffusers_ext.training.parser import read_options
from ppdiffusers_ext.training.trainers import TRAINERS
from scripts.easy_animate import TextOptions
from scripts.training import kinds_of
from tests.support.pages import (
    FOREIGN,
    PAGES,
    ROOT,
    anchor,
    call_of,
    calls_of_example,
    commands,
    examples_of,
    fences,
    indented,
    modules_of,
    options_of,
    parser_of,
    read,
    sections,
    spans,
    tables,
)
from tests.test_packaging import read_extras

SCRIPTS = sorted((ROOT / "examples").glob("*/*.sh"))
IDS = [str(path.relative_to(ROOT)) for path in PAGES]
CONFIGURATIONS = (Pose2VidConfig, StableAnimationConfig, EasyAnimateConfig)
# Folders of this repository: what stands below them in a page is a file that is there.
_FOLDERS = ("assets", "benchmarks", "configs", "docs", "examples", "ppdiffusers_ext", "scripts", "tests")
LANGUAGES = ("", "_zh")  # what the names of pages end in
every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def check_call(call):
    """Parse a call's words with the parser of its command; options alone, where there are placeholders."""
    parser = parser_of(call.module)
    if not call.whole:
        named = {word.partition("=")[0] for word in call.words if re.match(r"--?[a-zA-Z]", word)}
        assert named <= options_of(parser), (call, named - options_of(parser))
    elif call.module.startswith(("scripts.trainer_", "scripts.cache_latents")):
        name = call.module.removeprefix("scripts.").removeprefix("trainer_")
        read_options(list(call.words), kinds_of(name))
    else:
        parser.parse_args(list(call.words))


@every_page
def test_every_command_parses(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(read(page)):
        call = call_of(words)
        if call is not None and call.module.split(".")[0] in _FOLDERS:
            check_call(call)
        elif words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            assert set(targets) <= _targets(), words
        elif words[0].endswith("pip"):
            _check_pip(words)
        elif words[0] == "sh":
            _check_script(ROOT / words[1], words[2:])


def _targets():
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _check_pip(words):
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= read_extras().keys(), words
    for option, file in zip(words, words[1:]):
        if option in ("-r", "-c"):
            assert (ROOT / file).is_file(), words


def _check_script(path, words):
    """An example gives its command what that understands."""
    given = calls_of_example(path, words)
    assert given
    for call in given:
        check_call(call)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_example_gives_its_command_what_it_understands(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    _check_script(path, ["driving.mp4", "me.png"] if "skeletons" in path.stem else [])


@every_page
def test_every_option_exists_in_a_command_that_the_page_names(page):
    text = read(page)
    known = {option for module in modules_of(text) for option in options_of(parser_of(module))}
    known |= {option for tool, options in FOREIGN.items() if tool in text for option in options}
    named = {option for span in [*spans(text), *fences(text), *indented(text)] for option in _options_in(span)}
    named |= set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", text))
    assert {name for name in named - known if _hyphened(name) not in known} == set()


def _hyphened(flag):
    """A flag as the commands of inference and of poses spell it, who accept underscores as well."""
    return f"--{flag.removeprefix('--').replace('_', '-')}" if flag.startswith("--") else flag


def _options_in(code):
    return re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", code)


@every_page
def test_option_that_is_named_with_its_command_is_of_that_command(page):
    for span in spans(read(page)):
        found = re.match(r"(?:python3? -m )?(scripts\.\w+)((?: .*)?)$", " ".join(span.split()))
        if found and (ROOT / f"{found[1].replace('.', '/')}.py").is_file() and found[2]:
            named = set(re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", found[2]))
            known = options_of(parser_of(found[1]))
            assert {name for name in named - known if _hyphened(name) not in known} == set(), span


def keys():
    """Every key that a YAML file of this project can have."""
    found = {name for kind in CONFIGURATIONS for name in key_names(kind)}
    found |= {name for trainer in TRAINERS.values() for kind in trainer.kinds for name in key_names(kind)}
    for path in (ROOT / "configs").rglob("*.yaml"):
        found |= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found | {"jobs", "defaults"}  # of scripts.batch and scripts.animate --batch


@every_page
def test_every_key_exists(page):
    text, known = read(page), keys()
    for block in [
        *fences(text, "yaml"),
        *(block for block in indented(text) if re.match(r"\s+\w+:\s*$", block, re.M)),
    ]:
        assert set(yaml.safe_load(block)) <= known, block
    for span in spans(text):
        if found := re.fullmatch(r"(\w+):(?: [\w./-]+)?", span):
            assert found[1] in known | {"error"}, span
    for table in tables(text):
        if table[0][0].startswith(("key", "键")):
            named = {key for row in table[1:] for key in re.findall(r"`(\w+)`", row[0])}
            assert named <= known, named - known


@pytest.mark.parametrize(
    ("page", "heading"), [("pose2vid.md", "## The YAML file"), ("pose2vid_zh.md", "## YAML 文件")]
)
def test_options_of_pose2vid_are_keys_as_its_page_says(page, heading):
    """All of them but those that the page names."""
    section = dict(sections(read(ROOT / "docs" / page)))[heading]
    fields = set(key_names(Pose2VidConfig))
    for action in parser_of("scripts.pose2vid")._actions:
        for option in action.option_strings if action.help != argparse.SUPPRESS else ():  # old names, and --no-x
            if option in ("--help", "--debug"):
                continue
            if option.startswith("--") and option.removeprefix("--").replace("-", "_") not in fields:
                assert f"`{option}`" in section, f"{option} is no key, which the page does not say"
    assert {"length", "steps", "cfg", "weight_dtype"} <= fields & set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize(
    ("page", "modules", "kind", "least"),
    [
        ("pose2vid", ["scripts.pose2vid"], Pose2VidConfig, 12),
        ("stable_animator", ["scripts.stable_animator"], StableAnimationConfig, 1),
        ("easy_animate", ["scripts.predict_t2v"], EasyAnimateConfig, 6),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_defaults_are_as_the_page_says(page, modules, kind, least, language):
    """Of all options whose default is a plain value of the configuration."""
    header, off = (["选项", "默认值"], "关闭") if language == "_zh" else (["option", "default"], "off")
    defaults = {item.name: item.default for item in dataclasses.fields(kind)}
    actions = [action for module in modules for action in parser_of(module)._actions]
    fields = {option: action.dest for action in actions for option in action.option_strings}
    checked = 0
    for table in tables(read(ROOT / "docs" / f"{page}{language}.md")):
        if table[0][:2] != header:
            continue
        for options, told, *_ in table[1:]:
            options, told = re.findall(r"`(-[\w-]+)`", options), told.split(", ")
            for option, value in zip(options, told) if len(options) == len(told) else ():
                default = defaults.get(fields[option])
                if isinstance(default, (str, int, float)) and default != "" and " " not in value:
                    assert value == (off if default is False else str(default).removesuffix(".0")), option
                    checked += 1
    assert checked >= least


@pytest.mark.parametrize(
    ("page", "kind"), [("stable_animator", StableAnimationConfig), ("easy_animate", EasyAnimateConfig)]
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_fields_that_are_no_keys_are_named(page, kind, language, tmp_path):
    text = " ".join(read(ROOT / "docs" / f"{page}{language}.md").split())
    claim = re.search(rf"(?:keys are the fields of|键 ?是) `{kind.__name__}`([^.。]*)[.。]", text)
    left_out = set(re.findall(r"`(\w+)`", claim[1]))
    for item in dataclasses.fields(kind):
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({item.name: None}))
        try:
            kind.load(tmp_path / "a.yaml")
            unknown = False
        except ValueError as error:
            unknown = "unknown key" in str(error)
        assert unknown == (item.name in left_out), item.name


def test_fields_of_easy_animate_are_options_and_options_are_keys_as_the_pages_say():
    """What one command alone has is an option of that one."""
    actions = [action for name in ("t2v", "i2v", "v2v") for action in parser_of(f"scripts.predict_{name}")._actions]
    of_commands = {"help", *(item.name for item in dataclasses.fields(TextOptions))}
    assert {item.name for item in dataclasses.fields(EasyAnimateConfig)} == {a.dest for a in actions} - of_commands
    for page, claim in (
        ("easy_animate.md", "each of which is an option, too"),
        ("easy_animate_zh.md", "每个字段也是命令行选项"),
    ):
        assert claim in " ".join(read(ROOT / "docs" / page).split())


@every_page
def test_every_preset_exists(page):
    text = read(page)
    known = {*preset_names(), *preset_names("easy_animate")}
    for names in re.findall(r"--preset ([\w|]+)", text):
        assert set(names.split("|")) <= known, names


@every_page
def test_every_file_exists(page):
    text = read(page)
    for name in set(re.findall(rf"(?<![\w./~-])(?:{'|'.join(_FOLDERS)})/[\w./*-]+", text)):
        name = name.rstrip(".-")
        assert list(ROOT.glob(name)), name
    for table in tables(text):
        for span in re.findall(r"`([\w.]+\.(?:yaml|sh))`", " ".join(cell for row in table for cell in row)):
            assert list(ROOT.glob(f"configs/**/{span}")) or list(ROOT.glob(f"examples/**/{span}")), span


@every_page
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        path, _, fragment = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if fragment:
            assert fragment in {anchor(heading) for heading, _ in sections(read(linked))}, target


_FIGURE = re.compile(r"[~*]*[-−]?[\d,]+(\.\d+)?( ?(dB|GB|MB|s|%|minutes))?( \(.*\))?[*]*")
_MEASURES = re.compile(
    r"python -m (benchmarks \w+|scripts\.(evaluate|plan_memory|train_demo\w*)|tests\.parity)|make train-demo"
    r"|benchmarks\.md#\w+"
)


@every_page
def test_every_table_of_figures_names_the_command_that_makes_it(page):
    for heading, section in sections(read(page)):
        if any(_is_of_figures(table) for table in tables(section)):
            name = heading.lstrip("#").strip()
            is_benchmark = name in _benchmarks() and page.stem in ("benchmarks", "benchmarks_zh")
            assert is_benchmark or _MEASURES.search(" ".join(section.split())), heading


def _is_of_figures(table):
    """Whether most rows have two cells or more that are numbers."""
    rows = [sum(bool(_FIGURE.fullmatch(cell)) for cell in row[1:]) >= 2 for row in table[1:]]
    return sum(rows) > len(rows) / 2


def _benchmarks():
    from benchmarks.__main__ import BENCHMARKS

    return BENCHMARKS.keys()


def test_every_benchmark_that_is_named_exists():
    for page in PAGES:
        for name in re.findall(r"python -m benchmarks ([a-z]\w+)", read(page)):
            assert name in _benchmarks(), (page, name)
    headings = {heading.removeprefix("## ") for heading, _ in sections(read(ROOT / "docs" / "benchmarks.md"))}
    assert headings - {"", "# Benchmarks"} <= _benchmarks()


# Python snippets


def snippets():
    return [(page, code) for page in PAGES for code in fences(read(page), "python")]


@pytest.mark.parametrize(("page", "code"), snippets(), ids=lambda value: getattr(value, "name", ""))
def test_snippet_imports_and_calls_what_exists(page, code):
    tree, names = ast.parse(code), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            names |= {item.asname or item.name: getattr(module, item.name) for item in node.names}
    for node in tree.body:  # what is made by a known class has that class' methods
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = _class_of(node.value, names)
            if made is not None:
                names[node.targets[0].id] = made
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (function := _resolve(node.func, names)) and node.keywords:
            _check_keywords(function, [keyword.arg for keyword in node.keywords if keyword.arg])


def _class_of(call, names):
    """The class of what a call makes: of a class itself, or of its `from_pretrained`."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained" else None
    found = _resolve(owner if owner is not None else call.func, names)
    return found if inspect.isclass(found) else None


def _resolve(node, names):
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, names)
        return None if owner is None else getattr(owner, node.attr)  # AttributeError: the page is wrong
    return None


def _check_keywords(function, given):
    """A class that a variable stands for is called as its instances are."""
    candidates = [function, function.__call__] if inspect.isclass(function) else [function]
    known = [inspect.signature(candidate).parameters for candidate in candidates]
    assert any(set(given) <= set(parameters) or _takes_all(parameters) for parameters in known), (function, given)


def _takes_all(parameters):
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def test_pages_are_found_and_say_something():
    assert len(PAGES) >= 12
    assert sum(len(commands(read(page))) for page in PAGES) > 80
    silent = ("assets", "comfyui")  # folders whose pages name no shell commands
    pages = [page for page in PAGES if page.name.startswith("README") and not set(page.parts[-3:-1]) & set(silent)]
    assert all(examples_of(read(page)) for page in pages)
