"""Text encoders from files as transformers writes them: its hidden states, whatever of a checkpoint is there."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
from ppdiffusers_ext.pipelines.loading import Part
from ppdiffusers_ext.weights.assignment import create
from ppdiffusers_ext.weights.conversion import transposed_names
from ppdiffusers_ext.weights.folders import read_config
from ppdiffusers_ext.weights.writing import write_safetensors, write_torch
from tests.support.golden import Case, draw, read_manifest

CASE = Case(Path(__file__).parents[2] / "goldens" / "easy_animate" / "v4_pipeline_t2v")
TABLES = "shared.weight", "encoder.embed_tokens.weight"
IDS = [[3, 7, 9, 4, 0, 0, 0, 0], [3, 5, 11, 2, 19, 6, 8, 4]]
BERT = {
    "vocab_size": 20,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 16,
    "max_position_embeddings": 8,
    "layer_norm_eps": 1e-3,
}
MT5 = {
    "vocab_size": 20,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 16,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 4,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}


def write(folder, config, tensors, file="model.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if file.endswith(".safetensors"):
        write_safetensors(folder / file, tensors, {"format": "pt"})
    else:
        write_torch(folder / file, tensors)
    return folder


def describe(make, folder, dtype="float32"):
    """The `Part` of the encoder in a folder."""
    config = read_config(folder)
    return Part(create(lambda: make(config), dtype), [folder])


def golden(component):
    """Configuration and tensors of a component of the golden case."""
    return CASE.config[component], read_manifest(CASE.folder / CASE.json("weights.json")[component])


def states(part, ids, mask):
    with paddle.no_grad():
        return part.load()(ids, attention_mask=mask)[0]


def error(part, ids, mask, expected):
    inputs = CASE.tensors("inputs")
    return float((states(part, inputs[ids], inputs[mask]) - inputs[expected]).abs().max())


def bert_error(folder):
    return error(describe(make_bert, folder), "bert_ids", "prompt_attention_mask", "prompt_embeds")


def t5_error(folder):
    return error(describe(make_t5, folder), "t5_ids", "prompt_attention_mask_2", "prompt_embeds_2")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_states_are_those_of_transformers(tmp_path, file):
    assert bert_error(write(tmp_path / "bert", *golden("text_encoder"), file)) < 1e-5
    assert t5_error(write(tmp_path / "t5", *golden("text_encoder_2"), file)) < 1e-5


def test_a_bert_is_read_with_and_without_the_parts_around_it(tmp_path):
    config, tensors = golden("text_encoder")
    plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    assert len(plain) == len(tensors) - 2
    assert bert_error(write(tmp_path, config, plain)) < 1e-5
    positions = np.arange(config["max_position_embeddings"])[None]
    whole = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    whole |= {"bert.embeddings.position_ids": positions, "cls.predictions.bias": np.zeros(50, np.float32)}
    assert bert_error(write(tmp_path, config, whole)) < 1e-5


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_tokens_is_read_by_either_name(tmp_path, name):
    config, tensors = golden("text_encoder_2")
    table = tensors.pop("shared.weight")
    del tensors["encoder.embed_tokens.weight"]
    decoder = {"decoder.final_layer_norm.weight": table[0], "lm_head.weight": table}
    assert t5_error(write(tmp_path, config, {**tensors, name: table, **decoder})) < 1e-5


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_two_tables_of_tokens_must_be_one(tmp_path, file, is_reversed):
    config, tensors = golden("text_encoder_2")

    def read(**tables):
        names = dict(zip(("shared", "own"), TABLES))
        own = {**tensors, **{names[key]: value for key, value in tables.items()}}
        return write(tmp_path, config, dict(sorted(own.items(), reverse=is_reversed)), file)

    table = tensors["shared.weight"]
    assert t5_error(read(shared=table, own=table.copy())) < 1e-5
    last = table.copy()
    last[-1, -1] += 1e-6
    for other in (2 * table, -table, last, table[:, :-1], table[:-1], table.astype(np.float16), table[:0]):
        for tables in ({"shared": table, "own": other}, {"shared": other, "own": table}):
            folder = read(**tables)
            with pytest.raises(InputError, match=f"{folder / file} has two tensors for shared.weight.*which differ"):
                describe(make_t5, folder).load()


def old_name(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_norms_of_bert_are_read_by_their_old_names(tmp_path, prefix):
    config, tensors = golden("text_encoder")
    old = {f"{prefix}{old_name(name)}": tensor for name, tensor in tensors.items()}
    assert sum(name.endswith(("gamma", "beta")) for name in old) == 2 * (1 + 2 * config["num_hidden_layers"])
    assert bert_error(write(tmp_path, config, old)) < 1e-5
    name = "encoder.layer.0.output.LayerNorm.weight"
    both = {**old, f"{prefix}{name}": tensors[name]}
    assert bert_error(write(tmp_path, config, both)) < 1e-5
    both[f"{prefix}{name}"] = tensors[name] + 1
    with pytest.raises(InputError, match="two tensors for encoder.layers.0.norm2.weight.*LayerNorm.gamma.*differ"):
        bert_error(write(tmp_path, config, both))


def test_norms_of_t5_are_read_by_their_old_names(tmp_path):
    config, tensors = golden("text_encoder_2")
    old = {name.replace("norm.weight", "norm.gamma"): tensor for name, tensor in tensors.items()}
    assert old.keys() != tensors.keys()
    assert t5_error(write(tmp_path, config, old)) < 1e-5


def test_a_bert_with_and_without_its_prefix_is_refused_where_both_differ(tmp_path):
    config, tensors = golden("text_encoder")
    name = "encoder.layer.0.output.dense.weight"
    assert bert_error(write(tmp_path, config, {**tensors, f"bert.{name}": tensors[name]})) < 1e-5
    with pytest.raises(InputError, match=f"encoder.layers.0.linear2.weight, .*{name}.*differ"):
        bert_error(write(tmp_path, config, {**tensors, f"bert.{name}": 2 * tensors[name]}))


# Of transformers 4.46.3: channels 0 to 3 of text 0's tokens 1 and 3, and of text 1's last token.
BERT_STATES = [
    [-0.27811, -0.06586, 0.222182, -0.142094],
    [-0.065484, 0.120966, 0.460714, -0.019796],
    [-0.175266, 0.017941, 0.316451, 0.019231],
]
MT5_STATES = [
    [-1.359781, 2.44294, 1.459794, 1.338112],
    [1.198198, -1.238323, -1.566469, -1.51575],
    [-0.388912, 1.486948, 1.960827, -1.007886],
]


def drawn(model, rename=lambda name: name):
    """Tensors by transformers' names, drawn from these, in torch's layout."""
    tensors, transposed = {}, transposed_names(model)
    for name, tensor in model.state_dict().items():
        shape = list(tensor.shape)
        shape = shape[::-1] if name in transposed else shape
        name = rename(name)
        mean = float("norm.weight" in name.lower())
        tensors[name] = draw(name, {"shape": shape, "mean": mean, "std": 0.3}, 5)
    return tensors


def bert_name(name):
    swaps = {
        ".layer_norm.": ".LayerNorm.",
        ".layers.": ".layer.",
        ".self_attn.q_proj.": ".attention.self.query.",
        ".self_attn.k_proj.": ".attention.self.key.",
        ".self_attn.v_proj.": ".attention.self.value.",
        ".self_attn.out_proj.": ".attention.output.dense.",
        ".norm1.": ".attention.output.LayerNorm.",
        ".norm2.": ".output.LayerNorm.",
        ".linear1.": ".intermediate.dense.",
        ".linear2.": ".output.dense.",
    }
    for own, theirs in swaps.items():
        name = name.replace(own, theirs)
    return name


def pinned(part):
    ids = paddle.to_tensor(IDS)
    found = states(part, ids, (ids != 0).astype("int64")).astype("float32").numpy()
    return np.stack([found[0, 1, :4], found[0, 3, :4], found[1, 7, :4]])


def test_epsilon_of_bert_is_that_of_its_configuration(tmp_path):
    folder = write(tmp_path, BERT, drawn(make_bert(BERT), bert_name))
    np.testing.assert_allclose(pinned(describe(make_bert, folder)), BERT_STATES, atol=3e-6)
    np.testing.assert_allclose(pinned(describe(make_bert, folder, "bfloat16")), BERT_STATES, atol=0.05)


def test_mt5_has_heads_of_their_own_width(tmp_path):
    tensors = drawn(make_t5(MT5), lambda name: name.replace("shared.", "encoder.embed_tokens."))
    folder = write(tmp_path, MT5, tensors)
    np.testing.assert_allclose(pinned(describe(make_t5, folder)), MT5_STATES, atol=3e-6)
    np.testing.assert_allclose(pinned(describe(make_t5, folder, "bfloat16")), MT5_STATES, atol=0.05)


def test_weights_that_do_not_fit_are_told(tmp_path):
    config, tensors = golden("text_encoder")
    del tensors["encoder.layer.1.output.dense.weight"]
    folder = write(tmp_path, config, {**tensors, "encoder.layer.2.output.dense.bias": np.zeros(24, np.float32)})
    with pytest.raises(InputError, match="1 tensor missing .*layers.1.linear2.weight.*; 1 tensor unexpected"):
        describe(make_bert, folder).load()
    config, tensors = golden("text_encoder_2")
    with pytest.raises(InputError, match=r"shared.weight: \[60, 32\] instead of \[61, 32\]"):
        describe(make_t5, write(tmp_path, {**config, "vocab_size": 61}, tensors)).load()
    (tmp_path / "config.json").unlink()
    with pytest.raises(MissingFileError, match="config.json does not exist"):
        describe(make_t5, tmp_path)


@pytest.mark.parametrize(
    "make, option, message",
    [
        (make_bert, {"hidden_act": "relu"}, "a BERT of hidden_act 'relu' is not known; gelu is accepted"),
        (make_bert, {"position_embedding_type": "relative_key"}, "absolute is accepted"),
        (make_t5, {"feed_forward_proj": "gated-relu"}, "relu or gated-gelu or gated-silu is accepted"),
    ],
)
def test_other_kinds_are_told(make, option, message):
    with pytest.raises(InputError, match=message):
        make(option)
