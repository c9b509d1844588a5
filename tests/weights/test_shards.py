"""Checkpoints in several files: read as one, and only if each has just what the index says."""

import json

import numpy as np
import pytest
from paddle import nn

from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines.loading import Part
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.assignment import create, load_weights
from ppdiffusers_ext.weights.folders import find_weights
from ppdiffusers_ext.weights.loading import load_tensors, read_checkpoint
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch

INDEX = "diffusion_pytorch_model.safetensors.index.json"
SHARDS = ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"]
ARRAYS = {
    "0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "0.bias": np.ones(2, np.float32),
    "1.weight": np.full((4, 2), 0.5, np.float32),
    "1.bias": np.zeros(4, np.float32),
}
PARTS = [["0.weight", "0.bias"], ["1.weight", "1.bias"]]


def write_shards(folder, arrays=ARRAYS, parts=PARTS, index=INDEX, shards=SHARDS, write=write_safetensors, form="pt"):
    """A checkpoint in several files; returns its index as a dict."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, names in zip(shards, parts):
        metadata = ({"format": form},) if write is write_safetensors else ()
        write(folder / shard, {name: arrays[name] for name in names}, *metadata)
    weight_map = {name: shard for shard, names in zip(shards, parts) for name in names}
    content = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / index).write_text(json.dumps(content))
    return content


def change(folder, **weight_map):
    content = json.loads((folder / INDEX).read_text())
    content["weight_map"].update({name.replace("__", "."): file for name, file in weight_map.items()})
    (folder / INDEX).write_text(json.dumps(content))


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))


def assert_loaded(model):
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), ARRAYS[name].T)


@pytest.mark.parametrize(
    "index, shards, write, form",
    [
        (INDEX, SHARDS, write_safetensors, "pt"),
        ("model.safetensors.index.json", ["model-1.safetensors", "model-2.safetensors"], write_safetensors, "pt"),
        ("pytorch_model.bin.index.json", ["pytorch_model-1.bin", "pytorch_model-2.bin"], write_torch, "pt"),
    ],
)
def test_all_shards_are_one_checkpoint(tmp_path, index, shards, write, form):
    write_shards(tmp_path, index=index, shards=shards, write=write, form=form)
    assert find_weights(tmp_path) == tmp_path / index
    assert_loaded(load_weights(create(network), find_weights(tmp_path)))
    part = Part(create(network), [tmp_path])
    assert_loaded(part.load())
    part.release()
    assert not part.model[0].weight._is_initialized()
    assert_loaded(part.load())


def test_shards_of_paddle_are_in_its_layout(tmp_path):
    arrays = {name: np.ascontiguousarray(array.T) for name, array in ARRAYS.items()}
    shards = ["model_state-00001-of-00002.safetensors", "model_state-00002-of-00002.safetensors"]
    write_shards(tmp_path, arrays, index="model_state.safetensors.index.json", shards=shards, form="pd")
    assert read_checkpoint(find_weights(tmp_path)).layout == "paddle"
    assert_loaded(load_weights(create(network), find_weights(tmp_path)))


def test_a_single_file_goes_before_an_index(tmp_path):
    write_shards(tmp_path)
    write_safetensors(tmp_path / "model.safetensors", ARRAYS, {"format": "pt"})
    assert find_weights(tmp_path) == tmp_path / "model.safetensors"


def test_tensors_are_views_of_the_files_and_their_memory_is_given_back(tmp_path):
    write_shards(tmp_path)
    checkpoint = read_checkpoint(tmp_path / INDEX)
    assert list(checkpoint.tensors) == list(ARRAYS)
    assert all(checkpoint.file.holds(to_array(tensor)) for tensor in checkpoint.tensors.values())
    checkpoint.tensors["0.bias"].fill_(7.0)
    checkpoint.file.forget()
    np.testing.assert_array_equal(load_tensors(tmp_path / INDEX)["0.bias"].numpy(), ARRAYS["0.bias"])


def test_missing_shard_is_named_with_its_index(tmp_path):
    write_shards(tmp_path)
    (tmp_path / SHARDS[1]).unlink()
    with pytest.raises(MissingFileError) as error:
        Part(create(network), [tmp_path]).load()
    assert str(tmp_path / SHARDS[1]) in str(error.value) and str(tmp_path / INDEX) in str(error.value)
    assert "one of 2" in str(error.value)


@pytest.mark.parametrize("place", ["../x.safetensors", "/etc/passwd", "a/../../x.safetensors", "C:\\x", "..\\x", ""])
def test_paths_that_lead_out_of_the_folder_are_refused(tmp_path, place):
    write_shards(tmp_path / "inner")
    write_safetensors(tmp_path / "x.safetensors", {"0.bias": ARRAYS["0.bias"]}, {"format": "pt"})
    change(tmp_path / "inner", **{"0__bias": place})
    with pytest.raises(InputError, match="names the file .*; weight files in its own folder are accepted"):
        load_tensors(tmp_path / "inner" / INDEX)


def test_an_index_that_names_itself_is_refused(tmp_path):
    write_shards(tmp_path)
    change(tmp_path, **{"0__bias": INDEX})
    with pytest.raises(InputError, match="weight files in its own folder are accepted"):
        load_tensors(tmp_path / INDEX)


def test_tensors_that_a_shard_has_not_or_has_besides_are_refused(tmp_path):
    write_shards(tmp_path)
    change(tmp_path, **{"0__bias": SHARDS[1]})
    with pytest.raises(InputError, match=f"{SHARDS[0]} has 0.bias, which .*{INDEX} does not say"):
        load_tensors(tmp_path / INDEX)
    write_shards(tmp_path)
    change(tmp_path, more=SHARDS[1])
    with pytest.raises(InputError, match=f"{SHARDS[1]} lacks more, which .*{INDEX} says it has"):
        load_tensors(tmp_path / INDEX)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_files_that_are_no_index_are_refused(tmp_path, content):
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(InputError, match=f"{INDEX} (is not JSON|has no weight_map)"):
        load_tensors(tmp_path / INDEX)


def test_shards_of_both_layouts_are_refused(tmp_path):
    write_shards(tmp_path)
    write_safetensors(tmp_path / SHARDS[1], {name: ARRAYS[name] for name in PARTS[1]}, {"format": "pd"})
    with pytest.raises(InputError, match="some of torch's layout, some of Paddle's"):
        load_tensors(tmp_path / INDEX)


def test_digest_is_of_all_shards(tmp_path):
    cache, digests = ExportCache(tmp_path / "cache"), set()
    for value in (0.0, 1.0):
        write_shards(tmp_path, {**ARRAYS, "1.bias": np.full(4, value, np.float32)})
        digests.add(Part(create(network), [tmp_path]).digest(cache)["weights"])
    assert len(digests) == 2
