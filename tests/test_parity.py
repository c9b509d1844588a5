"""The goldens of the original, and the runner that compares us with them."""

import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

from tests import parity
from tests.parity_animate_anyone import MODULE
from tests.support.golden import Case

GOLDENS = Path(__file__).parent / "goldens"
CASES = {
    f"{system.name}-{case.name}": case
    for system in sorted(GOLDENS.iterdir())
    if system.is_dir()
    for case in parity.find_cases(system)
}
ANIMATE_ANYONE = GOLDENS / "animate_anyone"
# Networks of metrics have no smaller form.
LONG = {"metrics-lpips_vgg", "metrics-inception_fid", "metrics-i3d_fvd", "metrics-resnet3d_fidvid"}


def copy_case(name, folder, new_name=None):
    """A copy of a case of Animate Anyone, with the weights that it refers to, in another folder."""
    target = folder / (new_name or name)
    shutil.copytree(ANIMATE_ANYONE / name, target)
    shutil.copytree(ANIMATE_ANYONE / "_weights", folder / "_weights", dirs_exist_ok=True)
    return target


def change(path, function):
    """Rewrite a safetensors file with `function(name, array)` for every tensor."""
    save_file({name: np.ascontiguousarray(function(name, array)) for name, array in load_file(path).items()}, path)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in CASES])
def test_golden_case_agrees_with_the_original(name):
    rows = parity.run_case(CASES[name])
    assert rows
    assert [row for row in rows if row["ok"] is False] == []


def test_command_passes_on_a_case_that_agrees(tmp_path, capsys):
    copy_case("pose_guider", tmp_path)
    assert parity.main([str(tmp_path)]) == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out


def test_command_fails_on_a_perturbed_output(tmp_path, capsys):
    case = copy_case("pose_guider", tmp_path)
    change(case / "outputs.safetensors", lambda name, array: array + np.float32(2 * MODULE))
    assert parity.main([str(tmp_path)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_command_fails_on_perturbed_weights(tmp_path):
    case = copy_case("pose_guider", tmp_path)
    path = case / json.loads((case / "weights.json").read_text())["pose_guider"]
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "seed": manifest["seed"] + 1}))
    assert parity.main([str(tmp_path)]) == 1


def test_command_fails_on_a_case_that_has_no_runner(tmp_path, capsys):
    (tmp_path / "novelty").mkdir()
    (tmp_path / "novelty" / "config.json").write_text("{}")
    assert parity.main([str(tmp_path)]) == 1
    assert "no runner" in capsys.readouterr().out


def test_command_refuses_a_folder_without_cases(tmp_path):
    with pytest.raises(SystemExit) as exit_info:
        parity.main([str(tmp_path)])
    assert exit_info.value.code == 2


def test_json_holds_the_five_keys_of_every_row(tmp_path):
    copy_case("pose_guider", tmp_path)
    parity.main([str(tmp_path), "--json", str(tmp_path / "rows.json")])
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert set(row) == {"case", "tensor", "max_abs_error", "tolerance", "ok"}
    assert (row["case"], row["tensor"], row["ok"]) == ("pose_guider", "features", True)
    assert 0 < row["max_abs_error"] <= row["tolerance"]


def test_case_option_runs_that_case_only(tmp_path):
    for name in ("pose_guider", "motion_module"):
        copy_case(name, tmp_path)
    parity.main([str(tmp_path), "--case", "motion_module", "--json", str(tmp_path / "rows.json")])
    assert {row["case"] for row in json.loads((tmp_path / "rows.json").read_text())} == {"motion_module"}


def test_case_of_another_name_suffix_and_folder_runs(tmp_path):
    copy_case("motion_module", tmp_path / "elsewhere", "motion_module_seed7")
    (row,) = parity.run_case(Case(tmp_path / "elsewhere" / "motion_module_seed7"))
    assert row["ok"]


def test_case_of_another_length_and_size_runs(tmp_path):
    # Frames and pixels are independent of each other in the pose guider, so a part of a case is a case.
    case = copy_case("pose_guider", tmp_path, "pose_guider_short")
    change(case / "inputs.safetensors", lambda name, array: array[:, :, :1])
    change(case / "outputs.safetensors", lambda name, array: array[:, :, :1])
    (row,) = parity.run_case(Case(case))
    assert row["ok"]


def test_longest_matching_runner_name_is_taken():
    runners = {"denoising_unet": 1, "denoising_unet_with_reference": 2}
    assert parity.runner_of("denoising_unet_with_reference_b", runners) == 2
    assert parity.runner_of("denoising_unet_b", runners) == 1


def test_runner_name_matches_whole_words_only():
    assert parity.runner_of("scheduler2", {"scheduler": 1}) is None


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros((1, 3)), np.zeros(3)),
        (np.zeros(3), np.zeros(())),
        (np.array([0.0, np.nan]), np.zeros(2)),
        (np.array([0.0, np.inf]), np.array([0.0, np.inf])),
        (paddle.full([2], float("nan")), np.zeros(2)),
        ([[0, 1]], [[0, 2]]),
    ],
)
def test_error_is_infinite_for_other_shapes_and_values_that_are_not_finite(ours, expected):
    assert parity.max_abs_error(ours, expected) == float("inf")


def test_error_is_the_largest_absolute_difference():
    assert parity.max_abs_error(paddle.to_tensor([1.0, -2.0]), np.array([1.5, 1.0])) == 3.0


def test_nan_in_the_golden_itself_is_no_agreement():
    error = parity.max_abs_error(np.zeros(2), np.array([0.0, np.nan]))
    assert not error <= 1.0
