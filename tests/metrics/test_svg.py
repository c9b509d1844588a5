"""Plots are well-formed, and lines lie where the numbers are."""

import math
import re
from xml.etree import ElementTree

import pytest

from ppdiffusers_ext.metrics.svg import histogram, line_plot

SVG = "{http://www.w3.org/2000/svg}"


def parse(*arguments):
    return ElementTree.fromstring(line_plot(*arguments))


def lines(plot):
    """The points of each line, (x, y)."""
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in plot.iter(f"{SVG}polyline")
    ]


VALUES = [
    [],
    [None],
    [0.0],
    [1.0, None, 2.0],
    [5.0] * 20,
    [1e-9, 2e-9],
    [1e12, -1e12],
    [math.inf, 1.0, math.nan, -math.inf],
    [float(i % 7) for i in range(5000)],
    [None] * 3000,
]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("level", [None, 0.0, 1.0])
def test_any_numbers_give_a_plot_whose_numbers_are_finite(values, level):
    text = line_plot("label", [("a", values)], level)
    plot = ElementTree.fromstring(text)
    assert not any(word in text for word in ("nan", "inf", "None"))
    left, top, width, height = map(float, plot.get("viewBox").split())
    for line in lines(plot):
        assert all(left <= x <= width and top <= y <= height for x, y in line)


def test_straight_line_is_straight():
    (line,) = lines(parse("", [("a", [1.0, 2.0, 3.0, 4.0])]))
    steps = [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in zip(line, line[1:])]
    for step in steps:
        assert step == pytest.approx(steps[0], abs=0.11)
    assert steps[0][0] > 0 > steps[0][1]


def test_gaps_divide_a_line_and_single_points_are_dots():
    plot = parse("", [("a", [1.0, 2.0, None, 3.0, 4.0, None, None, 5.0])])
    assert [len(line) for line in lines(plot)] == [2, 2]
    assert len(list(plot.iter(f"{SVG}circle"))) == 1


def test_long_lines_are_means_that_keep_the_ends():
    (line,) = lines(parse("", [("a", [float(i) for i in range(100_000)])]))
    assert 500 <= len(line) <= 720
    assert line[0][0] == pytest.approx(64, abs=1) and line[-1][0] == pytest.approx(744, abs=1)


def test_nothing_measured_is_said():
    assert "not measured" in line_plot("", [("a", [None, None])])
    assert "not measured" not in line_plot("", [("a", [None, 1.0])])


def test_level_is_dashed_and_in_the_picture():
    plot = parse("", [("a", [0.1, 0.2])], 1.0)
    (level,) = (line for line in plot.iter(f"{SVG}line") if line.get("class") == "level")
    (of_values,) = lines(plot)
    assert 0 <= float(level.get("y1")) < min(y for _, y in of_values)


def test_names_are_text_and_several_have_a_legend():
    hostile = "</title><script>alert(1)</script>&\"' ]]>"
    plot = parse(hostile, [(hostile, [1.0, 2.0]), ("b", [2.0, 1.0])])
    assert plot.find(f"{SVG}title").text == hostile
    assert {text.text for text in plot.iter(f"{SVG}text")} >= {hostile, "b"}
    assert not list(plot.iter(f"{SVG}script"))


@pytest.mark.parametrize("values, expected", [([0.1, 0.9], "0"), ([0, 4], "0"), ([-1, 1], None)])
def test_axis_goes_below_zero_only_with_the_numbers(values, expected):
    ticks = [float(t.text) for t in parse("", [("a", values)]).iter(f"{SVG}text") if t.get("text-anchor") == "end"]
    assert (min(ticks) >= 0) == (expected is not None) and max(ticks) >= max(values)


@pytest.mark.parametrize("name", ["\0\x1b[31m", "\udcff\ud800", "\ufffe\uffff"])
def test_what_xml_cannot_have_is_written_as_letters(name):
    parse(name, [(name, [1.0]), (name, [2.0])])
    line_plot(name, [(name, [1.0])]).encode()


@pytest.mark.parametrize("values", [[0.5, 1.0], [1.0, 1.0], [-0.9, 0.97], [0.99, 1.0], [None, None]])
def test_axis_ends_where_no_value_can_be_above(values):
    found = re.findall(r'text-anchor="end">([^<]*)<', line_plot("a", [("a", values)], 0.44, most=1))
    assert max(map(float, found)) <= 1 + 1e-9 or values[0] is None
    assert max(map(float, re.findall(r'text-anchor="end">([^<]*)<', line_plot("a", [("a", [0.5, 1.0])])))) > 1


def test_histogram_stacks_bars_of_the_right_heights_and_marks_levels():
    levels = [("min 1", 1.0), ("far", 9.0)]
    text = histogram("scores", [0.0, 1.0, 2.0], [("a", [4, 0]), ("b", [4, 2])], levels)
    drawn = list(ElementTree.fromstring(text).iter())
    heights = [float(each.get("height")) for each in drawn if float(each.get("width", 0)) > 20]
    assert heights == pytest.approx([heights[0], heights[0], heights[0] / 2], rel=0.02)
    (level,) = [each for each in drawn if each.get("class") == "level"]
    assert float(level.get("x1")) == pytest.approx((64 + 744) / 2)
    assert [each.text for each in drawn if each.text in ("min 1", "far")] == ["min 1"]
