"""Weights that are in memory only while they are used, and are read from their files each time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers_ext.weights.assignment import give, own_copy, set_weights
from ppdiffusers_ext.weights.conversion import to_paddle_names
from ppdiffusers_ext.weights.loading import read_checkpoint

if TYPE_CHECKING:
    from paddle import nn


class WeightStream:
    """Weights of a part of a model, which are read from their files each time that they are needed.

    Args:
        model: whose other weights are loaded, strictly as by `load_weights`; these are looked at once, and left.
        paths: of checkpoints, later ones over earlier ones.
        names: of the weights that are read again and again.
        change: see `set_weights`, of these and the others.

    Raises:
        MissingFileError, InputError: as `load_weights`.
    """

    def __init__(
        self, model: nn.Layer, paths: Sequence[str | os.PathLike], names: Iterable[str], change: Callable | None = None
    ) -> None:
        checkpoints, tensors = [read_checkpoint(path) for path in paths], {}
        for checkpoint in checkpoints:
            tensors.update(to_paddle_names(model, checkpoint.tensors, checkpoint.layout, checkpoint.path))
        self._files, self._change = [checkpoint.file for checkpoint in checkpoints], change
        names, self._own = set(names), model.state_dict()
        self._tensors = {name: tensor for name, tensor in tensors.items() if name in names}
        source = " + ".join(str(checkpoint.path) for checkpoint in checkpoints)
        set_weights(model, tensors, source, files=self._files, change=self._keep)

    def _keep(self, name: str, tensor: paddle.Tensor) -> paddle.Tensor | None:
        if name in self._tensors:
            return None
        return tensor if self._change is None else self._change(name, tensor)

    def bring(self, names: Iterable[str]) -> None:
        """Read weights into the model."""
        with paddle.no_grad():
            for name in names:
                tensor: Any = own_copy(self._tensors[name], self._own[name].dtype, self._files)
                tensor = tensor if self._change is None else self._change(name, tensor)
                give(tensor, self._own[name])
        for file in self._files:
            file.forget()

    def leave(self, names: Iterable[str]) -> None:
        """Give back the memory of weights that were brought."""
        for name in names:
            self._own[name]._clear_data()
