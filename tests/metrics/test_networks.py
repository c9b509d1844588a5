"""Opening networks of metrics: what is missing, what fetches it, and the engines."""

from pathlib import Path

import numpy as np
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.metrics.networks import NETWORKS, OpenedNetwork, check_networks, choose_engine, open_network
from ppdiffusers_ext.metrics.perceptual import PERCEPTUAL, perceptual_distance, perceptual_metric
from ppdiffusers_ext.models.metrics import LPIPS
from ppdiffusers_ext.pipelines.published import PUBLISHED
from ppdiffusers_ext.weights.inventory import items_of
from ppdiffusers_ext.weights.writing import write_torch
from tests.support.golden import Case, read_manifest

CASE = Case(Path(__file__).parents[1] / "goldens" / "metrics" / "lpips_alex")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """LPIPS by AlexNet as it is published: torchvision's file, whose classifier nobody reads, and the heads."""
    folder = tmp_path_factory.mktemp("weights")
    drawn = read_manifest(CASE.folder / "lpips_alex.weights.json")
    trunk = {f"features.{'.'.join(name.split('.')[2:])}": x for name, x in drawn.items() if name.startswith("net.")}
    (folder / "metrics").mkdir()
    write_torch(folder / NETWORKS["lpips_alex"].files[0], {**trunk, "classifier.6.bias": np.zeros(4, np.float32)})
    heads = {name: x for name, x in drawn.items() if name.startswith("lin")}
    write_torch(folder / NETWORKS["lpips_alex"].files[1], heads)
    return folder


@pytest.fixture(scope="module")
def pictures():
    return [CASE.tensors("inputs")[f"pair1.{letter}"].numpy() for letter in "ab"]


def test_files_are_where_the_registry_puts_them():
    paths = {item.path: item.weights.name for item in items_of(PUBLISHED)}
    for network in NETWORKS.values():
        assert [paths[file] for file in network.files] == list(network.checkpoints)


def test_published_files_are_opened_and_give_the_originals_distances(folder, pictures):
    network = open_network("lpips_alex", folder, engine="eager")
    expected = float(CASE.tensors("outputs")["pair1.distance"])
    metric = perceptual_metric("lpips_alex")
    assert perceptual_distance(metric, network, *pictures) == pytest.approx(expected, abs=1e-6)
    assert perceptual_distance(metric, network, pictures[0], pictures[0]) == 0


def test_missing_weights_are_named_with_the_command_that_fetches_them(folder, tmp_path):
    names = ["lpips_alex", "inception_fid", "i3d_fvd", "i3d_videogpt"]
    with pytest.raises(MissingFileError) as caught:
        check_networks(names, folder)
    assert str(caught.value) == (
        "inception_fid and i3d_fvd and i3d_videogpt need metrics/i3d_pretrained_400.pt, "
        f"metrics/pt_inception-2015-12-05-6726825d.pth in {folder}; `python scripts/download_weights.py "
        f"--only I3D-Kinetics-400 --only FID-Inception --dest {folder}` fetches what is missing"
    )
    with pytest.raises(MissingFileError, match="lpips_vgg needs LPIPS/vgg16-397923af.pth, LPIPS/vgg.pth in "):
        open_network("lpips_vgg", tmp_path)
    check_networks(["lpips_alex"], folder)


def test_default_folder_needs_no_dest(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="`python scripts/download_weights.py --only FID-Inception` fetches"):
        open_network("inception_fid")


def test_weights_of_another_network_are_refused(folder, tmp_path):
    (tmp_path / "metrics").mkdir()
    file = NETWORKS["inception_fid"].files[0]
    (tmp_path / file).symlink_to(folder / NETWORKS["lpips_alex"].files[0])
    with pytest.raises(InputError, match="does not hold the weights of this InceptionV3"):
        open_network("inception_fid", tmp_path, engine="eager")


def test_unknown_names_are_told_with_those_that_are_known(folder):
    with pytest.raises(InputError, match="'lpips' of metrics is not known; lpips_alex, "):
        open_network("lpips", folder)
    with pytest.raises(InputError, match="'lpips' is not known; lpips_alex, lpips_vgg, disco_lpips are"):
        perceptual_metric("lpips")
    with pytest.raises(InputError, match="'tensorrt' of metrics is not known; use one of auto, eager, "):
        choose_engine("tensorrt")


@pytest.mark.parametrize("engine, precision", [("eager", "bfloat16"), ("onnx", "bfloat16"), ("openvino", "int8")])
def test_precision_that_an_engine_has_not_is_refused(engine, precision):
    with pytest.raises(InputError, match=f"engine {engine} has no metrics in '{precision}'; float32"):
        choose_engine(engine, precision)


def test_metric_is_not_computed_by_another_network(pictures):
    network = OpenedNetwork("lpips_alex", LPIPS("alex"))
    with pytest.raises(InputError, match="disco_lpips by lpips_alex; lpips_vgg is needed"):
        perceptual_distance(PERCEPTUAL["disco_lpips"], network, *pictures)
    with pytest.raises(ValueError, match=r"\(64, 64, 3\), the truth \(32, 64, 3\)"):
        perceptual_distance(PERCEPTUAL["lpips_alex"], network, pictures[0], pictures[1][:32])


@pytest.mark.long
@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_compiled_engine_gives_what_paddle_gives(folder, pictures, engine, tmp_path):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[engine])
    metric, networks = PERCEPTUAL["lpips_alex"], [
        open_network("lpips_alex", folder, name, cache_folder=tmp_path) for name in ("eager", engine)]  # fmt: skip
    eager, compiled = (perceptual_distance(metric, network, *pictures) for network in networks)
    assert compiled == pytest.approx(eager, rel=1e-4)
    assert perceptual_distance(metric, networks[1], pictures[0], pictures[0]) == 0
    back = perceptual_distance(metric, networks[1], *pictures[::-1])
    assert back == compiled
