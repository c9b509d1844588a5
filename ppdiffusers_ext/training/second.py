"""A second objective that takes turns with the first: networks that judge the model, with an optimiser of their own.

After each step of the model, its batches are given to the second objective once more, and its networks make one step.
Their weights and their optimiser's state are in the checkpoints. They are whole in every process, whatever is shared
of the model: gradients are averaged over the processes.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddlenlp.trainer import TrainerCallback

from ppdiffusers_ext.data.outputs import moved_by, output_file
from ppdiffusers_ext.errors import InputError, NonFiniteError
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import to_array, to_tensor
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.writing import write_safetensors

logger = logging.getLogger(__name__)

Numbers = dict[str, paddle.Tensor]


class SecondObjective(TrainerCallback):
    """Trains networks in turn with the trainer's model.

    Args:
        network: `nn.Layer`, all of whose parameters are trained.
        loss: function of a batch that returns a loss, a scalar tensor, or None while there is nothing to learn.
        name: of the networks, for files and messages, as "discriminators".
        describe: function of a batch that returns a text on it, for messages.
        numbers: dict that `loss`, or the first objective, fills with what the log shows: name -> scalar tensor.
    """

    def __init__(
        self,
        network: nn.Layer,
        loss: Callable[[dict[str, Any]], paddle.Tensor | None],
        name: str,
        describe: Callable[[dict[str, Any]], str],
        numbers: Numbers,
    ) -> None:
        self._network, self._loss, self._name, self._describe = network, loss, name, describe
        self.numbers = numbers
        self.autocast: Callable[[], Any] = contextlib.nullcontext  # the trainer's
        self._batches: list[dict[str, Any]] = []
        self._optimizer: Any = None
        self._skipped = 0

    def set_up(self, args: Any) -> None:
        """Make the optimiser: Adam with the options of the model's, whose learning rate it follows.

        Args:
            args: `TrainingArguments`.
        """
        self._optimizer = paddle.optimizer.AdamW(
            learning_rate=args.learning_rate,
            parameters=self._network.parameters(),
            beta1=args.adam_beta1,
            beta2=args.adam_beta2,
            epsilon=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )

    def keep(self, batch: dict[str, Any]) -> None:
        """Have a batch of the model's present step for the networks' step after it."""
        self._batches.append(batch)

    def on_optimizer_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **others: Any) -> None:
        self._optimizer.set_lr(optimizer.get_lr())

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        batches, self._batches = self._batches, []
        has_learnt = False
        for batch in batches:
            with self.autocast():
                loss = self._loss(batch)
            if loss is not None:
                (loss / len(batches)).backward()
                has_learnt = True
        if has_learnt:
            self._share()
            if self._are_finite(args, state.global_step, batches):
                self._optimizer.step()
            self._optimizer.clear_grad()

    @paddle.no_grad()
    def _share(self) -> None:
        """Average the gradients over the processes."""
        if (count := paddle.distributed.get_world_size()) > 1:
            for gradient in self._gradients():
                paddle.distributed.all_reduce(gradient)
                gradient.scale_(1 / count)

    def _gradients(self) -> list[paddle.Tensor]:
        gradients = (parameter.grad for parameter in self._network.parameters())
        return [gradient for gradient in gradients if gradient is not None]

    @paddle.no_grad()
    def _are_finite(self, args: Any, step: int, batches: list[dict[str, Any]]) -> bool:
        """Whether all gradients are; raises NonFiniteError where no more steps may be skipped."""
        squares = [gradient.astype("float32").square().sum() for gradient in self._gradients()]
        if bool(paddle.isfinite(paddle.stack(squares).sum())):
            return True
        told = "; ".join(self._describe(batch) for batch in batches)
        message = f"the gradients of the {self._name} of step {step} are not finite, of {told}"
        self._skipped += 1
        if self._skipped > args.max_skipped_steps:
            raise NonFiniteError(f"{message}; --max_skipped_steps {args.max_skipped_steps} is used up")
        logger.warning("step skipped (%d of at most %d): %s", self._skipped, args.max_skipped_steps, message)
        return False

    def save(self, folder: str | os.PathLike) -> None:
        """Write weights and the optimiser's state into a checkpoint's folder."""
        weights = {name: to_array(tensor) for name, tensor in self._network.state_dict().items()}
        state = {name: to_array(tensor) for name, tensor in sorted(self._tensors_of_optimizer().items())}
        for path, arrays in zip(self._paths(folder), (weights, state)):
            with moved_by("--output_dir"), output_file(path) as temporary:
                write_safetensors(temporary, arrays, {"format": "pd"})

    def load(self, folder: str | os.PathLike) -> None:
        """Read what `save` wrote. Raises InputError where it is of other networks."""
        weights, state = self._paths(folder)
        load_weights(self._network, weights)
        own, tensors = self._tensors_of_optimizer(), load_tensors(state)
        if {name: list(tensor.shape) for name, tensor in tensors.items()} != {
            name: list(tensor.shape) for name, tensor in own.items()
        }:
            raise InputError(f"{state} is not the state of the optimiser of these {self._name}")
        for name, tensor in tensors.items():
            own[name].set_value(to_tensor(np.array(to_array(tensor))))

    def _tensors_of_optimizer(self) -> dict[str, paddle.Tensor]:
        """Names in the network, and of what is kept of each parameter -> tensor of the optimiser, made if need be."""
        names = {parameter.name: name for name, parameter in self._network.named_parameters()}
        block = paddle.base.framework.default_main_program().current_block()
        self._optimizer._create_accumulators(block, list(self._network.parameters()))
        return {
            f"{names[owner]}.{kind}": tensor
            for kind, tensors in self._optimizer._accumulators.items()
            for owner, tensor in tensors.items()
        }

    def _paths(self, folder: str | os.PathLike) -> tuple[Path, Path]:
        return (
            Path(folder) / f"{self._name}.safetensors",
            Path(folder) / f"{self._name}_optimizer.safetensors",
        )
