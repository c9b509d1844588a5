"""EasyAnimate's training on the goldens' networks: what it writes, how it goes on, and what it refuses."""

import json
import shutil

import numpy as np
import paddle
import pytest
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.models.easy_animate.checkpoint import original_config
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.parser import parse_options
from ppdiffusers_ext.training.trainers import TRAINERS
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import to_array
from scripts.training import main
from tests.support.easy_folders import write_easy
from tests.support.golden import read_manifest
from tests.training.easy_animate.small import settings, write_clips

STEPS = 4  # of three clips: the run goes on inside of an epoch
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of models by version, and the meta file of four clips."""
    root = tmp_path_factory.mktemp("easy")
    for version in ("v4", "v3"):
        write_easy(root / version, version)
    return {"v4": root / "v4", "v3": root / "v3", "meta": write_clips(root / "clips", 4)}


@pytest.fixture(scope="module")
def train(places):
    def run(folder, version="v4", **options):
        return main("easy_animate", settings(folder, places[version], places["meta"], version, **options))

    return run


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    """The output folder of a run with an average of weights and validation at its end."""
    folder = tmp_path_factory.mktemp("finished")
    validation = {"validation_steps": 9, "validation_clips": 1, "validation_inference_steps": 1}
    validation["validation_metrics"] = "psnr,flicker_second_difference"  # there is no truth for the former
    assert train(folder, max_steps=STEPS, save_steps=2, ema_decay=0.5, **validation) == 0
    return folder / "out"


def test_video_of_a_prompt_has_the_numbers_that_need_no_truth(finished):
    numbers = json.loads((finished / "validation.json").read_text())
    assert {name: len(points) for name, points in numbers.items()} == {"loss": 1, "flicker_second_difference": 1}


def weights(folder):
    return (folder / WEIGHTS).read_bytes()


def test_checkpoint_has_the_transformer_as_the_original_has_it(finished):
    folder = checkpoints.folder_of(finished, 2)
    config = json.loads((folder / "transformer" / "config.json").read_text())
    assert config["_class_name"] == "HunyuanTransformer3DModel"
    tensors = load_tensors(folder / WEIGHTS)
    golden = read_manifest("tests/goldens/easy_animate/v4_pipeline_inpaint/transformer.weights.json")
    assert {name for name in golden if "pe" not in name.split(".")} >= tensors.keys() > {"clip_padding"}
    assert all(tensors[name].shape == list(golden[name].shape) for name in tensors)


def test_everything_is_trained_the_parameters_of_the_root_too(finished, places):
    before = load_tensors(places["v4"] / WEIGHTS)
    after = load_tensors(checkpoints.folder_of(finished, STEPS) / WEIGHTS)
    same = [name for name in after if np.array_equal(to_array(after[name]), to_array(before[name]))]
    assert same == []


def test_checkpoints_and_the_output_are_opened_as_pipelines(finished):
    for folder, average in ((checkpoints.folder_of(finished, STEPS), False), (finished, True)):
        pipeline = DiffusionPipeline.from_pretrained(str(folder))
        assert type(pipeline) is EasyAnimateInpaintPipeline
        transformer = pipeline._network("transformer").load()
        name = "blocks.0.attn1.to_q.weight"
        saved = load_tensors(folder / WEIGHTS)[name].numpy()
        np.testing.assert_array_equal(dict(transformer.named_parameters())[name].numpy().T, saved)
        averages = load_tensors(checkpoints.folder_of(finished, STEPS) / "ema.safetensors")
        assert np.array_equal(averages[f"transformer.{name}"].numpy().T, saved) == average
        assert original_config(transformer) == json.loads((folder / "transformer" / "config.json").read_text())


def test_validation_makes_a_video_of_the_caption(finished):
    (path,) = (finished / "samples").iterdir()
    width, height = read_image(path).size
    assert path.name == f"step-000000{STEPS}.png" and width >= 3 * 64 and height >= 64


def test_run_goes_on_inside_of_an_epoch_to_the_same_bits(finished, train, tmp_path):
    shutil.copytree(checkpoints.folder_of(finished, 2), checkpoints.folder_of(tmp_path / "out", 2))
    validation = {"validation_steps": 9, "validation_clips": 1, "validation_inference_steps": 1}
    assert train(tmp_path, max_steps=STEPS, save_steps=2, ema_decay=0.5, **validation) == 0
    assert weights(tmp_path / "out") == weights(finished)
    last = [checkpoints.folder_of(folder, STEPS) for folder in (tmp_path / "out", finished)]
    assert weights(last[0]) == weights(last[1])
    assert (last[0] / "ema.safetensors").read_bytes() == (last[1] / "ema.safetensors").read_bytes()


def test_came_goes_on_to_the_same_bits_and_no_run_of_another_optimiser(train, tmp_path, capsys):
    options = {"max_steps": 3, "save_steps": 2, "use_came": True}
    assert train(tmp_path / "whole", **options) == 0
    folder = checkpoints.folder_of(tmp_path / "whole" / "out", 2)
    shutil.copytree(folder, checkpoints.folder_of(tmp_path / "part" / "out", 2))
    assert train(tmp_path / "part", **options | {"use_came": False}) == 2
    assert "use_came" in said(capsys)
    assert train(tmp_path / "part", **options) == 0
    assert weights(tmp_path / "part" / "out") == weights(tmp_path / "whole" / "out")
    state = sum(path.stat().st_size for path in folder.glob("optimizer*"))
    assert 4 < state / (folder / WEIGHTS).stat().st_size * 4 < 8  # bytes for each parameter; AdamW has 8


def test_gradient_checkpointing_changes_no_bits_and_accumulated_batches_are_one_large_batch(train, tmp_path):
    runs = {
        "large": {"per_device_train_batch_size": 2},
        "checkpointed": {"per_device_train_batch_size": 2, "gradient_checkpointing": True},
        "accumulated": {"gradient_accumulation_steps": 2},
    }
    for name, options in runs.items():
        # With such an epsilon Adam's steps are as the gradients, not as their signs.
        options |= {"adam_epsilon": 1.0, "learning_rate": 0.1, "max_steps": 1, "save_strategy": "no"}
        assert train(tmp_path / name, **options) == 0
    assert weights(tmp_path / "checkpointed" / "out") == weights(tmp_path / "large" / "out")
    large, accumulated = (load_tensors(tmp_path / name / "out" / WEIGHTS) for name in ("large", "accumulated"))
    for name, tensor in large.items():
        np.testing.assert_allclose(accumulated[name].numpy(), tensor.numpy(), atol=1e-6, err_msg=name)


def test_only_what_is_named_is_trained_and_slower_where_that_is_asked_for(train, places, tmp_path):
    """Adam's first steps are as long as the learning rate, whatever the gradient."""
    modules = {"trainable_modules": ["blocks.0.attn1"], "trainable_modules_low_learning_rate": ["blocks.1.attn1"]}
    options = {"learning_rate": 1e-4, "weight_decay": 0.0, "max_steps": 1, "save_strategy": "no"}
    assert train(tmp_path, **modules, **options) == 0
    before, after = (load_tensors(folder / WEIGHTS) for folder in (places["v4"], tmp_path / "out"))
    moved = {name: float((after[name] - before[name]).abs().max()) for name in after}
    for name, distance in moved.items():
        length = 1e-4 if "blocks.0.attn1" in name else 5e-5 if "blocks.1.attn1" in name else 0
        assert distance == pytest.approx(length, rel=0.05), name


def test_v3_learns_with_its_own_loss(train, tmp_path, capsys):
    options = {"trainable_modules": ["attn_temporal", "proj_out"], "max_steps": 1, "save_strategy": "no"}
    assert train(tmp_path, "v3", **options) == 0
    config = json.loads((tmp_path / "out" / "transformer" / "config.json").read_text())
    assert config["_class_name"] == "Transformer3DModel"


def said(capsys):
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestep_sampling": "uniform"}, "timestep_sampling was logit_normal, is uniform"),
        ({"video_sample_n_frames": 16}, "data.video_sample_n_frames was 8, is 16"),
        ({"trainable_modules": ["blocks"]}, "trained_tensors was"),
        ({"trainable_modules": ["blcks"]}, "--trainable_modules has 'blcks', which no name of a parameter contains"),
        ({"seed": 4}, "seed was 3, is 4"),
    ],
)
def test_checkpoint_of_another_configuration_is_refused(finished, train, tmp_path, capsys, options, message):
    shutil.copytree(checkpoints.folder_of(finished, 2), checkpoints.folder_of(tmp_path / "out", 2))
    given = {"validation_steps": 9, "validation_clips": 1, "max_steps": STEPS, "ema_decay": 0.5, **options}
    assert train(tmp_path, **given) == 2
    assert message in said(capsys)


def test_checkpoint_of_a_vae_in_the_transformers_place_is_refused(train, places, tmp_path, capsys):
    assert train(tmp_path, transformer_path=str(places["v4"] / "vae")) == 2
    line = said(capsys)
    assert "v4/vae/" in line and "tensors unexpected (decoder.conv_in.bias" in line
    assert not (tmp_path / "out").exists()


def test_loss_that_is_not_finite_stops_the_run_and_names_the_clip(train, tmp_path, capsys):
    assert train(tmp_path, learning_rate=1e30, max_steps=3, max_grad_norm=0) == 1
    line = said(capsys)
    assert line.startswith("error: the loss of step 2 is ") and ".mp4 at timestep" in line


@pytest.mark.parametrize(("epochs", "batch", "repeat", "steps"), [(1, 2, 1, 2), (1.5, 1, 1, 6), (2, 3, 2, 6)])
def test_epochs_are_counted_in_steps(places, tmp_path, epochs, batch, repeat, steps):
    options = {"num_train_epochs": epochs, "per_device_train_batch_size": batch, "video_repeat": repeat}
    trainer = TRAINERS["easy_animate"]
    given = parse_options(settings(tmp_path, places["v4"], places["meta"], **options), trainer.kinds)
    trainer.check(*given)
    assert given[2].max_steps == steps


def test_transformer_starts_at_random_where_that_is_asked_for(train, places, tmp_path):
    options = {"transformer_path": "none", "max_steps": 1, "save_strategy": "no", "learning_rate": 0.0}
    assert train(tmp_path, **options) == 0
    before, after = (load_tensors(folder / WEIGHTS) for folder in (places["v4"], tmp_path / "out"))
    assert before.keys() >= after.keys()
    name = "blocks.0.attn1.to_q.weight"
    assert not np.allclose(before[name].numpy(), after[name].numpy())
    assert paddle.isfinite(after[name]).all()
