"""What training saves: of each network the tensors that were trained, in files that others load as they are."""

from dataclasses import dataclass

from paddle import nn

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.writing import write_safetensors


@dataclass(frozen=True)
class TrainedPart:
    """The tensors of a network whose names contain `only`: all of them by default."""

    network: nn.Layer
    only: str = ""

    def save(self, path):
        """Write them as .safetensors."""
        tensors = {name: tensor for name, tensor in self.network.state_dict().items() if self.only in name}
        with output_file(path) as temporary:
            write_safetensors(
                temporary, {name: to_array(tensor) for name, tensor in tensors.items()}, {"format": "pd"}
            )

    def load(self, path):
        """Read what `save` wrote. Raises an InputError unless it fits."""
        others = [name for name in self.network.state_dict() if self.only not in name]
        load_weights(self.network, path, may_miss=others)
