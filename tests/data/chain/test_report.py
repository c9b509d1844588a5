"""The report of a run: numbers that add up, text that stays text, and a bounded size whatever the number of clips."""

import re

import numpy as np
import pytest

from ppdiffusers_ext.data.chain.filtering import Bounds, judge
from ppdiffusers_ext.data.chain.histograms import Histogram
from ppdiffusers_ext.data.chain.report import write_report
from ppdiffusers_ext.data.chain.tally import Sample, Tally
from ppdiffusers_ext.errors import InputError
from tests.metrics.test_page import HOSTILE, Page

STEPS = ("probe", "cuts", "split", "sharpness", "motion", "people", "skeletons")
THRESHOLDS = {
    "sharpness": {"sharpness": Bounds(min=50)},
    "motion": {"motion_speed": Bounds(0.02, 2)},
    "people": {"people_max": Bounds(max=1)},
}


def picture(row):
    if "torn" in row["key"]:
        raise InputError("no such picture")
    shade = len(row["key"]) * 7 % 255
    return np.full((90, 160, 3), shade, np.uint8)


def clip(number, **more):
    """A row of made-up scores, which depend on its number alone."""
    rng = np.random.default_rng(number)
    row = {"key": f"folder {number % 7}/clip_{number}.mp4", "video": "x.mp4", "seconds": 4.0, "num_frames": 100}
    row |= {"sharpness": round(float(rng.lognormal(5, 1)), 5), "motion_speed": round(float(rng.gamma(1, 0.2)), 5)}
    return {**row, "people_max": int(rng.integers(0, 3)), **more}


def summary_of(rows, failed=()):
    summary = Tally(STEPS, THRESHOLDS)
    summary.add_video({"key": "x.mp4"}, {}, 5)
    for row in rows:
        errors = {"people": "no frame can be decoded"} if row["key"] in failed else {}
        bounds = {column: each for columns in THRESHOLDS.values() for column, each in columns.items()}
        reasons = [f"{step} failed: {error}" for step, error in errors.items()] or judge(row, bounds)
        summary.add_clip(row, reasons, errors)
    return summary


def written(tmp_path, summary, **more):
    write_report(tmp_path / "report.html", summary, picture, **more)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def cells_of(text):
    """Name -> (removed, left) of the rows of the funnel."""
    rows = re.findall(r'<tr class="(?:step|reason)">(.*?)</tr>', text)
    cells = [re.findall(r"<td.*?>(.*?)</td>", row) for row in rows]
    return {name: (removed, left) for name, removed, left, _ in cells}


def test_funnel_counts_each_clip_once_and_ends_at_those_that_are_kept(tmp_path):
    rows = [clip(0, sharpness=10, motion_speed=0.001), clip(1, sharpness=99, motion_speed=9, people_max=1)]
    rows += [clip(number, sharpness=99, motion_speed=0.5, people_max=1) for number in (2, 3, 4)]
    text = written(tmp_path, summary_of(rows, failed=[rows[4]["key"]]))
    assert cells_of(text) == {
        "clips": ("", "5"),
        "sharpness": ("−1", "4"),
        "sharpness is below 50": ("−1", ""),
        "motion": ("−1", "3"),
        "motion_speed is above 2": ("−1", ""),
        "people": ("−1", "2"),
        "people failed": ("−1", ""),
    }


def test_failures_are_told_with_their_reasons_and_clips_that_cannot_be_read_have_no_picture(tmp_path):
    rows = [clip(0, key="torn_0.mp4", sharpness=1), clip(1, sharpness=1)]
    page = Page(written(tmp_path, summary_of(rows, failed=["torn_0.mp4"])))
    assert "people: 1 failure" in page.text and "no frame can be decoded" in page.text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 1


@pytest.mark.parametrize("text", [*HOSTILE, "two\nlines", "a'b\"c"])
def test_names_and_reasons_are_text(tmp_path, text):
    summary = summary_of([clip(0, key=f"{text}/torn_0.mp4", sharpness=1), clip(1, key=f"{text}_1.mp4")])
    summary.add_clip({"key": f"2{text}"}, [f"{text} is bad"], {text: text})
    summary.add_video({"key": f"{text}.mp4"}, {"probe": text})
    page = Page(written(tmp_path, summary, facts={text: text}))
    plain = Page(written(tmp_path, summary_of([clip(0)])))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {"details", "summary", "img", "figure"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_page_runs_nothing_and_loads_nothing(tmp_path):
    page = Page(written(tmp_path, summary_of(map(clip, range(30)))))
    assert "script" not in {tag for tag, _ in page.tags}
    policies = [attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    sources = [attributes[name] for _, attributes in page.tags for name in ("src", "href") if name in attributes]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_size_does_not_grow_with_the_number_of_clips(tmp_path):
    sizes = []
    for count in (300, 3000):
        summary = summary_of(map(clip, range(count)), failed={clip(number)["key"] for number in range(0, count, 2)})
        sizes.append(len(written(tmp_path, summary)))
    assert sizes[1] < 1.1 * sizes[0]


def test_report_does_not_depend_on_the_order_of_the_clips(tmp_path):
    rows = [clip(number) for number in range(200)]
    assert written(tmp_path, summary_of(rows)) == written(tmp_path, summary_of(rows[::-1]))


def test_reasons_of_many_kinds_are_bounded(tmp_path):
    summary = Tally(STEPS, THRESHOLDS)
    for number in range(500):
        summary.add_clip({"key": str(number)}, [f"captions failed differently: {number}"])
    text = written(tmp_path, summary)
    assert len(cells_of(text)) < 40 and "other reasons" in text
    assert sum(int(removed[1:]) for name, (removed, _) in cells_of(text).items() if name == "filter") == 500


def test_run_without_clips_has_a_report(tmp_path):
    summary = Tally(STEPS, THRESHOLDS)
    summary.add_video({"key": "short.mp4"}, {}, 0)
    page = Page(written(tmp_path, summary))
    assert "1 video became no clip" in page.text


def test_histogram_counts_every_number_once_whatever_the_range():
    counts, rng = Histogram(2), np.random.default_rng(0)
    values = [*rng.normal(0.01, 0.001, 500), *rng.normal(5000, 900, 500), -1e9, 1e18]
    for number, value in enumerate(values):
        counts.add(number % 2, float(value))
    edges, binned = counts.binned()
    assert counts.total == 1002 and [sum(each) for each in binned] == [501, 501]
    assert len(edges) == 41 and all(a < b for a, b in zip(edges, edges[1:]))


def test_histogram_shows_where_the_numbers_are():
    counts = Histogram(1)
    for number in range(1000):
        counts.add(0, number / 1000)
    edges, (binned,) = counts.binned(including=[2.0])
    assert edges[-1] == 2.0
    for low, high, count in zip(edges, edges[1:], binned):
        assert abs(count - sum(low <= number / 1000 < high for number in range(1000))) <= 4


def test_value_that_is_far_from_the_numbers_does_not_stretch_a_histogram():
    counts = Histogram(1)
    for number in range(100):
        counts.add(0, 0.01 + number / 10_000)
    edges, _ = counts.binned(including=[0.005, 3.0])
    assert edges[0] == 0.005 and edges[-1] < 0.03


def test_histogram_of_whole_numbers_keeps_them_apart():
    counts = Histogram(1)
    for number in [0] * 5 + [1] * 70 + [2] * 25:
        counts.add(0, number)
    assert sorted(count for count in counts.binned()[1][0] if count) == [5, 25, 70]


def test_sample_is_the_same_whatever_the_order():
    keys = [str(number) for number in range(500)]
    one, other = Sample(9), Sample(9)
    for key in keys:
        one.add(key, key)
    for key in keys[::-1]:
        other.add(key, key)
    assert list(one) == list(other) and len(list(one)) == 9 and one.count == 500
