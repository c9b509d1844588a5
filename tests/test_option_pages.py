"""The pages of options follow from the declarations, in both languages."""

from dataclasses import fields

import pytest

from docs.option_pages import FOLDER, SECTIONS, WORDS, page, sentences
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.options import declaration
from scripts.options import flags_of


def test_pages_are_those_of_the_declarations():
    """`make option-pages` writes them anew."""
    assert (FOLDER / "options.md").read_text(encoding="utf-8") == page()
    assert (FOLDER / "options_zh.md").read_text(encoding="utf-8") == page(read_yaml(WORDS))


def test_every_sentence_has_its_chinese_words_and_no_other_has():
    assert set(read_yaml(WORDS)) == sentences()


@pytest.mark.parametrize("cls", SECTIONS.values(), ids=lambda cls: cls.__name__)
def test_every_option_and_every_old_name_is_on_the_page(cls):
    text = page()
    for item in fields(cls):
        declared = declaration(item)
        flags, old = flags_of(item.name, declared)
        for name in [*flags, *old, *declared.keys] if declared.has_flag else [item.name]:
            assert f"`{name}`" in text, name
