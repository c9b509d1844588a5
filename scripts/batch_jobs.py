"""What a worker of `scripts.batch` does: a job of one of the commands, with models that stay loaded for the next."""

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.batch.job_list import BatchJob, check_place
from ppdiffusers_ext.batch.manifest import KEPT, MADE
from ppdiffusers_ext.batch.run import IS_FULL, NAME
from ppdiffusers_ext.data.existing import has_record
from ppdiffusers_ext.data.outputs import beside, moved_by, report_paths
from ppdiffusers_ext.environment import peak_memory
from ppdiffusers_ext.errors import InputError, check_keys, shown_path
from ppdiffusers_ext.files import check_name, suffix_of
from ppdiffusers_ext.pipelines.outputs import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from ppdiffusers_ext.weights.selection import checkpoint_key
from ppdiffusers_ext.workers.tasks import FULL, Outcome, is_of_disk

from . import animate, easy_animate, pose2vid, predict_i2v, predict_t2v, predict_v2v, stable_animator
from .command import ArgumentParser, describe, no_command

_TASKS = {"predict_t2v": "text", "predict_i2v": "pictures", "predict_v2v": "video"}
# Options of a batch as a whole, or that would ask a server for another prompt each time.
_NOT_OF_JOBS = frozenset("help batch overwrite skip_existing log_json".split())
_BEGINNING_NOT_OF_JOBS = "beautify_"
_NO_INPUTS = frozenset("output engine_cache report".split())  # options that name files, of which no result is made
_VIDEO_IN_FOLDER = "animated_images.mp4"  # of a result that is a folder
# What may lie beside a result that is a file.
_BESIDE = ("side_by_side.mp4", "side_by_side.png", "sheet.png", "overlay.mp4", "faces.json")


@dataclass(frozen=True)
class Command:
    """A command that jobs can name.

    Attributes:
        make_parser: see each command.
        checked: function of its options that raises InputError for values, or files, that it would refuse.
        work: function of its options that does it.
    """

    make_parser: Callable[[], ArgumentParser]
    checked: Callable[[Any], Any]
    work: Callable[[Any], Any]


def _easy(module: Any, name: str) -> Command:
    task = _TASKS[name]
    parser = functools.partial(easy_animate.make_parser, f"python -m scripts.{name}", module.__doc__, task)
    return Command(parser, functools.partial(easy_animate.checked, task=task), easy_animate.make_work(task))


COMMANDS = {
    **{
        name: Command(module.make_parser, module.checked, module.work)
        for name, module in (("animate", animate), ("pose2vid", pose2vid), ("stable_animator", stable_animator))
    },
    **{
        name: _easy(module, name)
        for name, module in (
            ("predict_t2v", predict_t2v),
            ("predict_i2v", predict_i2v),
            ("predict_v2v", predict_v2v),
        )
    },
}


@functools.cache
def _parser_of(command: str) -> tuple[ArgumentParser, dict[str, argparse.Action]]:
    """The parser of a command, and its options by each of their names."""
    parser, found = COMMANDS[command].make_parser(), dict[str, argparse.Action]()
    for action in parser._actions:
        flags = [flag[2:].replace("-", "_") for flag in action.option_strings if flag[1] == "-"]
        for name in flags if action.const == "false" else (action.dest, *flags):  # a switch has another one for off
            if action.dest not in _NOT_OF_JOBS and not action.dest.startswith(_BEGINNING_NOT_OF_JOBS):
                found.setdefault(name, action)
    return parser, found


def options_of(command: str, values: Mapping[str, Any], where: str = "job", **more: bool) -> Any:
    """The options of a command, as it gets them itself.

    Args:
        values: option -> value, as typed or as YAML has it.
        where: what the message about an unknown option names.
        more: switches of the batch.

    Raises:
        InputError: an option that is not known, or a value that is not accepted.
    """
    parser, known = _parser_of(command)
    check_keys(dict(values), list(known), f"option of {command} in {where}")
    typed = argparse.Namespace(**{action.dest: action.default for action in parser._actions if action.dest != "help"})
    for name, value in values.items():
        action = known[name]
        setattr(typed, action.dest, _as_typed(action, value))
    vars(typed).update(spelled={known[name].dest: name for name in values}, **more)
    try:
        return parser.read(typed)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:  # of what reads the words of an option
        raise InputError(
            f"{where} has a value of another kind ({error}); what docs/options.md says of its options is accepted"
        ) from error


def _as_typed(action: argparse.Action, value: Any) -> Any:
    """What would be typed after a flag that may stand alone, for a truth value that a job says; any other value."""
    words = str(value).lower()
    if action.const is None or words not in ("true", "false"):
        return value
    return "true" if (words == "true") != (action.const == "false") else "false"


def check_job(job: BatchJob) -> tuple[str, ...]:
    """The paths of all files and folders that a job is made of, those that its configuration names among them.

    Raises:
        InputError: options, files or an output that cannot be used; the message has the number of the job.
    """
    with _told_of(job):
        resolved = COMMANDS[job.command].checked(options_of(job.command, job.values, job.place_of_options))
        check_place(job.output, is_of_file=_is_of_file(job))
    paths = dict.fromkeys([*inputs_of(job), *filter(os.path.exists, _texts_in(resolved))])
    return tuple(map(sys.intern, paths))  # many jobs name the same


def _texts_in(value: Any) -> Iterator[str]:
    """All texts in a configuration, and in what it holds, but those of `_NO_INPUTS`."""
    if isinstance(value, (str, os.PathLike)):
        yield os.fspath(value)
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from _texts_in(getattr(value, item.name)) if item.name not in _NO_INPUTS else ()
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts_in(pair)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts_in(each)


def check_names(job: BatchJob) -> None:
    """Raises InputError, with the number of the job, for names of options, or of an output, that cannot be."""
    with _told_of(job):
        check_keys(
            dict(job.values), list(_parser_of(job.command)[1]), f"option of {job.command} in {job.place_of_options}"
        )
        outputs_of(job)


@contextlib.contextmanager
def _told_of(job: BatchJob) -> Iterator[None]:
    """Within it the message of an InputError says which job it is about."""
    try:
        yield
    except InputError as error:
        words = str(error)
        raise InputError(words if job.where in words else f"{job.where}: {words}") from error


def inputs_of(job: BatchJob) -> Sequence[str]:
    """Paths of the files and folders that a job names and that its result is made of."""
    _, known = _parser_of(job.command)
    named: list[Any] = []
    for name, value in job.values.items():
        of = known[name]
        if of.metavar in ("FILE", "DIR") and of.dest not in _NO_INPUTS:
            named.append(value)
        elif isinstance(of.metavar, tuple) and of.metavar[0] == "FILE" and isinstance(value, list):
            named += [each[0] for each in value if isinstance(each, list) and each]
    return [value for value in named if isinstance(value, str)]


def outputs_of(job: BatchJob) -> Sequence[Path]:
    """Paths of what a job may write: its output, and what lies beside one that is a file."""
    output = check_name(job.output, "output", "the name of a file or a folder is accepted")
    if not _is_of_file(job):
        return [output]
    return [output, *report_paths(output), *(beside(output, ending) for ending in _BESIDE)]


def _is_of_file(job: BatchJob) -> bool:
    """Whether the output is a file; else it is a folder."""
    return suffix_of(job.output) in VIDEO_SUFFIXES + PICTURE_SUFFIXES


@dataclass
class CommandWork:
    """The `Job` of a batch: does what a row of a command and values asks for.

    folder: that relative paths are in.
    overwrite: replaces outputs that exist; others are kept if they are what would be made.
    """

    folder: str
    overwrite: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (NAME,)

    @property
    def is_network(self) -> bool:
        return True

    def open(self) -> None:
        """Import Paddle, and keep models from now on."""
        import threading

        from tqdm import tqdm

        from ppdiffusers_ext.pipelines.warm import WarmPipeline

        tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a worker that is ended leaves behind
        os.chdir(self.folder)
        self._warm = WarmPipeline()

    def __call__(self, row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Outcome]:
        return {NAME: self._outcome(row["command"], row["values"])}

    def _outcome(self, command: str, values: Mapping[str, Any]) -> Outcome:
        from ppdiffusers_ext.data.holding import releasing
        from ppdiffusers_ext.pipelines.stage_times import StageTimes
        from ppdiffusers_ext.pipelines.watching import watched_by

        output, begun = values["output"], time.monotonic()
        before = _time_of(output)
        _forget_peak()
        printed, times = io.StringIO(), StageTimes()
        try:
            options = options_of(command, values, **_truth(self.overwrite))
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                key = checkpoint_key(getattr(options, "checkpoint_key", None))
                with releasing(), key, self._warm.used(), moved_by("output"), watched_by(times):
                    COMMANDS[command].work(options)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a job raises, and be it SystemExit, is its own affair
            if values.get("debug"):
                traceback.print_exc()
            if isinstance(error, MemoryError):
                self._warm.free()
            is_full = is_of_disk(error, FULL)  # a place that is read-only is of this job
            return {"error": describe(error), **({IS_FULL: True} if is_full else {})}
        times.end()
        after = _time_of(output)
        if after is None:
            return {"error": f"{shown_path(output)} was made, and something has removed it"}
        facts: dict[str, Any] = {"figures": figures_of(output)}
        if after != before:
            work = {"seconds": time.monotonic() - begun, "memory": peak_memory(), "stages": times.seconds}
            return {"columns": {"state": MADE, **work, **facts}}
        if os.path.isfile(output) and not has_record(output):
            facts["reason"] = "no run has made it as it is; removed, it is made anew"
        return {"columns": {"state": KEPT, **facts}}


def _time_of(path: str) -> int | None:
    """When a file or folder was changed last; None where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return None


def _truth(overwrite: bool) -> dict[str, Any]:
    return {"overwrite": "true"} if overwrite else {"skip_existing": "true"}


def _forget_peak() -> None:
    """Have `peak_memory` begin anew, where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def figures_of(output: str) -> dict[str, float]:
    """Identity and pose error of a result, if its report says them."""
    from ppdiffusers_ext.metrics.result_report import identity_of

    result = Path(output, _VIDEO_IN_FOLDER) if os.path.isdir(output) else Path(output)
    path = report_paths(result)[1]
    found = {}
    with contextlib.suppress(OSError, ValueError, KeyError, StopIteration, TypeError):
        values = json.loads(path.read_text(encoding="utf-8"))
        _, identity = identity_of(values)
        if identity and identity["mean"] is not None:
            found["identity"] = identity["mean"]
        error = (values["poses"] or {}).get("body", {}).get("akd_pixels")
        if error is not None:
            found["pose_error"] = error
    return {name: value for name, value in found.items() if isinstance(value, (int, float)) and math.isfinite(value)}


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.batch",)))
