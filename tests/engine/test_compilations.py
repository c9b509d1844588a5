"""Compiled models of OpenVINO: the same numbers as compiling gives, and what happens to one that cannot be used."""

import json
import shutil
from dataclasses import replace

import numpy as np
import openvino
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.engine import cache as cache_module
from ppdiffusers_ext.engine import compilations
from ppdiffusers_ext.engine.backends import BACKENDS
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.engine.weights_file import digest_of_file, read_index, write_weights
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.layers import Conv2D, Linear


class Model(nn.Layer):
    def __init__(self):
        super().__init__()
        paddle.seed(0)
        self.convolution, self.linear, self.norm = Conv2D(4, 16, 3, padding=1), Linear(16, 8), nn.LayerNorm(8)
        self.eval()

    def forward(self, x):
        return self.norm(self.linear(self.convolution(x).transpose([0, 2, 3, 1])))


NETWORK = Model()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache with one export, and what it gave as it was compiled."""
    folder = tmp_path_factory.mktemp("made") / "cache"
    return folder, run(folder)


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "cache")
    return tmp_path / "cache"


@paddle.no_grad()
def run(folder, backend=BACKENDS["openvino"], precision="float32"):
    compiled = CompiledFunction("network", Network(NETWORK), backend, ExportCache(folder), 1, precision)
    paddle.seed(1)
    (output,) = compiled(lambda x: [NETWORK(x)], {"x": paddle.randn([2, 4, 6, 6])})
    return output.numpy()


def blobs(folder):
    return sorted(folder.glob("exports/*/compiled/*/model.blob"))


@pytest.fixture
def compiles(monkeypatch):
    """Grows with each model that OpenVINO compiles."""
    calls, compile_model = [], openvino.Core.compile_model
    monkeypatch.setattr(
        openvino.Core, "compile_model", lambda *given, **named: calls.append(1) or compile_model(*given, **named)
    )
    return calls


def test_an_export_is_compiled_once_and_gives_the_same_from_the_blob(made, folder, compiles):
    np.testing.assert_array_equal(run(folder), made[1])
    assert not compiles and len(blobs(folder)) == 1


def test_a_blob_has_no_weights(made):
    (blob,) = blobs(made[0])
    assert NETWORK.convolution.weight.numpy().tobytes() not in blob.read_bytes()


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def forge(path):
    """Other content with a manifest that fits it."""
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR." * 10)
    manifest = json.loads(path.with_name("manifest.json").read_text())
    digest = compilations.digest_of_file(path)
    manifest["files"] = {path.name: {"size": path.stat().st_size, "digest": digest}}
    path.with_name("manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "damage", [cut, flip, forge, lambda path: path.unlink()], ids=["cut", "flip", "forge", "gone"]
)
def test_a_damaged_blob_is_made_again_with_a_notice(made, folder, compiles, caplog, damage):
    damage(*blobs(folder))
    np.testing.assert_array_equal(run(folder), made[1])
    assert len(compiles) == 1 and "is damaged" in caplog.text and "made again" in caplog.text
    np.testing.assert_array_equal(run(folder), made[1])
    assert len(compiles) == 1


@pytest.mark.parametrize("other", ["processor", "version", "threads"])
def test_another_processor_version_or_option_has_a_blob_of_its_own(made, folder, compiles, monkeypatch, other):
    if other == "processor":
        monkeypatch.setattr(compilations, "read_processor", lambda: ("another", {"avx"}))
    if other == "version":
        monkeypatch.setattr(openvino, "get_version", lambda: "another")
    backend = BACKENDS["openvino"]
    if other == "threads":
        backend = replace(backend, open=lambda folder, _, precision: BACKENDS["openvino"].open(folder, 2, precision))
    np.testing.assert_allclose(run(folder, backend), made[1], atol=1e-6)
    assert len(compiles) == 1 and len(blobs(folder)) == 2


def test_without_room_for_a_blob_the_model_is_compiled_each_time(made, folder, compiles, monkeypatch, caplog):
    def full(path):
        raise InputError("no space left on the disk")

    shutil.rmtree(blobs(folder)[0].parent)
    monkeypatch.setattr(compilations, "output_folder", full)
    for count in (1, 2):
        np.testing.assert_array_equal(run(folder), made[1])
        assert len(compiles) == count and "is not kept (no space left on the disk)" in caplog.text


def test_narrow_weights_give_the_same_in_half_precision(tmp_path):
    wide = replace(BACKENDS["openvino"], stores=lambda precision: "float32")
    np.testing.assert_array_equal(
        run(tmp_path / "narrow", precision="bfloat16"), run(tmp_path / "wide", wide, "bfloat16")
    )


def test_matrices_and_kernels_are_stored_narrow_and_nothing_else(tmp_path):
    digest = write_weights(NETWORK, tmp_path / "w", transpose=True, dtype="bfloat16")
    assert digest == digest_of_file(tmp_path / "w" / "weights.bin")
    index = read_index(tmp_path / "w")
    narrow = {name for name, stored in index.items() if stored.dtype == "bfloat16"}
    assert narrow == {"convolution.weight", "linear.weight"}
    stored = index["linear.weight"]
    data = (tmp_path / "w" / "weights.bin").read_bytes()[stored.offset :][: stored.length]
    wide = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(8, 16).T
    error = np.abs(wide - NETWORK.linear.weight.numpy()) / np.abs(NETWORK.linear.weight.numpy())
    assert 0 < error.max() <= 2**-8


def test_weights_are_read_for_their_digest_once_until_they_change(made, folder, monkeypatch, caplog):
    read, digest_of_file = [], cache_module.digest_of_file
    monkeypatch.setattr(cache_module, "_LARGE", 1000)
    monkeypatch.setattr(cache_module, "digest_of_file", lambda path: read.append(path.name) or digest_of_file(path))
    run(folder)
    assert read.count("weights.bin") == 1
    run(folder)
    assert read.count("weights.bin") == 1
    (weights,) = folder.glob("exports/*/weights.bin")
    flip(weights)
    np.testing.assert_array_equal(run(folder), made[1])
    assert "weights.bin has other content" in caplog.text
