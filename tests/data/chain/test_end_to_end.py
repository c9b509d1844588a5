"""The whole chain on rendered videos of which all is known: what it finds and keeps, in precision and recall."""

import json
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.data.chain.options import CONFIG, ChainOptions
from ppdiffusers_ext.data.chain.run import prepare_videos
from ppdiffusers_ext.data.chain.tables import read_table
from ppdiffusers_ext.data.easy_animate.check import CHECK
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_file import open_video
from ppdiffusers_ext.packaged import located
from tests.support.chain_videos import BROKEN, CLIPS, COPIES, FPS, MARGIN, VIDEOS, write_videos

STEPS = "probe,cuts,split,sharpness,motion,text,people,fingerprint,duplicates,captions"


class Run:
    """A run over the videos with the thresholds of the default configuration, and its tables.

    Attributes:
        summary: of the run.
    """

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "set"
        write_videos(folder / "videos")
        config = yaml.safe_load(Path(located(CONFIG)).read_text())
        config["split"]["settings"]["min_pixels"] = 1
        config["people"] = {
            "settings": {"num_frames": 1},
            "thresholds": {"people_median": {"min": 1}, "people_max": {"max": 1}},
        }
        self._config = config
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        answers = {key: f"Scene {scene.seed}: somebody stands before blots." for key, scene in CLIPS.items()}
        lines = [json.dumps({"key": key, "answer": answer}) + "\n" for key, answer in answers.items()]
        (folder / "answers.jsonl").write_text("".join(lines))
        self.summary = self.again()

    def again(self):
        options = ChainOptions(
            source=str(self.folder / "videos"),
            output=str(self.output),
            system="easy_animate",
            steps=STEPS,
            config=str(self.folder / "config.yaml"),
            captioner=f"replay:{self.folder / 'answers.jsonl'}",
            workers=0,
        )
        return prepare_videos(options)

    def table(self, name):
        return {row["key"]: row for row in read_table(self.output / "tables" / f"{name}.jsonl")}

    def fails(self, step, column):
        """Clips that the threshold of a column refuses."""
        bounds = self._config[step]["thresholds"][column]
        low, high = bounds.get("min", float("-inf")), bounds.get("max", float("inf"))
        return {key for key, row in self.table(step).items() if "error" in row or not low <= row[column] <= high}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("chain"))


def clear():
    """Clips that are neither dark nor blurred, of which all else can be seen."""
    return {key for key, scene in CLIPS.items() if scene.light == 1 and scene.blur == 0}


def assert_found(what, found, truth):
    """Print precision and recall, and hold both against what rendered videos allow."""
    right = len(found & truth)
    precision, recall = right / max(len(found), 1), right / max(len(truth), 1)
    print(f"{what}: precision {precision:.2f}, recall {recall:.2f} of {len(truth)}")
    assert (precision, recall) == (1, 1), f"{what}: found {sorted(found)}, there are {sorted(truth)}"


def test_videos_that_are_none_fail_alone(run):
    failed = {key for key, row in run.table("probe").items() if "error" in row}
    assert failed == BROKEN.keys()
    assert run.table("cuts").keys() == VIDEOS.keys()


def test_cuts(run):
    found = {
        (key, round(start * FPS)) for key, row in run.table("cuts").items() for start, _ in row["scenes"] if start > 0
    }
    assert_found("cuts", found, {(key, cut) for key, video in VIDEOS.items() for cut in video.cuts})


def test_clips_are_the_scenes_that_are_long_enough_without_their_ends(run):
    rows = run.table("split")
    assert_found("clips", set(rows), set(CLIPS))
    for key, row in rows.items():
        scenes = VIDEOS[row["video"]].scenes
        seconds = CLIPS[key].seconds - (MARGIN if len(scenes) > 1 else 0)
        info = probe_video(run.output / "clips" / key)
        assert info.num_frames == row["num_frames"] == round(seconds * FPS)
        assert (info.width, info.fps) == (VIDEOS[row["video"]].width, FPS)


def test_sound_is_kept(run):
    with_sound = set()
    for key in CLIPS:
        with open_video(run.output / "clips" / key) as (container, _):
            if container.streams.audio:
                with_sound.add(key)
    assert with_sound == {"walk_0.mp4", "walk_1.mp4"}


def test_blurred_and_dark_clips(run):
    found = run.fails("sharpness", "sharpness") | run.fails("sharpness", "dark_share")
    assert_found("blurred or dark", found, CLIPS.keys() - clear())


def test_clips_in_which_nothing_moves(run):
    truth = {key for key, scene in CLIPS.items() if scene.pan == 0}
    assert_found("still", run.fails("motion", "motion_speed") & clear(), truth)


def test_clips_with_text(run):
    assert_found("text", run.fails("text", "text_score"), {key for key, scene in CLIPS.items() if scene.text})


def test_people(run):
    nobody = {key for key, scene in CLIPS.items() if scene.people == 0}
    several = {key for key, scene in CLIPS.items() if scene.people > 1}
    assert_found("nobody", run.fails("people", "people_median") & clear(), nobody)
    assert_found("several people", run.fails("people", "people_max") & clear(), several)


def test_duplicates(run):
    found = {
        frozenset((key, row["duplicate_of"])) for key, row in run.table("duplicates").items() if row["duplicate_of"]
    }
    assert_found("duplicates", found, COPIES)


def expected():
    """Clips of one person who is seen well and moves, without text, of which no earlier one is a copy."""
    copied = {max(pair) for pair in COPIES}
    return {
        key
        for key in clear() - copied
        if CLIPS[key].people == 1 and CLIPS[key].pan and not CLIPS[key].text
    }  # fmt: skip


def test_kept_clips_and_the_file_that_training_reads(run):
    assert_found("kept", {key for key, row in run.table("filter").items() if row["kept"]}, expected())
    entries = json.loads((run.output / "json_of_internal_datasets.json").read_text())
    assert {entry["file_path"] for entry in entries} == {f"clips/{key}" for key in expected()}
    assert {entry["text"] for entry in entries} == {
        f"Scene {CLIPS[key].seed}: somebody stands before blots." for key in expected()
    }
    reports = CHECK.check([str(run.output / "json_of_internal_datasets.json")], None, 10, lambda report: None)
    assert [report.problems for report in reports] == [()] * len(expected())


def test_each_clip_that_is_not_kept_has_its_reasons(run):
    rows = run.table("filter")
    assert rows["titles_0.mp4"]["reasons"][0].startswith("text_score ")
    assert rows["hills and sea_2.mp4"]["reasons"][0].startswith("motion_speed ")
    assert rows["couple_0.mp4"]["reasons"] == ["people_max 2 is above 1"]
    assert all(bool(row["reasons"]) != row["kept"] for row in rows.values())


def test_report_tells_what_became_of_all_clips(run):
    text = run.summary.report.read_text()
    assert f"<b>{len(CLIPS)}</b><span>clips</span>" in text and f"<b>{len(expected())}</b>" in text
    assert text.count("data:image/jpeg;base64,") == len(CLIPS)


def test_second_run_works_on_nothing_and_changes_nothing(run):
    before = {path: path.read_bytes() for path in run.output.rglob("*") if path.is_file()}
    summary = run.again()
    assert set(summary.worked.values()) == {0}
    assert {path: path.read_bytes() for path in run.output.rglob("*") if path.is_file()} == before
