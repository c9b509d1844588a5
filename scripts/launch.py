"""Start a training, or a command that makes a video, in several processes.

python -m scripts.launch --gpus 0,1,2,3 scripts/trainer_stage1.py configs/training/stage1.yaml
python -m scripts.launch --nproc_per_node 2 scripts/trainer_stage1.py configs/training/stage1.yaml
python -m scripts.launch --nnodes 2 --rank 0 --master 10.0.0.1:6170 --gpus 0,1 scripts/trainer_stage1.py training.yaml
python -m scripts.launch --gpus 0,1 -m scripts.pose2vid --reference-image me.png --pose-video dance.mp4

The second line is for a CPU, the others for GPUs, and the third for the first of two machines; the other one has
--rank 1. The command is a Python file or a name: trainer_stage1. What stands before it goes to
`paddle.distributed.launch`; its --help lists more. GPUs that are not there are told at once, and the launcher's own
lines are left out unless the command has --debug. The messages of the first process are shown, those of all are in
LOG_DIR/workerlog.N (--log_dir, default: log, or log_2 while another launch writes there), with several machines in
LOG_DIR/RANK/workerlog.N. --max_restart N starts the processes again, up to N times, where one fails.
"""

import argparse
import contextlib
import itertools
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext import commands
from ppdiffusers_ext.packaged import as_called

from .command import ArgumentParser, run

_BAD_INPUT = 2  # the exit code of a trainer
_LOGS = "log"  # folder of logs where none is named
_MOST_LINES = 100  # of a log that are printed at the end
_OF_CLIPS = ("animate", "pose2vid", "stable_animator", "predict_t2v", "predict_i2v", "predict_v2v")
_DEVICES = ("--gpus", "--devices", "--selected_gpus")


def make_parser() -> ArgumentParser:
    """All words are taken as they are: the launcher's options first, then the trainer and its own."""
    parser = ArgumentParser(prog="python -m scripts.launch", description=__doc__, add_help=False)
    parser.add_argument("words", nargs="*", metavar="[options] TRAINER [options]")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, 2 for bad input, 1 where a process failed."""
    return run(make_parser(), work, ["--", *arguments])


def work(options: argparse.Namespace) -> int:
    """Check what is asked for, hand over to Paddle's launcher, and give the exit code of the training."""
    from ppdiffusers_ext.training.logs import quieten_libraries

    words = options.words
    split = _place_of_trainer(words)
    before, after = words[: split - 1 if words[split - 1 : split] == ["-m"] else split], words[split:]
    if "--help" in before or "-h" in before:
        print(as_called(__doc__.strip()))
        return 0
    debug = "--debug" in words
    if not debug:
        quieten_libraries()
    _check(before, after)
    after = [*_files_of(after[0]), *after[1:]]

    from .nodes import read_nodes

    nodes, restarts = read_nodes(before, _value_of), _restarts(before)
    before = _quiet([word for word in before if word != "--debug"], debug, nodes is not None)
    given, folder = _value_of(before, "--log_dir"), _hold_logs(before, nodes)
    if str(folder) != (given or _LOGS):
        before = [*before, "--log_dir", str(folder)]
    return _start([*before, *after], nodes, restarts)


def _hold_logs(before: Sequence[str], nodes: Any) -> Path:
    """The folder of this launch's logs, which no other launch writes into until the command ends.

    Raises InputError where it cannot be written, or where the folder that --log_dir names is another launch's.
    """
    from ppdiffusers_ext.data.existing import HeldError, hold_outputs
    from ppdiffusers_ext.data.outputs import check_writable, moved_by

    given = _value_of(before, "--log_dir")
    for number in itertools.count(1):
        folder = Path(given or (_LOGS if number == 1 else f"{_LOGS}_{number}"))
        folder = folder if nodes is None else folder / str(nodes.rank)  # of machines, which may have one in common
        log = folder / "workerlog.0"
        with moved_by("--log_dir"):
            check_writable(log)
        try:
            hold_outputs([log])
            break
        except HeldError:
            if given is not None:
                raise
    return folder


def _place_of_trainer(words: Sequence[str]) -> int:
    """The number of words before the trainer, which is a Python file or the name of a command."""
    for place, word in enumerate(words):
        is_value = place > 0 and re.fullmatch("--(?!debug$)[^=]*", words[place - 1])
        if word.endswith(".py") or (not is_value and _name_of(word) is not None):
            return place
    return len(words)


def _name_of(word: str) -> str | None:
    """The command that a word names, as `trainer_stage1` or `scripts.pose2vid`, or None."""
    from ppdiffusers_ext.training.trainers import COMMANDS

    name = word.removeprefix("scripts.").replace("-", "_")
    return name if name in (*COMMANDS, *_OF_CLIPS) else None


def _files_of(trainer: str) -> list[str]:
    """The words for Paddle's launcher that run a trainer: a file, or the commands' file and a name."""
    name = _name_of(trainer)
    if name is None:
        return [trainer]
    if __package__ == commands.__name__:
        return [str(Path(commands.__file__).with_name("__main__.py")), name]
    return [str(Path(__file__).with_name(f"{name}.py"))]


def _command_of_one_process(before: Sequence[str], after: Sequence[str]) -> str | None:
    """The command that is to be started, by its name or as a file of scripts, and cannot be divided; or None."""
    names = [name for listed in commands.COMMANDS.values() for name in listed]
    if not after:
        words = [word.removeprefix("scripts.").replace("-", "_") for word in before]
    else:
        words = [Path(after[0]).stem] if Path(after[0]).resolve().parent == Path(__file__).resolve().parent else []
    return next((word for word in words if word in names and _name_of(word) is None), None)


def _check(before: Sequence[str], after: Sequence[str]) -> None:
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.files import check_file

    if (alone := _command_of_one_process(before, after)) is not None:
        raise InputError(
            f"scripts.{alone} works in one process, `python -m scripts.{alone}`; to start in several, "
            f"{', '.join(_OF_CLIPS)} and trainers such as scripts/trainer_stage1.py are accepted"
        )
    if not after:
        raise InputError("there is no trainer to start; one such as scripts/trainer_stage1.py is accepted")
    if _name_of(after[0]) is None:
        check_file(after[0], "trainer", "one such as scripts/trainer_stage1.py is accepted")
    for name in _DEVICES:
        value = _value_of(before, name)
        if value is not None:
            _check_gpus(name, value)


def _value_of(words: Sequence[str], name: str) -> str | None:
    """The value of an option, as `--name value` or `--name=value`; None where it is not given."""
    for place, word in enumerate(words):
        if word == name:
            return words[place + 1] if place + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _check_gpus(name: str, value: str) -> None:
    """Raise an InputError for GPUs that this machine, or this Paddle, has not."""
    import paddle

    from ppdiffusers_ext.errors import InputError, shown

    numbers = [number.strip() for number in value.split(",")]
    if not all(number.isascii() and number.isdigit() and len(number) < 5 for number in numbers):
        raise InputError(f"{name} {shown(value)} names no GPUs; numbers with commas between them are accepted")
    others = "--nproc_per_node 2 in its place runs on the CPU"
    if not paddle.is_compiled_with_cuda():
        raise InputError(f"{name} {value} needs a Paddle with CUDA, and this one is for CPUs; {others}")
    count = paddle.device.cuda.device_count()
    missing = [number for number in numbers if int(number) >= count]
    if missing:
        raise InputError(f"{name} {value}: this machine has {count} GPUs, and no number {missing[0]}; {others}")


def _quiet(before: list[str], debug: bool, is_of_several: bool) -> list[str]:
    """The launcher's options, of which none makes it print its own, unless `debug`.

    --backend makes Paddle take an older launcher, which prints tables, and does not know --master; without it gloo is
    taken on a CPU all the same.
    """
    if debug and not is_of_several:
        return before
    words, place = [], 0
    while place < len(before):
        if before[place] == "--backend" and before[place + 1 : place + 2] == ["gloo"]:
            place += 2
        elif before[place] == "--backend=gloo":
            place += 1
        else:
            words.append(before[place])
            place += 1
    return words if debug or _value_of(words, "--log_level") is not None else ["--log_level", "ERROR", *words]


def _start(words: Sequence[str], nodes: Any, restarts: int) -> int:
    """Run Paddle's launcher, and again if a process or a machine fails, up to a number of restarts."""
    for restart in range(restarts + 1):
        code = _start_once(words, nodes)
        if code != 1:
            break
        if restart < restarts:
            print(f"restart {restart + 1} of {restarts}, from the newest checkpoint", file=sys.stderr, flush=True)
    return code


def _restarts(words: Sequence[str]) -> int:
    from ppdiffusers_ext.errors import InputError, shown

    text = _value_of(words, "--max_restart")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 7):
        raise InputError(f"--max_restart {shown(text)} cannot be used; a whole number from 0 is accepted")
    return int(text or 0)


def _start_once(words: Sequence[str], nodes: Any) -> int:
    from paddle.distributed.launch.main import launch

    from . import ports
    from .nodes import several

    logging.getLogger("LAUNCH").handlers.clear()  # Paddle adds one each time
    sys.argv = ["paddle.distributed.launch", *words]
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    with ports.held(), contextlib.nullcontext() if nodes is None else several(nodes) as meeting:
        _tell_once(meeting)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signal.SIGHUP, _hang_up)
        try:
            launch()
        except SystemExit as end:
            if isinstance(end.code, int) and _is_of_signal(end):
                print(
                    f"\nerror: stopped by {signal.Signals(end.code).name}; the same command goes on", file=sys.stderr
                )
                return 128 + end.code
            if meeting is not None and meeting.end is not None:
                return meeting.end.code if meeting.end.code == _BAD_INPUT else 1
            code = end.code or 0
            return code if code in (0, _BAD_INPUT) else 1  # Paddle has others for a process that was killed
    return 0


def _hang_up(number: int, frame: Any) -> None:
    """Do what is done for SIGTERM: Paddle's launcher leaves its processes behind where another signal ends it."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(number, frame)


def _tell_once(meeting: Any) -> None:
    """Have Paddle's launcher print what the processes say once, and end as the one that refused its input.

    By itself it prints the log of the first process, then the end of the log of whichever it found to have failed,
    often the first one's again; and it ends with the code of the first one, which it may have killed for the other.

    Args:
        meeting: with other machines, which are told as well; or None.
    """
    from paddle.distributed.launch.job.container import Container
    from paddle.distributed.launch.job.pod import Pod

    def failed(pod: Any) -> list[Any]:
        containers = _failed(pod)
        if meeting is not None:
            meeting.say(_BAD_INPUT if containers[0].exit_code == _BAD_INPUT else 1, _reason(containers[0]))
        return containers

    for kind, name, own in (
        (Container, "tail", _print_rest),
        (Pod, "failed_container", failed),
        (Pod, "exit_code", property(_exit_code)),
    ):
        setattr(kind, name, own)
    logger = logging.getLogger("LAUNCH")
    logger.removeFilter(_is_of_use)
    logger.addFilter(_is_of_use)


def _reason(container: Any) -> str:
    """Why a process failed: the error that it told, or its exit code."""
    errors = [line for line in _lines_of(container) if line.startswith("error: ")]
    said = errors[-1].removeprefix("error: ").strip() if errors else f"exit code {container.exit_code}"
    return f"its process {container.rank} failed: {said}"


def _failed(pod: Any) -> list[Any]:
    """The processes that failed, those that refused their input first."""
    failed = [container for container in pod._containers if container.status == "failed"]
    for container in failed:
        container.first = pod._containers[0]
    return sorted(failed, key=lambda container: container.exit_code != _BAD_INPUT)


def _print_rest(container: Any) -> None:
    """Print the end of a process' log, but no line that the log of the first process has, which is printed already."""
    while container.first.logs():
        pass
    if container is not container.first:
        printed = set(_lines_of(container.first))
        rest = [line for line in _lines_of(container)[-_MOST_LINES:] if line not in printed]
        print("".join(rest), end="", flush=True)


def _lines_of(container: Any) -> list[str]:
    """The lines that a process of this launch has written to its log, which may have those of earlier ones too."""
    with open(container.outfile, "rb") as file:
        file.seek(container._log_start_offset)
        return file.read().decode(errors="replace").splitlines(keepends=True)


def _exit_code(pod: Any) -> int:
    codes = [container.exit_code for container in pod._containers]
    return _BAD_INPUT if _BAD_INPUT in codes else next((code for code in codes if code != 0), 0)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a line of the launcher's is more than that a process has refused its input, as it has said itself."""
    return not re.search(rf"Container failed.* code {_BAD_INPUT} log ", record.getMessage(), re.DOTALL)


def _is_of_signal(end: SystemExit) -> bool:
    """Whether Paddle's launcher ended because of a signal. Its exit code is the signal's number, 2 for Ctrl-C."""
    return any(frame.name == "signal_handler" for frame in traceback.extract_tb(end.__traceback__))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
