"""Evaluation of results without a truth: what belongs to what, and the numbers of a table."""

import json

import numpy as np
import pytest

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.result_report import Networks
from ppdiffusers_ext.metrics.results import COLUMNS, evaluate_item, find_items, key_numbers, mean_numbers, to_json
from tests.support.results import frames, networks, standing

COUNT = 24  # frames: of fewer, there is no drift


def write_video(path, pictures):
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, 10, pictures[0].shape[1], pictures[0].shape[0], crf=1) as writer:
        for picture in pictures:
            writer.write(picture)


def poses_of(person, count):
    rows = [[*xy, 0.9 if seen else 0.0] for xy, seen in zip(person.xy.tolist(), person.seen)]
    parts = {"body": (0, 18), "left_hand": (18, 39), "right_hand": (39, 60), "face": (60, 128)}
    frame = {"people": [{name: rows[start:stop] for name, (start, stop) in parts.items()}]}
    return json.dumps({"estimator": "dwpose", "frames": [frame] * count})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """results/ as commands leave it, with a.mp4 and b.mp4; pictures/ and poses/ of both; person.png."""
    folder = tmp_path_factory.mktemp("results of commands")
    for number, name in enumerate("ab"):
        pictures = frames(COUNT, seed=number)
        write_video(folder / "results" / f"{name}.mp4", pictures)
        write_video(folder / "results" / f"{name}_side_by_side.mp4", pictures)
        write_image(folder / "results" / f"{name}_sheet.png", pictures[0])
        (folder / "results" / f"{name}_report.json").write_text("{}")
        write_image(folder / "pictures" / f"{name}.png", pictures[0])
        (folder / "poses").mkdir(exist_ok=True)
        (folder / "poses" / f"{name}.json").write_text(poses_of(standing((0, 3 + number)), COUNT))
    write_image(folder / "person.png", frames()[0])
    for number, picture in enumerate(frames(COUNT)):
        write_image(folder / "frames" / f"{number}.png", picture)
    return folder


def test_each_result_has_its_picture_and_its_poses(folder):
    items = find_items(folder / "results", folder / "pictures", folder / "poses")
    assert [(item.name, item.clip.path.name) for item in items] == [("a", "a.mp4"), ("b", "b.mp4")]
    assert [item.reference.name for item in items] == ["a.png", "b.png"]
    assert [item.driving_poses.name for item in items] == ["a.json", "b.json"]


@pytest.mark.parametrize("results, name", [("results/a.mp4", "a"), ("frames", "frames")])
def test_one_result_is_a_video_or_frames(folder, results, name):
    (item,) = find_items(folder / results, folder / "person.png", folder / "poses" / "a.json")
    assert (item.name, item.clip.num_frames, item.reference.name) == (name, COUNT, "person.png")


def test_one_picture_is_for_all(folder):
    items = find_items(folder / "results", folder / "person.png")
    assert [item.reference.name for item in items] == ["person.png"] * 2
    assert [item.driving_poses for item in items] == [None] * 2


@pytest.mark.parametrize(
    "results, reference, poses, message",
    [
        ("nothing", "person.png", None, "nothing does not exist"),
        ("poses", "person.png", None, "neither pictures nor videos"),
        ("results", "nothing.png", None, "picture .*nothing.png does not exist"),
        ("results", "frames", None, "has no picture for a, b"),
        ("results/a.mp4", "poses/a.json", None, "a.json is not a picture"),
        ("results", "person.png", "pictures", "has no driving poses for a, b"),
        ("results", "person.png", "nothing.json", "driving poses .*nothing.json does not exist"),
        ("results/a.mp4", "person.png", "person.png", "person.png"),
        ("results/a.mp4", "person.png", "short.json", "have 3 frames"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_measured(folder, results, reference, poses, message):
    (folder / "short.json").write_text(poses_of(standing(), 3))
    with pytest.raises((InputError, MissingFileError), match=message):
        find_items(folder / results, folder / reference, None if poses is None else folder / poses)


def evaluated(folder, of=None):
    items = find_items(folder / "results", folder / "pictures", folder / "poses")
    return [evaluate_item(item, lambda width, height: of or networks()) for item in items]


def test_numbers_are_those_of_the_reports(folder):
    results = evaluated(folder)
    assert [values["poses"]["body"]["akd_pixels"] for values in results] == pytest.approx([3, 4])
    rows = [key_numbers(values) for values in results]
    assert [list(row) for row in rows] == [[key for key, *_ in COLUMNS]] * 2
    assert all(value is not None for row in rows for value in row.values())
    means = mean_numbers(results)
    assert means["akd_pixels"] == pytest.approx(3.5)
    for key in means:
        assert means[key] == pytest.approx(np.mean([row[key] for row in rows]))


def test_networks_are_opened_for_the_size_of_each_result(folder):
    (item,) = find_items(folder / "results" / "a.mp4", folder / "person.png")
    sizes = []
    evaluate_item(item, lambda width, height: sizes.append((width, height)) or Networks())
    assert sizes == [(64, 96)]


@pytest.mark.parametrize("per_frame", [False, True])
def test_json_is_strict_names_networks_and_has_frames_where_asked_for(folder, per_frame):
    report = json.loads(to_json(evaluated(folder), per_frame), parse_constant=pytest.fail)
    first = report["results"][0]
    assert ("frames" in first["csim_mean_color"], "frames" in first["poses"]["body"]) == (per_frame, per_frame)
    assert first["networks"]["driving_poses"] == "dwpose"
    assert {"csim_mean_color", "csim_mean_color_min"} <= set(report["mean"]) and "csim" not in report["mean"]


def test_what_was_not_measured_is_null_and_not_in_the_mean(folder):
    results = evaluated(folder, Networks())
    assert json.loads(to_json(results))["mean"]["akd_pixels"] is None
    mixed = [results[0], evaluated(folder)[1]]
    assert mean_numbers(mixed)["akd_pixels"] == pytest.approx(4)


def test_driving_points_out_of_the_picture_do_not_count(folder, tmp_path):
    (tmp_path / "low.json").write_text(poses_of(standing((0, 30)), COUNT))  # of 96 rows
    (item,) = find_items(folder / "results" / "a.mp4", folder / "person.png", tmp_path / "low.json")
    seen = evaluate_item(item, lambda width, height: networks())["poses"]["body"]["points"]
    assert seen == COUNT * int((standing((0, 30)).xy[:18, 1] < 96).sum()) < COUNT * 18
