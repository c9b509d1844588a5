"""The example commands and the training configurations: what they name is there, and is accepted."""

import re
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.training.arguments import AutoencoderArguments, ModelArguments, parse_arguments
from ppdiffusers_ext.weights.registry import REGISTRY

ROOT = Path(__file__).parents[1]
COMMANDS = sorted((ROOT / "examples").rglob("*.sh"))
CONFIGURATIONS = sorted((ROOT / "configs" / "training").rglob("*.yaml"))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_command_names_what_is_there_and_its_readme_names_it(path):
    text = path.read_text()
    named = re.findall(r"(?:scripts|configs)/[\w./]+", text)
    named += [f"scripts/{module}.py" for module in re.findall(r"-m scripts\.(\w+)", text)]
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name
    assert path.name in (path.parent / "README.md").read_text()


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_training_configuration_is_accepted(path, tmp_path):
    values = yaml.safe_load(path.read_text())
    # One process has nothing to shard, and this one may have no GPU.
    alone = {key: value for key, value in values.items() if key != "sharding"} | {"output_dir": str(tmp_path)}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(alone))
    kind = AutoencoderArguments if path.stem == "vae" else ModelArguments
    model, data, training = parse_arguments([str(tmp_path / "alone.yaml")], kind)
    assert training.do_train
    assert data.train_width == values["train_width"]
    if kind is ModelArguments:
        assert model.base_model_path == values["base_model_path"]


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_weights_that_training_starts_from_are_what_the_downloader_lays_out(name):
    values = yaml.safe_load((ROOT / "configs" / "training" / f"{name}.yaml").read_text())
    laid_out = {f"./pretrained_weights/{entry.folder}/{file.path}" for entry in REGISTRY for file in entry.files}
    files = [value for value in values.values() if str(value).endswith((".safetensors", ".ckpt"))]
    files = [value for value in files if value.startswith("./pretrained_weights")]
    assert files
    assert set(files) <= laid_out
