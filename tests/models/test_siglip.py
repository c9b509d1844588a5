"""What SigLIP's vision tower takes, and the head that rates pictures against numpy's; see tests.parity_image_text."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.siglip import AestheticHead, SiglipVisionModel
from ppdiffusers_ext.weights.assignment import create, load_weights, set_weights
from ppdiffusers_ext.weights.conversion import to_paddle_names
from tests.data.chain.small_networks import write_head
from tests.support.golden import Case


@pytest.fixture
def case(request):
    return Case(request.config.rootpath / "tests/goldens/image_text/siglip")


def test_text_tower_and_scales_of_a_published_file_are_not_used(case):
    model = create(lambda: SiglipVisionModel(**case.config["model"]["kwargs"]))
    more = ("text_model.embeddings.token_embedding.weight", "logit_scale", "logit_bias")
    whole = case.build("model", SiglipVisionModel).state_dict()
    tensors = {**whole, **{name: paddle.ones([1]) for name in more}}
    set_weights(model, to_paddle_names(model, tensors, "paddle"), "a.safetensors")
    assert all(tensor._is_initialized() for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"image_size": 8, "patch_size": 16, "num_attention_heads": 2}, "less than a patch"),
        ({"hidden_act": "relu"}, "gelu_pytorch_tanh"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        SiglipVisionModel(**{"hidden_size": 16, **options})


def test_rating_is_five_linear_layers_of_the_normalised_output(tmp_path):
    tensors = write_head(tmp_path / "head.pth", 8)
    head = load_weights(create(lambda: AestheticHead(8)), tmp_path / "head.pth")
    pooled = np.random.RandomState(1).randn(3, 8).astype("float32") * 5
    wanted = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    for number in range(5):
        wanted = wanted @ tensors[f"scoring_head.{2 * number}.weight"].T + tensors[f"scoring_head.{2 * number}.bias"]
    with paddle.no_grad():
        np.testing.assert_allclose(head(paddle.to_tensor(pooled)), wanted[:, 0], rtol=1e-5, atol=1e-5)
