"""What a training of StableAnimator will take: what makes it more or less, and how near to the truth it is."""

import pytest
import yaml

from ppdiffusers_ext.training.memory_plan import TrainingOptions
from ppdiffusers_ext.training.stable_animator.memory import plan_file, plan_training
from ppdiffusers_ext.training.stable_animator.options import StableDataArguments, StableModelArguments
from scripts import plan_memory
from scripts.command import run
from tests.scripts.test_trainers import ROOT

GB = 1e9
PUBLISHED = "stable-video-diffusion-img2vid-xt"  # which is not there


def plan(device="gpu", width=512, height=512, frames=16, whole=False, **options):
    """The published networks' peak in GB."""
    model = StableModelArguments(pretrained_model_name_or_path=PUBLISHED, train_whole_unet=whole)
    data = StableDataArguments(
        data_path="clips.txt", dataset_width=width, dataset_height=height, sample_n_frames=frames
    )
    (memory,) = plan_training(model, data, TrainingOptions(**options), device, program=GB).values()
    return memory.peak / GB


@pytest.mark.long
def test_what_takes_less_takes_less():
    most = plan(level="O1")
    for options in ({"checkpointing": True}, {"width": 256}, {"frames": 8}, {"sharding": 1, "processes": 4}):
        assert plan(**{"level": "O1", **options}) < 0.97 * most, options
    assert plan() > most > plan(level="O2")
    assert plan(level="O1", batch=2) > most < plan(level="O1", ema=True)
    assert plan(level="O1", whole=True) > most
    stages = [plan(level="O1", sharding=stage, processes=4) for stage in (1, 2, 3)]
    assert stages == sorted(stages, reverse=True) and stages[0] > stages[2]
    assert plan("cpu") > plan("gpu")  # which keeps no scores of attention


def test_published_networks_have_as_many_parameters_as_they_have():
    (memory,) = plan_training(
        StableModelArguments(pretrained_model_name_or_path=PUBLISHED),
        StableDataArguments(data_path="clips.txt"),
        TrainingOptions(),
        "gpu",
    ).values()
    assert memory.parts["weights"] == 4 * 1_607_570_911
    assert memory.parts["gradients"] == 4 * 853_383_045


def test_configuration_for_24_gb_is_predicted_to_fit():
    (memory,) = plan_file(ROOT / "configs" / "training" / "stable_animator_24gb.yaml", "gpu").values()
    assert memory.peak < 22e9
    original = plan_file(ROOT / "configs" / "training" / "stable_animator.yaml", "gpu")
    assert list(original) == [(512, 512), (576, 1024)]
    assert 24e9 < original[512, 512].peak < original[576, 1024].peak


def test_command_tells_each_size_and_bad_input(tmp_path, capsys):
    def call(*words):
        return run(plan_memory.make_parser(), plan_memory.work, [str(word) for word in words])

    path = ROOT / "configs" / "training" / "stable_animator.yaml"
    assert call("--train", path, "--device", "gpu", "--processes", 4) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["512x512", "576x1024"]
    assert "GB of its GPU's memory (" in lines[0] and "activations" in lines[0]
    assert call("--train", path, "--processes", 0) == 2
    assert "--processes is 0; a whole number from 1" in capsys.readouterr().err
    assert call("--train", tmp_path / "nowhere.yaml") == 2
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({"data_path": "a.txt", "dataset_width": 100}))
    assert call("--train", tmp_path / "bad.yaml") == 2
    assert "100x512 cannot be trained on" in capsys.readouterr().err


@pytest.mark.parametrize("options, level", [({}, "fp32"), ({"bf16": True}, "O1"), ({"mixed_precision": "fp16"}, "O1")])
def test_precision_of_a_file_is_understood(tmp_path, options, level):
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"data_path": "a.txt", "per_gpu_batch_size": 1, **options}))
    (memory,) = plan_file(path, "gpu").values()
    assert memory.peak / GB == pytest.approx(plan(level=level), rel=1e-6)
