"""The command that makes the networks that ship, with packages of small networks for the published ones."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest

from ppdiffusers_ext.preprocess import embedded_sources as embedded
from ppdiffusers_ext.weights.entries import Member
from scripts.command import run
from scripts.make_pose_assets import make_parser, work
from tests.support.fetching import sha256
from tests.support.server import Page, Server, clean_environment
from tests.support.tflite import Step, write_tflite
from tests.weights.test_members import tarred

NAMES = ["NOTICE", "a.onnx", "b.onnx", "networks.json"]


def picture_network():
    """Bytes of a .tflite file."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 1, 1, 3)
    options = {0: ("b", 1), 1: ("i", 1), 2: ("i", 1)}
    return write_tflite([(1, 2, 2, 3), (1, 2, 2, 4), weights], [Step(3, [0, 2], [1], options)], [0], [1])


def graph_model():
    """(JSON, weights) of a model of TensorFlow.js."""
    kernel, matrix, shape = np.ones((1, 1, 3, 2), "<f4"), np.ones((8, 5), "<f4"), np.array([-1, 8], "<i4")
    dims = [{"size": size} for size in ("-1", "2", "2", "3")]
    steps = {"list": {"i": ["1", "1", "1", "1"]}}
    valid = {"s": base64.b64encode(b"VALID").decode()}
    convolution = {"padding": valid, "strides": steps, "dilations": steps}
    nodes = [
        {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": dims}}}},
        {"name": "k", "op": "Const"},
        {
            "name": "c",
            "op": "Conv2D",
            "input": ["x", "k"],
            "attr": convolution,
        },
        {"name": "r", "op": "Reshape", "input": ["c", "s"]},
        {"name": "y", "op": "MatMul", "input": ["r", "m"]},
    ]
    arrays = {"k": kernel, "m": matrix, "s": shape}
    listed = [{"name": name, "shape": list(value.shape), "dtype": value.dtype.name} for name, value in arrays.items()]
    model = {"modelTopology": {"node": nodes}, "weightsManifest": [{"paths": ["w.bin"], "weights": listed}]}
    return json.dumps(model).encode(), b"".join(value.tobytes() for value in arrays.values())


def wheel(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as whole:
        whole.writestr("net/a.tflite", content)
    return file.getvalue()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The paths of two packages, which take the place of the published ones."""
    network, (model, weights) = picture_network(), graph_model()
    members = [("package/b.json", model), ("package/b.bin", weights)]
    contents = {"mediapipe": wheel(network), "human-models": tarred(members)}
    described, paths = {}, {}
    for (key, content), source in zip(contents.items(), ("pypi:net==1.0", "npm:net@2.0")):
        paths[key] = tmp_path / f"{key}.archive"
        paths[key].write_bytes(content)
        described[key] = embedded.Package(source, paths[key].name, len(content), sha256(content), "MIT")

    def member(path, content):
        return Member(path, len(content), sha256(content))

    b = (member("package/b.json", model), member("package/b.bin", weights))
    recipes = {
        "a": embedded.Recipe("mediapipe", (member("net/a.tflite", network),), (0, 1), "finds", {"t1": "things"}),
        "b": embedded.Recipe("human-models", b, (0, 255), "tells", {"output": "things"}),
    }
    monkeypatch.setattr(embedded, "PACKAGES", described)
    monkeypatch.setattr(embedded, "EMBEDDED", recipes)
    return paths


def make(packages, output, *more):
    given = [f"--{key}={path}" for key, path in packages.items()]
    return run(make_parser(), work, [*given, "--output", str(output), *more])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def test_makes_the_same_files_each_time(packages, tmp_path):
    assert make(packages, tmp_path / "one") == make(packages, tmp_path / "two") == 0
    made = contents(tmp_path / "one")
    assert list(made) == NAMES and made == contents(tmp_path / "two")
    described = json.loads(made["networks.json"])["networks"]
    assert [entry["sha256"] for entry in described.values()] == [sha256(made["a.onnx"]), sha256(made["b.onnx"])]
    assert described["a"]["input"]["shape"] == [1, 3, 2, 2] and described["b"]["outputs"][0]["shape"] == ["n", 5]


def test_replaces_only_when_told(packages, tmp_path, capsys):
    assert make(packages, tmp_path / "one") == 0
    made = contents(tmp_path / "one")
    (tmp_path / "one" / "a.onnx").write_bytes(b"damaged")
    assert make(packages, tmp_path / "one") == 2 and "--overwrite replaces" in capsys.readouterr().err
    assert make(packages, tmp_path / "one", "--overwrite") == 0 and contents(tmp_path / "one") == made


def other_version(path):
    path.write_bytes(wheel(picture_network()[:-1] + b"\1"))


def another_package(path):
    path.write_bytes(wheel(b"x"))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-30])


def no_archive(path):
    path.write_bytes(b"<html>")


def absent(path):
    path.unlink()


@pytest.mark.parametrize("change", [other_version, another_package, cut_off, no_archive, absent])
@pytest.mark.parametrize("key", ["mediapipe", "human-models"])
def test_a_package_that_is_another_is_named_and_nothing_is_written(packages, tmp_path, capsys, key, change):
    change(packages[key])
    assert make(packages, tmp_path / "one") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(packages[key]) in error and "accepted" in error
    assert not (tmp_path / "one").exists()


def test_fetches_the_packages_that_are_not_given(packages, tmp_path, monkeypatch):
    clean_environment(monkeypatch, tmp_path)
    with Server() as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url)
        listing = '<a href="/f/mediapipe.archive">mediapipe.archive</a>'
        tarball = {"dist": {"tarball": f"{server.url}/f/human-models.archive"}}
        server.pages = {
            "/net/": Page(listing.encode(), kind="text/html"),
            "/net/2.0": Page(json.dumps(tarball).encode(), kind="application/json"),
            **{f"/f/{path.name}": Page(path.read_bytes()) for path in packages.values()},
        }
        assert make({}, tmp_path / "one", "--packages", str(tmp_path / "fetched")) == 0
        assert make(packages, tmp_path / "two") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_says_what_to_do_without_a_connection(packages, tmp_path, monkeypatch, capsys):
    clean_environment(monkeypatch, tmp_path)
    with Server() as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        del packages["mediapipe"]
        assert make(packages, tmp_path / "one", "--packages", str(tmp_path / "fetched")) == 2
    assert "--mediapipe FILE and --human-models FILE take packages" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
