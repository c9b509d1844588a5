"""A run that was stopped goes on where it was: its state is kept beside its output, and the result has the same bits.

The folder `.NAME.unfinished` beside the output NAME holds the latents of each finished part of the video, those of the
part that is being denoised after a step (with the scheduler's own state), the state of the random numbers, and what
the run is made of. What is damaged, or of another run, is told and not used.

A state is kept every `INTERVAL` seconds, and never more than 1 / `SHARE` of the time is spent on it. What is encoded
before denoising, and frames that were decoded, are computed again; poses that were estimated are not (`kept_poses`).
"""

import contextlib
import contextvars
import copy
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paddle

from ppdiffusers_ext.data.records import Made, digest_of
from ppdiffusers_ext.distributed.ranks import RankError, current_ranks
from ppdiffusers_ext.errors import counted, shown_path
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.pipelines.existing import made_of
from ppdiffusers_ext.pipelines.state_folder import DAMAGED, StateFolder
from ppdiffusers_ext.pipelines.state_values import SchedulerState, decode, encode, random_state, set_random_state
from ppdiffusers_ext.version import __version__
from ppdiffusers_ext.weights.arrays import to_array

logger = logging.getLogger(__name__)

INTERVAL = 10.0  # seconds of work that may be lost
SHARE = 50  # times as long as it takes to keep a state, there is none

_FORMAT = 1
_LATENTS = "latents"

_current: contextvars.ContextVar = contextvars.ContextVar("run_state", default=None)


def current_state() -> "RunState | None":
    """The `RunState` of the part that is being made; None where none is kept."""
    return _current.get()


class _OfNoUse(Exception):
    """A state that is there is not gone on with; the message says why."""


@dataclass(frozen=True)
class _Part:
    """Latents of a finished part, and after it the random numbers and what was collected."""

    latents: paddle.Tensor
    random: list[Any]
    collected: dict[str, list]


class RunState:
    """The state of one run to one output, for `with`: removed when the block ends, kept when it raises.

    Args:
        target: path of the output.
        made: what the run is made of; None to keep no state.
        begins_anew: discard what an earlier run has left.
        generator: of the run's random numbers, as `calls.as_generator` makes it.
        num_parts: how many parts the video has.
    """

    def __init__(
        self,
        target: str | os.PathLike,
        made: Made | None,
        begins_anew: bool = False,
        generator: str | None = None,
        num_parts: int = 1,
    ) -> None:
        self._folder = StateFolder(target)
        self._made, self._begins_anew = made, begins_anew
        self._generator, self._num_parts = generator, num_parts
        self._collected: dict[str, list] = {}
        self._carried: dict[str, Any] = {}
        self._parts: list[_Part] = []  # those that are finished
        self._files: list[dict[str, Any]] = []  # what the index says of those that are on the disk
        self._earlier: dict[str, Any] | None = None  # what it says of the part that an earlier run has begun
        self._number = 0  # of the part that is being made
        self._kept = ""  # words for what is on the disk
        self._scheduler: SchedulerState | None = None
        self._last, self._cost = time.monotonic(), 0.0

    def __enter__(self) -> "RunState":
        self._look()
        self._agree("the state of an earlier run", len(self._parts))
        self._last = time.monotonic()
        return self

    def _look(self) -> None:
        if self._folder.exists:
            self._open()
        current_ranks().meet("a state that has been looked at")

    def _agree(self, what: str, found: int) -> None:
        """Raise a RankError if ranks do not all find the same of an earlier run."""
        first, *others = current_ranks().meet(what, found)
        rank = next((i for i, other in enumerate(others, 1) if other != first), None)
        if rank is not None:
            raise RankError(
                f"rank {rank} does not find what an earlier run has kept in {shown_path(self._folder.path)}; a folder "
                "that all ranks see is accepted, or --no-resume"
            )

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None and self._folder.is_claimed:
            self._folder.remove()
        elif self._kept:
            logger.warning("stopped; the same command goes on after %s (kept in %s, %s)",
                           self._kept, shown_path(self._folder.path), self._folder.size())  # fmt: skip
        self._folder.release()

    def collect(self, name: str, values: list) -> None:
        """Keep a list that grows from step to step, and have it filled with what an earlier run has collected."""
        self._collected[name] = values

    def carry(self, values: dict[str, Any]) -> None:
        """Keep a dict of what steps leave for the next ones of the part, and have it filled as `collect` does."""
        self._carried = values

    def part(self, make: Callable[[], paddle.Tensor]) -> paddle.Tensor:
        """The latents of the next part: those of an earlier run, or else what `make` denoises."""
        number, self._number = self._number, self._number + 1
        if number < len(self._parts):
            self._resume_after(self._parts[number])
            return self._parts[number].latents
        token = _current.set(self)
        try:
            latents = make()
        finally:
            _current.reset(token)
        self._parts.append(_Part(latents, random_state(self._generator), copy.deepcopy(self._collected)))
        self._earlier, self._carried = None, {}
        if self._is_due():
            self._keep(None, self._finished())
        return latents

    def _resume_after(self, part: "_Part") -> None:
        set_random_state(part.random, self._generator)
        for name, values in self._collected.items():
            values[:] = part.collected[name]

    def begin(self, scheduler: Any, latents: paddle.Tensor, num_steps: int) -> tuple[int, paddle.Tensor]:
        """How many steps of the part an earlier run has done, and its latents after them; else 0 and what is given.

        Args:
            scheduler: before its first step; it gets the state that it had.
            latents: scaled noise.
            num_steps: of the part.
        """
        done, latents = self._begin(scheduler, latents, num_steps)
        self._agree("the step of an earlier run", done)
        return done, latents

    def _begin(self, scheduler: Any, latents: paddle.Tensor, num_steps: int) -> tuple[int, paddle.Tensor]:
        self._scheduler = SchedulerState(scheduler)
        earlier, self._earlier = self._earlier, None
        if earlier is None:
            return 0, latents
        try:
            tensors = self._folder.read(earlier)
            found, done = tensors[_LATENTS].clone(), earlier["step"]
            fits = list(found.shape) == list(latents.shape) and found.dtype == latents.dtype
            if not fits or earlier["num_steps"] != num_steps or not 0 < done < num_steps:
                raise ValueError("it is of another clip")
            collected, carried = decode(earlier["collected"], tensors), decode(earlier["carried"], tensors)
            if set(collected) != set(self._collected):
                raise ValueError("it has collected something else")
            self._scheduler.restore(earlier["scheduler"], tensors)
            set_random_state(earlier["random"], self._generator)
        except DAMAGED as error:
            self._scheduler.reset()
            self._folder.tell_damage(error)
            return 0, latents
        for name, values in self._collected.items():
            values[:] = collected[name]
        self._carried.update(carried)
        self._kept = self._words(done, num_steps)
        logger.warning("goes on after %s, which an earlier run has kept", self._kept)
        return done, found.to(paddle.device.get_device())

    def after_step(self, latents: paddle.Tensor, step: int, num_steps: int) -> None:
        """Keep the latents after a step, counted from 1, if it is time, unless the part is finished by it."""
        if step == num_steps or self._scheduler is None or not self._is_due():
            return
        arrays: dict[str, Any] = {_LATENTS: to_array(latents)}
        try:
            scheduler = self._scheduler.encode(arrays)
        except TypeError as error:  # a scheduler with a source of noise of its own
            logger.debug("no state is kept within a part: %s", error)
            return
        record = {"step": step, "num_steps": num_steps, "scheduler": scheduler}
        record |= {"collected": encode(self._collected, arrays), "carried": encode(self._carried, arrays)}
        self._keep(({**record, "random": random_state(self._generator)}, arrays), self._words(step, num_steps))

    def _finished(self) -> str:
        return f"{counted(len(self._parts), 'part')} of {self._num_parts}"

    def _words(self, step: int, num_steps: int) -> str:
        of_part = f" of part {self._number} of {self._num_parts}" if self._num_parts > 1 else ""
        return f"step {step} of {num_steps}{of_part}"

    def _is_due(self) -> bool:
        return self._made is not None and time.monotonic() - self._last >= max(INTERVAL, SHARE * self._cost)

    def _keep(self, step: tuple[dict[str, Any], dict[str, Any]] | None, words: str) -> None:
        """Write what is not on the disk yet: finished parts, and the step of the one that is being made."""
        begun, is_first = time.monotonic(), not self._kept
        try:
            if not self._folder.is_claimed and not self._claim():
                return
            for part in self._parts[len(self._files) :]:
                arrays = {_LATENTS: to_array(part.latents)}
                record = {"random": part.random, "collected": encode(part.collected, arrays)}
                file = self._folder.write(f"part_{len(self._files):04d}.safetensors", arrays)
                self._files.append({**file, **record})
            index: dict[str, Any] = {
                "format": _FORMAT,
                "made": dataclasses.asdict(self._of_run()),
                "parts": self._files,
                "part": None,
            }
            if step is not None:
                record, arrays = step
                name = f"step_{len(self._files):04d}_{record['step']:04d}.safetensors"
                index["part"] = {**self._folder.write(name, arrays), **record}
            self._folder.write_index(index)
            self._folder.clear_unnamed(*self._files, *([index["part"]] if step is not None else []))
        except OSError as error:
            logger.warning("the run goes on, but its state cannot be kept any more in %s (%s)",
                           shown_path(self._folder.path), error.strerror or error)  # fmt: skip
            self._made = None
            return
        self._kept = words
        if is_first:
            logger.warning("the state of this run is kept in %s (%s now) until it ends; --no-resume keeps none",
                           shown_path(self._folder.path), self._folder.size())  # fmt: skip
        self._last = time.monotonic()
        self._cost = self._last - begun

    def _of_run(self) -> Made:
        made = self._made
        assert made is not None  # else nothing is kept
        where = {"version": __version__, "Paddle": paddle.__version__, "device": paddle.device.get_device()}
        return Made(made.command, made.inputs, {**made.options, **where, "number of parts": self._num_parts})

    def _claim(self) -> bool:
        """Hold the folder. Returns whether it is this run's: another one may be making the same output."""
        if self._folder.claim():
            return True
        logger.warning("another run keeps its state in %s; of this one none is kept", shown_path(self._folder.path))
        self._made = None
        return False

    def _open(self) -> None:
        """Read what an earlier run has kept; discard it where it is of no use."""
        path = shown_path(self._folder.path)
        try:
            if not self._claim():
                return
        except OSError as error:
            logger.warning("%s cannot be used (%s): no state is kept", path, error.strerror or error)
            self._made = None
            return
        if self._folder.has_poses and not self._folder.has_index:
            self._folder.clear()  # nothing but poses was kept
            return
        try:
            if self._made is None or self._begins_anew:
                raise _OfNoUse("it is not asked for")
            index = self._folder.read_index()
            if index["format"] != _FORMAT:
                raise ValueError("it is of another version")
            of = index["made"]
            made = Made(of["command"], dict(of["inputs"]), dict(of["options"]))
            if different := made.differences(self._of_run()):
                raise _OfNoUse(", ".join(different))
            parts, self._earlier = list(index["parts"]), index["part"]
        except _OfNoUse as reason:
            logger.warning("discarded the state of an earlier run in %s: %s", path, reason)
            self._folder.clear()
            return
        except DAMAGED as error:
            self._folder.tell_damage(error)
            self._folder.clear()
            return
        self._read_parts(parts)

    def _read_parts(self, files: list[Any]) -> None:
        for file in files:
            try:
                tensors = self._folder.read(file)
                latents = tensors[_LATENTS].clone().to(paddle.device.get_device())
                self._parts.append(_Part(latents, list(file["random"]), decode(file["collected"], tensors)))
                self._files.append({name: file[name] for name in ("file", "sha256", "random", "collected")})
            except DAMAGED as error:
                self._folder.tell_damage(error)
                self._earlier = None
                break
        if self._parts:
            self._kept = self._finished()
            logger.warning("goes on after %s, which an earlier run has kept", self._kept)


class _FollowingState(RunState):
    """That of another rank than the first, which alone keeps a state: what it has kept is read."""

    def _look(self) -> None:
        current_ranks().meet("a state that has been looked at")
        if self._made is None or not self._folder.has_index:
            return
        with contextlib.suppress(*DAMAGED):  # which the first rank tells
            index = self._folder.read_index()
            self._earlier = index["part"]
            self._read_parts(list(index["parts"]))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Leave the folder to the first rank."""

    def _is_due(self) -> bool:
        return False


def open_state(
    pipeline: Any,
    target: str | os.PathLike,
    command: str,
    inputs: dict[str, Any],
    config: Any,
    generator: str | None = None,
    num_parts: int = 1,
) -> RunState:
    """The `RunState` of a run.

    Args:
        pipeline: a `NetworkPipeline`, whose networks count by their options and files.
        target: path of the output.
        command, inputs: see `made_of`.
        config: the run's `RunOptions`, whose seed is chosen.
        others: see `RunState`.
    """
    made = None
    if config.resume:
        made = made_of(command, inputs, config)
        runs_in = pipeline.runs_in
        made = Made(command, made.inputs, {**made.options, "what runs it": runs_in, **dict(_parts_of(pipeline))})
    kind = RunState if current_ranks().is_first else _FollowingState
    state = kind(target, made, config.overwrite, generator, num_parts)
    for name, values in pipeline.collected.items():
        state.collect(name, values)
    return state


def _parts_of(pipeline: Any) -> Iterator[tuple[str, str]]:
    """Words for each part of a pipeline -> digest of its options and of names, sizes and times of its files.

    The files' contents would take long to read.
    """
    options = {name: value for name, value in pipeline.scheduler.config.items() if not name.startswith("_")}
    yield "the scheduler", digest_of([type(pipeline.scheduler).__name__, options])
    for name in pipeline.network_names:
        network = pipeline._network(name)
        files = [*getattr(network, "files", ()), *(path for path, _ in network.loras)]
        facts = [(str(path), (of := os.stat(path)).st_size, of.st_mtime_ns) for path in map(located, files)]
        yield f"the {name.replace('_', ' ')}", digest_of([network.describe(), facts])
