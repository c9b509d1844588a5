"""What runs the networks that ship, and what is told where that cannot be."""

import importlib.util
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess.blaze import networks as module
from ppdiffusers_ext.preprocess.blaze.networks import Networks, open_networks
from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.estimators import describe_estimator
from ppdiffusers_ext.weights.checksums import sha256_of
from tests.preprocess.blaze.test_estimator import one
from tests.support.real_people import cartoon

ROOT = Path(__file__).resolve().parents[3]
SIDES = {
    **{"person_detector": 224, "body": 256, "hand_recrop": 256, "hand": 224},
    **{"close_face_detector": 128, "face_detector": 192, "face": 192},
}


@pytest.fixture
def without_openvino(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else find(name))
    monkeypatch.setitem(sys.modules, "openvino", None)


def test_runtimes_agree(networks, without_openvino):
    others = open_networks(threads=1)
    for item in fields(Networks):
        side = SIDES[item.name]
        picture = np.random.default_rng(0).random((side, side, 3), np.float32)
        ours, theirs = (getattr(each, item.name)(picture) for each in (networks, others))
        assert [output.shape for output in ours] == [output.shape for output in theirs]
        for one_output, other in zip(ours, theirs):
            assert np.abs(one_output - other).max() <= 1e-4 * max(1, np.abs(other).max()), item.name


def test_outputs_stay_when_the_network_runs_again(networks):
    pictures = [np.full((256, 256, 3), value, np.float32) for value in (0.2, 0.8)]
    first = networks.body(pictures[0])[0]
    kept = first.copy()
    networks.body(pictures[1])
    assert (first == kept).all()


def test_poses_without_openvino(without_openvino):
    from ppdiffusers_ext.preprocess.blaze.estimator import EmbeddedEstimator

    assert len(one(EmbeddedEstimator(open_networks()), cartoon())) == 1


def test_missing_onnxruntime_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="onnxruntime is not installed; `pip install onnxruntime`"):
        open_networks()


@pytest.mark.parametrize("name", ["pose_detection", "face_landmark"])
def test_missing_and_damaged_files_are_named(tmp_path, monkeypatch, name):
    for path in module.network_files():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    files = [tmp_path / path.name for path in module.network_files()]
    monkeypatch.setattr(module, "network_files", lambda: files)
    (tmp_path / f"{name}.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=name):
        open_networks()
    (tmp_path / f"{name}.onnx").unlink()
    with pytest.raises((MissingFileError, InputError), match=name):
        open_networks()


def test_larger_network_of_bodies_is_taken_where_it_was_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert describe_estimator("embedded") == "Poses: MediaPipe (embedded)"
    full = module.network_files()[1]
    module.LARGE_BODY.parent.mkdir(parents=True)
    module.LARGE_BODY.write_bytes(full.read_bytes())
    monkeypatch.setattr(module, "LARGE_BODY_SHA256", sha256_of(full))
    assert full.name == "pose_landmark_full.onnx" and module.network_files()[1] == module.LARGE_BODY
    assert describe_estimator("embedded") == "Poses: MediaPipe (embedded) with the larger network of bodies"
    module.LARGE_BODY.write_bytes(b"cut off")
    with pytest.raises(InputError, match="pose_landmark_heavy.onnx is damaged"):
        open_networks()


def test_larger_network_of_the_registry_alone_is_taken(tmp_path, monkeypatch):
    listed = {item["path"]: item["sha256"] for entry in published() for item in entry["files"]}
    assert listed[module.LARGE_BODY.name] == module.LARGE_BODY_SHA256
    other = tmp_path / module.LARGE_BODY.name
    other.write_bytes(embedded_network("face_landmark").read_bytes())  # whole, and no network of bodies
    monkeypatch.setattr(module, "LARGE_BODY", other)
    with pytest.raises(InputError, match="another file: its sha256 is .* --only MediaPipePose"):
        module.network_files()


def published():
    return yaml.safe_load((ROOT / "ppdiffusers_ext" / "published" / "poses.yaml").read_text())["checkpoints"]
