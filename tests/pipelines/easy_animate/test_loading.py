"""Folders of EasyAnimate's checkpoints of every version: what is made of them, what is missing or does not fit."""

import json
import shutil

import numpy as np
import paddle
import pytest

from ppdiffusers_ext import packaged
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines.easy_animate import loading
from ppdiffusers_ext.pipelines.easy_animate.loading import MOTION_MODULE, check_parts, describe_parts, read_scheduler
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.schedulers import make_scheduler, scheduler_class
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch
from tests.support.easy_folders import PARTS, SCHEDULERS, config_for, shard, write_easy
from tests.weights.test_lora import write as write_lora

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
CLASSES = {
    "v4": (
        "AutoencoderKLMagvit",
        "HunyuanTransformer3D",
        "BertModel",
        "T5EncoderModel",
        "CLIPVisionModelWithProjection",
    ),
    "v4_t2v": ("AutoencoderKLMagvit", "HunyuanTransformer3D", "BertModel", "T5EncoderModel"),
    "v3": ("AutoencoderKLMagvit", "PixArtTransformer3D", "T5EncoderModel", "CLIPVisionModelWithProjection"),
    "v2": ("AutoencoderKLMagvit", "PixArtTransformer3D", "T5EncoderModel"),
    "v1": ("AutoencoderKL", "PixArtTransformer3D", "T5EncoderModel"),
}


def change_json(path, **values):
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not KeyError}))


@pytest.mark.parametrize("version", PARTS)
def test_every_version_is_loaded_strictly(tmp_path, version):
    files = write_easy(tmp_path, version)
    config = config_for(tmp_path, version)
    check_parts(config)
    parts = describe_parts(config)
    assert tuple(type(part.model).__name__ for part in parts.values()) == CLASSES[version]
    for part in parts.values():
        part.load()
    state = parts["transformer"].model.state_dict()
    compared = 0
    for file in (TRANSFORMER, *([MOTION_MODULE] if version == "v1" else [])):
        for name, array in files[file].items():
            if name in state and array.ndim == 4:  # convolutions, which are as torch has them
                np.testing.assert_array_equal(state[name].numpy(), array)
            elif name in state and array.ndim == 2 and "table" not in name and "padding" not in name:
                compared += np.array_equal(state[name].numpy(), array.T)
    assert compared > 30


def test_shards_are_loaded_and_a_missing_one_is_told_before_anything_is(tmp_path):
    files = write_easy(tmp_path, "v4")
    shards = shard(tmp_path / TRANSFORMER, files[TRANSFORMER])
    shard(tmp_path / "text_encoder_2" / "model.safetensors", files["text_encoder_2/model.safetensors"], 2)
    config = config_for(tmp_path, "v4")
    check_parts(config)
    for part in describe_parts(config).values():
        part.load()
    (tmp_path / "transformer" / shards[1]).unlink()
    with pytest.raises(MissingFileError, match=f"{shards[1]} does not exist, one of 3 that .*index.json names"):
        check_parts(config)
    with pytest.raises(MissingFileError, match=f"{shards[1]} does not exist"):
        describe_parts(config)["transformer"].load()


@pytest.mark.parametrize("gone", ["transformer/config.json", "vae/config.json", "scheduler/scheduler_config.json"])
def test_missing_files_are_told_with_the_command_that_fetches_them(tmp_path, gone):
    write_easy(tmp_path, "v3")
    (tmp_path / gone).unlink()
    with pytest.raises(MissingFileError, match=gone):
        check_parts(config_for(tmp_path, "v3"))


def test_all_missing_files_are_told_at_once(tmp_path):
    write_easy(tmp_path, "v3")
    (tmp_path / "vae/config.json").unlink()
    (tmp_path / "scheduler/scheduler_config.json").unlink()
    shutil.rmtree(tmp_path / "tokenizer")
    config = config_for(tmp_path, "v3", vae_path="x.safetensors", loras=[("y.safetensors", 1.0)])
    with pytest.raises(MissingFileError) as caught:
        check_parts(config)
    for name in ("vae/config.json", "scheduler_config.json", "tokenizer", "x.safetensors", "y.safetensors"):
        assert name in str(caught.value)


def test_all_missing_weights_are_told_at_once(tmp_path):
    write_easy(tmp_path, "v3")
    for name in ("vae", "text_encoder"):
        for path in (tmp_path / name).glob("*.safetensors"):
            path.unlink()
    with pytest.raises(MissingFileError, match="no weights in .*vae.*no weights in .*text_encoder"):
        check_parts(config_for(tmp_path, "v3"))


@pytest.mark.parametrize("options", [{}, {"vae_path": "x.safetensors"}, {"loras": [("y.safetensors", 1.0)]}])
def test_missing_folders_and_extra_files_are_told(tmp_path, options):
    write_easy(tmp_path, "v3")
    config = config_for(tmp_path, "v3", **options)
    if not options:
        shutil.rmtree(tmp_path / "tokenizer")
    accepted = "a file of a LoRA's weights" if "loras" in options else "download_weights.py --system easy_animate"
    with pytest.raises(MissingFileError, match=accepted):
        check_parts(config)
    with pytest.raises(MissingFileError, match="folder .*nowhere does not exist; .*--system easy_animate"):
        check_parts(config_for(tmp_path / "nowhere", "v3"))


def test_tensors_of_a_part_that_is_not_complete_are_named(tmp_path):
    files = write_easy(tmp_path, "v3")
    arrays = {name: array for name, array in files[TRANSFORMER].items() if not name.startswith("proj_out")}
    write_safetensors(tmp_path / TRANSFORMER, arrays, {"format": "pt"})
    with pytest.raises(InputError, match="2 tensors missing .proj_out.bias, proj_out.weight"):
        describe_parts(config_for(tmp_path, "v3"))["transformer"].load()


def test_v1_needs_its_motion_module_and_takes_no_other(tmp_path):
    write_easy(tmp_path, "v1")
    with pytest.raises(InputError, match="is a model of pictures, .* motion_module_path, .*easyanimate_v1_mm"):
        describe_parts(config_for(tmp_path, "v1", motion_module_path=""))
    with pytest.raises(InputError, match="has no motion_module_kwargs; options of the motion modules are needed"):
        describe_parts(config_for(tmp_path, "v1", transformer={}))
    write_safetensors(tmp_path / MOTION_MODULE, {"x": np.zeros(2, np.float32)}, {"format": "pt"})
    with pytest.raises(InputError, match=r"tensors missing \(transformer_blocks.0.attn_temporal.*1 tensor unex"):
        describe_parts(config_for(tmp_path, "v1"))["transformer"].load()


def test_files_go_over_those_of_the_folder(tmp_path):
    files = write_easy(tmp_path, "v4_t2v")
    arrays = {"proj_out.bias": np.full_like(files[TRANSFORMER]["proj_out.bias"], 3.0)}
    write_torch(tmp_path / "more.pth", arrays)
    vae = files["vae/diffusion_pytorch_model.safetensors"]
    # As training leaves it, with what the losses have learnt.
    changed = {"quant_conv.bias": np.full_like(vae["quant_conv.bias"], 2.0), "loss.logvar": np.zeros(1, np.float32)}
    write_torch(tmp_path / "vae.pth", changed)
    paths = {"transformer_path": str(tmp_path / "more.pth"), "vae_path": str(tmp_path / "vae.pth")}
    parts = describe_parts(config_for(tmp_path, "v4_t2v", **paths))
    assert float(parts["transformer"].load().proj_out.bias.min()) == 3.0
    assert float(parts["vae"].load().quant_conv.bias.min()) == 2.0


@pytest.mark.parametrize(
    "part, values, message",
    [
        (
            "transformer",
            {"_class_name": "EasyAnimateTransformer3DModel"},
            "of the class 'EasyAnimateTransformer3DModel'",
        ),
        ("vae", {"_class_name": "AutoencoderKLCogVideoX"}, "AutoencoderKLMagvit, AutoencoderKL are accepted"),
        ("text_encoder", {"model_type": "t5"}, "is of the kind 't5'; bert is accepted"),
        ("text_encoder_2", {"model_type": "qwen2"}, "is of the kind 'qwen2'; t5 or mt5 is accepted"),
        ("transformer", {"hidden_size": 40}, "config.json: 4 blocks of 2 heads of 16 channels"),
    ],
)
def test_other_classes_and_options_are_told(tmp_path, part, values, message):
    write_easy(tmp_path, "v4")
    change_json(tmp_path / part / "config.json", **values)
    with pytest.raises(InputError, match=message):
        describe_parts(config_for(tmp_path, "v4"))


def test_options_of_the_user_go_over_the_file(tmp_path):
    write_easy(tmp_path, "v4")
    config = config_for(tmp_path, "v4", transformer={"rotates_first_block": False})
    assert not describe_parts(config)["transformer"].model.config.rotates_first_block
    with pytest.raises(
        InputError, match="'rotates_first' of HunyuanTransformer3D is not known; .*'rotates_first_block'"
    ):
        describe_parts(config_for(tmp_path, "v4", transformer={"rotates_first": False}))


def test_loras_are_of_the_transformer_and_of_the_first_text_encoder(tmp_path):
    write_easy(tmp_path, "v4")
    plain = describe_parts(config_for(tmp_path, "v4"))
    path = tmp_path / "a.safetensors"
    of_text = {"layer_0_attention_self_query": (24, 24), "layer_1_output_dense": (40, 24)}
    arrays = write_lora(path, of_text, prefix="lora_te_encoder_")
    arrays.update(write_lora(path, {"proj_out": (32, 32)}))
    write_safetensors(path, arrays, {"format": "pt"})
    loras = [(str(path), 0.5)]
    parts = describe_parts(config_for(tmp_path, "v4", loras=loras))
    changed = {}
    for name, part in parts.items():
        before, after = plain[name].load().state_dict(), part.load().state_dict()
        changed[name] = [key for key in before if not np.array_equal(before[key].numpy(), after[key].numpy())]
    assert changed == {
        "vae": [],
        "transformer": ["proj_out.weight"],
        "text_encoder": ["encoder.layers.0.self_attn.q_proj.weight", "encoder.layers.1.linear2.weight"],
        "text_encoder_2": [],
        "image_encoder": [],
    }
    tensors = [arrays[f"lora_te_encoder_layer_1_output_dense.lora_{end}.weight"] for end in ("up", "down")]
    expected = (
        plain["text_encoder"].model.encoder.layers[1].linear2.weight.numpy() + 0.25 * (tensors[0] @ tensors[1]).T
    )
    merged = parts["text_encoder"].model.encoder.layers[1].linear2.weight.numpy()
    np.testing.assert_allclose(merged, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 10**400, None, [1.0], {}, "much"])
def test_weights_of_loras_that_are_no_numbers_are_refused(tmp_path, weight):
    write_easy(tmp_path, "v3")
    write_lora(tmp_path / "a.safetensors", {"proj_out": (24, 32)})
    with pytest.raises(InputError, match="a.safetensors has the weight .*; a finite number, such as 0.6, is accepted"):
        describe_parts(config_for(tmp_path, "v3", loras=[(str(tmp_path / "a.safetensors"), weight)]))


def changed_parts(folder, version, path):
    """name of a part -> its weights that a LoRA file changes."""
    parts = [describe_parts(config_for(folder, version, loras=loras)) for loras in ([], [(str(path), 1.0)])]
    changed = {}
    for name in parts[0]:
        before, after = (part[name].load().state_dict() for part in parts)
        names = [key for key in before if not np.array_equal(before[key].numpy(), after[key].numpy())]
        changed |= {name: names} if names else {}
    return changed


BERT_LAYER = "encoder.layer.0.attention.self.query", (24, 24), "encoder.layers.0.self_attn.q_proj.weight"
T5_LAYER = "encoder.block.1.layer.0.SelfAttention.q", (32, 32), "encoder.block.1.layer.0.SelfAttention.q.weight"


@pytest.mark.parametrize(
    ("prefix", "layer", "part"),
    [
        ("lora_te_", BERT_LAYER, "text_encoder"),
        ("lora_te1_", BERT_LAYER, "text_encoder"),
        ("text_encoder.", BERT_LAYER, "text_encoder"),
        ("lora_te2_", T5_LAYER, "text_encoder_2"),
        ("lora_te_", T5_LAYER, "text_encoder_2"),
        ("lora_te__", T5_LAYER, "text_encoder_2"),
        ("text_encoder_2.", T5_LAYER, "text_encoder_2"),
    ],
)
def test_text_encoders_are_numbered_from_one(tmp_path, prefix, layer, part):
    write_easy(tmp_path, "v4")
    name, sizes, own = layer
    name = name if prefix.endswith(".") else name.replace(".", "_")
    write_lora(tmp_path / "a.safetensors", {name: sizes}, prefix=prefix)
    assert changed_parts(tmp_path, "v4", tmp_path / "a.safetensors") == {part: [own]}


def test_unnumbered_layers_are_of_the_text_encoder_that_has_them(tmp_path):
    """As EasyAnimate's `create_network` names those of a list of text encoders: one prefix for all."""
    write_easy(tmp_path, "v4")
    path, layers = tmp_path / "a.safetensors", [BERT_LAYER, T5_LAYER]
    write_lora(path, {name.replace(".", "_"): sizes for name, sizes, _ in layers}, prefix="lora_te_")
    expected = {"text_encoder": [BERT_LAYER[2]], "text_encoder_2": [T5_LAYER[2]]}
    assert changed_parts(tmp_path, "v4", path) == expected
    for prefix, name, sizes in (
        ("lora_te_", "encoder_block_1_layer_0_SelfAttention_x", (32, 32)),
        ("lora_te_", "encoder_block_9_layer_0_SelfAttention_q", (32, 32)),
        ("lora_te_", "encoder_layer_9_attention_self_query", (24, 24)),
        ("lora_te_", "pooler_dense", (24, 24)),
        ("lora_te1_", "encoder_block_1_layer_0_SelfAttention_q", (32, 32)),
        ("lora_te2_", "encoder_layer_0_attention_self_query", (24, 24)),
    ):
        write_lora(path, {name: sizes}, prefix=prefix)
        with pytest.raises(InputError, match=f"a.safetensors is of another model, which has {prefix}{name}"):
            describe_parts(config_for(tmp_path, "v4", loras=[(str(path), 1.0)]))


def test_a_layer_of_t5_with_and_without_a_number_is_one_twice(tmp_path):
    write_easy(tmp_path, "v4")
    name = T5_LAYER[0].replace(".", "_")
    arrays = write_lora(tmp_path / "a.safetensors", {name: (32, 32)}, prefix="lora_te_")
    arrays |= {key.replace("lora_te_", "lora_te2_"): value for key, value in arrays.items()}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    with pytest.raises(InputError, match="has the layer .*SelfAttention.q twice"):
        describe_parts(config_for(tmp_path, "v4", loras=[(str(tmp_path / "a.safetensors"), 1.0)]))


def test_layers_of_a_text_encoder_that_is_not_there_are_refused(tmp_path):
    write_easy(tmp_path, "v3")
    sizes = {"encoder_block_1_layer_0_SelfAttention_q": (24, 24)}
    for prefix in ("lora_te_", "lora_te1_"):
        write_lora(tmp_path / "a.safetensors", sizes, prefix=prefix)
        assert list(changed_parts(tmp_path, "v3", tmp_path / "a.safetensors")) == ["text_encoder"]
    write_lora(tmp_path / "a.safetensors", sizes, prefix="lora_te2_")
    with pytest.raises(InputError, match="a.safetensors has layers of the text_encoder_2, which .* has not; known"):
        describe_parts(config_for(tmp_path, "v3", loras=[(tmp_path / "a.safetensors", 1.0)]))


def test_lora_of_another_model_is_told(tmp_path):
    write_easy(tmp_path, "v4")
    write_lora(tmp_path / "a.safetensors", {"transformer_blocks_0_attn1_to_q": (32, 32)})
    with pytest.raises(InputError, match="is of another model, which has lora_unet__transformer_blocks_0_attn1_to_q"):
        describe_parts(config_for(tmp_path, "v4", loras=[(tmp_path / "a.safetensors", 1.0)]))
    write_lora(tmp_path / "a.safetensors", {"to_q": (32, 32)}, prefix="lora_control_")
    with pytest.raises(InputError, match="has no layer that begins with lora_unet_"):
        describe_parts(config_for(tmp_path, "v4", loras=[(tmp_path / "a.safetensors", 1.0)]))


def test_weights_in_8_bits_and_blocks_one_by_one_are_asked_for(tmp_path):
    write_easy(tmp_path, "v4")
    names = [
        type(describe_parts(config_for(tmp_path, "v4", **options), streams=streams)["transformer"]).__name__
        for options, streams in (
            ({}, False),
            ({"weights": "fp8"}, False),
            ({"memory": "minimal"}, True),
            ({"weights": "int8", "engine": "openvino"}, False),  # which makes its exports of the whole weights
        )
    ]
    assert names == ["MergedPart", "QuantisedPart", "StreamedPart", "MergedPart"]
    for options, streams, message in (
        (
            {"weights": "int8", "engine": "onnx"},
            False,
            "engine onnx has no weights in 'int8'; engine openvino or eager",
        ),
        ({"engine": "onnx"}, True, "blocks that are read one by one run in eager mode"),
        ({"weights": "int8"}, True, "weights in int8 stay in memory; none where"),
        ({"engine": "auto"}, True, "blocks that are read one by one run in eager mode"),
        ({"weights": "int3"}, False, "weights 'int3' are not known"),
    ):
        with pytest.raises(InputError, match=message):
            describe_parts(config_for(tmp_path, "v4", **options), streams=streams)


@pytest.mark.parametrize("base", ["v4_base", "v1_v2_v3_base"])
@pytest.mark.parametrize("sampler", ["Euler", "Euler A", "DPM++", "PNDM", "DDIM"])
def test_samplers_are_made_of_the_file_as_the_original_makes_them(tmp_path, base, sampler):
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULERS[base]))
    ours = make_scheduler(sampler, read_scheduler(tmp_path, sampler))
    theirs = scheduler_class(sampler).from_config(SCHEDULERS[base])
    assert type(ours) is type(theirs)
    paddle.seed(0)
    noise, predictions, results = paddle.randn([1, 4, 2, 3, 3]), paddle.randn([30, 1, 4, 2, 3, 3]), []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(5)
        x = noise * scheduler.init_noise_sigma
        for i, timestep in enumerate(scheduler.timesteps):
            paddle.seed(i)
            scheduler.scale_model_input(x, timestep)
            x = scheduler.step(predictions[i], timestep, x).prev_sample
        results.append((np.asarray(scheduler.timesteps), x.numpy()))
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)


def test_missing_file_of_the_sampler_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="scheduler_config.json does not exist"):
        read_scheduler(tmp_path, "Euler")


def test_model_that_ships_is_found_from_any_folder(tmp_path, monkeypatch):
    write_easy(tmp_path / "package" / "assets" / "small", "v4_t2v")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "package")
    config = EasyAnimateConfig(model="assets/small")
    parts = loading.describe_run(config, "float32", "float32")
    components = loading.read_components(config, parts)
    assert components["tokenizer_2"].length == components["transformer"].config.text_len_t5
    assert parts["transformer"].load() is components["transformer"]
