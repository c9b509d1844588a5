"""Network whose functions run in an engine, so that its own weights can be released meanwhile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.engine.weights_file import digest_of_layer

if TYPE_CHECKING:
    from paddle import nn

    from ppdiffusers_ext.engine.cache import ExportCache


class Network:
    """Network whose weights stay in memory.

    Subclasses know the source of the weights, so they can release them, and compute a digest without reading them.

    Args:
        model: an `nn.Layer`.

    Attributes:
        loras: (path, weight) of the LoRA files that are merged into the weights when these are loaded.
    """

    loras: tuple = ()

    def __init__(self, model: nn.Layer) -> None:
        self.model = model
        self._digest: str | None = None

    def load(self) -> nn.Layer:
        """Returns the model with its weights in memory."""
        return self.model

    def release(self) -> None:
        """Release the weights if they can be loaded again."""

    def whole(self, dtype: str | None = None) -> nn.Layer:
        """Returns a model with all of its weights in memory, in `dtype` if the files' weights were narrowed."""
        return self.load()

    def digest(self, cache: ExportCache) -> dict[str, str]:
        """Identity of the network: a digest of its weights, class and options.

        Args:
            cache: an `ExportCache`, which remembers digests of files.
        """
        digest = self._digest = self._digest or self._compute_digest(cache)
        return {"weights": digest, "network": self.describe()}

    def has_exports(self, cache: ExportCache) -> bool:
        """Whether a cache has weights of this network, which exports refer to. No weights are read for it."""
        return False

    def _compute_digest(self, cache: ExportCache) -> str:
        return digest_of_layer(self.model)

    def describe(self) -> str:
        """Class and options of the model, because networks with the same weights can compute different things."""
        config: Any = getattr(self.model, "config", None)
        options = config.to_dict() if hasattr(config, "to_dict") else dict(config or {})
        options = {name: value for name, value in options.items() if not name.startswith("_")}
        return f"{type(self.model).__name__} {json.dumps(options, sort_keys=True, default=str)}"
