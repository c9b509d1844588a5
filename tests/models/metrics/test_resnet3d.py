"""The 3-D ResNet: names of the released file, and clips that it does not take. Numbers are compared in test_parity."""

import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.metrics import InceptionV3, ResNet3D
from ppdiffusers_ext.weights.assignment import create
from ppdiffusers_ext.weights.conversion import names_in_model


def torch_names(network):
    """What torch calls the weights of a network, the counters of its batch norms among them."""
    names = [name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
             for name in network.state_dict()]  # fmt: skip
    return names + [name.replace("running_mean", "num_batches_tracked") for name in names if "running_mean" in name]


@pytest.mark.parametrize("make, prefix", [(ResNet3D, "module."), (ResNet3D, ""), (InceptionV3, "")])
def test_weights_have_the_names_of_torch(make, prefix):
    network, any_tensor = create(make), paddle.zeros([1])
    names = [prefix + name for name in torch_names(network)]
    assert any(name.endswith("num_batches_tracked") for name in names)
    found = names_in_model(network, dict.fromkeys(names, any_tensor))
    assert sorted(found.values()) == sorted(network.state_dict())


def test_other_clips_are_refused_with_both_sizes():
    with pytest.raises(InputError, match=r"\[3, 8, 112, 112\]; \[3, 16, 112, 112\] is accepted"):
        create(ResNet3D)(paddle.zeros([1, 3, 8, 112, 112]))
