"""The page of a result: text stays text, nothing lies elsewhere, and whatever is missing has a reason."""

import html.parser
import re

import numpy as np
import pytest

from ppdiffusers_ext.metrics.page import result_page
from ppdiffusers_ext.metrics.result_report import Networks, measure
from tests.support.results import MeanColor, always, driver, frames, networks, standing

RUN = {
    "result": "out.mp4",
    "command": "animate",
    "seed": 7,
    "seconds": {"poses": 1.25, "denoising": 30.0},
    "peak_memory_bytes": 3 << 30,
    "peak_gpu_memory_bytes": None,
    "versions": {"numpy": "1.26.4"},
    "options": {"width": 512},
}
HOSTILE = [
    "<script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    "\" onload='x' a=\"",
    "&lt;b&gt;",
]
HOSTILE += ["\udcff\ud800", "a\0b", "]]>", "<!-- "]


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: tags with attributes, and the text."""

    VOID = ("meta", "img", "link", "rect", "line", "circle", "polyline")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(run=RUN, of=None, driven=None, pictures=None):
    pictures = frames() if pictures is None else pictures
    return result_page(measure(pictures, pictures[0], len(pictures), of, driven), run)


def test_page_tells_what_was_measured_and_how():
    of = networks(standing((3, 4), missing=(7,)))
    found = Page(page(of=of, driven=driver(24), pictures=frames(24)))
    assert 'class="level"' in page(of=of).split("csim_mean_color of each frame")[1].split("</svg>")[0]
    for words in (
        "The dashed line, 0.9, tells one person from another; 0 frames below it",
        "Report of out.mp4",
        "csim_mean_color",
        "5.0",
        "5.6%",
        "made_up",
        "3.00 GiB",
        "denoising",
        "30.0",
    ):
        assert words in found.text, words
    assert "not measured" not in found.text.lower() and found.text.count("Change per 100 frames: ") == 3
    assert sum(tag == "svg" for tag, _ in found.tags) == 6
    assert sum(tag == "img" for tag, _ in found.tags) == 7


def test_page_tells_why_something_is_not_measured():
    found = Page(page(of=Networks(no_faces="<the> file is gone"), driven=None))
    assert "Not measured: <the> file is gone." in found.text
    assert "Not measured: the poses that drove the result are not known." in found.text
    of = Networks(always(standing()), "made_up", MeanColor())
    hands = range(18, 60)
    assert "no driving pose shows it" in Page(page(of=of, driven=driver(missing=hands))).text


@pytest.mark.parametrize("count", [1, 23])
def test_page_of_a_short_result_tells_no_drift(count):
    text = Page(page(of=networks(), driven=driver(count), pictures=frames(count))).text
    reason = f"not measured, the result has {count} frame"
    assert text.count("Change per 100 frames: ") == text.count(reason) == 3 and "nan" not in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_and_prompts_are_text(hostile):
    run = {
        **RUN,
        "result": hostile,
        "command": hostile,
        "versions": {hostile: hostile},
        "seconds": {hostile: 1.0},
        "options": {"prompt": hostile, hostile: [hostile]},
    }
    of = Networks(always(standing()), hostile, type("Named", (MeanColor,), {"name": hostile})(), hostile, hostile)
    text = page(run, of, driver())
    plain = Page(page(of=networks(), driven=driver()))
    found = Page(text)
    text.encode()
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in plain.tags}
    assert {name for _, attributes in found.tags for name in attributes} == {
        name for _, attributes in plain.tags for name in attributes
    }
    if hostile.isprintable() and hostile.isascii():
        assert found.text.count(hostile) >= 5


def test_page_needs_nothing_that_lies_elsewhere():
    text = page(of=networks(), driven=driver())
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "base", "form", "a"}
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("href", "action", "srcset", "style")
            assert name != "src" or value.startswith("data:image/jpeg;base64,"), (tag, value)
    addresses = set(re.findall(r"[a-z]+://[^\"' <]*", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches
    assert "url(" not in text and "@import" not in text
    assert ("meta", {"http-equiv": "Content-Security-Policy"}) in [
        (tag, {name: value for name, value in attributes.items() if name == "http-equiv"})
        for tag, attributes in found.tags
    ]


def test_page_has_colours_for_dark_and_light():
    text = page()
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text


@pytest.mark.parametrize("count", [1, 2])
def test_short_results_have_a_page(count):
    flat = [np.full((96, 64, 3), 9, np.uint8)] * count
    Page(page(pictures=flat))
    Page(page(run={}, of=networks(), driven=driver(count), pictures=flat))
