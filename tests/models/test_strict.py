"""Saving and loading of the project's models, and what a checkpoint that does not fit is answered."""

import json

import numpy as np
import paddle
import pytest
from safetensors.paddle import load_file, save_file

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.weights.assignment import describe_mismatch

WEIGHTS = "diffusion_paddle_model.safetensors"
CLASSES = {"denoising_unet": DenoisingUNet3D, "reference_unet": ReferenceUNet, "pose_guider": PoseGuider}
DTYPES = {"float32": paddle.float32, "bfloat16": paddle.bfloat16, "float16": paddle.float16}


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


@paddle.no_grad()
def forward(model):
    """One tensor that the model gives for fixed inputs."""
    if isinstance(model, DenoisingUNet3D):
        return model(randn(1, 4, 2, 9, 10), 500, randn(1, 2, 32), randn(1, 32, 2, 9, 10))
    if isinstance(model, ReferenceUNet):
        return model(randn(1, 4, 9, 10), 0, randn(1, 2, 32), return_sample=True)[1]
    return model(randn(1, 3, 2, 16, 16))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, denoising_unet, reference_unet, pose_guider):
    """name -> (model, folder it is saved in)."""
    models = {"denoising_unet": denoising_unet, "reference_unet": reference_unet, "pose_guider": pose_guider}
    folders = {}
    for name, model in models.items():
        folders[name] = (model, tmp_path_factory.mktemp(name))
        model.save_pretrained(str(folders[name][1]))
    return folders


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLASSES)
def test_saved_model_loads_with_its_values_in_the_dtype_asked_for(saved, name, dtype):
    model, folder = saved[name]
    loaded = CLASSES[name].from_pretrained(str(folder), paddle_dtype=DTYPES[dtype])
    state, expected = loaded.state_dict(), model.state_dict()
    assert list(state) == list(expected)
    # Numbers are rounded once. Position tables too: they are tensors of the checkpoint as well.
    assert {tensor.dtype for tensor in state.values()} == {DTYPES[dtype]}
    different = [key for key in state if not bool((state[key] == expected[key].astype(dtype)).all())]
    assert different == []


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 0.02), ("bfloat16", 0.15)])
@pytest.mark.parametrize("name", CLASSES)
def test_loaded_model_gives_the_same_numbers_but_for_the_rounding_of_weights(saved, name, dtype, tolerance):
    model, folder = saved[name]
    out = forward(CLASSES[name].from_pretrained(str(folder), paddle_dtype=DTYPES[dtype]))
    expected = forward(model)
    assert out.dtype == paddle.float32
    assert float((out - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CLASSES)
def test_half_precision_model_is_saved_and_loaded_as_it_is(saved, tmp_path, name, dtype):
    half = CLASSES[name].from_pretrained(str(saved[name][1]), paddle_dtype=DTYPES[dtype])
    half.save_pretrained(str(tmp_path))
    again = CLASSES[name].from_pretrained(str(tmp_path), paddle_dtype=DTYPES[dtype]).state_dict()
    assert [key for key, tensor in half.state_dict().items() if not bool((again[key] == tensor).all())] == []


def test_loaded_model_is_ready_for_inference(saved):
    assert not PoseGuider.from_pretrained(str(saved["pose_guider"][1])).training


def test_configuration_survives(saved):
    model, folder = saved["denoising_unet"]
    loaded = dict(DenoisingUNet3D.from_pretrained(str(folder)).config)
    expected = json.loads(json.dumps({key: value for key, value in model.config.items() if key[0] != "_"}))
    assert {key: json.loads(json.dumps(loaded[key])) for key in expected} == expected


@pytest.fixture
def folder(saved, tmp_path):
    """A pose guider's folder that may be damaged."""
    saved["pose_guider"][0].save_pretrained(str(tmp_path))
    return tmp_path


def rewrite(folder, function):
    tensors = load_file(str(folder / WEIGHTS))
    save_file(function(tensors), str(folder / WEIGHTS), metadata={"format": "pd"})


def test_missing_tensor_is_named(folder):
    rewrite(folder, lambda tensors: {name: tensors[name] for name in tensors if name != "conv_in.weight"})
    with pytest.raises(InputError, match="1 tensor missing .*conv_in.weight"):
        PoseGuider.from_pretrained(str(folder))


def test_renamed_tensor_is_named_with_its_new_and_old_name(folder):
    rewrite(
        folder, lambda tensors: {name.replace("conv_out.bias", "conv_end.bias"): tensors[name] for name in tensors}
    )
    with pytest.raises(InputError, match="missing .*conv_out.bias.*unexpected .*conv_end.bias"):
        PoseGuider.from_pretrained(str(folder))


def test_additional_tensor_is_named(folder):
    rewrite(folder, lambda tensors: {**tensors, "novelty": paddle.ones([2])})
    with pytest.raises(InputError, match="1 tensor unexpected .*novelty"):
        PoseGuider.from_pretrained(str(folder))


def test_tensor_of_another_shape_is_named_with_both_shapes(folder):
    rewrite(folder, lambda tensors: {**tensors, "conv_in.bias": paddle.ones([9])})
    with pytest.raises(InputError, match=r"conv_in.bias.*\[9\].*\[8\]"):
        PoseGuider.from_pretrained(str(folder))


def test_weights_of_another_model_are_refused(saved, tmp_path):
    saved["reference_unet"][0].save_pretrained(str(tmp_path))
    saved["pose_guider"][0].save_config(str(tmp_path))
    with pytest.raises(InputError, match="PoseGuider"):
        PoseGuider.from_pretrained(str(tmp_path))


def test_description_lists_the_first_names_of_each_kind():
    message = describe_mismatch("Model", "file", ["c", "a", "d", "b"], ["e"], ["f: [1] instead of [2]"])
    assert message == (
        "file does not hold the weights of this Model: 4 tensors missing (a, b, c, ...); "
        "1 tensor unexpected (e); 1 tensor of another shape (f: [1] instead of [2])"
    )
