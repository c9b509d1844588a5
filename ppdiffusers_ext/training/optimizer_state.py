"""State of the optimiser in a checkpoint, whatever number of processes wrote it.

paddlenlp writes one file, "optimizer.pdopt", or with `--sharding` one for each shard: "optimizer.shard00.pdopt" and so
on. With stage 1 a shard has the whole state of some of the parameters, under names that are the same in every run. A
process therefore takes what it needs from all files, and the run that goes on may be divided otherwise.
"""

import os
import time
from pathlib import Path
from typing import Any

import paddle
from paddle.base.framework import default_main_program
from paddlenlp.trainer import TrainerCallback

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.gradients import innermost_optimizer, own_parameters
from ppdiffusers_ext.weights.loading import read_state

_FILES = "optimizer*.pdopt"
_PATIENCE = 90.0  # seconds
_MASTERS = "master_weights"  # fp32 copies of parameters in half precision, as Paddle names them


class WholeOptimizerState(TrainerCallback):
    """Has the optimiser make its state of all parameters at once.

    By itself it makes that of a parameter with its first gradient, which the reference UNet has only in steps with a
    reference.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **others: Any) -> None:
        make_optimizer_state(optimizer)


def make_optimizer_state(optimizer: Any) -> None:
    """Make the state of all parameters that this process updates, where there is none yet."""
    block = default_main_program().current_block()
    innermost_optimizer(optimizer)._create_accumulators(block, own_parameters(optimizer))


def load_optimizer_state(optimizer: Any, folder: str | os.PathLike) -> None:
    """Restore the state of all parameters that this process updates. One file is in memory at a time.

    Args:
        optimizer: Paddle's, which may be sharded (stage 1).
        folder: of a checkpoint.

    Raises:
        InputError: a file cannot be read or is of other parameters, or the files lack the state of a parameter.
    """
    make_optimizer_state(optimizer)
    inner = innermost_optimizer(optimizer)
    tensors = {tensor.name: tensor for kind in inner._accumulators.values() for tensor in kind.values()}
    masters = dict(inner._master_weights)
    count, files = len(tensors) + len(masters), sorted(Path(folder).glob(_FILES))
    for path in files:
        shard = read_state(path)
        kept = shard.pop(_MASTERS, {}) if isinstance(shard, dict) else None
        if not isinstance(kept, dict):
            raise InputError(f"{path} is not the state of an optimiser; one that training wrote is accepted")
        _move(shard, tensors, path)
        _move(kept, masters, path)
    if missing := [*tensors, *masters]:
        raise InputError(
            f"{folder} lacks the optimiser's state: {len(missing)} of {count} tensors, such as {missing[0]}, are in "
            f"none of its {len(files)} files {_FILES}; the files of all processes of a run with the same options are "
            "needed, in a folder that all machines share"
        )


def wait_for_shards(folder: str | os.PathLike, count: int) -> None:
    """Wait until this machine sees the files of all shards in a folder: NFS may show those of others a minute later.

    Raises:
        InputError: they do not appear.
    """
    end = time.monotonic() + _PATIENCE
    while (found := len(list(Path(folder).glob(_FILES)))) < count:
        if time.monotonic() > end:
            raise InputError(
                f"{folder} has {found} of {count} files {_FILES} of the optimiser's state: those of other machines "
                "are missing; an --output_dir that all machines share is accepted"
            )
        time.sleep(0.2)


def _move(values: dict[str, Any], tensors: dict[str, paddle.Tensor], path: Path) -> None:
    """Set the tensors that a file has values of, and take them out of the dict."""
    for name in tensors.keys() & values.keys():
        tensor, value = tensors.pop(name), values[name]
        if not isinstance(value, paddle.Tensor) or (value.shape, value.dtype) != (tensor.shape, tensor.dtype):
            raise InputError(f"{path}: {name} is not of shape {list(tensor.shape)} and {tensor.dtype}, as is accepted")
        tensor.set_value(value)
