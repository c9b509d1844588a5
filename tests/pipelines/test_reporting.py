"""Reports of results that lie in files, and poses in pixels."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.data.existing import Results
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import report_paths, watched_by
from ppdiffusers_ext.data.records import Made, Records
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.poses import PARTS
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.pipelines import reporting
from ppdiffusers_ext.pipelines.reporting import ResultReport, driver_of, open_networks, points_of, stopwatch, timed
from ppdiffusers_ext.preprocess.skeletons import Pose
from tests.support.people import person, together
from tests.support.results import frames


@dataclass(frozen=True)
class Options:
    prompt: str = "<b>"
    width: int = 64
    ratio: float = float("inf")
    paths: dict = field(default_factory=lambda: {"a": ["b", 2]})
    nothing: str | None = None
    overwrite: bool = True


class Estimator:
    name = "made_up"

    def __init__(self, pose):
        self._pose = pose

    def __call__(self, pictures):
        return (self._pose for _ in pictures)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 10, 64, 96, crf=1) as writer:
        for frame in frames(4):
            writer.write(frame)
    return path


def written(video, report, reference=None):
    report.write(video, report.measure(video, reference, "reference picture"))
    page, numbers = report_paths(video)
    assert page.name == f"{video.stem}_report.html" and numbers.name == f"{video.stem}_report.json"
    return json.loads(numbers.read_text(), parse_constant=pytest.fail), page.read_text()


def test_report_has_run_and_measures_as_page_and_as_json(video):
    report = ResultReport("animate", Options(), seconds={"poses": 1.5})
    report.seed = 7
    values, page = written(video, report, frames()[0])
    assert (values["result"], values["command"], values["seed"]) == ("out.mp4", "animate", 7)
    assert (values["num_frames"], values["fps"], values["width"], values["height"]) == (4, 10, 64, 96)
    assert values["reference"] == "reference picture"
    assert values["seconds"]["poses"] == 1.5 and values["seconds"]["measuring"] > 0
    assert values["options"] == {"prompt": "<b>", "width": 64, "ratio": "inf", "paths": {"a": ["b", 2]}, "seed": 7}
    assert values["peak_memory_bytes"] > 1 << 20 and values["versions"]["numpy"] == np.__version__
    assert (
        values["colour"]["delta_e"] < 10 and 0.5 < values["sharpness"]["mean"] < 1.5
    )  # of noise, in half the colours
    assert "&lt;b&gt;" in page and "<b>{" not in page


def test_result_without_a_picture_is_measured_against_its_first_frame(video):
    values, _ = written(video, ResultReport("easy_animate", Options()))
    assert values["reference"] == "first frame of the result"
    assert values["colour"]["frames"]["delta_e"][0] == 0 and values["sharpness"]["frames"][0] == 1


def test_picture_is_a_result_of_one_frame(tmp_path):
    write_image(tmp_path / "out.png", frames()[0])
    write_image(tmp_path / "other.png", frames()[1])
    values, _ = written(tmp_path / "out.png", ResultReport("pose2vid", Options()), frames()[0])
    assert values["num_frames"] == 1 and values["colour"]["delta_e"] == 0


def test_estimator_is_asked_for_the_result_and_the_reference(video):
    pose = person()
    driver = driver_of([pose] * 4, 64, 96, "dwpose")
    report = ResultReport("animate", Options(), estimator=Estimator(pose), driver=driver)
    values, _ = written(video, report, frames()[0])
    assert values["networks"]["poses"] == "made_up" and values["networks"]["driving_poses"] == "dwpose"
    assert values["poses"]["body"]["akd_pixels"] == 0 and values["poses"]["body"]["points"] == 4 * 18


def test_later_options_of_the_same_name_count(video):
    @dataclass
    class Other:
        width: int = 1

    values, _ = written(video, ResultReport("animate", Options(), Other()))
    assert values["options"]["width"] == 1


def test_both_files_get_a_record(video):
    page, numbers = report_paths(video)
    made = dict.fromkeys((page, numbers), Made("animate"))
    results = Results(made, [page, numbers])
    with results.recorded():
        written(video, ResultReport("animate", Options()))
    records = Records(video.parent)
    assert records.of(page.name) == records.of(numbers.name) == Made("animate")


def test_report_that_cannot_be_written_leaves_nothing_unfinished(video):
    page, numbers = report_paths(video)
    page.mkdir()
    (page / "mine").write_text("kept")
    with pytest.raises(InputError, match="out_report.html"):
        written(video, ResultReport("animate", Options()))
    names = {path.name for path in video.parent.iterdir()}
    assert names == {"out.mp4", page.name, numbers.name} and (page / "mine").read_text() == "kept"
    json.loads(numbers.read_text())


def test_stopped_write_leaves_no_half_page(video):
    class Stops:
        def replaces(self, folder):
            return False

        def completed(self, temporary, target):
            assert target.suffix != ".html" or temporary.read_text().endswith("</html>\n")
            raise KeyboardInterrupt

    with watched_by(Stops()), pytest.raises(KeyboardInterrupt):
        written(video, ResultReport("animate", Options()))
    assert [path.name for path in video.parent.iterdir()] == ["out.mp4"]


def test_frames_that_a_format_left_out_are_a_reason(video):
    values, _ = written(video, ResultReport("animate", Options(), driver=Driver([None] * 5)))
    assert values["poses"] is None
    assert values["reasons"]["poses"] == "4 frames were written for 5 driving poses"


def test_seconds_add_up():
    seconds = {"a": 1.0}
    with stopwatch(seconds, "a"), stopwatch(seconds, "b"):
        pass
    assert 1.0 < seconds["a"] < 1.1 and 0 <= seconds["b"] < 0.1
    report = ResultReport("animate", Options())
    with timed(report, "c"), timed(None, "d"):
        pass
    assert set(report.seconds) == {"c"}


def test_points_are_pixels_of_all_people():
    pose = together(person(), person(left=0.5, missing=(4,)))
    first, second = points_of(pose, 200, 100)
    assert first.xy[0].tolist() == pytest.approx((pose.body[0, 0] * (200, 100)).tolist())
    assert first.xy[PARTS["hands"]][21].tolist() == pytest.approx((pose.hands[0, 1, 0] * (200, 100)).tolist())
    assert first.xy[PARTS["face"]][0].tolist() == pytest.approx((pose.face[0, 0] * (200, 100)).tolist())
    assert first.seen.all() and second.seen.sum() == 127 and not second.seen[4]
    assert points_of(Pose.empty(), 200, 100) == []


def test_driver_is_what_is_drawn_in_the_picture():
    low = person(top=0.6)  # its legs are below the picture
    driver = driver_of([person(), low, Pose.empty()], 100, 100, "dwpose", has_hands=False)
    assert driver.estimator == "dwpose" and driver.poses[2] is None
    assert not driver.poses[0].seen[PARTS["hands"]].any() and driver.poses[0].seen[PARTS["face"]].all()
    assert driver.poses[0].seen[:18].all() and not driver.poses[1].seen[[10, 13]].any() and driver.poses[1].seen[1]
    faceless = driver_of([person()], 100, 100, "dwpose", has_face=False)
    assert not faceless.poses[0].seen[PARTS["face"]].any() and faceless.poses[0].seen[PARTS["hands"]].all()


@pytest.fixture
def no_assets(tmp_path, monkeypatch):
    """A package whose networks are gone."""
    for opened in (reporting._open_embedder, reporting._open_embedded):
        opened.cache_clear()
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    yield
    for opened in (reporting._open_embedder, reporting._open_embedded):
        opened.cache_clear()


def test_networks_of_the_package_measure_unless_another_estimator_is_given():
    networks = open_networks(64, 96)
    assert (networks.people_name, networks.faces.name) == ("embedded", "mobileface")
    assert [list(people) for people in networks.people(frames(2))] == [[], []]  # noise
    assert open_networks(64, 96, Estimator(person())).people_name == "made_up"


def test_networks_that_are_gone_are_a_reason(video, no_assets):
    values, page = written(video, ResultReport("animate", Options(), driver=Driver([None] * 4)))
    assert values["csim"] is values["poses"] is None
    assert values["networks"] == {"poses": None, "driving_poses": None, "identity": None}
    for reason in values["reasons"].values():
        assert "does not exist" in reason or "cannot be read" in reason
    assert page.count("Not measured: ") == 2
