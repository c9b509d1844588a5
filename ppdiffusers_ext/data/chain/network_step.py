"""What steps share that load networks of the registry."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ppdiffusers_ext.data.chain.network_files import check_weights
from ppdiffusers_ext.data.chain.steps import Step


@dataclass(frozen=True, kw_only=True)
class NetworkStep(Step):
    """A step with networks of the registry. It is given the clips that passed all that costs less.

    Attributes:
        checkpoints: names in the registry.
        weights: folder of all weights.
        device: where the networks run.
    """

    checkpoints: ClassVar[tuple[str, ...]]
    is_network: ClassVar[bool] = True
    is_gated: ClassVar[bool] = True

    weights: str = "pretrained_weights"
    device: str = "auto"

    def settings(self) -> dict[str, Any]:
        return {"version": self.version, "networks": [*self.checkpoints]}

    def check(self) -> None:
        """Raise MissingFileError where weights are missing."""
        check_weights(self.weights, self.checkpoints, self.name)
