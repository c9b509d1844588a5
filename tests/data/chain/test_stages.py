"""Which rows a stage works on, and when they are made anew."""

from ppdiffusers_ext.data.chain.aesthetics import Aesthetics
from ppdiffusers_ext.data.chain.consistency import Consistency
from ppdiffusers_ext.data.chain.filtering import Bounds
from ppdiffusers_ext.data.chain.match import Match
from ppdiffusers_ext.data.chain.rows import Item, Judge, made_of
from ppdiffusers_ext.data.chain.sharpness import Sharpness
from ppdiffusers_ext.data.chain.stages import Workshop, stages_of
from ppdiffusers_ext.data.chain.steps import Place

STEPS = (Sharpness(), Consistency(), Aesthetics())


def test_measures_that_are_paid_for_share_a_decoding_of_the_clips_that_passed_before(tmp_path):
    bounds = {"sharpness": {"sharpness": Bounds(min=15)}}
    shop = Workshop(Place(tmp_path, tmp_path), tmp_path, (), None, Judge(STEPS, bounds), 1.0, False, None)
    stage = stages_of(STEPS)[1]
    stores = {step.name: shop._store(step, "key") for step in stage.steps}
    items = [
        Item(f"{number}.mp4", {"sharpness": number, "seconds": 1.0}, {"split": "x", "sharpness": "y"})
        for number in (10, 20)
    ]
    tasks = list(shop._tasks(stage, items, stores, lambda count: None))
    assert [(task.row["key"], task.names) for task in tasks] == [("20.mp4", ("consistency", "aesthetics"))]


def test_match_is_made_anew_where_the_caption_was_rewritten():
    made = {"split": "x", "captions": "y"}
    found = [made_of(Match(), Item("a.mp4", made_of=made | more), "split")
             for more in ({}, {"rewriting": "1"}, {"rewriting": "2"}, {"sharpness": "3"})]  # fmt: skip
    assert len(set(found)) == 3 and found[0] == found[3]
