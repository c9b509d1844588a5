"""What the scores of prompts come to."""

import pytest

from ppdiffusers_ext.metrics.report import Table
from ppdiffusers_ext.pipelines.easy_animate.demo import CHANCE, COLUMNS, ENCODED, MODEL, RENDERED, WAYS, summary


def seen(shirt, background, motion, night=False, lightness=50.0):
    return {"shirt": shirt, "background": background, "motion": motion, "night": night, "lightness": lightness}


def test_summary_counts_each_property_by_way_and_by_chance():
    wanted = [("red", "blue", "wave"), ("green", "white", "jump")]
    made = [seen("red", "blue", "jump"), seen("green", "blue", "jump", night=True, lightness=20.0)]
    scores = [
        {
            "prompt": "",
            "wanted": dict(zip(("shirt", "background", "motion"), names)),
            MODEL: of_model,
            ENCODED: seen(*names),
            RENDERED: seen(*names),
        }
        for names, of_model in zip(wanted, made)
    ]
    ways = summary(scores)
    assert list(ways) == list(WAYS)
    style = {"night": 0.5, "lightness": 35.0}
    assert ways[MODEL] == pytest.approx({"shirt": 1, "background": 0.5, "motion": 0.5, "all": 0, **style})
    assert ways[CHANCE] == pytest.approx({"shirt": 0, "background": 0.5, "motion": 0.5, "all": 0, **style})
    assert ways[RENDERED]["all"] == ways[ENCODED]["all"] == 1 and ways[RENDERED]["night"] == 0
    table = Table(ways, COLUMNS)
    assert "all three" in table.header()
    assert table.row(MODEL, {**ways[MODEL], "num_frames": 16}).split()[:5] == ["model", "16", "1.00", "0.50", "0.50"]
