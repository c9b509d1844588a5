"""LoRA of whole networks: names, gradients, draws, files that inference merges."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
from ppdiffusers_ext.training.latents import hold
from ppdiffusers_ext.training.lora import LoraNetwork, LoraPart, adapted_layers
from ppdiffusers_ext.weights.lora import Lora, MergedLoras
from ppdiffusers_ext.weights.lora_names import TEXT_ENCODER, TRANSFORMER
from tests.models.easy_animate.test_easy_animate import hunyuan, inputs_of_hunyuan, inputs_of_pixart, pixart
from tests.pipelines.easy_animate.test_pipeline import NETWORK
from tests.support.easy_folders import V4_TEXT, config_of


def ids():
    return [paddle.to_tensor([[3, 5, 7, 2]])]


def text_encoder(part, make):
    paddle.seed(0)
    return make(config_of(*V4_TEXT[part]))


# network of a LoRA file, make, inputs, a layer of it in the original's names
KINDS = {
    "V4": (TRANSFORMER, hunyuan, inputs_of_hunyuan, "lora_unet__blocks_0_attn1_to_out_0"),
    "V1": (TRANSFORMER, pixart, inputs_of_pixart, "lora_unet__transformer_blocks_0_attn_temporal_"),
    "BERT": (
        TEXT_ENCODER,
        lambda: text_encoder("text_encoder", make_bert),
        ids,
        "lora_te_encoder_layer_0_attention_self_query",
    ),
    "T5": (
        TEXT_ENCODER,
        lambda: text_encoder("text_encoder_2", make_t5),
        ids,
        "lora_te_encoder_block_0_layer_0_SelfAttention_q",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    """(network, model, inputs, a name), the model without random layers."""
    network, make, inputs, name = KINDS[request.param]
    model = make()
    model.eval()
    return network, model, inputs(), name


def output_of(model, inputs):
    if len(inputs) > 1:
        return model(*inputs)
    return model(*inputs, attention_mask=paddle.ones([1, 4], "int64"))[0]


def randomise(lora, seed=2):
    random = np.random.default_rng(seed)
    for name, parameter in lora.named_parameters():
        if "lora_up" in name:
            parameter.set_value(0.1 * random.standard_normal(parameter.shape).astype(np.float32))


def test_networks_behave_with_lora_as_with_its_file_merged(kind, tmp_path):
    network, model, inputs, name = kind
    with paddle.no_grad():
        plain = output_of(model, inputs).numpy()
        lora = LoraNetwork({network: model}, 3, 2)
        np.testing.assert_array_equal(output_of(model, inputs).numpy(), plain)
        randomise(lora)
        attached = output_of(model, inputs).numpy()
    assert np.abs(attached - plain).max() > 1e-3
    assert any(own.startswith(name) for own in lora.arrays())
    part = LoraPart(lora)
    path = part.path(tmp_path, "lora")
    part.save(path)
    fresh = next(make for own, make, _, start in KINDS.values() if start == name)()
    fresh.eval()
    assert len(Lora(path).of(fresh, network)) == len(lora.arrays())
    MergedLoras(fresh, [(Lora(path), 1.0)], network)
    with paddle.no_grad():
        np.testing.assert_allclose(output_of(fresh, inputs).numpy(), attached, rtol=1e-3, atol=2e-4)


def test_gradients_are_those_of_the_weights_through_the_product(kind):
    network, model, inputs, _ = kind
    output_of(model, inputs).square().mean().backward()
    whole = {name: layer.weight.grad.numpy() for name, layer in adapted_layers(model).items()}
    largest = max(np.abs(gradient).max() for gradient in whole.values())
    for parameter in model.parameters():
        parameter.clear_gradient(False)
    hold(model)
    lora = LoraNetwork({network: model}, 3, 6)
    output_of(model, inputs).square().mean().backward()
    assert len(whole) == len(lora.arrays()) > 10
    for gradient, adapted in zip(whole.values(), lora.children()):
        expected = 2 * adapted.lora_down.weight.numpy().T @ gradient  # alpha / rank; Paddle's layout is (in, out)
        np.testing.assert_allclose(adapted.lora_up.weight.grad.numpy(), expected, rtol=1e-3, atol=1e-4 * largest)
        assert np.abs(adapted.lora_down.weight.grad.numpy()).max() == 0
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("version", ["V4", "V1"])
def test_gradient_checkpointing_changes_no_bits(version):
    network, make, inputs, _ = KINDS[version]
    gradients = []
    for checkpointing in (False, True):
        model = make()
        hold(model)
        model.train()
        model.gradient_checkpointing = checkpointing
        lora = LoraNetwork({network: model}, 3, 2)
        randomise(lora)
        output_of(model, inputs()).square().mean().backward()
        gradients.append([parameter.grad.numpy() for parameter in lora.parameters()])
    for first, second in zip(*gradients):
        np.testing.assert_array_equal(first, second)
    assert sum(np.abs(gradient).max() > 0 for gradient in gradients[0]) > 20


def test_projection_of_the_picture_tokens_attention_is_left_out_as_in_the_original():
    model = HunyuanTransformer3D(in_channels=12, out_channels=8, **NETWORK)
    names = adapted_layers(model)
    assert "clip_projection.kv_proj" in names and "proj_out" in names
    assert not [name for name in names if name.startswith(("clip_projection.attn", "pos_embed"))]
    small = HunyuanTransformer3D(in_channels=12, out_channels=8, **{**NETWORK, "patch_size": 1})
    assert "pos_embed.proj" in adapted_layers(small)


def test_first_values_follow_from_seed_and_name_alone():
    def drawn(seed, targets=()):
        return LoraNetwork({TRANSFORMER: hunyuan()}, 3, 2, seed, targets).arrays()

    everything, some, other = drawn(1), drawn(1, ["attn1.to_q", "proj_out"]), drawn(2)
    assert 0 < len(some) < len(everything)
    for name, (down, up) in some.items():
        assert "attn1_to_q" in name or "proj_out" in name
        np.testing.assert_array_equal(down, everything[name][0])
        assert not np.array_equal(down, other[name][0]) and not up.any()
    downs = [down.tobytes() for down, _ in everything.values()]
    assert len(set(downs)) == len(downs)


def test_target_that_no_layer_has_is_told():
    with pytest.raises(InputError, match="--lora_target_modules 'attn7' is in no layer's name"):
        LoraNetwork({TRANSFORMER: hunyuan()}, 3, 2, targets=["attn1", "attn7"])
