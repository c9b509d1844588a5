"""Weights that are missing are named with what needs them and what fetches them."""

import hashlib

import pytest

from ppdiffusers_ext.errors import MissingFileError
from ppdiffusers_ext.metrics.networks import NETWORKS
from ppdiffusers_ext.metrics.protocol import read_protocol
from ppdiffusers_ext.metrics.weights import check_weights
from ppdiffusers_ext.pipelines.published import PUBLISHED

OTHERS = {"arcface": ("faces/glintr100.onnx", "antelopev2")}
METRICS = read_protocol("stable_animator").metrics()


def test_all_that_is_missing_is_named_with_the_command(tmp_path):
    (tmp_path / "LPIPS").mkdir()
    (tmp_path / NETWORKS["lpips_vgg"].files[1]).write_bytes(b"x")
    with pytest.raises(MissingFileError) as told:
        check_weights(METRICS, tmp_path, OTHERS)
    words = str(told.value)
    for name, metric in (("inception_fid", "fid"), ("i3d_fvd", "fvd"), ("resnet3d_fidvid", "fid_vid")):
        assert f"{metric} needs {NETWORKS[name].files[0]}" in words
        assert f"--only {NETWORKS[name].checkpoints[0]}" in words
    assert f"disco_lpips needs {NETWORKS['lpips_vgg'].files[0]}" in words
    assert f"disco_lpips needs {NETWORKS['lpips_vgg'].files[1]}" not in words
    assert "csim_arcface needs faces/glintr100.onnx" in words and "--only antelopev2" in words
    assert f"--dest {tmp_path}" in words


def test_checkpoints_that_are_named_can_be_fetched():
    published = {entry.name for entry in PUBLISHED}
    assert {name for network in NETWORKS.values() for name in network.checkpoints} <= published


def test_weights_that_are_there_are_told_by_their_digests(tmp_path):
    file = tmp_path / "faces" / "glintr100.onnx"
    file.parent.mkdir()
    chosen = [metric for metric in METRICS if metric.name in ("csim_arcface", "disco_ssim")]
    digests = []
    for content in (b"a", b"b", b"a"):
        file.write_bytes(content)
        weights = check_weights(chosen, tmp_path, OTHERS)
        ((path, sha256),) = dict(weights.digests)["arcface"]
        digests.append(sha256)
    assert digests[0] == hashlib.sha256(b"a").hexdigest() == digests[2] != digests[1]
    assert path == "faces/glintr100.onnx"
    assert weights.engine == ""  # ONNX Runtime's, always
