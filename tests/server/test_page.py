"""What can be said of the page's files without a browser: texts, contrast, and what its policy allows."""

import itertools
import json
import re

import pytest

from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.pipelines import watching
from ppdiffusers_ext.pipelines.memory import RUNGS
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.server.modes import modes_of
from ppdiffusers_ext.server.page_files import FOLDER, page_files
from ppdiffusers_ext.server.records import ENDED, STATES

SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js")}
STYLES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.css")}
INDEX = (FOLDER / "index.html").read_text(encoding="utf-8")
TEXTS = {name: json.loads((FOLDER / "texts" / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh")}
MODES = [mode for system in SYSTEMS for mode in modes_of(system)]
OWN = ("option.", "refusal.", "why.", "kind.")  # beginnings of keys that not all languages have
PRESETS = ("exact", "balanced", "fast")


def test_both_languages_have_the_same_texts_with_the_same_places():
    """But for names of options, of which an English one that is not there is the option's own, with spaces; and for
    refusals, whose English words are the server's (`test_refusals`)."""
    common = [{key for key in texts if not key.startswith(OWN)} for texts in TEXTS.values()]
    assert common[0] ^ common[1] == set()
    for key in common[0]:
        places = [set(re.findall(r"\{\w+\}", texts[key])) for texts in TEXTS.values()]
        assert places[0] == places[1], key
    assert [key for key in TEXTS["zh"] if re.fullmatch(r"[A-Za-z ]{4,}", TEXTS["zh"][key])] == [
        key for key in TEXTS["zh"] if key.startswith("system.") and key != "system.none"
    ]


def test_every_text_that_is_asked_for_is_there():
    asked = {key for text in SCRIPTS.values() for key in re.findall(r"\bt\(\"([\w.]+)\"", text)}
    asked |= set(re.findall(r"data-(?:text|label)=\"([\w.]+)\"", INDEX))
    asked |= {f"state.{state}" for state in STATES} | {f"said.{state}" for state in (*ENDED, "running")}
    stages = [value for name, value in vars(watching).items() if name.isupper() and isinstance(value, str)]
    assert stages
    asked |= {f"stage.{stage}" for stage in (*stages, "waiting", "ended")}
    asked |= {f"role.{role}{end}" for mode in MODES for role in mode.roles for end in ("", ".hint")}
    asked |= {f"variant.{mode.name}" for mode in MODES} | {f"system.{system}" for system in SYSTEMS}
    asked |= {f"preset.{preset}{end}" for preset in PRESETS for end in ("", ".hint")} | {f"rung.{r}" for r in RUNGS}
    asked |= {f"joint.{joint}" for joint in (*KEYPOINTS, "l_hand", "r_hand", "face")}
    assert len(asked) > 100
    assert asked - set(TEXTS["en"]) == set()


def test_every_option_has_a_chinese_name():
    names = {name for mode in MODES for name in mode.fields}
    assert names - {key.removeprefix("option.") for key in TEXTS["zh"]} == set()


def test_the_page_needs_nothing_from_elsewhere_and_has_nothing_inline():
    for name, text in {"index.html": INDEX, **SCRIPTS, **STYLES}.items():
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", text) == [], name
        assert re.search(r"\binnerHTML\b|\beval\(|document\.write|new Function|blob:|@import", text) is None, name
    assert re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son[a-z]+=", INDEX) is None
    assert [
        name for name, text in SCRIPTS.items() if re.search(r"setAttribute\(\"style|[{,] style: (?!\"percent)", text)
    ] == []


def test_every_file_is_used_and_every_file_that_is_used_is_there():
    used = {name for text in SCRIPTS.values() for name in re.findall(r"from \"\./([\w.]+)\"", text)}
    used |= set(re.findall(r"page/([\w.]+)\"", INDEX))
    there = {path.name for path in FOLDER.iterdir() if path.is_file()} - {"index.html"}
    assert used == there
    assert {"sample/reference.png", "sample/pose.mp4", "texts/zh.json"} <= set(page_files())


def colours(theme):
    """Name -> (r, g, b) of a theme: 0 is light, 1 dark."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLES["base.css"])
    return {name: tuple(int(both[theme][at : at + 2], 16) for at in (1, 3, 5)) for name, *both in found}


def contrast(one, other):
    """Of two colours, as WCAG 2 defines it: 1 to 21."""

    def luminance(colour):
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1])
def test_words_can_be_read_and_borders_be_seen_in_both_themes(theme):
    of = colours(theme)
    pairs = [*itertools.product(("ink", "soft"), ("paper", "card", "well", "raised")), ("on-accent", "accent")]
    pairs += [("bad", "card"), ("bad", "bad-tint"), ("good", "good-tint"), ("accent", "card"), ("accent", "tint")]
    pairs += [("ink", "tint"), ("soft", "tint"), ("accent", "paper"), ("paper", "ink")]
    assert {
        pair: contrast(of[pair[0]], of[pair[1]]) for pair in pairs if contrast(of[pair[0]], of[pair[1]]) < 4.5
    } == {}
    assert contrast(of["edge"], of["card"]) > 3  # of fields
