"""Trainer of all training here, based on paddlenlp's.

Differences: samples come in order (the dataset has shuffled them), so a resumed run does not read earlier samples
again; weights are saved as the parts that other commands load; checkpoints appear when they are complete; clips that
cannot be read are counted; validation writes pictures.
"""

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddlenlp.trainer import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from paddlenlp.trainer.integrations import VisualDLCallback
from paddlenlp.trainer.trainer import SCALER_NAME, SCHEDULER_NAME
from paddlenlp.utils.batch_sampler import DistributedBatchSampler

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.environment import peak_memory
from ppdiffusers_ext.errors import InputError, NonFiniteError
from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.came import Came
from ppdiffusers_ext.training.curve_sheet import ValidationCurves
from ppdiffusers_ext.training.curves import Curves
from ppdiffusers_ext.training.ema import ExponentialMovingAverage
from ppdiffusers_ext.training.gradients import GradientWatch
from ppdiffusers_ext.training.groups import wait_for_first
from ppdiffusers_ext.training.optimizer_state import WholeOptimizerState, load_optimizer_state, wait_for_shards
from ppdiffusers_ext.training.options import has_slices
from ppdiffusers_ext.training.parts import TrainedPart
from ppdiffusers_ext.training.progress import VALIDATION, Progress
from ppdiffusers_ext.training.second import SecondObjective
from ppdiffusers_ext.weights import load_tensors
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.loading import read_state
from ppdiffusers_ext.weights.writing import write_safetensors

logger = logging.getLogger(__name__)

_BAD_SHARE_AFTER = 50  # samples, before the share of those that cannot be read is looked at
_EMA = "ema.safetensors"


class PartsTrainer(Trainer):
    """Trains a model and saves its `TrainedPart`s.

    Args:
        objective: function of the model and a batch that returns the loss; its `describe` returns a text on a batch.
        parts: dict of `TrainedPart` by the name of their files.
        run: dict of settings that a resumed run must share with this one.
        max_bad_share: share of samples with unreadable clips above which the run stops.
        ema_decay: decay of the average of the weights that is saved at the end; 0 saves the last weights.
        validate: function of the step, called every `validation_steps` steps, that returns a dict of numbers and a
            labelled picture; or None.
        held_out: dataset of held-out samples whose loss is logged at each validation; or None.
        describe: function of a folder and the names of the files in it, by part, that writes what the pipeline's
            `from_pretrained` needs to know of them; called for each checkpoint and for the output folder. Or None.
        second: `SecondObjective` that takes turns with the model, or None.
        limit: see `GradientWatch`; the arguments' `max_grad_norm` has no effect with it.
        others: see paddlenlp's `Trainer`.
    """

    def __init__(
        self,
        *,
        objective: Any,
        parts: dict[str, TrainedPart],
        run: dict[str, Any],
        max_bad_share: float = 0.1,
        ema_decay: float = 0.0,
        validate: Callable | None = None,
        held_out: Any = None,
        describe: Callable[[str, dict[str, str]], None] | None = None,
        second: SecondObjective | None = None,
        limit: Callable[[int, float], float] | None = None,
        **others: Any,
    ) -> None:
        # Paddle's loader waits for ever where reading fails without processes of its own (3.3).
        others["train_dataset"] = _Telling(others["train_dataset"])
        self._collate = others["data_collator"]
        others["data_collator"] = _CollateTold(self._collate)
        super().__init__(**others)
        self._watch_progress()
        self._objective, self._parts, self._run = objective, parts, run
        self._max_bad_share, self._read, self._bad = max_bad_share, 0, 0
        self._validate, self._validated_at, self._held_out = validate, 0, held_out
        self._describe, self._clips_itself, self._second = describe, limit is not None, second
        self.add_callback(WholeOptimizerState())
        self._clock = _DataClock()
        self.add_callback(self._clock)
        self._watch = GradientWatch(self.model, self.args.max_skipped_steps, limit)
        self.add_callback(self._watch)
        self.ema = ExponentialMovingAverage(self.model, ema_decay) if ema_decay else None
        if self.ema:
            self.add_callback(self.ema)
        if second:
            second.autocast = self.autocast_smart_context_manager
            second.set_up(self.args)
            self.add_callback(second)

    def _watch_progress(self) -> None:
        """Have the project's lines and curves in the place of paddlenlp's."""
        for kind in (PrinterCallback, ProgressCallback):
            self.remove_callback(kind)
        self.add_callback(Progress())
        self.add_callback(ValidationCurves())
        self._curves = Curves()
        if self.pop_callback(VisualDLCallback):
            self.add_callback(self._curves)

    def create_optimizer(self, lr_scheduler: Any = None) -> Any:
        is_made = self.optimizer is not None  # type: ignore[has-type]  # paddlenlp's
        if not is_made and getattr(self.args, "use_came", False):
            norm = self.args.max_grad_norm
            clip = nn.ClipGradByGlobalNorm(norm) if norm > 0 else None
            self.optimizer = Came(lr_scheduler or self.lr_scheduler, self.optimizer_grouped_parameters, clip)
        optimizer = super().create_optimizer(lr_scheduler)
        if self._clips_itself:
            optimizer._grad_clip = None
        return optimizer

    def compute_loss(self, model: nn.Layer, inputs: dict[str, Any], return_outputs: bool = False) -> paddle.Tensor:
        if "error" in inputs:
            raise InputError(inputs["error"])
        self._count(len(inputs["clips"]), inputs["failures"])
        describe = functools.partial(self._objective.describe, inputs)
        self._watch.batches.append(describe)
        if self._second:
            self._second.keep(inputs)
        loss = self._objective(model, inputs)
        # Where steps may be skipped this one will be, for its gradients are not finite either.
        if not self.args.max_skipped_steps and not bool(paddle.isfinite(loss)):
            step = self.state.global_step + 1
            raise NonFiniteError(
                f"the loss of step {step} is {float(loss)}, of {describe()}; finite weights and pictures, a smaller "
                "--learning_rate, or --max_skipped_steps are accepted"
            )
        return loss

    def training_step(self, model: nn.Layer, inputs: dict[str, Any], **others: Any) -> paddle.Tensor:
        loss = super().training_step(model, inputs, **others)
        return loss if bool(paddle.isfinite(loss)) else paddle.zeros_like(loss)  # a skipped one is not in the log

    def _maybe_log_save_evaluate(self, *arguments: Any, **others: Any) -> None:
        super()._maybe_log_save_evaluate(*arguments, **others)
        step, every = self.state.global_step, self.args.validation_steps
        is_due = self._validate and (step % every == 0 or step == self.state.max_steps)
        if is_due and step != self._validated_at:
            self._validated_at = step  # this method is called again at the end
            if self.args.process_index == 0:
                self._show(*self._validated())
            wait_for_first(f"validation {step}")
        self._clock.wait()

    def _validated(self) -> tuple[dict[str, float], np.ndarray]:
        assert self._validate is not None
        self.model.eval()
        with self.trained_weights():
            loss = self._held_out_loss()
            numbers, picture = self._validate(self.state.global_step)
        return {**loss, **numbers}, picture

    @paddle.no_grad()
    def _held_out_loss(self) -> dict[str, float]:
        """The mean loss of the held-out samples, whose noise and timesteps are the same each time."""
        losses = []
        for index in range(len(self._held_out or ())):
            batch = self._collate([self._held_out[index]])
            batch = {key: paddle.to_tensor(v) if isinstance(v, np.ndarray) else v for key, v in batch.items()}
            with self.autocast_smart_context_manager():
                losses.append(float(self._objective(self.model, batch)))
        return {"loss": float(np.mean(losses))} if losses else {}

    def _show(self, numbers: Mapping[str, float], picture: np.ndarray) -> None:
        """Numbers to the log, the picture to a file and to VisualDL."""
        step = self.state.global_step
        self.log({f"{VALIDATION}{name}": round(number, 9) for name, number in numbers.items()})
        write_image(Path(self.args.output_dir) / "samples" / f"step-{step:07d}.png", picture)
        self._curves.add_picture(picture, step)

    def log(self, logs: dict[str, Any], **others: Any) -> None:
        if "loss" in logs and "interval_steps_per_second" not in logs:
            return  # no step since the last line
        if "loss" in logs:
            logs["gradient_norm"] = round(self._watch.norm, 6)
            # paddlenlp's own measure of this has a thread that takes most of a processor.
            logs["peak_memory_gb"] = round(peak_memory() / 10**9, 3)
            left = (self.state.max_steps - self.state.global_step) / max(logs["interval_steps_per_second"], 1e-9)
            logs["seconds_left"] = round(left)
            logs["data_share"] = round(self._clock.share(), 4)
            if self._second:
                logs |= {name: round(float(number), 6) for name, number in self._second.numbers.items()}
        super().log(logs, **others)

    def _count(self, samples: int, failures: Sequence[str]) -> None:
        self._read += samples
        self._bad += len(failures)
        for failure in failures:
            logger.warning("a clip cannot be read and is replaced by another: %s", failure)
        if self._read >= _BAD_SHARE_AFTER and self._bad > self._max_bad_share * self._read:
            raise InputError(
                f"{self._bad} clips could not be read for {self._read} samples, which is more than --max_bad_share "
                f"{self._max_bad_share}; scripts.check_dataset finds them, or a larger share is accepted"
            )

    def _get_train_sampler(self) -> Any:
        return DistributedBatchSampler(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            num_replicas=self.args.dataset_world_size,
            rank=self.args.dataset_rank,
            shuffle=False,
        )

    def save_trained(self) -> None:
        """Write the trained parts into the output folder: their average, if there is one."""
        if self.args.process_index == 0:
            with self.trained_weights():
                self._save_parts(self.args.output_dir, None)

    def trained_weights(self) -> contextlib.AbstractContextManager:
        """Context in which the model has its trained weights: their average, if there is one."""
        return self.ema.in_place() if self.ema else contextlib.nullcontext()

    def _save(self, output_dir: Any = None, state_dict: Any = None, merge_tensor_parallel: bool = False) -> None:
        self._save_parts(output_dir, self.state.global_step)
        if self.ema:
            averages = {name: to_array(tensor) for name, tensor in self.ema.state().items()}
            write_safetensors(os.path.join(output_dir, _EMA), averages, {"format": "pd"})
        if self._second:
            self._second.save(output_dir)

    def _save_parts(self, folder: str, step: int | None) -> None:
        os.makedirs(folder, exist_ok=True)
        parts = {name: part for name, part in self._parts.items() if step is not None or not part.is_state}
        files = {name: part.path(folder, name, step) for name, part in parts.items()}
        for name, part in parts.items():
            part.save(files[name])
        if self._describe is not None:
            self._describe(folder, {name: path.relative_to(folder).as_posix() for name, path in files.items()})

    def _load_from_checkpoint(self, resume_from_checkpoint: str | None = None) -> None:
        if not resume_from_checkpoint:
            return
        folder = Path(resume_from_checkpoint)
        for name, part in self._parts.items():
            part.load(part.path(folder, name, checkpoints.step_of(folder)))
        if self.ema:
            self.ema.set_state(load_tensors(folder / _EMA))
        if self._second:
            self._second.load(folder)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        if has_slices(self.args):
            # paddlenlp would run the pickles of a checkpoint that somebody else may have made.
            original, paddle.load = paddle.load, lambda path, **options: read_state(path)
            try:
                return super()._load_optimizer_and_scheduler(checkpoint)
            finally:
                paddle.load = original
        load_optimizer_state(self.optimizer, checkpoint)
        self.lr_scheduler.set_state_dict(read_state(Path(checkpoint) / SCHEDULER_NAME))
        if self.do_grad_scaling and (scaler := Path(checkpoint) / SCALER_NAME).is_file():
            self.scaler.load_state_dict(read_state(scaler))
        if self.args.offload_optim:
            self._offload_optimizer()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: what training draws follows from the seed and the samples' numbers."""

    def _save_checkpoint(self, model: nn.Layer, metrics: Any = None) -> None:
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
            wait_for_shards(written, max(1, self.args.sharding_parallel_degree))
            checkpoints.complete(written, checkpoints.folder_of(output_dir, step), self._run, step)
            checkpoints.clean(output_dir)
            self._rotate_checkpoints(use_mtime=True, output_dir=output_dir)
            logger.info("step %d/%d: wrote %s", step, self.state.max_steps, checkpoints.folder_of(output_dir, step))
        if self.args.world_size > 1:
            paddle.distributed.barrier()


class _Telling:
    """A dataset whose samples are what went wrong with them, in words, where something did."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except InputError as error:
            return str(error)
        except Exception as error:
            logger.exception("sample %d cannot be read", index)
            return f"sample {index} cannot be read: {type(error).__name__}: {error}"


class _CollateTold:
    """Makes batches as a collate function does, or {"error": text} where a sample is one."""

    def __init__(self, collate: Callable) -> None:
        self._collate = collate

    def __call__(self, samples: Sequence[Any]) -> dict[str, Any]:
        errors = [sample for sample in samples if isinstance(sample, str)]
        if errors:
            return {"error": errors[0], "index": np.zeros(len(samples), np.int64)}
        return self._collate(samples)


class _DataClock(TrainerCallback):
    """Measures which part of the time training waits for data."""

    def __init__(self) -> None:
        self._waited, self._since, self._ready = 0.0, time.monotonic(), time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.share()
        self.wait()

    def wait(self) -> None:
        """From now on until the next batch is there."""
        self._ready = time.monotonic()

    def on_load_data_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._waited += time.monotonic() - self._ready

    def on_substep_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.wait()

    def share(self) -> float:
        """Of the time since the last call."""
        now = time.monotonic()
        share = self._waited / max(now - self._since, 1e-9)
        self._waited, self._since = 0.0, now
        return share
