"""The names that tools give to layers and their elements: all mean the same, and nothing is dropped in silence."""

import itertools
import json

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.lora import Lora
from ppdiffusers_ext.weights.lora_names import TEXT_ENCODER, TEXT_ENCODER_2, TRANSFORMER
from ppdiffusers_ext.weights.writing import write_safetensors

RANK = 2
FLAT = {
    TRANSFORMER: ("lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_"),
    TEXT_ENCODER: ("lora_te_", "lora_te1_"),
    TEXT_ENCODER_2: ("lora_te2_",),
}
DOTTED = {
    TRANSFORMER: (
        "transformer.", "unet.", "diffusion_model.", "model.diffusion_model.", "base_model.model.",
        "base_model.model.transformer.", "transformer.base_model.model.", "transformer._orig_mod.", "",
    ),
    TEXT_ENCODER: ("text_encoder.", "base_model.model.text_encoder."),
    TEXT_ENCODER_2: ("text_encoder_2.",),
}  # fmt: skip
ENDS = (
    ("lora_down.weight", "lora_up.weight"),
    ("lora_down", "lora_up"),
    ("lora_A.weight", "lora_B.weight"),
    ("lora_A", "lora_B"),
    ("lora_A.default.weight", "lora_B.default.weight"),
    ("lora_A.my-style_1", "lora_B.my-style_1"),
    ("lora.down.weight", "lora.up.weight"),
    ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
)
PATHS = ("proj_out", "blocks.0.attn1.to_q", "blocks.1.attn1.to_out.0", "blocks.1.ff.net_2.proj")


class Attention(nn.Layer):
    def __init__(self):
        super().__init__()
        self.to_q, self.to_out = nn.Linear(4, 6), nn.LayerList([nn.Linear(4, 6), nn.Dropout()])


class Block(nn.Layer):
    def __init__(self):
        super().__init__()
        self.attn1, self.ff = Attention(), nn.Layer()
        self.ff.net_2 = nn.Layer()
        self.ff.net_2.proj = nn.Linear(4, 6)


class Network(nn.Layer):
    def __init__(self):
        super().__init__()
        self.blocks, self.proj_out = nn.LayerList([Block(), Block()]), nn.Linear(4, 6)


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    return Network()


def pair(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((RANK, 4)).astype(np.float32), rng.standard_normal((6, RANK)).astype(np.float32)


def write(path, arrays, metadata=None):
    write_safetensors(path, arrays, {"format": "pt", **(metadata or {})})
    return path


def stems():
    for network in (TRANSFORMER, TEXT_ENCODER, TEXT_ENCODER_2):
        for path in PATHS:
            yield from ((network, path, prefix + path.replace(".", "_")) for prefix in FLAT[network])
            yield from ((network, path, prefix + path) for prefix in DOTTED[network])


def layers_of(path, network, kind=TRANSFORMER):
    """name of a layer -> what is added to it."""
    shape = (6, 4)
    return {name: addition.of_weight(shape, 1.0) for name, addition in Lora(path).of(network, kind).items()}


@pytest.mark.parametrize("ends", ENDS)
def test_every_prefix_with_every_name_of_the_matrices(tmp_path, network, ends):
    down, up = pair()
    for kind, path, stem in stems():
        file = write(tmp_path / "a.safetensors", {f"{stem}.{ends[0]}": down, f"{stem}.{ends[1]}": up})
        assert Lora(file).networks == {kind}, stem
        ((name, added),) = layers_of(file, network, kind).items()
        assert name == path, stem
        np.testing.assert_allclose(added, up @ down, rtol=1e-6)


@pytest.mark.parametrize("projection, path", [("to_q", "blocks.0.attn1.to_q"), ("to_out", "blocks.0.attn1.to_out.0")])
@pytest.mark.parametrize("prefix", DOTTED[TRANSFORMER])
def test_names_of_attention_processors(tmp_path, network, projection, path, prefix):
    down, up = pair()
    stem = f"{prefix}blocks.0.attn1.processor.{projection}_lora"
    ((name, added),) = layers_of(
        write(tmp_path / "a.safetensors", {f"{stem}.down.weight": down, f"{stem}.up.weight": up}), network
    ).items()
    assert name == path
    np.testing.assert_allclose(added, up @ down, rtol=1e-6)


def test_layers_of_several_networks_in_one_file(tmp_path, network):
    arrays = {}
    prefixes = (("lora_unet_", TRANSFORMER), ("lora_te1_", TEXT_ENCODER), ("lora_te2_", TEXT_ENCODER_2))
    for seed, (prefix, _) in enumerate(prefixes):
        down, up = pair(seed)
        arrays |= {f"{prefix}proj_out.lora_down.weight": down, f"{prefix}proj_out.lora_up.weight": up}
    file = write(tmp_path / "a.safetensors", arrays)
    for seed, (_, kind) in enumerate(prefixes):
        down, up = pair(seed)
        np.testing.assert_allclose(layers_of(file, network, kind)["proj_out"], up @ down, rtol=1e-6)


# Files of another model, of other prefixes, of other methods


@pytest.mark.parametrize(
    "stem",
    [
        *("lora_control_proj_out", "lora_proj_out", "lora_te3_proj_out", "lora_unet2_proj_out", "LORA_UNET_proj_out"),
        *("controlnet.proj_out", "te1.proj_out", "text_encoders.bert.proj_out", "pipe.dit.proj_out", "x.proj_out"),
        *("blocks_0_attn1_to_q", "clip_l.proj_out", "lora_prior_unet_proj_out", "base_model.proj_out", " proj_out"),
    ],
)
def test_unknown_prefixes_are_refused_with_the_known_ones(tmp_path, network, stem):
    down, up = pair()
    arrays = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    for more in ({}, {"lora_unet_proj_out.lora_down.weight": down, "lora_unet_proj_out.lora_up.weight": up}):
        file = write(tmp_path / "a.safetensors", {**more, **arrays})
        with pytest.raises(InputError) as caught:
            Lora(file).of(network)
        assert stem in str(caught.value)
        for prefix in ("lora_unet_", "lora_te1_", "lora_te2_", "transformer.", "text_encoder_2."):
            assert prefix in str(caught.value)


@pytest.mark.parametrize(
    "stem", ["lora_unet_blocks_7_attn1_to_q", "transformer.blocks.0.attn2.to_q", "base_model.model.encoder.q"]
)
def test_layers_of_another_model_are_refused_by_name(tmp_path, network, stem):
    down, up = pair()
    file = write(tmp_path / "a.safetensors", {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})
    with pytest.raises(InputError, match=f"is of another model, which has {stem}; the nearest here is .*"):
        Lora(file).of(network)


def test_names_with_underscores_that_fit_two_layers_are_refused(tmp_path):
    model = nn.Layer()
    model.a_b, model.a = nn.Linear(4, 6), nn.Layer()
    model.a.b = nn.Linear(4, 6)
    down, up = pair()
    arrays = {"{}.lora_A.weight": down, "{}.lora_B.weight": up}
    for stem, name in (("lora_unet_a_b", None), ("transformer.a.b", "a.b"), ("transformer.a_b", "a_b")):
        file = write(tmp_path / "a.safetensors", {key.format(stem): x for key, x in arrays.items()})
        if name:
            assert list(Lora(file).of(model)) == [name]
        else:
            with pytest.raises(InputError, match="which has lora_unet_a_b"):
                Lora(file).of(model)


@pytest.mark.parametrize(
    ("elements", "method"),
    [
        (("oft_blocks",), "OFT"),
        (("oft_R.default.weight",), "OFT"),
        (("boft_R.default", "boft_s.default"), "BOFT"),
        (("weight", "on_input"), "IA3"),
        (("ia3_l",), "IA3"),
        (("a1.weight", "a2.weight", "b1.weight", "b2.weight"), "GLoRA"),
        (("w_norm", "b_norm"), "norms"),
        (("reshape_weight",), "weights that are replaced"),
        (("set_weight",), "weights that are replaced"),
        (("lora_embedding_A", "lora_embedding_B"), "LoRA of embeddings"),
        (("vera_lambda_b",), "VeRA"),
        (("scale_weight",), "scales"),
        (("lora_gate",), "not known of a LoRA"),
        (("lora_down.bias",), "not known of a LoRA"),
        (("hada_w3_a",), "not known of a LoRA"),
        (("lokr_w1_c",), "not known of a LoRA"),
        (("bias",), "not known of a LoRA"),
        (("lora_up.weight.extra",), "not known of a LoRA"),
        (("Alpha",), "not known of a LoRA"),
    ],
)
@pytest.mark.parametrize("stem", ["lora_unet_proj_out", "transformer.proj_out", "base_model.model.proj_out"])
def test_other_methods_are_refused_by_name_also_beside_a_lora(tmp_path, network, stem, elements, method):
    down, up = pair()
    others = {f"{stem}.{name}": np.ones((6, 4), np.float32) for name in elements}
    beside = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    with pytest.raises(InputError) as caught:
        Lora(write(tmp_path / "a.safetensors", {**beside, **others}))
    assert method in str(caught.value) and f"{stem}." in str(caught.value)
    assert "LoRA, LoCon, DoRA, LoHa, LoKr and differences" in str(caught.value)
    with pytest.raises(InputError):
        Lora(write(tmp_path / "a.safetensors", others))


def test_a_layer_in_two_names_is_refused(tmp_path, network):
    down, up = pair()
    stems = ("lora_unet_proj_out", "lora_unet__proj_out", "transformer.proj_out", "unet.proj_out", "proj_out")
    for pair_of_stems in itertools.combinations(stems, 2):
        arrays = {f"{stem}.{name}": x for stem in pair_of_stems for name, x in (("lora_A", down), ("lora_B", up))}
        file = write(tmp_path / "a.safetensors", arrays)
        with pytest.raises(InputError, match="twice: .*proj_out.*, .*proj_out.*; one is accepted"):
            Lora(file).of(network)
    arrays = {"unet.proj_out.lora_A": down, "unet.proj_out.lora_B": up, "unet.proj_out.lora_up.weight": up}
    with pytest.raises(InputError, match="has a layer twice: unet.proj_out.lora_B, unet.proj_out.lora_up.weight"):
        Lora(write(tmp_path / "a.safetensors", arrays))


def test_several_adapters_in_one_file_are_refused(tmp_path):
    down, up = pair()
    arrays = {f"transformer.{layer}.lora_{end}.{name}.weight": x for layer, name in (("a", "one"), ("b", "two"))
              for end, x in (("A", down), ("B", up))}  # fmt: skip
    with pytest.raises(
        InputError, match="has several adapters, transformer.a.lora_A.one.weight, transformer.b.lora_A.two"
    ):
        Lora(write(tmp_path / "a.safetensors", arrays))


def test_keys_in_messages_are_bounded_and_without_escapes(tmp_path):
    for key in ("lora_unet_" + "x" * 100_000 + ".oft_blocks", "\x1b[31mred\n.oft_blocks", "a" * 100_000):
        file = write(tmp_path / "a.safetensors", {f"{i}{key}": np.ones((1, 1), np.float32) for i in range(20)})
        with pytest.raises(InputError) as caught:
            Lora(file)
        text = str(caught.value).removeprefix(str(file))
        assert len(text) < 1000 and text.isprintable() and "and 17 more" in text


# What is noted of the strength


def scale_of(path, network, name="blocks.0.attn1.to_q"):
    return Lora(path).of(network)[name].scale


def test_parts_of_a_layer_under_two_names_are_refused(tmp_path):
    second = "lora_transformer_blocks_0_attn1_to_q"
    first, (down, up) = "lora_unet_blocks_0_attn1_to_q", pair()
    arrays = {"lora_down.weight": down, "lora_up.weight": up, "alpha": np.float32(3), "diff_b": up[:, 0]}
    for moved in itertools.islice(arrays, 1, None):
        named = {f"{second if part == moved else first}.{part}": array for part, array in arrays.items()}
        with pytest.raises(InputError, match=f"under two names: {first}, {second}; one name"):
            Lora(write(tmp_path / "a.safetensors", named))


def test_alpha_of_the_metadata_stands_in_for_the_layers_own(tmp_path, network):
    down, up = pair()
    stem = "lora_unet_blocks_0_attn1_to_q"
    arrays = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    for text, scale in (("1", 0.5), ("4.0", 2.0), ("None", 1.0), ("", 1.0)):
        file = write(tmp_path / "a.safetensors", arrays, {"ss_network_alpha": text})
        assert scale_of(file, network) == scale
    own = {f"{stem}.alpha": np.float32(6)}
    assert scale_of(write(tmp_path / "a.safetensors", arrays | own, {"ss_network_alpha": "1"}), network) == 3.0
    assert scale_of(write(tmp_path / "a.safetensors", arrays), network) == 1.0
    for text in ("much", "nan", "inf", "1e999", "1,5"):
        file = write(tmp_path / "a.safetensors", arrays, {"ss_network_alpha": text})
        with pytest.raises(InputError, match="ss_network_alpha is .*; a number is needed"):
            Lora(file).of(network)
    with pytest.raises(InputError, match="ss_network_alpha is 0; another number is needed"):
        Lora(write(tmp_path / "a.safetensors", arrays, {"ss_network_alpha": "0.0"})).of(network)


def peft_arrays(path="blocks.0.attn1.to_q", prefix="base_model.model."):
    down, up = pair()
    return {f"{prefix}{path}.lora_A.weight": down, f"{prefix}{path}.lora_B.weight": up}


CONFIG = {
    "peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["to_q"], "bias": "none",
    "fan_in_fan_out": False, "init_lora_weights": True, "base_model_name_or_path": "x",
    "task_type": None, "lora_dropout": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, 4.0),
        ({"use_rslora": True}, 8 / 2**0.5),
        ({"alpha_pattern": {"attn1.to_q": 3}}, 1.5),
        ({"alpha_pattern": {"^blocks.0.attn1.to_q$": 3}}, 1.5),
        ({"alpha_pattern": {r"blocks\.0\.attn1\.to_q": 3}}, 1.5),
        ({"alpha_pattern": {"blocks.1.attn1.to_q": 3, "n1.to_q": 5}}, 4.0),
        ({"r": 64, "rank_pattern": {"to_q": RANK}}, 4.0),
        ({"peft_type": None, "init_lora_weights": "gaussian"}, 4.0),
        (
            {"megatron_config": None, "megatron_core": "megatron.core", "qalora_group_size": 16, "use_qalora": False},
            4.0,
        ),
    ],
)
def test_configuration_of_peft_says_the_scale(tmp_path, network, options, scale):
    values = {name: value for name, value in {**CONFIG, **options}.items() if value is not None}
    (tmp_path / "adapter_config.json").write_text(json.dumps(values))
    for prefix in ("base_model.model.", "transformer.base_model.model."):
        assert scale_of(write(tmp_path / "adapter_model.safetensors", peft_arrays(prefix=prefix)), network) == scale
    packed = {f"transformer.{name}": value for name, value in values.items()} | {"text_encoder.lora_alpha": 99}
    metadata = {"lora_adapter_metadata": json.dumps(packed)}
    file = write(tmp_path / "other.safetensors", peft_arrays(prefix="transformer."), metadata)
    assert scale_of(file, network) == scale


def test_configuration_of_peft_is_of_files_with_its_names_alone(tmp_path, network):
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    assert scale_of(write(tmp_path / "a.safetensors", peft_arrays(prefix="transformer.")), network) == 1.0
    assert scale_of(write(tmp_path / "adapter_model.safetensors", peft_arrays(prefix="transformer.")), network) == 4.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 4}, "has r 4, .*to_q has 2; both of one training fit"),
        ({"r": "two"}, "r is 'two'; a number is needed"),
        ({"r": -1}, "has r -1|r is -1"),
        ({"lora_alpha": None}, "alpha is None; a number is needed"),
        ({"lora_alpha": 0}, "alpha is 0; another number is needed"),
        ({"alpha_pattern": {"attn1.to_q": 0}}, "alpha is 0; another number is needed"),
        ({"lora_alpha": [8]}, r"alpha is \[8\]; a number is needed"),
        ({"peft_type": "VERA"}, "is of the kind 'VERA'; the configuration of a LoRA, LoHa or LoKr"),
        ({"peft_type": "ADALORA"}, "is of the kind 'ADALORA'"),
        ({"use_dora": True}, "has use_dora, and .*to_q no lora_magnitude_vector"),
        ({"fan_in_fan_out": True}, "has fan_in_fan_out True, which is not computed"),
        ({"modules_to_save": ["norm"]}, r"has modules_to_save \['norm'\], which is not computed"),
        ({"layer_replication": [[0, 4]]}, "has layer_replication .*, which is not computed"),
        ({"something_new": 3}, "has something_new 3, which is not computed"),
        ({"init_lora_weights": "pissa"}, "has init_lora_weights 'pissa', which changed the model"),
        ({"init_lora_weights": "pissa_niter_4"}, "which changed the model"),
        ({"init_lora_weights": "olora"}, "which changed the model"),
        ({"alpha_pattern": {"(a+)+$": 3}}, r"has '\(a\+\)\+\$' in alpha_pattern; names of layers are accepted"),
        ({"rank_pattern": [3]}, r"has rank_pattern \[3\]; numbers by layer are accepted"),
    ],
)
def test_what_changes_the_result_and_is_not_computed_is_refused(tmp_path, network, options, message):
    (tmp_path / "adapter_config.json").write_text(json.dumps({**CONFIG, **options}))
    file = write(tmp_path / "adapter_model.safetensors", peft_arrays())
    with pytest.raises(InputError, match=message):
        Lora(file).of(network)


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "", "[" * 5000, '{"r": 1e999}', '{"r": NaN}', "\x00"])
def test_configurations_that_are_none_are_refused(tmp_path, network, text):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match="adapter_config.json .*; the configuration of a LoRA, LoHa or LoKr"):
        Lora(write(tmp_path / "adapter_model.safetensors", peft_arrays()))
    with pytest.raises(InputError, match="lora_adapter_metadata of .*; the configuration of a LoRA, LoHa or LoKr"):
        Lora(write(tmp_path / "a.safetensors", peft_arrays(), {"lora_adapter_metadata": text}))


def test_loha_and_lokr_of_peft_are_scaled_by_the_configuration(tmp_path, network):
    rng = np.random.default_rng(0)
    w1, w2 = rng.standard_normal((2, 2)).astype(np.float32), rng.standard_normal((3, 2)).astype(np.float32)
    stem = "base_model.model.proj_out"
    file = write(tmp_path / "adapter_model.safetensors", {f"{stem}.lokr_w1": w1, f"{stem}.lokr_w2": w2})
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LOKR", "r": 8, "alpha": 4}))
    np.testing.assert_allclose(layers_of(file, network)["proj_out"], 0.5 * np.kron(w1, w2), rtol=1e-6)


def test_missing_configuration_of_peft_is_said(tmp_path, caplog):
    file = write(tmp_path / "adapter_model.safetensors", peft_arrays())
    Lora(file).note()
    assert "no adapter_config.json beside it, which says lora_alpha: its layers are scaled by 1" in caplog.text
    caplog.clear()
    for prefix, more in (
        ("transformer.", {}),
        ("base_model.model.", {"base_model.model.proj_out.alpha": np.float32(2)}),
    ):
        Lora(write(file, peft_arrays("proj_out", prefix) | more)).note()
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    Lora(write(file, peft_arrays())).note()
    assert caplog.text == ""
