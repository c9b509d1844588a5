"""Every page in Chinese says what it says in English: commands, options, tables, code, figures, in the same order."""

import ast
import re

import pytest
import yaml

from tests.support.pages import ROOT, fences, read, sections, spans, tables, translation_of, written_commands

# Each page but those of examples, which are lists of commands.
ENGLISH = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if not page.stem.endswith("_zh")]
PAIRS = [(page, translation_of(page)) for page in ENGLISH if translation_of(page).exists()]
every_pair = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[pair[0].name for pair in PAIRS])
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_every_page_is_there_in_chinese():
    assert [page.name for page in ENGLISH if not translation_of(page).exists()] == []


@every_pair
def test_each_leads_to_the_other_at_its_top(english, chinese):
    assert f"[简体中文]({chinese.name})" in read(english).split("\n## ")[0].splitlines()[:5]
    assert f"[English]({english.name})" in read(chinese).split("\n## ")[0].splitlines()[:5]


@every_pair
def test_both_show_the_same_commands_in_the_same_order(english, chinese):
    assert written_commands(read(chinese)) == written_commands(read(english))


@every_pair
def test_both_show_the_same_code(english, chinese):
    for language, parse in (("python", _without_words), ("yaml", yaml.safe_load)):
        shown = [[parse(block) for block in fences(read(page), language)] for page in (english, chinese)]
        assert shown[0] == shown[1]


def _without_words(code):
    """The syntax tree of a snippet in which prompts, whatever their language, are the same."""
    tree = ast.parse(code)
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        for node in call.args:
            if isinstance(node, ast.Constant) and not re.search(r"[./_]\w", str(node.value)):  # no name of a file
                node.value = "words"
    return ast.dump(tree)


@every_pair
def test_both_name_the_same_options_and_files(english, chinese):
    """All code spans that are words of a command line, names of files or keys."""
    named = [{span for span in map(_joined, spans(read(page))) if _is_name(span)} for page in (english, chinese)]
    assert named[0] == named[1]


def _joined(span):
    return " ".join(span.split())


def _is_name(span):
    return re.fullmatch(r"[-\w./*:=\\|,+ \[\]()\"{}$']+", span) is not None and not _CHINESE.search(span)


@every_pair
def test_both_have_the_same_sections_and_tables(english, chinese):
    levels = [[heading.count("#") for heading, _ in sections(read(page))] for page in (english, chinese)]
    assert levels[0] == levels[1]
    shapes = [[[len(row) for row in table] for table in tables(read(page))] for page in (english, chinese)]
    assert shapes[0] == shapes[1]
    for table, translated in zip(tables(read(english)), tables(read(chinese))):
        for row, other in zip(table[1:], translated[1:]):  # rows are in the same order
            assert re.findall(r"`([^`]+)`", row[0]) == re.findall(r"`([^`]+)`", other[0])


@every_pair
def test_both_give_the_same_figures(english, chinese):
    """Numbers with a fraction: others may be words in one of the languages."""
    figures = [set(re.findall(r"(?<![\w.])\d+\.\d+(?!\.?\w)", read(page), re.ASCII)) for page in (english, chinese)]
    assert figures[0] == figures[1]


@every_pair
def test_both_link_to_the_same_pages_each_in_its_language(english, chinese):
    links = [re.findall(r"\]\(([^)#\s]+)", _below_top(read(page))) for page in (english, chinese)]
    expected = [_in_chinese(english, target) for target in links[0]]
    assert links[1] == expected


def _below_top(text):
    """Without the line that leads to the other language."""
    return re.sub(r"^\[(?:简体中文|English)\]\(.*\)$", "", text, count=1, flags=re.MULTILINE)


def _in_chinese(page, target):
    """The target, or its translation where it has one."""
    path = page.parent / target
    return str(translation_of(target)) if path.suffix == ".md" and translation_of(path).exists() else target


@every_pair
def test_a_page_in_chinese_is_in_chinese(english, chinese):
    """Paragraphs of prose that are English were forgotten."""
    for paragraph in re.sub(r"^```.*?^```", "", read(chinese), flags=re.DOTALL | re.MULTILINE).split("\n\n")[2:]:
        prose = re.sub(r"`[^`]*`|\]\([^)]*\)|\|", "", paragraph)
        assert _CHINESE.search(prose) or len(re.findall(r"[a-z]{2,}", prose)) < 8, paragraph
