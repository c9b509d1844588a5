"""Reports of results that lie in files, and poses in pixels."""

import json
from dataclasses import dataclass, field, fields

import numpy as np
import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.data.existing import Results
from ppdiffusers_ext.data.frames import FrameSource, open_frames, poses_path, resize
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import report_paths, watched_by
from ppdiffusers_ext.data.records import Made, Records
from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.poses import PARTS
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.pipelines import reporting
from ppdiffusers_ext.pipelines.reporting import (
    ResultReport,
    driver_of,
    driver_of_drawing,
    open_networks,
    points_of,
    stopwatch,
    timed,
)
from ppdiffusers_ext.preprocess.pose_file import pose_file
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
    assert "4 frames" in values["reasons"].pop("drift")
    for reason in values["reasons"].values():
        assert "does not exist" in reason or "cannot be read" in reason
    assert page.count("Not measured: ") == 2


@dataclass(frozen=True)
class Drives:
    """The options that matter to the poses of a drawing."""

    width: int = 100
    height: int = 80
    driving_poses: str | None = None


SMALL = (90, 60)  # width and height of drawings


def drawn(folder, count=5, name="dance.mp4"):
    """A drawing: a dot that is white where the nose of each frame's person is; and poses of the same as JSON."""
    poses = [person(left=0.2 + 0.03 * i, top=0.2, width=0.4, height=0.5) for i in range(count)]
    pictures = np.zeros((count, SMALL[1], SMALL[0], 3), np.uint8)
    for picture, pose in zip(pictures, poses):
        x, y = (pose.body[0, 0] * SMALL).astype(int)
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    drawing = folder / name
    if drawing.suffix:
        with VideoWriter(drawing, 10, *SMALL, crf=1) as writer:
            for picture in pictures:
                writer.write(picture)
    else:
        for i, picture in enumerate(pictures):
            write_image(drawing / f"frame_{i}.png", picture)
    with pose_file(poses_path(drawing, drawing.is_dir()), "made_up", SMALL) as file:
        for pose in poses:
            file.write(pose)
    return drawing


def of_drawing(drawing, config=None, num_frames=None, way="stretch"):
    source = open_frames(drawing)
    count = source.num_frames if num_frames is None else num_frames
    return driver_of_drawing(config or Drives(), drawing, source, count, way)


@pytest.mark.parametrize("name", ["dance.mp4", "my poses", "a.b"])
@pytest.mark.parametrize("way", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(100, 80), (40, 90), (90, 60), (200, 64)])
def test_driver_of_a_drawing_is_where_the_drawing_is_shown(tmp_path, name, way, size):
    if name == "a.b":
        (tmp_path / name).mkdir()
    drawing = drawn(tmp_path, 2, name) if name != "a.b" else drawn(tmp_path / name, 2, "kps.mp4")
    driver = of_drawing(drawing, Drives(*size), way=way)
    assert driver.estimator == "made_up" and driver.path.suffix == ".json" and len(driver.poses) == 2
    for frame, one in zip(open_frames(drawing), driver.poses):
        shown = resize(frame, *size, way).max(axis=2) > 128
        if one.seen[0] and shown.any():
            middle = np.argwhere(shown).mean(axis=0)[::-1] + 0.5
            assert one.xy[0] == pytest.approx(middle, abs=0.7 * max(size[0] / SMALL[0], size[1] / SMALL[1]) + 1)
        assert ((one.xy[one.seen] >= 0) & (one.xy[one.seen] < size)).all()
    assert way == "crop" or driver.poses[0].seen.all()


def test_driver_of_a_drawing_has_the_frames_that_are_animated(tmp_path):
    drawing = drawn(tmp_path)
    whole = of_drawing(drawing)
    assert len(whole.poses) == 5
    first = of_drawing(drawing, num_frames=3)
    assert [one.xy[0].tolist() for one in first.poses] == [one.xy[0].tolist() for one in whole.poses[:3]]
    assert len({one.xy[0, 0] for one in whole.poses}) == 5

    class Uneven(FrameSource):
        """The second frame is shown three times, the fourth never."""

        def _repeats(self, fps, start, end):
            return [1, 3, 1, 0, 1]

    source = open_frames(drawing)
    uneven = Uneven(**{item.name: getattr(source, item.name) for item in fields(source)})
    shown = driver_of_drawing(Drives(), drawing, uneven, 5, "stretch")
    assert [whole.poses[i].xy[0].tolist() for i in (0, 1, 1, 1, 2)] == [one.xy[0].tolist() for one in shown.poses]


def test_drawing_without_poses_is_a_reason(tmp_path):
    drawing = drawn(tmp_path)
    (tmp_path / "dance_poses.json").unlink()
    driver = of_drawing(drawing)
    assert driver.poses is None and driver.path is None and "--save-poses" in driver.reason


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda path: path.write_text("{"), "poses.json"),
        (lambda path: path.write_text('{"estimator": "dwpose", "frames": []}'), "have 0 frames"),
        (lambda path: (path.unlink(), path.mkdir()), "folder"),
        (lambda path: (path.unlink(), path.symlink_to("nothing")), "does not exist"),
    ],
)
def test_poses_that_do_not_fit_are_refused_where_they_are_named_and_else_a_reason(tmp_path, caplog, spoil, words):
    drawing, path = drawn(tmp_path), tmp_path / "dance_poses.json"
    spoil(path)
    driver = of_drawing(drawing)
    assert driver.poses is None and words in driver.reason
    assert words in caplog.text and "will not be measured" in caplog.text
    with pytest.raises(InputError, match=words):
        of_drawing(drawing, Drives(driving_poses=str(path)))


def test_named_poses_go_before_those_beside(tmp_path):
    drawing = drawn(tmp_path)
    other = tmp_path / "other.json"
    with pose_file(other, "dwpose", SMALL) as file:
        for _ in range(5):
            file.write(Pose.empty())
    driver = of_drawing(drawing, Drives(driving_poses=str(other)))
    assert driver.poses == [None] * 5 and (driver.estimator, driver.path) == ("dwpose", other)
