"""paddlenlp's Trainer for the two stages of Animate Anyone.

What differs from it: samples come in their order (the dataset has shuffled them), so a run that goes on reads none of
what it has seen; weights are saved as the parts that `pose2vid` and the next stage load; checkpoints appear when they
are complete; clips that cannot be read are counted.
"""

import logging
import os

import paddle
from paddle.base.framework import default_main_program
from paddlenlp.trainer import Trainer, TrainerCallback
from paddlenlp.utils.batch_sampler import DistributedBatchSampler

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.writing import write_safetensors

logger = logging.getLogger(__name__)

_PARTS = {1: ("reference_unet", "denoising_unet", "pose_guider"), 2: ("motion_module",)}
_BAD_SHARE_AFTER = 50  # samples, before the share of those that cannot be read is looked at


class AnimateAnyoneTrainer(Trainer):
    """
    Args:
        stage: 1 or 2.
        objective: `Objective`, called with the model and a batch.
        run: dict of what a run that goes on must have in common with this one.
        max_bad_share: part of the samples whose clip cannot be read, above which the run stops.
        others: as of paddlenlp's `Trainer`.
    """

    def __init__(self, *, stage, objective, run, max_bad_share=0.1, **others):
        super().__init__(**others)
        self.add_callback(_WholeOptimizerState())
        self._stage, self._objective, self._run = stage, objective, run
        self._max_bad_share, self._read, self._bad = max_bad_share, 0, 0

    def compute_loss(self, model, inputs, return_outputs=False):
        self._count(len(inputs["clips"]), inputs["failures"])
        return self._objective(model, inputs)

    def _count(self, samples, failures):
        self._read += samples
        self._bad += len(failures)
        for failure in failures:
            logger.warning("a clip cannot be read and is replaced by another: %s", failure)
        if self._read >= _BAD_SHARE_AFTER and self._bad > self._max_bad_share * self._read:
            raise InputError(
                f"{self._bad} clips could not be read for {self._read} samples, which is more than --max_bad_share "
                f"{self._max_bad_share}; scripts.check_dataset finds them, or a larger share is accepted"
            )

    def _get_train_sampler(self):
        return DistributedBatchSampler(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            num_replicas=self.args.dataset_world_size,
            rank=self.args.dataset_rank,
            shuffle=False,
        )

    def _save(self, output_dir=None, state_dict=None, merge_tensor_parallel=False):
        output_dir = output_dir or self.args.output_dir
        os.makedirs(output_dir, exist_ok=True)
        for part, tensors in split(self.model.state_dict(), self._stage).items():
            arrays = {name: to_array(tensor) for name, tensor in tensors.items()}
            write_safetensors(os.path.join(output_dir, f"{part}.safetensors"), arrays, {"format": "pd"})

    def _load_from_checkpoint(self, resume_from_checkpoint=None):
        if not resume_from_checkpoint:
            return
        for part in _PARTS[self._stage]:
            model = self.model.denoising_unet if part == "motion_module" else getattr(self.model, part)
            others = [name for name in model.state_dict() if part == "motion_module" and "motion_modules." not in name]
            load_weights(model, os.path.join(resume_from_checkpoint, f"{part}.safetensors"), may_miss=others)

    def _save_checkpoint(self, model, metrics=None):
        output_dir, step = self.args.output_dir, self.state.global_step
        hidden = checkpoints.hidden_folder_of(output_dir, step)
        # paddlenlp's own writes into a folder of its choice below output_dir.
        self.args.output_dir, signal_dir = str(hidden), self.args.output_signal_dir
        self.args.output_signal_dir = str(hidden)
        try:
            super()._save_checkpoint(model, metrics)
        finally:
            self.args.output_dir, self.args.output_signal_dir = output_dir, signal_dir
        if self.args.world_size > 1:
            paddle.distributed.barrier()
        if self.args.process_index == 0:
            written = checkpoints.folder_of(hidden, step)
            checkpoints.complete(written, checkpoints.folder_of(output_dir, step), self._run)
            checkpoints.clean(output_dir)
            self._rotate_checkpoints(use_mtime=True, output_dir=output_dir)
        if self.args.world_size > 1:
            paddle.distributed.barrier()


class _WholeOptimizerState(TrainerCallback):
    """Has the optimiser make its state of all parameters at once.

    By itself it makes that of a parameter with its first gradient, which the reference UNet has only in steps with a
    reference; and it does not load a checkpoint that lacks some.
    """

    def on_train_begin(self, args, state, control, optimizer=None, **others):
        while hasattr(optimizer, "_inner_opt"):  # of sharding, which has the parameters of this process alone
            optimizer = optimizer._inner_opt
        learning = [parameter for parameter in optimizer._parameter_list if not parameter.stop_gradient]
        optimizer._create_accumulators(default_main_program().current_block(), learning)


def split(state, stage):
    """The tensors that a stage trains, as the files that others load: part -> name -> tensor."""
    if stage == 2:
        prefix = "denoising_unet."
        motion = {name: tensor for name, tensor in state.items() if "motion_modules." in name}
        return {"motion_module": {name.removeprefix(prefix): tensor for name, tensor in motion.items()}}
    parts = {part: {} for part in _PARTS[1]}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts
