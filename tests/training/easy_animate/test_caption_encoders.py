"""Vocabularies and text encoders that are made of captions in two languages."""

import numpy as np
import pytest

from ppdiffusers_ext.data.easy_animate.synthetic import caption_sets
from ppdiffusers_ext.pipelines.easy_animate.prompts import read_tokenizer
from ppdiffusers_ext.training.easy_animate.caption_encoders import (
    FOLDERS,
    LENGTHS,
    train_caption_encoders,
    write_tokenizers,
)

TEXTS, ALIKE = caption_sets()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_tokenizers(folder, [text for texts in TEXTS for text in texts])
    return folder


def rows(folder, texts):
    tokenizers = [read_tokenizer(folder / name, length) for name, length in zip(FOLDERS, LENGTHS)]
    return [[tokenizer.ids(text) for text in texts] for tokenizer in tokenizers]


def test_captions_have_no_unknown_tokens_and_fit(folder, caplog):
    captions = [text for texts in TEXTS[::5] for text in texts]
    for ids, unknown, length in zip(rows(folder, captions), (1, 2), LENGTHS):
        assert all(unknown not in row and 4 < len(row) <= length - 2 for row in ids)
        assert len({tuple(row) for row in ids}) == len(set(captions))


def test_words_of_other_texts_are_read_in_any_case(folder):
    texts = ("A Person in a RED shirt WAVES", "a person in a red shirt waves", "a prison", "红上衣的人", "zebra")
    for ids in rows(folder, texts):
        assert ids[0] == ids[1] and all(ids)


def test_same_texts_make_the_same_vocabularies(folder, tmp_path):
    write_tokenizers(tmp_path, [text for texts in TEXTS for text in texts])
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()


def test_encoders_learn_which_captions_are_of_one_scene(folder):
    scenes = TEXTS[:8]
    matched = [train_caption_encoders(folder, scenes, [1, 0, 3, 2, 5, 4, 7, 6], n, 8, 0) for n in (1, 50)]
    assert matched[1] > max(0.5, matched[0])  # by chance 1/8
    assert np.isfinite(matched).all()
