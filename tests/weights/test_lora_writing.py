"""LoRA files that are written: byte by byte what the package safetensors writes, hashes, and what is read of them."""

import hashlib

import numpy as np
import paddle
import pytest
import safetensors.numpy

from ppdiffusers_ext.weights.loading import read_checkpoint
from ppdiffusers_ext.weights.lora import Lora
from ppdiffusers_ext.weights.lora_names import TEXT_ENCODER, TRANSFORMER, kohya_name
from ppdiffusers_ext.weights.lora_writing import write_lora
from tests.weights.test_lora import Network


def draw(sizes, rank, seed=0):
    """name -> (inputs, outputs) to name -> (down, up)."""
    random = np.random.default_rng(seed)
    return {
        name: (random.standard_normal((rank, inputs), np.float32), random.standard_normal((outputs, rank), np.float32))
        for name, (inputs, outputs) in sizes.items()
    }


# Files of less than 1 MiB, of which the old hash is that of nothing, of a part of its 64 KiB, and of more.
SIZES = {"small": 8, "to the middle": 1024 + 20, "large": 1400}


@pytest.mark.parametrize("inputs", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_file_is_that_of_the_package_safetensors_with_its_hashes(tmp_path, inputs, dtype):
    layers = draw({"lora_unet__b": (inputs, 1), "lora_unet__a": (inputs, 1)}, 128 * (4 // np.dtype(dtype).itemsize))
    write_lora(tmp_path / "a.safetensors", layers, 64, dtype)
    tensors = {}
    for name, (down, up) in layers.items():
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": np.array(64)}
    tensors = {name: x.astype(dtype) for name, x in tensors.items()}
    plain = safetensors.numpy.save(tensors, {})
    start = 8 + int.from_bytes(plain[:8], "little")
    hashes = {
        "sshs_model_hash": hashlib.sha256(plain[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(plain[1 << 20 : (1 << 20) + (1 << 16)]).hexdigest()[:8],
    }
    written = (tmp_path / "a.safetensors").read_bytes()
    assert read_checkpoint(tmp_path / "a.safetensors").metadata == hashes
    assert written[8 + int.from_bytes(written[:8], "little") :] == plain[start:]
    assert sorted(safetensors.numpy.load(written)) == sorted(tensors)


@pytest.mark.parametrize("alpha", [1, 64, 0.3, 257, 1e-6])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_is_read_has_the_scale_of_the_training(tmp_path, alpha, dtype):
    layers = draw({"lora_unet__to_q": (6, 4), "lora_unet__blocks_1": (4, 5)}, 2)
    write_lora(tmp_path / "a.safetensors", layers, alpha, dtype)
    found = Lora(tmp_path / "a.safetensors").of(Network())
    assert sorted(found) == ["blocks.1", "to_q"]
    for name, addition in found.items():
        down, up = layers[kohya_name(TRANSFORMER, name)]
        np.testing.assert_allclose(addition.scale, alpha / 2, rtol=1e-6)
        np.testing.assert_allclose(addition.product.down, down, rtol=1e-2, atol=1e-6)
        np.testing.assert_allclose(addition.product.up, up, rtol=1e-2, atol=1e-6)


def test_convolutions_keep_their_kernel(tmp_path):
    random = np.random.default_rng(0)
    layers = {"lora_unet__x": (random.standard_normal((2, 3, 1, 1)), random.standard_normal((4, 2, 1, 1)))}
    write_lora(tmp_path / "a.safetensors", layers, 1, "bfloat16")
    tensors = read_checkpoint(tmp_path / "a.safetensors").tensors
    assert tensors["lora_unet__x.lora_down.weight"].shape == [2, 3, 1, 1]
    assert tensors["lora_unet__x.alpha"].shape == [] and tensors["lora_unet__x.alpha"].dtype == paddle.bfloat16


def test_names_are_those_of_the_original():
    assert kohya_name(TRANSFORMER, "blocks.0.attn1.to_out.0") == "lora_unet__blocks_0_attn1_to_out_0"
    assert kohya_name(TEXT_ENCODER, "encoder.layer.1.output.dense") == "lora_te_encoder_layer_1_output_dense"
