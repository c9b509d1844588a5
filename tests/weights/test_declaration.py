"""What classes say of the names in their checkpoints: found by the class, and by what it is derived from."""

import pytest
from paddle import nn
from paddlenlp.transformers import BertModel, T5EncoderModel
from paddlenlp.transformers import CLIPVisionModelWithProjection as PaddlenlpCLIP
from ppdiffusers import AutoencoderKL
from ppdiffusers.transformers import CLIPVisionModelWithProjection

from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.declaration import CheckpointNames, names_of
from ppdiffusers_ext.weights.lora_names import T5_ENCODER
from tests.support.tensors import different, save_torch, values

LIBRARIES = (BertModel, T5EncoderModel, PaddlenlpCLIP, AutoencoderKL, CLIPVisionModelWithProjection)


class Declared(nn.LayerNorm):
    checkpoint_names = CheckpointNames(
        renamed=((r"^kernel$", "weight"), (r"^offset$", "bias")), unused=r"^table$", wrappers=("trained.",)
    )


class Derived(Declared):
    pass


class Undeclared(nn.LayerNorm):
    pass


def renamed(model, prefix=""):
    """Tensors of a `Declared` as a file has them."""
    tensors = {"kernel": model.weight, "offset": model.bias, "table": model.bias}
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("cls", [Declared, Derived])
@pytest.mark.parametrize("prefix", ["", "trained.", "module.trained.", "ema_model.trained."])
def test_files_are_read_as_the_class_declares_them(tmp_path, cls, prefix):
    model = Declared(3)
    path = save_torch(tmp_path / "a.safetensors", renamed(model, prefix))
    assert different(load_weights(cls(3), path), values(model)) == []


def test_declaration_of_one_class_is_not_that_of_another(tmp_path):
    path = save_torch(tmp_path / "a.safetensors", renamed(Declared(3)))
    with pytest.raises(ValueError, match="3 tensors unexpected .kernel, offset, table"):
        load_weights(Undeclared(3), path)


def made(cls):
    """An object of a class, not initialised."""
    return cls.__new__(cls)


@pytest.mark.parametrize(
    "cls", [BertModel, T5EncoderModel, PaddlenlpCLIP, AutoencoderKL, CLIPVisionModelWithProjection]
)
def test_classes_of_libraries_are_declared_and_so_are_those_derived_from_them(cls):
    names = names_of(made(cls))
    assert names.renamed
    assert names_of(made(type("Own", (cls,), {}))) is names


def test_layers_of_bert_and_t5_are_found_in_lora_files():
    assert names_of(made(T5EncoderModel)).lora_networks == (T5_ENCODER,)
    assert names_of(made(BertModel)).layers and names_of(made(BertModel)).lora_networks == ()
