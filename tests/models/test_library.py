"""Published checkpoints of library classes: CLIP and the autoencoder, under each of their names."""

import re

import numpy as np
import paddle
import pytest
from ppdiffusers import AutoencoderKL
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.weights.assignment import create, load_weights, set_weights
from ppdiffusers_ext.weights.conversion import to_paddle_names
from tests.support.golden import read_manifest
from tests.support.tensors import different, save_torch, torch_layout, values


@pytest.fixture(scope="module")
def clip():
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        patch_size=32,
        image_size=224,
    )
    return lambda: CLIPVisionModelWithProjection(config)


@pytest.fixture(scope="module")
def transformers_clip(request):
    """transformers' tensors of that shape: the names are those that the original's golden was made with."""
    folder = request.config.rootpath / "tests/goldens/animate_anyone/_weights"
    tensors = read_manifest(folder / "image_encoder.weights.json")
    random = np.random.RandomState(0)
    tensors["visual_projection.weight"] = random.randn(48, 32).astype("float32")
    return {name: paddle.to_tensor(array) for name, array in tensors.items()}


def test_every_name_of_transformers_clip_finds_its_place(clip, transformers_clip):
    model = create(clip)
    set_weights(model, to_paddle_names(model, transformers_clip, "torch"), "a.bin")
    state = model.state_dict()
    assert [name for name, tensor in state.items() if not tensor._is_initialized()] == []
    assert sum(tensor.size for tensor in state.values()) == sum(t.size for t in transformers_clip.values())


def test_projection_of_transformers_clip_is_transposed(clip, transformers_clip):
    tensors = to_paddle_names(create(clip), transformers_clip, "torch")
    (projection,) = (tensor for name, tensor in tensors.items() if "projection" in name)
    np.testing.assert_array_equal(projection, transformers_clip["visual_projection.weight"].numpy().T)


def test_tables_and_text_tower_of_transformers_clip_are_ignored(clip, transformers_clip):
    model = create(clip)
    tensors = {
        **transformers_clip,
        "vision_model.embeddings.position_ids": paddle.arange(50).unsqueeze(0),
        "text_model.embeddings.position_ids": paddle.arange(77).unsqueeze(0),
        "text_projection.weight": paddle.ones([4, 4]),
        "logit_scale": paddle.ones([]),
    }
    set_weights(model, to_paddle_names(model, tensors, "torch"), "a.bin")


def test_clip_of_paddlenlp_loads(clip, transformers_clip):
    # paddlenlp's names and layout, for the same numbers.
    names = (
        ("embeddings.class_embedding", "class_embedding"),
        ("embeddings.patch_embedding", "conv1"),
        ("embeddings.position_embedding", "positional_embedding"),
        ("pre_layrnorm", "ln_pre"),
        ("post_layernorm", "ln_post"),
        ("encoder.layers", "transformer.layers"),
        ("layer_norm1", "norm1"),
        ("layer_norm2", "norm2"),
        ("mlp.fc1", "linear1"),
        ("mlp.fc2", "linear2"),
        ("visual_projection.weight", "vision_projection"),
    )
    tensors = {}
    for name, tensor in transformers_clip.items():
        linear = name == "visual_projection.weight" or re.search(r"(_proj|fc\d)\.weight$", name)
        for theirs, paddlenlps in names:
            name = name.replace(theirs, paddlenlps)
        tensors[name] = tensor.t() if linear else tensor
    models = [create(clip), create(clip)]
    set_weights(models[0], to_paddle_names(models[0], tensors, "paddle"), "a.pdparams")
    set_weights(models[1], to_paddle_names(models[1], transformers_clip, "torch"), "a.bin")
    assert different(models[0], values(models[1])) == []


@pytest.fixture(scope="module")
def old_vae(make_vae):
    """(model, its torch tensors with the attention's names before diffusers 0.17)."""
    vae = make_vae()
    old = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))
    tensors = {}
    for name, tensor in torch_layout(vae).items():
        for new_name, old_name in old:
            name = name.replace(f"attentions.0.{new_name}.", f"attentions.0.{old_name}.")
        tensors[name] = tensor
    return vae, tensors


def test_old_names_of_the_autoencoders_attention_find_their_place(tmp_path, old_vae):
    vae, tensors = old_vae
    assert sum(bool(re.search(r"\.(query|key|value|proj_attn)\.", name)) for name in tensors) == 16
    path = save_torch(tmp_path / "a.safetensors", tensors)
    loaded = load_weights(create(lambda: AutoencoderKL.from_config(vae.config)), path)
    assert different(loaded, values(vae)) == []
