"""Functions in int8: how near they are, what is recorded for them, which layers stay, and what is refused."""

import errno
import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.engine import backends, calibration, quantised, quantising
from ppdiffusers_ext.engine.calibration import Samples
from ppdiffusers_ext.engine.compiled import EngineError
from ppdiffusers_ext.engine.decibels import signal_to_noise
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.layers import Linear
from ppdiffusers_ext.pipelines.engines import check_weights, make_engine


class Model(nn.Layer):
    def __init__(self, seed=0):
        super().__init__()
        paddle.seed(seed)
        self.conv, self.first, self.second = nn.Conv2D(16, 16, 3, padding=1), Linear(16, 32), Linear(32, 16)
        self.eval()

    def forward(self, x):
        y = nn.functional.silu(self.conv(x)).flatten(2).transpose([0, 2, 1])  # (batch, 64, 16)
        return self.second(nn.functional.silu(self.first(y)))


@pytest.fixture
def make(tmp_path):
    """Call it for an engine in int8 and a function of a seed of the input, which calls the network in it."""

    def call(network=None, folder=tmp_path / "cache"):
        engine, network = make_engine("openvino", folder, threads=1, weights="int8"), network or Network(Model())

        def run(seed=0):
            inputs = {"x": numbers(seed)}
            (result,) = engine.run(network, "forward", lambda x: [network.model(x)], inputs, in_8_bits=True)
            return result.numpy()

        return engine, run

    return call


def numbers(seed):
    x = paddle.to_tensor(np.random.default_rng(seed).standard_normal((2, 16, 8, 8), dtype="float32"))
    return x * paddle.to_tensor([1.0] * 15 + [20.0]).reshape([1, 16, 1, 1])  # with a channel that lies out


def manifests(folder):
    """Of the exports in int8: folder -> manifest."""
    found = {path.parent: json.loads(path.read_text()) for path in Path(folder).glob("cache/exports/*/manifest.json")}
    return {path: manifest for path, manifest in found.items() if "facts" in manifest}


def test_an_export_in_int8_is_near_to_eager_mode_and_says_how_near(make, tmp_path, caplog):
    _, run = make()
    decibels = signal_to_noise(run(), Model()(numbers(0)).numpy())
    assert 28 < decibels < 60
    ((folder, manifest),) = manifests(tmp_path).items()
    facts = manifest["facts"]
    assert facts["decibels"] == pytest.approx(decibels, abs=0.5)
    assert (facts["layers"], facts["layers_in_floating_point"], facts["recorded_calls"]) == (3, [], 1)
    assert "Model.forward in int8" in caplog.text and f"{facts['decibels']:.1f} dB from fp32" in caplog.text
    assert (folder / "model.bin").stat().st_size < 2 * sum(p.size for p in Model().parameters())
    _, again = make()  # opens it
    assert np.array_equal(again(), run())


def test_layers_that_do_not_bear_it_stay_until_the_outputs_are_good_enough(make, tmp_path, monkeypatch):
    _, run = make()
    run()
    ((_, before),) = manifests(tmp_path).items()
    monkeypatch.setattr(quantising, "GOAL", before["facts"]["decibels"] + 1)
    _, better = make(Network(Model(seed=0)), tmp_path / "other" / "cache")
    better()
    ((_, after),) = manifests(tmp_path / "other").items()
    assert after["facts"]["decibels"] >= quantising.GOAL
    assert len(after["facts"]["layers_in_floating_point"]) in (1, 2) and after["facts"]["share_of_work"] >= 0.4


def test_an_export_that_is_too_far_off_is_refused_and_not_kept(make, tmp_path, monkeypatch):
    monkeypatch.setattr(quantised, "LEAST_DECIBELS", 100)
    monkeypatch.setattr(quantising, "GOAL", 100.0)
    with pytest.raises(EngineError, match=r"in int8 is \d+\.\d dB from fp32, and 100 dB are needed; a run without"):
        make()[1]()
    assert not manifests(tmp_path)


def test_a_rehearsal_goes_first_once_and_its_calls_are_what_is_recorded(make, tmp_path):
    engine, run = make()
    told = []

    def rehearsal():
        told.append("begun")
        return lambda: told.extend(float(run(seed).sum()) for seed in range(5))

    first = engine.calibrated(lambda: run(7), rehearsal)
    assert len(told) == 6 and not np.isnan(told[1:]).any()
    ((_, manifest),) = manifests(tmp_path).items()
    assert manifest["facts"]["recorded_calls"] == 5
    second = engine.calibrated(lambda: run(7), lambda: pytest.fail)
    assert np.array_equal(first, second) and len(told) == 6
    assert not list((tmp_path / "cache").glob(".*samples*"))


def test_another_checkpoint_has_an_export_of_its_own(make, tmp_path):
    make()[1]()
    _, run = make(Network(Model(seed=1)))
    assert signal_to_noise(run(), Model(seed=1)(numbers(0)).numpy()) > 28
    assert len(manifests(tmp_path)) == 2


@pytest.mark.parametrize("harm", ["weights", "graph", "facts"])
def test_a_damaged_export_is_made_again(make, tmp_path, caplog, harm):
    expected = make()[1]()
    ((folder, manifest),) = manifests(tmp_path).items()
    if harm == "facts":
        del manifest["facts"]["decibels"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    else:
        (folder / {"weights": "model.bin", "graph": "model.xml"}[harm]).write_bytes(b"0" * 100)
    assert np.array_equal(make()[1](), expected)
    assert "made again" in caplog.text
    assert set(manifests(tmp_path)) == {folder}


def test_a_disk_without_room_for_what_is_recorded_is_told(make, tmp_path, monkeypatch):
    engine, run = make()

    def save(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(calibration.np, "save", save)
    with pytest.raises(InputError, match="no space left on the disk.*--engine-cache"):
        engine.calibrated(run, lambda: run)


def test_without_products_of_int8_the_weights_alone_are_in_int8(make, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "read_processor", lambda: ("", {"avx2"}))
    _, run = make()
    assert signal_to_noise(run(), Model()(numbers(0)).numpy()) > 35
    ((folder, manifest),) = manifests(tmp_path).items()
    graph = (folder / "model.xml").read_text()
    assert "FakeQuantize" not in graph and 'element_type="i8"' in graph
    assert manifest["key"]["quantised"]["activations"] is False


def test_samples_are_spread_over_all_calls_and_over_both_of_two_kinds(tmp_path):
    samples = Samples(tmp_path)
    for number in range(50):
        samples.add({"x": np.array([number]), "same": np.zeros(3)})
    kept = [int(sample["x"][0]) for sample in samples.read()]
    assert len(kept) <= 13 and kept[0] == 0 and kept[-1] > 40 and {number % 2 for number in kept} == {0, 1}
    assert np.array_equal(samples.read()[2]["same"], np.zeros(3))


@pytest.mark.parametrize(
    ("weights", "engine", "is_stored", "message"),
    [
        ("int8", "onnx", False, "engine onnx has no weights in 'int8'; engine openvino with them"),
        ("int8", "auto", True, "engine auto has no weights in 'int8'; engine openvino or eager with them"),
        ("fp8", "openvino", True, "engine openvino has no weights in 'fp8'; engine eager with them"),
        ("int8", "eager", False, "engine eager has no weights in 'int8'; engine openvino with them"),
        ("fp8", "openvino", False, "weights 'fp8' are not for this model; weights int8 with engine openvino are"),
    ],
)
def test_weights_that_an_engine_cannot_have_are_refused(weights, engine, is_stored, message):
    with pytest.raises(InputError, match=message):
        check_weights(weights, engine, is_stored)
    check_weights("int8", "openvino", is_stored)
    check_weights("fp8", "eager", True)
