"""A network whose functions run in an engine: meanwhile its weights need not be in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.engine.weights_file import digest_of_layer

if TYPE_CHECKING:
    from paddle import nn

    from ppdiffusers_ext.engine.cache import ExportCache


class Network:
    """A network whose weights are in memory and stay there.

    Subclasses know where weights come from, so that these can be released, and do not have to be read for a digest.

    Args:
        model: an `nn.Layer`.
    """

    def __init__(self, model: nn.Layer) -> None:
        self.model = model
        self._digest: str | None = None

    def load(self) -> nn.Layer:
        """The model, with its weights in memory."""
        return self.model

    def release(self) -> None:
        """Take the weights out of memory, where they can be loaded again."""

    def digest(self, cache: ExportCache) -> dict[str, str]:
        """What tells this network from all others: a digest of its weights, and its options.

        Args:
            cache: an `ExportCache`, which remembers digests of files.
        """
        digest = self._digest = self._digest or self._compute_digest(cache)
        return {"weights": digest, "network": self.describe()}

    def _compute_digest(self, cache: ExportCache) -> str:
        return digest_of_layer(self.model)

    def describe(self) -> str:
        """Class and options of the model: two networks can have the same weights and compute other things."""
        config: Any = getattr(self.model, "config", None)
        options = config.to_dict() if hasattr(config, "to_dict") else dict(config or {})
        options = {name: value for name, value in options.items() if not name.startswith("_")}
        return f"{type(self.model).__name__} {json.dumps(options, sort_keys=True, default=str)}"
