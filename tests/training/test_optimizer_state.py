"""The optimiser's state goes on with another number of processes, and is refused where a part of it is missing."""

import json
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training import optimizer_state
from ppdiffusers_ext.training.optimizer_state import load_optimizer_state, make_optimizer_state, wait_for_shards
from ppdiffusers_ext.training.trainer import PartsTrainer
from ppdiffusers_ext.weights.checksums import sha256_of
from ppdiffusers_ext.weights.loading import read_state
from tests.support import toy_training

OPTIONS = {
    "do_train": True,
    "max_steps": 4,
    "save_steps": 2,
    "save_strategy": "steps",
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.01,
    "logging_steps": 1,
    "device": "cpu",
    "disable_tqdm": True,
    "report_to": "none",
}


def train(folder, code=0, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.yaml").write_text(yaml.safe_dump({**OPTIONS, "output_dir": str(folder / "out"), **options}))
    assert toy_training.run(str(folder / "toy.yaml")) == code
    return folder / "out"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The output folder of a run of one process that was not interrupted."""
    return train(tmp_path_factory.mktemp("whole"))


def divide(folder, last=2):
    """Make the checkpoint one of two processes with a shard each, of which only those before `last` are there."""
    state = read_state(folder / "optimizer.pdopt")
    names = sorted(key for key in state if not isinstance(state[key], dict))
    owners = sorted({name.partition("_moment")[0].partition("_beta")[0] for name in names})
    for rank in range(last):
        own = [key for key in names if owners.index(key.partition("_moment")[0].partition("_beta")[0]) % 2 == rank]
        shard = {key: state[key] for key in own} | {"LR_Scheduler": state["LR_Scheduler"]}
        paddle.save(shard, str(folder / f"optimizer.shard0{rank}.pdopt"))
    (folder / "optimizer.pdopt").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    files = [path for path in folder.iterdir() if path.name != "manifest.json"]
    manifest["files"] = {path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in files}
    manifest["run"] |= {"world_size": 2, "sharding": ["stage1"]}  # as earlier versions wrote
    (folder / "manifest.json").write_text(json.dumps(manifest))


def assert_equal(folder, other):
    state, expected = (read_state(each / "checkpoint-4" / "optimizer.pdopt") for each in (folder, other))
    assert set(state) == set(expected) and len(state) == 17  # of four tensors: two moments, two powers; the schedule
    for name in state.keys() - {"LR_Scheduler"}:
        np.testing.assert_array_equal(state[name].numpy(), expected[name].numpy())
    assert (folder / "toy.safetensors").read_bytes() == (other / "toy.safetensors").read_bytes()


def test_run_goes_on_from_two_shards_to_the_same_bits(whole, tmp_path):
    shutil.copytree(whole / "checkpoint-2", tmp_path / "out" / "checkpoint-2")
    divide(tmp_path / "out" / "checkpoint-2")
    assert_equal(train(tmp_path), whole)


def test_shard_that_is_missing_or_damaged_is_refused(whole, tmp_path, capsys):
    folder = tmp_path / "given"
    shutil.copytree(whole / "checkpoint-2", folder)
    divide(folder, last=1)
    train(tmp_path, 2, resume_from_checkpoint=str(folder))
    said = capsys.readouterr().err
    assert f"error: {folder} lacks the optimiser's state: 8 of 16 tensors, such as linear_" in said
    assert "are in none of its 1 files optimizer*.pdopt; the files of all processes" in said
    shard = folder / "optimizer.shard00.pdopt"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    train(tmp_path, 2, resume_from_checkpoint=str(folder))
    assert "cannot be used: optimizer.shard00.pdopt is damaged" in capsys.readouterr().err
    shard.unlink()
    train(tmp_path, 2, resume_from_checkpoint=str(folder))
    assert "cannot be used: optimizer.shard00.pdopt is missing" in capsys.readouterr().err


def test_another_number_of_samples_in_a_step_is_refused_with_the_option_that_keeps_it(whole, tmp_path, capsys):
    shutil.copytree(whole / "checkpoint-2", tmp_path / "out" / "checkpoint-2")
    train(tmp_path, 2, gradient_accumulation_steps=1)
    said = capsys.readouterr().err
    assert "samples_per_step was 2, is 1; --gradient_accumulation_steps 2 with 1 process, or another --output" in said


def optimizer_of(dtype="float32"):
    with paddle.utils.unique_name.guard():
        layer = paddle.nn.Linear(2, 3)
        if dtype != "float32":
            layer.to(dtype=dtype)
        optimizer = paddle.optimizer.AdamW(0.1, parameters=layer.parameters(), multi_precision=True)
        make_optimizer_state(optimizer)
        return layer, optimizer


def test_fp32_copies_of_half_precision_are_restored_and_used(tmp_path):
    """Not a step of them, for which Paddle has nothing on some CPUs."""
    _, optimizer = optimizer_of("bfloat16")
    state = optimizer.state_dict()
    for number, tensor in enumerate((*state["master_weights"].values(), *optimizer._accumulators["moment1"].values())):
        tensor.set_value(paddle.full_like(tensor, number + 1 / 3))
    paddle.save(state, str(tmp_path / "optimizer.pdopt"))
    layer, restored = optimizer_of("bfloat16")
    load_optimizer_state(restored, tmp_path)
    for number, parameter in enumerate(layer.parameters()):
        master = restored._master_weights[parameter.name]
        assert master.dtype == paddle.float32 and (master == number + 1 / 3).all()
        assert (restored._get_accumulator_master("moment1", parameter) == number + 2 + 1 / 3).all()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1], "is not the state of an optimiser"),
        ({"master_weights": 3}, "is not the state of an optimiser"),
        (
            {"linear_0.w_0_moment1_0": paddle.zeros([3, 2])},
            "moment1_0 is not of shape [2, 3]",
        ),
        (
            {"linear_0.w_0_moment1_0": paddle.zeros([2, 3], "float16")},
            "of shape [2, 3] and paddle.float32",
        ),
        ({"linear_0.w_0_moment1_0": 7}, "is not of shape [2, 3]"),
        ({"other": paddle.zeros([1])}, "lacks the optimiser's state: 8 of 8 tensors"),
    ],
)
def test_state_of_other_parameters_is_refused(tmp_path, state, message):
    paddle.save(state, str(tmp_path / "optimizer.pdopt"))
    with pytest.raises(ValueError) as error:
        load_optimizer_state(optimizer_of()[1], tmp_path)
    assert message in str(error.value)


def test_shards_of_other_machines_are_waited_for_and_missed(tmp_path, monkeypatch):
    (tmp_path / "optimizer.shard00.pdopt").touch()
    wait_for_shards(tmp_path, 1)
    later = threading.Timer(0.05, (tmp_path / "optimizer.shard01.pdopt").touch)
    later.start()
    wait_for_shards(tmp_path, 2)
    later.join()
    monkeypatch.setattr(optimizer_state, "_PATIENCE", 0.0)
    with pytest.raises(
        InputError, match=r"has 2 of 3 files optimizer\*\.pdopt .* that all machines share is accepted"
    ):
        wait_for_shards(tmp_path, 3)


@pytest.mark.parametrize(("processes", "batch", "parts"), [(1, 1, 12), (1, 2, 6), (2, 1, 6), (2, 3, 2), (4, 3, 1)])
def test_each_sample_is_in_one_step_whatever_the_number_of_processes(processes, batch, parts):
    """Of 12 samples in each step, from the third step on."""
    steps = {}
    for rank in range(processes):
        options = {"per_device_train_batch_size": batch, "dataset_world_size": processes, "dataset_rank": rank}
        trainer = SimpleNamespace(args=SimpleNamespace(**options), train_dataset=range(60))
        sampler = PartsTrainer._get_train_sampler(trainer)
        sampler.set_epoch(consumed_samples=24)
        for number, indices in enumerate(sampler):
            steps.setdefault(number // parts, []).extend(indices)
    assert {step: sorted(samples) for step, samples in steps.items()} == {
        step: list(range(24 + 12 * step, 36 + 12 * step)) for step in range(3)
    }
