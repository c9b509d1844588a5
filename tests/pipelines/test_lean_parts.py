"""Parts with LoRA files, in 8 bits, and read block by block: the same numbers, less memory, again after a release."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.quantised import FORMATS, quantise
from ppdiffusers_ext.pipelines.lean_parts import MergedPart, QuantisedPart, StreamedPart
from ppdiffusers_ext.pipelines.loading import Part
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.assignment import create
from ppdiffusers_ext.weights.lora import Lora, MergedLoras
from ppdiffusers_ext.weights.writing import write_safetensors
from tests.models.easy_animate.test_easy_animate import inputs_of_hunyuan, inputs_of_pixart
from tests.pipelines.easy_animate.test_pipeline import NETWORK
from tests.support.easy_folders import shard
from tests.support.lora_files import drawing, loha, low_rank
from tests.weights.test_lora import write as write_lora

MOTION = {"num_attention_heads": 4, "num_transformer_block": 1, "temporal_position_encoding": True}
LAYERS = {"blocks_0_attn1_to_q": (16, 16), "blocks_3_skip_linear": (32, 16), "proj_out": (16, 32)}


def hunyuan():
    return HunyuanTransformer3D(in_channels=4, out_channels=8, **{**NETWORK, "num_layers": 4})


def pixart():
    return PixArtTransformer3D(4, 8, 4, 8, 2, 32, caption_channels=16, motion_module_kwargs=MOTION)


KINDS = {"hunyuan": (hunyuan, inputs_of_hunyuan, "blocks"), "pixart": (pixart, inputs_of_pixart, "transformer_blocks")}


def write_checkpoint(folder, make):
    paddle.seed(0)
    model = make()
    arrays = {name: to_array(tensor).copy() for name, tensor in model.state_dict().items()}
    write_safetensors(folder / "diffusion_paddle_model.safetensors", arrays, {"format": "pd"})
    return arrays


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """(make, inputs, name of the blocks, folder with a checkpoint)"""
    make, inputs, blocks = KINDS[request.param]
    write_checkpoint(tmp_path, make)
    return make, inputs, blocks, tmp_path


@pytest.fixture
def loras(tmp_path):
    write_checkpoint(tmp_path, hunyuan)
    write_lora(tmp_path / "a.lora.safetensors", LAYERS)
    write_lora(tmp_path / "b.lora.safetensors", {"proj_out": (16, 32)}, 1, 3)
    return [(tmp_path / "a.lora.safetensors", 0.5), (tmp_path / "b.lora.safetensors", -0.25)]


def run(model, inputs):
    with paddle.no_grad():
        return model(*inputs()).numpy()


def has_memory(model, name):
    return model.state_dict()[name]._is_initialized()


# LoRA files


def test_merged_weights_are_those_of_merged_loras_also_after_a_release(tmp_path, loras):
    model = Part(create(hunyuan), [tmp_path]).load()
    plain = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    MergedLoras(model, [(Lora(path), weight) for path, weight in loras])
    part = MergedPart(create(hunyuan), [tmp_path], loras)
    for _ in range(2):
        part.load()
        for name, x in part.model.state_dict().items():
            np.testing.assert_array_equal(x.numpy(), model.state_dict()[name].numpy())
        part.release()
        assert not has_memory(part.model, "proj_out.weight")
    changed = [name for name, x in model.state_dict().items() if not np.array_equal(x.numpy(), plain[name])]
    assert sorted(changed) == ["blocks.0.attn1.to_q.weight", "blocks.3.skip_linear.weight", "proj_out.weight"]


@pytest.mark.parametrize("make", [MergedPart, lambda *a: QuantisedPart(*a[:2], "int8", "blocks", a[2])])
def test_lora_of_another_model_is_told_before_anything_is_loaded(tmp_path, make):
    write_checkpoint(tmp_path, hunyuan)
    write_lora(tmp_path / "x.lora.safetensors", {"transformer_blocks_0_attn1_to_q": (16, 16)})
    with pytest.raises(InputError, match="which has lora_unet__transformer_blocks_0_attn1_to_q; the nearest here is"):
        make(create(hunyuan), [tmp_path], [(tmp_path / "x.lora.safetensors", 1.0)])
    with pytest.raises(MissingFileError, match="nowhere"):
        make(create(hunyuan), [tmp_path], [(tmp_path / "nowhere.safetensors", 1.0)])


def test_digest_tells_what_is_merged(tmp_path, loras):
    cache = ExportCache(tmp_path / "cache")
    merged = [[], loras[:1], loras, [(loras[0][0], 0.75)]]
    digests = {MergedPart(create(hunyuan), [tmp_path], each).digest(cache)["weights"] for each in merged}
    assert len(digests) == 4


@pytest.fixture
def many_methods(tmp_path):
    """A DoRA, a LoHa, and differences of weights and biases."""
    write_checkpoint(tmp_path, hunyuan)
    draw, arrays = drawing(), {}
    for layer, elements in {
        "blocks_0_attn1_to_q": {**low_rank(draw, (16, 16))[0], "dora_scale": np.abs(draw(16, 1)) + 1},
        "blocks_1_attn1_to_k": {**low_rank(draw, (16, 16))[0], "dora_scale": np.abs(draw(1, 16)) + 1},
        "blocks_3_skip_linear": {**loha(draw, (16, 32))[0], "alpha": np.array(1.0), "diff_b": draw(16)},
        "proj_out": {"diff": draw(32, 16), "diff_b": draw(32)},
    }.items():
        arrays |= {f"lora_unet_{layer}.{name}": x.astype(np.float32) for name, x in elements.items()}
    write_safetensors(tmp_path / "many.lora.safetensors", arrays, {"format": "pt"})
    return [(tmp_path / "many.lora.safetensors", 0.7)]


def test_every_method_is_the_same_in_every_kind_of_part(tmp_path, many_methods):
    plain = Part(create(hunyuan), [tmp_path]).load()
    MergedLoras(plain, [(Lora(path), weight) for path, weight in many_methods])
    merged = MergedPart(create(hunyuan), [tmp_path], many_methods).load()
    for name, x in merged.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), plain.state_dict()[name].numpy())
    expected = run(merged, inputs_of_hunyuan)
    streamed = StreamedPart(create(hunyuan), [tmp_path], "blocks", many_methods)
    for _ in range(2):
        np.testing.assert_array_equal(run(streamed.load(), inputs_of_hunyuan), expected)
        streamed.release()
    for form in FORMATS:
        model = QuantisedPart(create(hunyuan), [tmp_path], form, "blocks", many_methods).load()
        for layer, own in ((model.blocks[i].attn1, merged.blocks[i].attn1) for i in range(2)):
            for name in ("to_q", "to_k"):
                stored = quantise(getattr(own, name).weight, form).matrix("float32").numpy()
                np.testing.assert_array_equal(getattr(layer, name).stored.matrix("float32").numpy(), stored)
        np.testing.assert_array_equal(
            model.blocks[3].skip_linear.bias.numpy(), merged.blocks[3].skip_linear.bias.numpy()
        )
        np.testing.assert_array_equal(model.proj_out.weight.numpy(), merged.proj_out.weight.numpy())


# In 8 bits


@pytest.mark.parametrize("form, decibels", [("int8", 35), ("fp8", 25)])
def test_output_in_8_bits_is_near(kind, form, decibels):
    make, inputs, blocks, folder = kind
    expected = run(Part(create(make), [folder]).load(), inputs)
    part = QuantisedPart(create(make), [folder], form, blocks)
    results = []
    for _ in range(2):
        results.append(run(part.load(), inputs))
        part.release()
        assert part.stored_bytes == 0
    np.testing.assert_array_equal(*results)
    noise = results[0] - expected
    assert 10 * np.log10((expected**2).sum() / (noise**2).sum()) > decibels


@pytest.mark.parametrize("form", FORMATS)
def test_linear_layers_of_the_blocks_alone_are_in_8_bits(kind, form):
    make, _, blocks, folder = kind
    whole = Part(create(make), [folder]).load()
    part = QuantisedPart(create(make), [folder], form, blocks)
    model, stored = part.load(), set()
    for name, layer in model.named_sublayers():
        if getattr(layer, "stored", None) is not None:
            stored.add(f"{name}.weight")
            expected = quantise(whole.state_dict()[f"{name}.weight"], form)
            np.testing.assert_array_equal(layer.stored.matrix("float32").numpy(), expected.matrix("float32").numpy())
    linear = {f"{name}.weight" for name, layer in whole.named_sublayers() if hasattr(layer, "weight")}
    matrices = {n for n in linear if n.startswith(f"{blocks}.") and whole.state_dict()[n].ndim == 2}
    assert stored == matrices and len(stored) >= 20
    for name, x in whole.state_dict().items():
        if name in stored:
            assert not has_memory(model, name)
        else:
            np.testing.assert_array_equal(model.state_dict()[name].numpy(), x.numpy())
    kept = sum(x.size * 4 for name, x in whole.state_dict().items() if name not in stored)
    codes = sum(whole.state_dict()[name].size + 4 * whole.state_dict()[name].shape[1] for name in stored)
    assert part.stored_bytes == kept + codes


def test_loras_are_merged_before_weights_are_stored(tmp_path, loras):
    merged = MergedPart(create(hunyuan), [tmp_path], loras).load()
    model = QuantisedPart(create(hunyuan), [tmp_path], "int8", "blocks", loras).load()
    expected = quantise(merged.blocks[0].attn1.to_q.weight, "int8").matrix("float32")
    np.testing.assert_array_equal(model.blocks[0].attn1.to_q.stored.matrix("float32").numpy(), expected.numpy())
    np.testing.assert_array_equal(model.proj_out.weight.numpy(), merged.proj_out.weight.numpy())


def test_other_forms_are_told(tmp_path):
    write_checkpoint(tmp_path, hunyuan)
    with pytest.raises(InputError, match="weights 'int4' are not known; use one of int8, fp8, or leave it out"):
        QuantisedPart(create(hunyuan), [tmp_path], "int4", "blocks")


# Block by block


def test_blocks_have_weights_only_while_they_run(kind):
    make, inputs, blocks, folder = kind
    expected = run(Part(create(make), [folder]).load(), inputs)
    part = StreamedPart(create(make), [folder], blocks)
    model, seen = part.model, []

    def note(*_):
        seen.append([i for i, block in enumerate(getattr(model, blocks)) if block.attn1.to_q.weight._is_initialized()])

    for block in getattr(model, blocks):
        block.attn1.register_forward_pre_hook(note)
    for _ in range(2):
        part.load()
        assert has_memory(model, "proj_out.weight") and not has_memory(model, f"{blocks}.0.attn1.to_q.weight")
        for _ in range(2):
            np.testing.assert_array_equal(run(model, inputs), expected)
        part.release()
        assert not has_memory(model, "proj_out.weight")
    count = len(getattr(model, blocks))
    assert seen == [[i] for i in range(count)] * 4
    assert not any(has_memory(model, name) for name in model.state_dict())


def test_blocks_from_shards_with_loras_are_those_of_a_merged_part(tmp_path, loras):
    arrays = write_checkpoint(tmp_path, hunyuan)
    expected = run(MergedPart(create(hunyuan), [tmp_path], loras).load(), inputs_of_hunyuan)
    linear = {f"{name}.weight" for name, x in hunyuan().named_sublayers() if isinstance(x, paddle.nn.Linear)}
    torch = {name: np.ascontiguousarray(x.T) if name in linear else x for name, x in arrays.items()}
    (tmp_path / "diffusion_paddle_model.safetensors").unlink()
    shard(tmp_path / "diffusion_pytorch_model.safetensors", torch)
    model = StreamedPart(create(hunyuan), [tmp_path], "blocks", loras).load()
    np.testing.assert_array_equal(run(model, inputs_of_hunyuan), expected)


def test_damaged_blocks_are_told_when_loading(tmp_path):
    arrays = write_checkpoint(tmp_path, hunyuan)
    arrays["blocks.1.ff.net.2.weight"][3, 4] = np.nan
    write_safetensors(tmp_path / "diffusion_paddle_model.safetensors", arrays, {"format": "pd"})
    with pytest.raises(InputError, match=r"blocks.1.ff.net.2.weight holds values that are not finite numbers"):
        StreamedPart(create(hunyuan), [tmp_path], "blocks").load()
