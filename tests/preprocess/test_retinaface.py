"""RetinaFace: the names of the published weights, numbers of the network in PyTorch, anchors, and suppression."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess import retinaface
from ppdiffusers_ext.preprocess.retinaface import FaceFinder, RetinaFace, to_boxes
from ppdiffusers_ext.weights.assignment import create, load_weights
from ppdiffusers_ext.weights.writing import write_safetensors

GOLDEN = Path(__file__).parents[1] / "goldens" / "retinaface.json"


def weights(seed=0):
    """Random weights under the names and in the shapes of the published file, but for its `module.` and counters."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in sorted(json.loads(GOLDEN.read_text())["shapes"].items()):
        values = random.standard_normal(shape, dtype="float32")
        if name.endswith("conv1x1.weight"):
            arrays[name] = values * np.float32(2e-5)  # so that scores are neither 0 nor 1
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            arrays[name] = 1 + 0.1 * np.abs(values)
        else:
            arrays[name] = values * np.float32(np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1)
    return arrays


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "retinaface.safetensors"
    write_safetensors(path, weights(), {"format": "pt"})
    return path


def picture(height=70, width=90):
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)


@paddle.no_grad()
def test_network_gives_the_numbers_of_the_one_in_pytorch(file):
    golden = json.loads(GOLDEN.read_text())
    network = load_weights(create(RetinaFace), file)
    x = (picture().astype(np.float32) - [104, 117, 123]).astype(np.float32).transpose(2, 0, 1)[None]
    scores, offsets = network(paddle.to_tensor(x))
    for ours, name in ((scores[0].numpy(), "scores"), (offsets[0].numpy(), "offsets")):
        assert list(ours.shape) == golden[f"{name}_shape"]
        theirs = np.array(golden[name], np.float32)
        assert np.abs(ours[:: golden["step"]] - theirs).max() < 1e-4 * np.abs(theirs).max()
    boxes = to_boxes(offsets[0].numpy(), (70, 90))[:: golden["step"]]
    assert np.abs(boxes - np.array(golden["boxes"])).max() < 1e-3


def test_faces_are_those_above_the_threshold_without_those_that_overlap_them(file, monkeypatch):
    golden = json.loads(GOLDEN.read_text())
    monkeypatch.setattr(retinaface, "_ACCEPTED", golden["threshold"])
    found = FaceFinder(file).find(picture())
    assert np.abs(found - np.array(golden["found"], np.float32)).max() < 1e-2


def test_nothing_sure_is_no_face(file, monkeypatch):
    monkeypatch.setattr(retinaface, "_ACCEPTED", 1.0)
    assert FaceFinder(file).find(picture()).shape == (0, 4)


def test_file_with_the_wrapper_and_counters_of_the_published_one_loads(tmp_path):
    arrays = {f"module.{name}": array for name, array in weights().items()}
    arrays |= {
        name.replace("running_mean", "num_batches_tracked"): np.array(7) for name in arrays if "running_mean" in name
    }
    write_safetensors(tmp_path / "file.safetensors", arrays, {"format": "pt"})
    network = load_weights(create(RetinaFace), tmp_path / "file.safetensors")
    assert np.array_equal(network.body.bn1._mean.numpy(), arrays["module.body.bn1.running_mean"])


def test_file_that_is_missing_or_of_another_network_is_an_error(tmp_path):
    with pytest.raises(MissingFileError):
        FaceFinder(tmp_path / "file.pth")
    write_safetensors(tmp_path / "other.safetensors", {"x": np.zeros(3, np.float32)}, {"format": "pt"})
    with pytest.raises(InputError, match="does not hold the weights of this RetinaFace"):
        FaceFinder(tmp_path / "other.safetensors")
