"""What animations need of faces: how like they stay, the recogniser of a file."""

import json

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.stable_animator import IResNet
from ppdiffusers_ext.pipelines.stable_animator.faces import IdentityReport, find_small_face, load_recognizer
from ppdiffusers_ext.pipelines.stable_animator.refinement import embed_reference
from ppdiffusers_ext.weights.writing import write_safetensors
from tests.support.painted_faces import painted_faces, write_face_networks

FACE, SMALL = (30, 20, 70, 70), (80, 80, 90, 90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_face_networks(tmp_path_factory.mktemp("faces"))


def test_report_tells_the_same_face_from_another_and_from_none(folder, tmp_path):
    report = IdentityReport(folder, painted_faces((128, 128), FACE))
    other = painted_faces((128, 128), SMALL, FACE)  # the largest is another
    for frame in (painted_faces((128, 128), FACE), other, painted_faces((128, 128))):
        report.add(frame)
    same, another, none = report.values
    assert same == pytest.approx(1) and another < 0.9 and none is None
    assert str(report).endswith("in the mean, " + f"{another:.3f} at least; 1 of 3 frames show no face")
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["csim"] == report.values and written["frames_without_face"] == 1
    assert written["mean_csim"] == pytest.approx((same + another) / 2)


def test_report_says_that_there_are_no_faces(folder, tmp_path):
    nobody = painted_faces((128, 128))
    report = IdentityReport(folder, nobody)
    report.add(painted_faces((128, 128), FACE))
    assert str(report) == "no CSIM: the picture shows no face"
    report.write(tmp_path / "report.json")
    expected = {"picture_has_face": False, "mean_csim": None, "frames_without_face": None, "csim": [None]}
    assert json.loads((tmp_path / "report.json").read_text()) == expected
    report = IdentityReport(folder, painted_faces((128, 128), FACE))
    report.add(nobody)
    assert str(report) == "no CSIM: none of 1 frames shows a face"


def test_face_of_a_drawn_person_is_found_by_what_ships_and_embedded_by_a_small_recognizer(tmp_path, caplog):
    clip = synthetic_clip(0, 1, 256, 256, entrance=1, close=True, figures="detailed")  # begins with the reference
    write_recognizer(tmp_path / "r.safetensors", IResNet((1, 1, 1, 1), (4, 4, 4, 4), 16))
    face = find_small_face(tmp_path / "r.safetensors", clip.reference, "me.png")
    rows, columns = np.nonzero(clip.face[0])
    left, top, right, bottom = face.box
    assert columns.min() - 8 < left < right < columns.max() + 8 and rows.min() < top < bottom < rows.max() + 8
    assert (right - left) * (bottom - top) > 0.4 * clip.face[0].astype(bool).sum()
    expected = embed_reference(
        load_recognizer(tmp_path / "r.safetensors"), clip.reference, [int(v) for v in (top, bottom, left, right)]
    )
    np.testing.assert_array_equal(face.embedding, expected[0].numpy())
    assert find_small_face(tmp_path / "r.safetensors", np.zeros((64, 64, 3), np.uint8), "dark.png") is None
    assert "dark.png shows no face" in caplog.text


def write_recognizer(path, network):
    arrays = {name: np.asarray(value) for name, value in network.state_dict().items()}
    write_safetensors(path, arrays, {"format": "pd"})


def test_recognizer_has_the_layers_of_its_file(tmp_path):
    network = IResNet((1, 2, 1, 1), (4, 4, 8, 8), 16)
    write_recognizer(tmp_path / "r.safetensors", network)
    loaded, faces = load_recognizer(tmp_path / "r.safetensors"), paddle.randn([2, 3, 112, 112])
    network.eval()
    assert float((network(faces) - loaded(faces)).abs().max()) == 0
    arrays = {name: np.asarray(value) for name, value in network.state_dict().items()}
    arrays.pop("layer2.1.bn3.bias")
    write_safetensors(tmp_path / "r.safetensors", arrays, {"format": "pd"})
    with pytest.raises(InputError, match=r"1 tensor missing \(layer2.1.bn3.bias\)"):
        load_recognizer(tmp_path / "r.safetensors")
