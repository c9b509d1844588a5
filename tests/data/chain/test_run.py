"""A run keeps what is done: it goes on where it was stopped, and makes anew what its files or settings change."""

import pytest

from ppdiffusers_ext.data.chain import tables
from ppdiffusers_ext.errors import InputError
from tests.support.chain_steps import Chain

TEXTS = {"a.mp4": "xy", "b/a.mp4": "x?", "c.mkv": "bad", "c2.mp4": "z"}


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path, TEXTS)


def test_each_step_has_a_table_in_natural_order(chain):
    summary = chain.run()
    assert list(chain.table("probe")) == ["a.mp4", "b/a.mp4", "c2.mp4", "c.mkv"]
    assert list(chain.table("score")) == ["a_0.mp4", "a_1.mp4", "b/a_0.mp4", "b/a_1.mp4", "c2_0.mp4"]
    assert chain.table("score")["a_1.mp4"]["score"] == ord("y")
    assert chain.table("filter") == {
        "a_0.mp4": {"kept": True, "reasons": [], "of": None},
        "a_1.mp4": {"kept": True, "reasons": [], "of": None},
        "b/a_0.mp4": {"kept": False, "reasons": ["is_copy 1 is above 0"], "of": None},
        "b/a_1.mp4": {
            "kept": False,
            "reasons": ["score failed: a question has no score; letters are accepted"],
            "of": None,
        },
        "c2_0.mp4": {"kept": True, "reasons": [], "of": None},
    }
    assert chain.errors("probe") == {"c.mkv": "c.mkv is bad; good files are accepted"}
    assert (summary.clips, summary.kept, summary.failed["score"]) == (5, 3, 1)
    assert chain.kept["c2_0.mp4"] == f"a clip of {ord('z')}"


def test_what_has_to_be_paid_for_gets_only_what_passed(chain):
    chain.run()
    captioned = [line.split()[1] for line in chain.calls() if line.startswith("caption")]
    assert captioned == ["a_0.mp4", "a_1.mp4", "c2_0.mp4"]


def test_second_run_does_nothing(chain):
    chain.run()
    before, times = chain.files(), {path: path.stat().st_mtime_ns for path in chain.output.rglob("*.jsonl")}
    chain.calls()
    summary = chain.run()
    assert chain.calls() == [] and sum(summary.worked.values()) == 0
    assert chain.files() == before
    assert {path: path.stat().st_mtime_ns for path in chain.output.rglob("*.jsonl")} == times


def test_changed_setting_makes_its_step_and_those_behind_it_anew(chain):
    chain.run()
    chain.calls()
    chain.configure("score: {settings: {scale: 2}}")
    summary = chain.run()
    assert summary.worked == {"probe": 0, "split": 0, "score": 5, "weight": 0, "duplicates": 4, "captions": 3}
    assert chain.table("captions")["a_0.mp4"]["caption"] == f"a clip of {2 * ord('x')}"


def test_changed_threshold_computes_nothing_but_what_now_passes(chain):
    chain.configure("score: {thresholds: {score: {min: 121}}}")
    chain.run()
    assert chain.table("filter")["a_0.mp4"]["reasons"] == ["score 120 is below 121"]
    chain.calls()
    chain.configure("{}")
    chain.run()
    assert chain.calls() == ["caption a_0.mp4"]
    chain.configure("score: {thresholds: {score: {min: 121}}}")
    chain.run()
    assert chain.calls() == [] and not chain.table("filter")["a_0.mp4"]["kept"]


def test_changed_file_is_noticed_and_its_clips_are_replaced(chain):
    chain.run()
    chain.calls()
    chain.write("a.mp4", "q")
    chain.run()
    assert chain.calls() == ["a_0.mp4", "caption a_0.mp4", "caption b/a_0.mp4"]
    assert chain.table("score")["a_0.mp4"]["score"] == ord("q") and "a_1.mp4" not in chain.table("split")
    assert not (chain.output / "clips/a_1.mp4").exists()


def test_clip_that_is_gone_is_made_again(chain):
    chain.run()
    (chain.output / "clips/c2_0.mp4").unlink()
    assert chain.run().worked["split"] == 1
    assert (chain.output / "clips/c2_0.mp4").read_text() == "z"


def test_clips_of_a_video_that_is_gone_are_not_in_the_tables_and_stay(chain):
    chain.run()
    (chain.source / "c2.mp4").unlink()
    chain.run()
    assert "c2_0.mp4" not in chain.table("filter") and (chain.output / "clips/c2_0.mp4").exists()


def test_failures_are_tried_again_when_that_is_asked_for(chain):
    chain.run()
    chain.calls()
    chain.run()
    assert chain.calls() == []
    chain.run(retry_failed=True)
    assert chain.calls() == ["b/a_1.mp4"]


def test_full_disk_ends_the_run_and_what_is_done_is_kept(chain):
    chain.order("z", "full")
    with pytest.raises(InputError, match="No space left"):
        chain.run()
    done = [line for line in chain.calls() if line != "c2_0.mp4"]
    assert len(done) == 4 and not (chain.output / "tables/score.jsonl").exists()
    (chain.orders / "z").unlink()
    chain.run()
    assert [line for line in chain.calls() if "caption" not in line] == ["c2_0.mp4"]


def test_parts_come_to_what_one_run_makes(chain):
    chain.run()
    whole, split = chain.table("filter"), chain.table("split")
    chain.output = chain.output.with_name("shared")
    chain.calls()
    for part in ("1/2", "2/2"):
        chain.run(shard=part)
    worked = chain.calls()
    assert len([line for line in worked if "caption" not in line]) == 5
    summary = chain.run()
    assert chain.calls() == [] and summary.worked["score"] == 0
    assert chain.table("filter") == whole and chain.table("split") == split
    assert not (chain.output / "tables/shards").exists()


def test_part_that_was_stopped_is_put_together_with_the_others(chain, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 1)
    chain.run(shard="1/2")
    chain.order("?", "full")
    with pytest.raises(InputError, match="No space left"):
        chain.run(shard="2/2")
    (chain.orders / "?").unlink()
    assert {"b/a_0.mp4", "b/a_1.mp4"} < set(chain.calls())
    chain.run()
    assert [line for line in chain.calls() if "caption" not in line] == ["b/a_1.mp4"]
    assert len(chain.table("score")) == 5


def test_first_steps_can_be_run_alone(chain):
    summary = chain.run(steps="probe")
    assert summary.rows == {"probe": 4}
    assert summary.notes == ["what training reads is not written, for which step split is needed"]


def test_part_of_what_is_done_already_does_nothing(chain):
    chain.run()
    chain.calls()
    summary = chain.run(shard="1/2")
    assert chain.calls() == [] and summary.rows["probe"] == 2
    assert {name: count for name, count in summary.worked.items() if count} == {"duplicates": 3}  # among its own
