"""Prometheus' text, read by a parser that takes nothing but the format."""

import math

import pytest

from ppdiffusers_ext.observability.prometheus import COUNTER, Metric, text_of
from tests.support.prometheus import parsed

ODD = 'a "b"\\ \n{c="d"},长'


def test_text_is_read_back_as_it_was_meant():
    metrics = [
        Metric("jobs", "Jobs\nby \\ state.").add_each({"made": 3, ODD: 0.25}, "state", list="x"),
        Metric("failures_total", "Failures.", COUNTER).add(10**15).add(1e-9, of=ODD),
        Metric("none", "Without samples."),
    ]
    states = {(("list", "x"), ("state", "made")): 3, (("list", "x"), ("state", ODD)): 0.25}
    assert parsed(text_of(metrics)) == {
        "ppdiffusers_ext_jobs": ("gauge", states),
        "ppdiffusers_ext_failures_total": ("counter", {(): 1e15, (("of", ODD),): 1e-9}),
    }


def test_halves_of_characters_and_odd_numbers_have_a_text():
    metric = Metric("x", "X.").add(math.inf, of="\ud800").add(-math.inf, of="b").add(math.nan, of="c")
    (_, samples) = parsed(text_of([metric]))["ppdiffusers_ext_x"]
    values = list(samples.values())
    assert values[:2] == [math.inf, -math.inf] and math.isnan(values[2])
    text_of([metric]).encode()


@pytest.mark.parametrize(
    "text",
    ["x 1\n", "# TYPE x gauge\nx 1", '# HELP x X\n# TYPE x gauge\nx{a="b" 1\n', "# HELP x X\n# TYPE x gauge\nx one\n",
     '# HELP x X\n# TYPE x gauge\nx{a="b\\c"} 1\n', "# HELP x X\n# TYPE x gauge\nx 1\nx 1\n"],
)  # fmt: skip
def test_parser_refuses_what_is_not_the_format(text):
    with pytest.raises(AssertionError):
        parsed(text)
