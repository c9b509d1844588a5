"""Start a training in several processes.

python -m scripts.launch --gpus 0,1,2,3 scripts/trainer_stage1.py configs/training/stage1.yaml
python -m scripts.launch --nproc_per_node 2 scripts/trainer_stage1.py configs/training/stage1.yaml

The first line is for GPUs, the second for a CPU. What stands before the trainer goes to `paddle.distributed.launch`;
its --help lists more. GPUs that are not there are told at once, and the launcher's own lines are left out unless the
trainer has --debug. The messages of the first process are shown, those of all are in LOG_DIR/workerlog.N (--log_dir,
default: log).
"""

import os
import signal
import sys
import traceback

from scripts.command import ArgumentParser, run

_DEVICES = ("--gpus", "--devices", "--selected_gpus")


def make_parser():
    """All words are taken as they are: the launcher's options first, then the trainer and its own."""
    parser = ArgumentParser(prog="python -m scripts.launch", description=__doc__, add_help=False)
    parser.add_argument("words", nargs="*", metavar="[options] TRAINER [options]")
    return parser


def main(arguments):
    """Returns the exit code: 0, 2 for bad input, 1 where a process failed."""
    return run(make_parser(), work, ["--", *arguments])


def work(options):
    """Check what is asked for, hand over to Paddle's launcher, and give the exit code of the training."""
    from ppdiffusers_ext.training.logs import quieten_libraries

    words = options.words
    split = next((place for place, word in enumerate(words) if word.endswith(".py")), len(words))
    before, after = words[:split], words[split:]
    if "--help" in before or "-h" in before:
        print(__doc__.strip())
        return 0
    debug = "--debug" in words
    if not debug:
        quieten_libraries()
    _check(before, after)
    return _start([*_quiet([word for word in before if word != "--debug"], debug), *after])


def _check(before, after):
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.files import check_file

    if not after:
        raise InputError("there is no trainer to start; one such as scripts/trainer_stage1.py is accepted")
    check_file(after[0], "trainer", "one such as scripts/trainer_stage1.py is accepted")
    for name in _DEVICES:
        value = _value_of(before, name)
        if value is not None:
            _check_gpus(name, value)


def _value_of(words, name):
    """The value of an option, as `--name value` or `--name=value`; None where it is not given."""
    for place, word in enumerate(words):
        if word == name:
            return words[place + 1] if place + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _check_gpus(name, value):
    """Raise an InputError for GPUs that this machine, or this Paddle, has not."""
    import paddle

    from ppdiffusers_ext.errors import InputError, shown

    numbers = [number.strip() for number in value.split(",")]
    if not all(number.isascii() and number.isdigit() and len(number) < 5 for number in numbers):
        raise InputError(f"{name} {shown(value)} names no GPUs; numbers with commas between them are accepted")
    others = "--nproc_per_node 2 in its place trains on the CPU"
    if not paddle.is_compiled_with_cuda():
        raise InputError(f"{name} {value} needs a Paddle with CUDA, and this one is for CPUs; {others}")
    count = paddle.device.cuda.device_count()
    missing = [number for number in numbers if int(number) >= count]
    if missing:
        raise InputError(f"{name} {value}: this machine has {count} GPUs, and no number {missing[0]}; {others}")


def _quiet(before, debug):
    """The launcher's options, of which none makes it print its own.

    --backend makes Paddle take an older launcher, which prints tables; without it gloo is taken on a CPU all the same.
    """
    if debug:
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
    return words if _value_of(words, "--log_level") is not None else ["--log_level", "ERROR", *words]


def _start(words):
    from paddle.distributed.launch.main import launch

    sys.argv = ["paddle.distributed.launch", *words]
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        launch()
    except SystemExit as end:
        if isinstance(end.code, int) and _is_of_signal(end):
            print(f"\nerror: stopped by {signal.Signals(end.code).name}; the same command goes on", file=sys.stderr)
            return 128 + end.code
        return end.code if end.code in (None, 0, 2) else 1  # Paddle has others for a process that was killed
    return 0


def _is_of_signal(end):
    """Whether Paddle's launcher ended because of a signal. Its exit code is the signal's number, 2 for Ctrl-C."""
    return any(frame.name == "signal_handler" for frame in traceback.extract_tb(end.__traceback__))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
