"""LoRA files with keys of the pieces of all conventions: every key is used, or the file is refused."""

import functools
import itertools
import json

import numpy as np
import paddle
from hypothesis import strategies as st
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.lora import Lora, MergedLoras
from ppdiffusers_ext.weights.lora_names import T5_ENCODER, TEXT_ENCODER, TEXT_ENCODER_2, TRANSFORMER
from ppdiffusers_ext.weights.writing import write_safetensors
from tests.support.fuzzing import bounded, fuzz, refused_or_read

PREFIXES = (
    *("lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_"),
    *("transformer.", "unet.", "diffusion_model.", "model.diffusion_model.", "text_encoder.", "text_encoder_2."),
    *("base_model.model.", "base_model.model.transformer.", "lora_control_", "lora_", "", ".", "_"),
)
LAYERS = ("to_q", "conv", "a.b", "a_b", "norm", "table", "blocks.0", "to_k", "to_q.to_q", "", "processor.to_q_lora")
LAYERS += ("encoder.block.0.layer.0.q", "encoder.block.1.layer.0.q", "encoder.block.0.layer")
ELEMENTS = (
    *(
        "lora_down.weight",
        "lora_up.weight",
        "lora_mid.weight",
        "lora_A.weight",
        "lora_B.weight",
        "lora_A.default.weight",
    ),
    *("lora_B.default.weight", "lora_B.bias", "lora.down.weight", "lora.up.weight", "lora_up", "lora_down", "alpha"),
    *("dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.default.weight", "diff", "diff_b"),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    *("oft_blocks", "on_input", "w_norm", "weight", "bias", "scale", "", "down.weight", "up.weight"),
)
PRODUCTS = (
    *(("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight"), ("diff",), ()),
    *(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("lokr_w1", "lokr_w2")),
    *(("lokr_w1", "lokr_w2_a", "lokr_w2_b"), ("lokr_w1_a", "lokr_w1_b", "lokr_w2")),
)
BESIDE = ("alpha", "dora_scale", "diff_b", "lora_magnitude_vector", "lora_B.bias", "lora_mid.weight")
SIZES = {
    **dict.fromkeys(("lora_down.weight", "lora_A.weight", "hada_w1_b", "hada_w2_b"), (2, 4)),
    **dict.fromkeys(("lora_up.weight", "lora_B.weight", "hada_w1_a", "hada_w2_a"), (4, 2)),
    **{"diff": (4, 4), "alpha": (), "dora_scale": (4, 1), "lora_mid.weight": (2, 2)},
    **dict.fromkeys(("diff_b", "lora_B.bias", "lora_magnitude_vector"), (4,)),
}  # others: (2, 2)
KINDS = (np.float32, np.float16, np.float64, np.uint16, np.int8, np.int64, np.bool_)
SHAPES = st.one_of(
    st.sampled_from([(), (1,), (2, 4), (4, 2), (2, 2), (4, 4), (4,), (1, 4), (4, 1), (2, 4, 3, 3), (4, 2, 1, 1)]),
    st.sampled_from([(2, 4, 1, 1), (2, 2, 3, 3), (4, 4, 3, 3), (0, 4), (4, 0), (2, 2, 1, 1), (1, 4, 1, 1), (5, 5)]),
    st.lists(st.integers(0, 5), max_size=5).map(tuple),
)
METADATA = st.dictionaries(
    st.sampled_from(["ss_network_alpha", "lora_adapter_metadata", "ss_network_dim"]),
    st.one_of(
        st.sampled_from(
            ["1", "None", "nan", "{", "[]", json.dumps({"transformer.r": 2, "transformer.lora_alpha": 4})]
        ),
        st.text(max_size=10),
    ),
    max_size=2,
)


class Network(nn.Layer):
    def __init__(self):
        super().__init__()
        self.to_q, self.conv, self.norm, self.table = (
            nn.Linear(4, 4),
            nn.Conv2D(4, 4, 3),
            nn.LayerNorm(4),
            nn.Embedding(4, 4),
        )
        self.a, self.a_b, self.blocks = nn.Layer(), nn.Linear(4, 4, bias_attr=False), nn.LayerList([nn.Linear(4, 4)])
        self.a.b = nn.Conv2D(4, 4, 1)
        self.encoder = nn.Layer()  # as a T5 names its layers
        block = nn.Layer()
        block.layer = nn.LayerList([nn.Layer()])
        block.layer[0].q = nn.Linear(4, 4)
        self.encoder.block = nn.LayerList([block])


@functools.cache
def network():
    paddle.seed(0)
    return Network()


@st.composite
def whole_layers(draw):
    """Keys of layers that are often complete, with shapes that often fit."""

    def mostly(usual, others):
        return draw(usual if draw(st.integers(0, 19)) else others)

    keys = {}
    for _ in range(draw(st.integers(1, 2))):
        prefix = mostly(st.sampled_from(PREFIXES[:7] + PREFIXES[8:16]), st.sampled_from(PREFIXES))
        layer = mostly(st.sampled_from(("to_q", "a.b", "blocks.0", "to_q")), st.sampled_from(LAYERS))
        stem = prefix + (layer.replace(".", "_") if prefix.endswith("_") else layer)
        names = draw(st.sampled_from(PRODUCTS)) + tuple(
            draw(st.lists(st.sampled_from(BESIDE), max_size=2, unique=True))
        )
        for name in names:
            shape = mostly(st.just(SIZES.get(name, (2, 2))), SHAPES)
            keys[f"{stem}.{name}"] = shape, mostly(st.sampled_from(KINDS[:3]), st.sampled_from(KINDS))
    return keys or {"x": ((), np.float32)}


ANY_KEYS = st.dictionaries(
    st.one_of(
        st.builds(lambda *parts: "{}{}.{}".format(*parts), *map(st.sampled_from, (PREFIXES, LAYERS, ELEMENTS))),
        st.text(max_size=20),
    ),
    st.tuples(SHAPES, st.sampled_from(KINDS)),
    min_size=1,
    max_size=6,
)


def numbers(shape, kind, seed):
    values = np.asarray(np.random.default_rng(seed).standard_normal(shape) * 4)
    if kind is np.uint16:  # the bits of bf16
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(kind)


def merged(path):
    """What the network becomes with a file, whole, for each of the networks that the file is for; then undone."""
    model, result = network(), {}
    before = {name: to_array(x).copy() for name, x in model.state_dict().items()}
    try:
        lora = Lora(path)
        lora.note()
        for kind in sorted(lora.networks):
            layers = MergedLoras(model, [(lora, 0.5)], kind)
            result[kind] = {name: to_array(x).copy() for name, x in model.state_dict().items()}
            layers.undo()
        assert lora.networks and lora.networks <= {TRANSFORMER, TEXT_ENCODER, TEXT_ENCODER_2, T5_ENCODER}
        return result
    finally:
        for name, x in model.state_dict().items():
            np.testing.assert_array_equal(to_array(x), before[name])


@fuzz(keys=ANY_KEYS, metadata=METADATA)
def test_any_keys_are_used_or_refused(tmp_path, keys, metadata):
    with refused_or_read():
        check(tmp_path, keys, metadata)


@fuzz(keys=whole_layers(), metadata=METADATA)
def test_keys_of_whole_layers_are_used_or_refused(tmp_path, keys, metadata):
    with refused_or_read():
        check(tmp_path, keys, metadata)


def check(folder, keys, metadata):
    arrays = {key: numbers(shape, kind, seed) for seed, (key, (shape, kind)) in enumerate(keys.items())}
    path = folder / "a.safetensors"
    try:
        write_safetensors(path, arrays, {"format": "pt", **metadata})
    except UnicodeEncodeError:
        return
    result = merged(path)  # or refused
    for key, seed in zip(keys, itertools.count(1000)):
        own = [other for other in keys if other.rpartition(".")[0] == key.rpartition(".")[0]]
        is_whole_lokr = any("lokr" in each for each in own) and not any(
            each.endswith(("w1_b", "w2_b")) for each in own
        )
        if key.endswith(".alpha") and is_whole_lokr:
            continue  # LyCORIS's scale is 1 there
        changed = numbers(*keys[key], seed)
        write_safetensors(path, {**arrays, key: changed}, {"format": "pt", **metadata})
        try:
            other = merged(path)
        except InputError:
            continue
        same = all(np.array_equal(result[kind][name], x) for kind in result for name, x in other[kind].items())
        assert not same or np.array_equal(changed, arrays[key]), f"{key} is not used"


@fuzz(content=st.binary(max_size=200), name=st.sampled_from(["a.safetensors", "a.bin", "a.npz", "a", "a.pdparams"]))
def test_any_bytes(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with bounded(), refused_or_read():
        Lora(tmp_path / name)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 1 << 70), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OPTIONS = (
    "peft_type",
    "r",
    "lora_alpha",
    "alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "bias",
    "x",
)


@fuzz(
    values=st.one_of(
        JSON,
        st.dictionaries(
            st.sampled_from(OPTIONS), st.one_of(JSON, st.sampled_from([2, 4, "LORA", {"to_q": 2}, True])), max_size=5
        ),
    )
)
def test_configurations_of_peft(tmp_path, values):
    stem = "base_model.model.to_q"
    arrays = {f"{stem}.lora_A.weight": numbers((2, 4), "f4", 0), f"{stem}.lora_B.weight": numbers((4, 2), "f4", 1)}
    write_safetensors(tmp_path / "adapter_model.safetensors", arrays, {"format": "pt"})
    (tmp_path / "adapter_config.json").write_text(json.dumps(values))
    with refused_or_read():
        merged(tmp_path / "adapter_model.safetensors")
