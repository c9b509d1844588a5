"""The networks that ship: what they give, that they are those that were made, and what is said where they are not."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.embedded_sources import EMBEDDED, FOLDER, PACKAGES, file_names, notice_text
from ppdiffusers_ext.preprocess.networks import OnnxNetwork

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens" / "embedded_pose" / "networks"
DESCRIBED = json.loads((FOLDER / "networks.json").read_text())["networks"]
NAMES = sorted(EMBEDDED)


def run_onnxruntime(path, pictures):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: pictures})))


def run_openvino(path, pictures):
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = model(pictures)
    return {value.get_any_name(): found[value] for value in model.outputs}


@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino])
@pytest.mark.parametrize("name", NAMES)
def test_gives_what_the_original_gives(name, run):
    described = DESCRIBED[name]
    _, channels, height, width = described["input"]["shape"]
    pictures = np.random.default_rng(20261128).random((1, height, width, channels)).astype(np.float32)
    scale = 255 if name == "mobileface" else 1
    found = run(embedded_network(name), np.ascontiguousarray(scale * pictures.transpose(0, 3, 1, 2)))
    with np.load(GOLDENS / f"{name}.npz") as golden:
        assert sorted(golden.files) == sorted(found)
        for output, expected in golden.items():
            ours = found[output]
            ours = (ours.transpose(0, 2, 3, 1) if ours.ndim == 4 else ours).ravel()[:: max(1, ours.size // 2000)]
            # Scores that noise leaves at zero are compared as they are.
            difference = np.abs(ours - expected.ravel()) / max(np.abs(expected).max(), 1e-3)
            check(name, output, difference)


def check(name, output, difference):
    if (name, output) == ("pose_landmark_full", "Identity_2"):
        # Of noise, the last bit of the input decides some values of the mask: it moves one by 4e-4 of the largest.
        assert difference.max() <= 1e-3 and np.mean(difference > 1e-4) <= 0.005
    else:
        assert difference.max() <= 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_that_are_described(name):
    content, described = (FOLDER / f"{name}.onnx").read_bytes(), DESCRIBED[name]
    assert described["bytes"] == len(content)
    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    network = OnnxNetwork(embedded_network(name))
    assert described["input"]["shape"][1:] == [3, *network.size]
    recipe = EMBEDDED[name]
    assert described["source"] == PACKAGES[recipe.package].source
    assert [member["sha256"] for member in described["members"]] == [member.sha256 for member in recipe.members]
    batch = np.zeros((2, 3, *network.size), np.float32)
    shapes = [output["shape"] for output in described["outputs"]]
    assert [list(output.shape) for output in network(batch)] == [[2, *shape[1:]] for shape in shapes]


def test_nothing_else_ships_and_the_notice_names_all():
    assert {path.name for path in FOLDER.iterdir() if path.name[0] != "."} == set(file_names())
    assert list(DESCRIBED) == list(EMBEDDED)
    notice = (FOLDER / "NOTICE").read_text()
    assert "Permission is hereby granted, free of charge" in notice and notice == notice_text()
    assert [name for name in (*NAMES, *(package.source for package in PACKAGES.values())) if name not in notice] == []


def test_they_ship_within_their_budget():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 24_000_000


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder in which the smallest network ships."""
    folder = tmp_path / "assets" / "pose_networks"
    folder.mkdir(parents=True)
    for name in ("hand_recrop.onnx", "networks.json"):
        shutil.copy(FOLDER / name, folder)
        (folder / name).chmod(0o644)
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    return folder


def refused(name, *words, error=InputError):
    with pytest.raises(error) as raised:
        embedded_network(name)
    for word in (*words, "make_pose_assets --overwrite"):
        assert word in str(raised.value)


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_damaged_file_is_named_and_may_be_made_again(copy, place):
    file = copy / "hand_recrop.onnx"
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[place] ^= 1
    file.write_bytes(damaged)
    refused("hand_recrop", str(file), "is damaged")
    file.write_bytes(content)
    assert embedded_network("hand_recrop") == file


@pytest.mark.parametrize("content", [b"", b"x", None])
def test_a_file_that_is_cut_off_or_missing_is_named(copy, content):
    file = copy / "hand_recrop.onnx"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    refused("hand_recrop", str(file))
    refused("pose_detection", "pose_detection.onnx does not exist", error=MissingFileError)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"networks": 3}', '{"networks": {"hand_recrop": {}}}', '{"networks": {"hand_recrop": 1}}'],
)
def test_a_description_that_is_damaged_is_named(copy, text):
    (copy / "networks.json").write_text(text)
    refused("hand_recrop", "networks.json")


def test_a_missing_description_is_named(copy):
    (copy / "networks.json").unlink()
    refused("hand_recrop", "networks.json does not exist", error=MissingFileError)


@pytest.mark.parametrize("name", ["", "face", "../networks", "hand_recrop\0", "x" * 9999, "hand_recrop.onnx"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(InputError, match="no embedded network is named .*pose_detection.* are accepted") as raised:
        embedded_network(name)
    assert len(str(raised.value)) < 500


def test_a_file_is_hashed_once(copy, monkeypatch):
    from ppdiffusers_ext.preprocess import embedded

    calls = []
    monkeypatch.setattr(
        embedded, "sha256_of", lambda path: calls.append(path) or hashlib.sha256(path.read_bytes()).hexdigest()
    )
    assert embedded_network("hand_recrop") == embedded_network("hand_recrop")
    assert len(calls) == 1
