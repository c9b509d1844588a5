"""Published checkpoints into the project's classes: names, layouts, and what does not fit."""

import json
import re

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.animate_anyone import PoseGuider
from ppdiffusers_ext.weights import assignment
from ppdiffusers_ext.weights.arrays import BFLOAT16_BITS, to_array
from ppdiffusers_ext.weights.assignment import (
    create,
    describe_mismatch,
    give,
    is_finite,
    load_weights,
    own_copy,
    release_weights,
    set_weights,
)
from ppdiffusers_ext.weights.conversion import to_paddle_names
from ppdiffusers_ext.weights.folders import find_weights, read_config
from ppdiffusers_ext.weights.loading import read_checkpoint
from tests.support.tensors import different, make_empty_unet, save_torch, spatial_of, torch_layout, values


@pytest.fixture(scope="module")
def spatial(denoising_unet):
    return spatial_of(denoising_unet)


# Layouts


def test_torch_file_loads_with_its_linear_weights_transposed(tmp_path, denoising_unet):
    tensors = torch_layout(denoising_unet)
    shapes = {tuple(tensor.shape) for name, tensor in tensors.items() if ".attn" in name and tensor.ndim == 2}
    assert (32, 32) in shapes and any(a != b for a, b in shapes)  # square ones betray themselves by values only
    unet = load_weights(make_empty_unet(), save_torch(tmp_path / "a.safetensors", tensors))
    assert different(unet, values(denoising_unet)) == []


def test_paddle_safetensors_load_as_they_are(tmp_path, denoising_unet):
    denoising_unet.save_pretrained(str(tmp_path))
    assert different(load_weights(make_empty_unet(), find_weights(tmp_path)), values(denoising_unet)) == []


def test_pdparams_load_as_they_are(tmp_path, denoising_unet):
    paddle.save(denoising_unet.state_dict(), str(tmp_path / "a.pdparams"))
    assert different(load_weights(make_empty_unet(), tmp_path / "a.pdparams"), values(denoising_unet)) == []


def test_later_file_wins(tmp_path, denoising_unet):
    first = save_torch(tmp_path / "a.safetensors", torch_layout(denoising_unet))
    second = save_torch(tmp_path / "b.safetensors", {"conv_out.bias": paddle.full([4], 9.0)})
    assert load_weights(make_empty_unet(), first, second).conv_out.bias.tolist() == [9.0] * 4


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_take_the_dtype_of_the_model(tmp_path, pose_guider, dtype):
    path = save_torch(tmp_path / "a.safetensors", torch_layout(pose_guider))
    config = {"conditioning_embedding_channels": 32, "block_out_channels": (8, 16, 16, 24)}
    loaded = load_weights(create(lambda: PoseGuider(**config), dtype), path)
    expected = {name: tensor.astype(dtype).numpy() for name, tensor in pose_guider.state_dict().items()}
    assert {str(tensor.dtype) for tensor in loaded.state_dict().values()} == {f"paddle.{dtype}"}
    assert different(loaded, expected) == []


# What does not fit


def test_missing_unexpected_and_mismatched_names_are_listed(pose_guider, make_pose_guider):
    tensors = dict(pose_guider.state_dict())
    del tensors["conv_in.weight"]
    tensors["novelty"] = paddle.zeros([1])
    tensors["conv_in.bias"] = paddle.zeros([9])
    with pytest.raises(InputError) as error:
        set_weights(make_pose_guider(), tensors, "a.pth")
    assert str(error.value) == (
        "a.pth does not hold the weights of this PoseGuider: 1 tensor missing (conv_in.weight); "
        "1 tensor unexpected (novelty); 1 tensor of another shape (conv_in.bias: [9] instead of [8])"
    )


def test_model_is_left_as_it_was_when_names_do_not_fit(pose_guider, make_pose_guider):
    model, tensors = make_pose_guider(), {name: t + 1 for name, t in pose_guider.state_dict().items()}
    tensors["novelty"] = paddle.zeros([1])
    with pytest.raises(InputError):
        set_weights(model, tensors, "a.pth")
    assert different(model, values(pose_guider)) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(make_pose_guider, value):
    model = make_pose_guider()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["blocks.2.weight"][0, 0, 1, 1] = value
    with pytest.raises(InputError, match="a.pth: blocks.2.weight"):
        set_weights(model, tensors, "a.pth")


def test_names_that_may_miss_keep_their_values(make_pose_guider):
    model = make_pose_guider()
    before = model.conv_out.bias.numpy()
    tensors = {name: tensor + 1 for name, tensor in model.state_dict().items() if not name.startswith("conv_out")}
    expected = {name: tensor.numpy() for name, tensor in tensors.items()}
    set_weights(model, tensors, "a.pth", may_miss=("conv_out.",))
    np.testing.assert_array_equal(model.conv_out.bias, before)
    assert [name for name, array in expected.items() if not np.array_equal(model.state_dict()[name], array)] == []


def test_names_that_may_miss_are_only_those(make_pose_guider):
    model = make_pose_guider()
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("blocks")}
    with pytest.raises(InputError, match="2 tensors missing .conv_in.bias, conv_in.weight."):
        set_weights(model, tensors, "a.pth", may_miss=("conv_out.",))


def test_names_that_may_exceed_are_ignored(make_pose_guider):
    model = make_pose_guider()
    set_weights(model, {**model.state_dict(), "ema.decay": paddle.zeros([1])}, "a.pth", may_exceed=("ema.",))


def test_checkpoint_of_another_model_is_refused(tmp_path, reference_unet):
    path = save_torch(tmp_path / "a.safetensors", torch_layout(reference_unet))
    with pytest.raises(InputError, match="a.safetensors does not hold the weights of this DenoisingUNet3D"):
        load_weights(make_empty_unet(), path)


def test_checkpoint_of_another_width_is_refused(tmp_path, make_pose_guider):
    path = save_torch(tmp_path / "a.safetensors", torch_layout(make_pose_guider(conditioning_embedding_channels=64)))
    with pytest.raises(InputError, match=r"conv_out.bias: \[64\] instead of \[32\]"):
        load_weights(make_pose_guider(), path)


def test_linear_weights_that_are_already_transposed_are_refused(denoising_unet):
    # A Paddle file that claims to be torch's: the weights that are not square give it away.
    tensors = to_paddle_names(denoising_unet, dict(denoising_unet.state_dict()), "torch")
    with pytest.raises(InputError, match="of another shape"):
        set_weights(make_empty_unet(), tensors, "a.safetensors")


# Wrappers


@pytest.mark.parametrize("prefix", ["module.", "ema_model.", "module.ema_model."])
def test_prefix_of_a_wrapper_is_stripped(tmp_path, denoising_unet, prefix):
    tensors = {prefix + name: tensor for name, tensor in torch_layout(denoising_unet).items()}
    unet = load_weights(make_empty_unet(), save_torch(tmp_path / "a.safetensors", tensors))
    assert different(unet, values(denoising_unet)) == []


def test_prefix_of_some_names_only_is_no_wrapper(denoising_unet):
    names = {"module.a": paddle.zeros([1]), "b": paddle.zeros([1])}
    assert set(to_paddle_names(denoising_unet, names, "torch")) == {"module.a", "b"}


# Models made without values


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_created_model_is_complete_after_loading_what_there_is(tmp_path, spatial, dtype):
    unet = make_empty_unet(dtype)
    load_weights(unet, save_torch(tmp_path / "a.safetensors", spatial), may_miss=("motion_modules.",))
    state = unet.state_dict()
    assert [name for name, tensor in state.items() if not tensor._is_initialized()] == []
    assert [name for name, tensor in state.items() if not bool(paddle.isfinite(tensor.astype("float32")).all())] == []


def test_motion_modules_that_may_miss_start_as_the_identity(tmp_path, spatial):
    path = save_torch(tmp_path / "a.safetensors", spatial)
    unet = load_weights(make_empty_unet(), path, may_miss=("motion_modules.",))
    weights = {name: float(tensor.abs().max()) for name, tensor in unet.state_dict().items()}
    assert {value for name, value in weights.items() if "temporal_transformer.proj_out." in name} == {0.0}
    image_model = load_weights(make_empty_unet(use_motion_module=False), path)
    inputs = paddle.randn([1, 4, 2, 9, 9]), 10, paddle.randn([1, 1, 32])
    with paddle.no_grad():
        np.testing.assert_array_equal(unet(*inputs), image_model(*inputs))


def test_motion_modules_that_may_miss_are_ready_to_learn(tmp_path, spatial):
    path = save_torch(tmp_path / "a.safetensors", spatial)
    unet = load_weights(make_empty_unet(), path, may_miss=("motion_modules.",))
    zero = {
        re.sub(r".*temporal_transformer\.", "", name)
        for name, tensor in unet.state_dict().items()
        if ".motion_modules." in name and name.endswith(".weight") and float(tensor.abs().max()) == 0
    }
    assert zero == {"proj_out.weight"}


def test_created_model_is_in_evaluation_mode():
    assert not create(lambda: nn.Linear(2, 2)).training


# Files and folders


@pytest.mark.parametrize(
    "name", ["model_state.pdparams", "diffusion_pytorch_model.bin", "model.safetensors", "pytorch_model.bin"]
)
def test_weights_of_a_folder_are_found(tmp_path, name):
    (tmp_path / name).touch()
    (tmp_path / "config.json").touch()
    assert find_weights(tmp_path) == tmp_path / name


def test_safetensors_are_preferred_to_pickles(tmp_path):
    for name in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"):
        (tmp_path / name).touch()
    assert find_weights(tmp_path).name == "diffusion_pytorch_model.safetensors"


def test_file_is_its_own_weights(tmp_path):
    (tmp_path / "mine.ckpt").touch()
    assert find_weights(tmp_path / "mine.ckpt") == tmp_path / "mine.ckpt"


def test_folder_without_weights_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=re.escape(str(tmp_path))):
        find_weights(tmp_path)


def test_configuration_is_read_from_its_file_or_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    assert read_config(tmp_path) == read_config(tmp_path / "config.json") == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe\x00"])
def test_configuration_that_is_no_json_object_is_refused_by_name(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match="config.json"):
        read_config(tmp_path)


def test_missing_configuration_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="config.json does not exist"):
        read_config(tmp_path)


# Weights of two names, and weights that are changed on the way


class Tied(nn.Layer):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("left_out", [[], ["first.weight"], ["second.weight"]])
def test_weight_of_two_names_may_come_under_either(tmp_path, left_out):
    weight = np.arange(9, dtype=np.float32).reshape(3, 3)
    tensors = {"first.weight": weight, "second.weight": weight, "first.bias": weight[0], "second.bias": weight[1]}
    tensors = {name: paddle.to_tensor(array) for name, array in tensors.items() if name not in left_out}
    model = load_weights(create(Tied), save_torch(tmp_path / "a.safetensors", tensors))
    for layer in (model.first, model.second):
        np.testing.assert_array_equal(layer.weight.numpy(), weight.T)


def test_weight_of_two_names_that_comes_under_neither_is_missing(tmp_path):
    path = save_torch(tmp_path / "a.safetensors", {f"{name}.bias": paddle.ones([3]) for name in ("first", "second")})
    with pytest.raises(InputError, match=r"2 tensors missing \(first.weight, second.weight\)"):
        load_weights(create(Tied), path)


def test_weights_are_changed_on_the_way_or_kept_from_the_model():
    def change(name, tensor):
        seen.append((name, tensor.dtype))
        return None if name == "1.weight" else tensor * 2

    seen, model = [], create(lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    tensors = {name: paddle.ones(tensor.shape, "float16") for name, tensor in model.state_dict().items()}
    set_weights(model, tensors, "here", change=change)
    assert seen == [(name, paddle.float32) for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
    assert not model[1].weight._is_initialized()
    for tensor in (model[0].weight, model[0].bias, model[1].bias):
        assert (tensor.numpy() == 2).all()


def test_message_names_the_first_three_of_each_kind_in_their_order():
    assert describe_mismatch("Net", "a.pth", list("dcba"), ["x", "y"], ["b: [1] instead of [2]"]) == (
        "a.pth does not hold the weights of this Net: 4 tensors missing (a, b, c, ...); "
        "2 tensors unexpected (x, y); 1 tensor of another shape (b: [1] instead of [2])"
    )
    assert describe_mismatch("Net", "a.pth", list("cba"), (), ()).endswith("Net: 3 tensors missing (a, b, c)")


def test_memory_is_given_back_each_time_that_so_many_bytes_are_put_in(monkeypatch):
    """After the tensors with which a group exceeds 100 bytes."""

    class File:
        def holds(self, array):
            return True

        def forget(self):
            log.append("forget")

    monkeypatch.setattr(assignment, "_BATCH", 100)
    log, sizes = [], (10, 15, 1, 40, 2)  # numbers of four bytes
    model = create(lambda: nn.ParameterList([paddle.create_parameter([size], "float32") for size in sizes]))
    tensors = {name: paddle.ones(tensor.shape) for name, tensor in model.state_dict().items()}
    set_weights(model, tensors, "a.pth", files=[File()], change=lambda name, tensor: log.append(name) or tensor)
    assert log == ["0", "1", "2", "forget", "3", "forget", "4", "forget"]
    assert tensors == {}  # none is held any longer


@pytest.mark.parametrize("shape", [(3, 70), (70, 3), (1, 5), (64, 64)])
def test_transposed_matrix_becomes_contiguous_and_keeps_its_values(shape):
    expected = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    copy = own_copy(paddle.to_tensor(expected.T.copy()).t(), "float32", ())
    np.testing.assert_array_equal(copy, expected)
    assert to_array(copy).flags.c_contiguous


def test_tensor_is_copied_unless_it_is_no_view_of_a_file():
    class File:
        def __init__(self, *held):
            self._held = held

        def holds(self, array):
            return any(array.ctypes.data == to_array(tensor).ctypes.data for tensor in self._held)

    tensor, other = paddle.ones([4]), paddle.ones([4])
    address = to_array(tensor).ctypes.data
    for files, is_shared in (((), False), ((File(tensor),), False), ((File(other), File(tensor)), False)):
        assert (to_array(own_copy(tensor, "float32", files)).ctypes.data == address) is is_shared
    assert to_array(own_copy(tensor, "float32", (File(other),))).ctypes.data == address
    assert own_copy(tensor, "float16", (File(other),)).dtype == paddle.float16


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("place", [0, 3, 4, 8])
def test_single_number_that_is_not_finite_is_found_wherever_it_is(monkeypatch, dtype, place):
    monkeypatch.setattr(assignment, "_PIECE", 4)
    numbers = np.array([0, 1, -2, 1.5, 100, 0.25, -448, 3, 2], np.float32)  # 448 is the largest of float8_e4m3fn
    assert is_finite(to_array(paddle.to_tensor(numbers).astype(dtype)))
    numbers[place] = np.nan
    array = to_array(paddle.to_tensor(numbers).astype(dtype)).copy()
    if dtype == "float8_e4m3fn":
        array.view(np.uint8)[place] = 0x7F  # NaN, which Paddle makes 448 of
    assert not is_finite(array)


def test_whole_numbers_are_finite_whatever_their_bits():
    assert is_finite(np.full(9, -1, np.int64)) and is_finite(np.full(9, 0x7F80, np.int16))
    assert not is_finite(np.full(9, 0x7F80, BFLOAT16_BITS))


def test_model_whose_weights_were_released_takes_them_again():
    model = nn.Linear(3, 2)
    expected = values(model)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    release_weights(model)
    assert not any(tensor._is_initialized() for tensor in model.state_dict().values())
    set_weights(model, tensors, "a.pth")
    assert different(model, expected) == []


def test_weight_without_memory_takes_the_tensors_and_another_a_copy():
    tensor = paddle.arange(4, dtype="float32")
    empty, full = create(lambda: nn.Linear(1, 4)).bias, nn.Linear(1, 4).bias
    for parameter, is_shared in ((empty, True), (full, False)):
        with paddle.no_grad():
            give(tensor, parameter)
        assert parameter.tolist() == [0, 1, 2, 3]
        assert (to_array(parameter).ctypes.data == to_array(tensor).ctypes.data) is is_shared


def test_files_may_be_read_already_exceed_the_model_and_be_changed_on_the_way(tmp_path):
    model = nn.Linear(2, 2)
    path = save_torch(tmp_path / "a.safetensors", {**torch_layout(model), "ema.decay": paddle.zeros([1])})
    loaded = load_weights(
        create(lambda: nn.Linear(2, 2)), read_checkpoint(path), may_exceed=("ema.",), change=lambda name, t: 2 * t
    )
    assert different(loaded, {name: 2 * array for name, array in values(model).items()}) == []


def test_message_names_all_files_that_were_loaded_together(tmp_path):
    paths = [save_torch(tmp_path / name, {"bias": paddle.zeros([2])}) for name in ("a.safetensors", "b.safetensors")]
    with pytest.raises(
        InputError, match=f"^{re.escape(f'{paths[0]} + {paths[1]}')} does not hold the weights of this"
    ):
        load_weights(create(lambda: nn.Linear(2, 2)), *paths)
