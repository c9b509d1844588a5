"""What VisualDL is given: numbers of one name in two folders, which it takes for runs and draws into one chart."""

from types import SimpleNamespace

import numpy as np
import pytest
from visualdl import LogReader

from ppdiffusers_ext.training.curves import Curves

STATE = SimpleNamespace(is_world_process_zero=True, global_step=3)


@pytest.fixture
def written(tmp_path):
    """Readers of both folders, of a run that has logged a step and a validation."""
    arguments = SimpleNamespace(logging_dir=str(tmp_path / "runs" / "today"), to_json_string=lambda: "{}")
    curves = Curves()
    curves.on_train_begin(arguments, STATE, None)
    curves.on_log(arguments, STATE, None, {"loss": 0.5, "learning_rate": 1e-5, "note": "no number"})
    curves.on_log(arguments, STATE, None, {"eval_loss": 0.25, "eval_psnr": 20.0})
    curves.add_picture(np.zeros((8, 8, 3), np.uint8), 3)
    curves.on_train_end(arguments, STATE, None)
    files = {path.parent.name: path for path in (tmp_path / "runs").rglob("vdlrecords.*.log")}
    return {run: LogReader(file_path=str(path)) for run, path in files.items()}


def numbers(reader, tag):
    return [(record.id, round(record.value, 6)) for record in reader.get_data("scalar", tag)]


def test_loss_of_training_and_of_validation_have_one_name(written):
    assert written.keys() == {"train", "validation"}
    assert numbers(written["train"], "loss") == [(3, 0.5)]
    assert numbers(written["validation"], "loss") == [(3, 0.25)]


def test_each_number_is_where_it_belongs(written):
    tags = {run: set(reader.get_tags().get("scalar", ())) for run, reader in written.items()}
    assert tags == {"train": {"loss", "learning_rate"}, "validation": {"loss", "psnr"}}
    assert "samples" in written["validation"].get_tags()["image"]


def test_other_processes_write_nothing(tmp_path):
    arguments = SimpleNamespace(logging_dir=str(tmp_path), to_json_string=lambda: "{}")
    curves = Curves()
    curves.on_train_begin(arguments, SimpleNamespace(is_world_process_zero=False), None)
    curves.on_log(arguments, STATE, None, {"loss": 0.5})
    curves.add_picture(np.zeros((8, 8, 3), np.uint8), 3)
    assert list(tmp_path.iterdir()) == []
