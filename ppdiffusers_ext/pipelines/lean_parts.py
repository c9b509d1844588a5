"""Parts of a pipeline with LoRA files merged, and in less memory: weights in 8 bits, or read block by block.

The three kinds load and leave the memory as a `Part` does, and each time the LoRA files are merged again, tensor by
tensor, before a weight is stored: there is nothing to undo, and never more than some tensors beside what is stored.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import paddle
from paddle import nn

from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.quantised import FORMATS, quantise, use_quantised
from ppdiffusers_ext.pipelines.loading import Part
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.lora import Additions, Lora
from ppdiffusers_ext.weights.lora_names import TRANSFORMER
from ppdiffusers_ext.weights.streaming import WeightStream

if TYPE_CHECKING:
    from ppdiffusers_ext.engine.cache import ExportCache


class MergedPart(Part):
    """A `Part` with LoRA files merged into its weights.

    Args:
        model, paths: see `Part`.
        loras: (path, weight) of each file, in any order.
        network: which of their layers are of this model, see `Lora.of`.

    Raises:
        InputError, MissingFileError: a file is not there, is no LoRA or one of another model, whose keys are named.
    """

    def __init__(
        self,
        model: nn.Layer,
        paths: Sequence[str | os.PathLike],
        loras: Iterable[tuple[str | os.PathLike, float]] = (),
        network: str = TRANSFORMER,
    ) -> None:
        super().__init__(model, paths)
        self.loras, self._network = tuple(loras), network
        self._read_additions()  # what does not fit is told before anything is loaded

    def fill(self) -> None:
        self.read(self.changes())

    def changes(self) -> Callable[[str, paddle.Tensor], paddle.Tensor]:
        additions = self._read_additions()
        changed = set(additions.names)
        return lambda name, value: additions.merged(name, value) if name in changed else value

    def read(self, change: Callable[[str, paddle.Tensor], paddle.Tensor | None]) -> None:
        """Load the weights, each of which `change` makes from that in the file (see `set_weights`)."""
        load_weights(self.model, *self.files, change=change)

    def _plain(self, model: nn.Layer) -> "MergedPart":
        return MergedPart(model, self._paths, self.loras, self._network)

    def _read_additions(self) -> Additions:
        return Additions(self.model, [(Lora(path), weight) for path, weight in self.loras], self._network)

    def _compute_digest(self, cache: "ExportCache") -> str:
        merged = [f"{cache.digest_of_checkpoint(path)}*{weight}" for path, weight in self.loras]
        return "-".join([super()._compute_digest(cache), *merged])


class QuantisedPart(MergedPart):
    """A `MergedPart` whose blocks have the weights of their linear layers in 8 bits.

    Args:
        form: one of `models.quantised.FORMATS`.
        blocks: name of the model's blocks.
        others: see `MergedPart`; the model is uninitialised.

    Raises:
        InputError: another form, or as `MergedPart`.
    """

    keeps_weights_elsewhere = True

    def __init__(
        self,
        model: nn.Layer,
        paths: Sequence[str | os.PathLike],
        form: str,
        blocks: str,
        loras: Iterable[tuple[str | os.PathLike, float]] = (),
        network: str = TRANSFORMER,
    ) -> None:
        if form not in FORMATS:
            raise InputError(f"weights {form!r} are not known; use one of {', '.join(FORMATS)}, or leave it out")
        super().__init__(model, paths, loras, network)
        self._form, self._layers = form, use_quantised(model, [blocks])

    def read(self, change: Callable[[str, paddle.Tensor], paddle.Tensor | None]) -> None:
        def store(name: str, weight: paddle.Tensor) -> paddle.Tensor | None:
            changed: Any = change(name, weight)
            if name not in self._layers:
                return changed
            layer = self._layers[name]
            layer.stored = quantise(_on_device(changed), self._form)
            return None

        super().read(store)
        return_freed_memory()  # of the weights as they were

    def empty(self) -> None:
        for layer in self._layers.values():
            layer.stored = None
        super().empty()  # which gives the memory back to the system

    @property
    def stored_bytes(self) -> int:
        """Memory of the weights that are loaded."""
        own = sum(x.size * x.element_size() for x in self.model.state_dict().values() if x._is_initialized())
        return own + sum(layer.stored.nbytes for layer in self._layers.values() if layer.stored is not None)

    def describe(self) -> str:
        return f"{super().describe()} {self._form}"


class StreamedPart(MergedPart):
    """A `MergedPart` whose blocks have weights in memory only while they run; its numbers are those of a `Part`.

    Args:
        blocks: name of the model's blocks.
        others: see `MergedPart`; the model is uninitialised.
    """

    keeps_weights_elsewhere = True
    _stream: Any = None  # while no weights are loaded

    def __init__(
        self,
        model: nn.Layer,
        paths: Sequence[str | os.PathLike],
        blocks: str,
        loras: Iterable[tuple[str | os.PathLike, float]] = (),
        network: str = TRANSFORMER,
    ) -> None:
        super().__init__(model, paths, loras, network)
        self._names: dict[str, list[str]] = {}
        for name, block in getattr(model, blocks).named_children():
            self._names[name] = [f"{blocks}.{name}.{weight}" for weight in block.state_dict()]
            block.register_forward_pre_hook(lambda *_, name=name: self._stream.bring(self._names[name]))
            block.register_forward_post_hook(lambda *_, name=name: self._stream.leave(self._names[name]))

    def read(self, change: Callable[[str, paddle.Tensor], paddle.Tensor | None]) -> None:
        names = [name for names in self._names.values() for name in names]
        self._stream = WeightStream(self.model, self.files, names, change)

    def empty(self) -> None:
        self._stream = None
        super().empty()


def _on_device(tensor: paddle.Tensor) -> paddle.Tensor:
    return tensor if isinstance(paddle.framework._current_expected_place(), paddle.CPUPlace) else tensor.cuda()
