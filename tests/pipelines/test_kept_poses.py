"""Poses that a run keeps for the case that it is stopped: the same bits, or none and a word."""

import json
import logging
import os

import numpy as np
import pytest

from ppdiffusers_ext.data.records import Made
from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.kept_poses import WORTH, KeptPoses
from ppdiffusers_ext.pipelines.state_folder import StateFolder
from ppdiffusers_ext.preprocess.videos import FoundPoses
from tests.support.people import person, together

MADE = Made("poses", {"--driving-video": "a digest"}, {"--gap": 5, "--smoothing": 1.0})


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.mp4"


def some_poses(count=12, dtype=np.float64):
    random = np.random.default_rng(count)
    frames = []
    for number in range(count):
        pose = person(left=random.random())
        many = together(pose, pose) if number == 4 else pose
        frames.append(Pose.empty() if number % 5 == 2 else cast(many, dtype))
    return FoundPoses(cast(person(top=random.random() / 3), dtype), frames)


def cast(pose, dtype):
    return Pose(**{name: array.astype(dtype) for name, array in vars(pose).items()})


def same(one, other):
    pairs = zip([one.picture, *one.driving], [other.picture, *other.driving], strict=True)
    arrays = [(vars(a)[name], vars(b)[name]) for a, b in pairs for name in vars(a)]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in arrays)


def keep(target, found, made=MADE, seconds=WORTH):
    KeptPoses(target, lambda: made).keep(found, seconds)
    return StateFolder(target).path


def read(target, made=MADE, **options):
    return KeptPoses(target, lambda: made, **options).read()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_poses_are_read_back_with_the_same_bits(target, count, dtype, caplog):
    found = some_poses(count, dtype)
    keep(target, found)
    with caplog.at_level(logging.WARNING):
        assert same(read(target), found)
    assert f"the poses of {count} frame" in caplog.text


def test_nobody_at_all_is_read_back(target):
    found = FoundPoses(Pose.empty(), [Pose.empty()] * 3)
    keep(target, found)
    assert same(read(target), found)


@pytest.mark.parametrize(
    "made, words",
    [
        (Made("poses", {"--driving-video": "another"}, MADE.options), "--driving-video has another content"),
        (Made("poses", {**MADE.inputs, "body.onnx": "new"}, MADE.options), "body.onnx has another content"),
        (Made("poses", MADE.inputs, {**MADE.options, "--gap": 7}), "--gap was 5 and is 7"),
        (Made("poses", MADE.inputs, {**MADE.options, "onnxruntime": "9"}), "onnxruntime was None and is '9'"),
    ],
)
def test_poses_of_something_else_are_told_and_not_used(target, made, words, caplog):
    folder = keep(target, some_poses())
    assert read(target, made) is None
    assert f"discarded the poses of an earlier run in {folder}: {words}" in caplog.text


def damages():
    def cut(folder, name):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    def turn(folder, name):
        content = bytearray((folder / name).read_bytes())
        content[len(content) * 3 // 4] ^= 1
        (folder / name).write_bytes(content)

    def lose(folder, name):
        (folder / name).unlink()

    def empty(folder, name):
        (folder / name).write_bytes(b"")

    def link(folder, name):
        os.replace(folder / name, folder.parent / name)
        (folder / name).symlink_to(folder.parent / "elsewhere")

    def replace_by_folder(folder, name):
        (folder / name).unlink()
        (folder / name).mkdir()

    return [cut, turn, lose, empty, link, replace_by_folder]


@pytest.mark.parametrize("name", ["poses.json", "poses.safetensors"])
@pytest.mark.parametrize("damage", damages(), ids=lambda damage: damage.__name__)
def test_damaged_poses_are_told_and_made_again(target, damage, name, caplog):
    folder = keep(target, some_poses())
    damage(folder, name)
    assert read(target) is None
    if (damage.__name__, name) != ("lose", "poses.json"):  # of which nothing is known
        assert "is damaged and not used" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(format=2),
        lambda state: state.update(made=None),
        lambda state: state.update(made={"command": "poses"}),
        lambda state: state.update(poses={"file": "../../etc/passwd", "sha256": ""}),
        lambda state: state.pop("poses"),
        lambda state: state.update(poses=7),
    ],
)
def test_index_of_another_form_is_told(target, change, caplog):
    keep(target, some_poses())
    folder = StateFolder(target)
    state = folder.read_index("poses.json")
    change(state)
    folder.write_index(state, "poses.json")
    assert read(target) is None and "is damaged and not used" in caplog.text
    (folder.path / "poses.json").write_text(json.dumps([state]))
    assert read(target) is None


@pytest.mark.parametrize(
    "change",
    [
        {"people": np.array([1, 1], np.int64)},
        {"people": np.array([-1, 99], np.int64)},
        {"people": np.array([1.5])},
        {"driving.body": np.zeros((8, 17, 2))},
        {"driving.face": np.zeros((8, 68))},
        {"picture.hands": np.zeros((0, 2, 21, 2))},
        {"picture.body": np.zeros((1, 18, 2), np.int64)},
    ],
    ids=str,
)
def test_arrays_of_other_shapes_are_told(target, change, caplog):
    keep(target, some_poses())
    folder = StateFolder(target)
    state = folder.read_index("poses.json")
    arrays = {name: tensor.numpy().copy() for name, tensor in folder.read(state["poses"]).items()}
    state["poses"] = folder.write("poses.safetensors", {**arrays, **change})
    folder.write_index(state, "poses.json")
    assert read(target) is None and "is damaged and not used" in caplog.text


def test_what_is_quick_or_not_asked_for_is_not_kept(target):
    keep(target, some_poses(), seconds=WORTH / 2)
    KeptPoses(target, lambda: MADE, is_kept=False).keep(some_poses(), WORTH)
    mixed = some_poses()
    mixed.driving[0] = cast(mixed.driving[0], np.float32)
    keep(target, mixed)
    assert not StateFolder(target).exists
    keep(target, some_poses())
    assert read(target, is_kept=False) is None and read(target, begins_anew=True) is None


def test_folder_of_another_run_is_left_alone(target):
    keep(target, some_poses())
    other = StateFolder(target)
    assert other.claim()
    assert read(target) is None
    before = (other.path / "poses.safetensors").read_bytes()
    keep(target, some_poses(5))
    assert (other.path / "poses.safetensors").read_bytes() == before
    other.release()


@pytest.mark.parametrize("error, stays", [(InputError("no"), False), (KeyboardInterrupt(), True), (OSError(), True)])
def test_refused_run_leaves_nothing_and_a_stopped_one_its_poses(target, error, stays, caplog):
    with pytest.raises(type(error)), KeptPoses(target, lambda: MADE) as kept:
        kept.keep(some_poses(), WORTH)
        raise error
    assert StateFolder(target).exists == stays
    assert ("stopped; the same command does not estimate the poses of 12 frames again" in caplog.text) == stays


def test_folder_that_cannot_be_written_does_not_stop_the_run(target, caplog):
    StateFolder(target).path.write_text("a file")
    keep(target, some_poses())
    assert "the run goes on, but its poses cannot be kept" in caplog.text
