"""LoRA trained beside EasyAnimate's small networks: its file, resumed runs, other settings, the text encoder's."""

import re
import shutil

import numpy as np
import paddle
import pytest
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_parts
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.easy_animate.lora_options import EasyLoraArguments
from ppdiffusers_ext.training.parser import parse_options
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.loading import read_checkpoint
from scripts.training import kinds_of, main
from tests.support.easy_folders import config_for, write_easy
from tests.training.easy_animate.small import settings, write_clips

FILE, STATE = "lora_diffusion_pytorch_model.safetensors", "lora_state.safetensors"
RATE = 1.0e-3
# Of bf16, whose file has fewer digits than what is trained.
OPTIONS = {"rank": 4, "network_alpha": 2, "train_text_encoder": True, "mixed_precision": "bf16", "learning_rate": RATE}


def train(folder, data, **others):
    model, meta = data
    return main("easy_animate_lora", settings(folder, model, meta, **{**OPTIONS, **others}))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_easy(folder / "model", "v4")
    (folder / "clips").mkdir()
    return folder / "model", write_clips(folder / "clips")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Output folder of a run of two steps, with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("trained")
    assert train(folder, data) == 0
    return folder / "out"


def arrays(path):
    return {name: tensor.astype("float32").numpy() for name, tensor in load_tensors(path).items()}


def moves(path):
    """Largest absolute number of the weights that were zero at first: of the transformer's, and the text encoder's."""
    ups = {name: np.abs(array).max() for name, array in arrays(path).items() if name.endswith("lora_up.weight")}
    of_text = [value for name, value in ups.items() if name.startswith("lora_te_")]
    return max(value for name, value in ups.items() if name.startswith("lora_unet__")), max(of_text)


def test_output_folder_has_the_file_alone_and_checkpoints_the_state_as_well(trained):
    assert {path.name for path in trained.iterdir() if path.is_file()} == {FILE, "pipeline.yaml"}
    for number in (1, 2):
        names = {path.name for path in checkpoints.folder_of(trained, number).iterdir()}
        assert {FILE, STATE, "optimizer.pdopt", "manifest.json"} <= names
    last = checkpoints.folder_of(trained, 2)
    assert (trained / FILE).read_bytes() == (last / FILE).read_bytes()
    file, state = read_checkpoint(last / FILE), read_checkpoint(last / STATE)
    assert {str(tensor.dtype) for tensor in file.tensors.values()} == {"paddle.bfloat16"}
    assert sorted(file.metadata) == ["sshs_legacy_hash", "sshs_model_hash"]
    for name, tensor in state.tensors.items():
        assert tensor.dtype == paddle.float32
        np.testing.assert_array_equal(file.tensors[name].numpy(), tensor.astype("bfloat16").t().numpy())


def test_text_encoder_learns_at_half_of_the_rate(trained):
    of_transformer, of_text = moves(checkpoints.folder_of(trained, 1) / STATE)
    np.testing.assert_allclose([of_transformer, of_text], [RATE, RATE / 2], rtol=1e-2)  # of Adam's first step


def test_inference_merges_the_file_and_the_base_stays(data, trained):
    folder, _ = data
    plain, merged = (
        {
            name: part.load().state_dict()
            for name, part in describe_parts(config_for(folder, "v4", loras=loras)).items()
        }
        for loras in ([], [(str(trained / FILE), 0.8)])
    )
    changed = {part: [n for n in plain[part] if not bool((plain[part][n] == merged[part][n]).all())] for part in plain}
    ups = {name: array for name, array in arrays(trained / FILE).items() if name.endswith("up.weight")}
    # CLIP's part has no gradient where no sample's picture is seen.
    learned = [name for name, array in ups.items() if array.any()]
    of_text = sum(name.startswith("lora_te_") for name in learned)
    assert len(changed["transformer"]) == len(learned) - of_text > 0.8 * len(ups)
    assert len(changed["text_encoder"]) == of_text > 5
    assert changed["vae"] == changed["text_encoder_2"] == changed["image_encoder"] == []


def test_output_folder_and_checkpoints_open_as_pipelines_with_the_lora(data, trained):
    merged = describe_parts(config_for(data[0], "v4", loras=[(str(trained / FILE), 1.0)]))["transformer"].load()
    for folder in (trained, checkpoints.folder_of(trained, 2)):
        pipeline = DiffusionPipeline.from_pretrained(str(folder), device="cpu")
        assert type(pipeline) is EasyAnimateInpaintPipeline
        assert pipeline._network("transformer").loras == ((str(folder / FILE), 1.0),)
    for name, tensor in pipeline._network("transformer").load().state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), merged.state_dict()[name].numpy())


def test_resumed_run_ends_with_the_same_bits(data, trained, tmp_path):
    first = checkpoints.folder_of(trained, 1)
    shutil.copytree(first, tmp_path / "out" / first.name)
    assert train(tmp_path, data) == 0
    for name in (FILE, f"checkpoint-2/{FILE}", f"checkpoint-2/{STATE}"):
        assert (tmp_path / "out" / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"rank": 8}, "rank was 4, is 8"),
        (
            {"network_alpha": 4.5, "lora_target_modules": ["attn1."], "train_text_encoder": False},
            r"lora_target_modules was None, is \['attn1.'\]; network_alpha was 2.0, is 4.5; train_text_encoder was",
        ),
    ],
)
def test_checkpoint_of_other_settings_is_refused(data, trained, tmp_path, capsys, others, message):
    shutil.copytree(trained / "checkpoint-2", tmp_path / "out" / "checkpoint-2")
    assert train(tmp_path, data, **others) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"checkpoint-2 is of another run: {message}", error) and error.startswith("error: ")


def test_target_that_no_layer_has_is_told_and_nothing_is_written(data, tmp_path, capsys):
    assert train(tmp_path, data, lora_target_modules=["attn1.", "attn_9"]) == 2
    assert "--lora_target_modules 'attn_9' is in no layer's name" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.safetensors"))


@pytest.mark.parametrize("other", ["vae", "text_encoder", "lora"])
def test_weights_of_another_network_are_refused_in_the_transformers_place(data, trained, tmp_path, capsys, other):
    path = trained / FILE if other == "lora" else data[0] / other
    assert train(tmp_path, data, transformer_path=str(path)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and str(path) in error and "tensors unexpected" in error
    assert not (tmp_path / "out").exists()


def test_published_recipe_is_read():
    model, data, training = parse_options(
        ["configs/training/easy_animate_lora/v4.yaml"], kinds_of("easy_animate_lora")
    )
    assert (model.rank, model.network_alpha, training.learning_rate, training.max_grad_norm) == (128, 64, 1e-4, 0.05)
    assert data.train_mode == "inpaint" and training.bf16


@pytest.mark.parametrize("name", ["transformer_path", "motion_module_path"])
def test_random_weights_get_no_lora(name):
    with pytest.raises(InputError, match=f"--{name} none is for training all weights"):
        EasyLoraArguments(**{name: "none"})
    with pytest.raises(InputError, match="--lora_target_modules has an empty text"):
        EasyLoraArguments(lora_target_modules=["attn1", " "])
