"""Folders that training wrote, of LoRA: which checkpoint they open, and what of them is refused."""

import pytest
import yaml

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate import trained
from tests.support.easy_folders import write_easy
from tests.weights.test_lora import write as write_lora


@pytest.fixture
def places(tmp_path):
    """A checkpoint, and a folder of training with its LoRA."""
    write_easy(tmp_path / "model", "v4")
    (tmp_path / "out").mkdir()
    write_lora(tmp_path / "out" / "lora.safetensors", {"proj_out": (32, 32)})
    return tmp_path / "model", tmp_path / "out"


def write(out, **options):
    (out / "pipeline.yaml").write_text(yaml.safe_dump(options))


def test_folder_is_recognised_and_read_by_its_checkpoint(places):
    model, out = places
    assert trained.recognises(out) == (False, False)
    write(out, model=str(model), loras=[["lora.safetensors", 0.5]])
    assert trained.recognises(out) == trained.recognises(model) == (True, True)
    config = trained.read_folder(out, {"num_inference_steps": 3})
    assert (config.model, config.loras) == (str(model), [[str(out / "lora.safetensors"), 0.5]])
    assert config.num_inference_steps == 3
    assert trained.read_folder(out, {"lora": [["other.safetensors", 1.0]]}).loras == [["other.safetensors", 1.0]]


@pytest.mark.parametrize("loras", [3, "lora.safetensors", ["lora.safetensors"], [[1, 2]], [["a", "much"]], {"a": 1}])
def test_loras_that_are_no_pairs_are_refused(places, loras):
    model, out = places
    write(out, model=str(model), loras=loras)
    with pytest.raises(InputError, match="loras"):
        trained.read_folder(out, {})


@pytest.mark.parametrize("model", [None, 3, ["a"], "nowhere"])
def test_folder_without_its_checkpoint_is_not_recognised_or_refused(places, model):
    _, out = places
    write(out, model=model, loras=[["lora.safetensors", 0.5]])
    assert trained.recognises(out) == (False, False)
    with pytest.raises(InputError):
        trained.read_folder(out, {})
