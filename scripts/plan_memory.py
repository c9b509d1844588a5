"""Predict how much memory an animation takes on every rung of the memory ladder, before anything is loaded.

    python -m scripts.plan_memory --config configs/inference/animation.yaml -W 512 -H 784 -L 120

    python -m scripts.plan_memory --system stable_animator -W 576 -H 1024 -L 64

    python -m scripts.plan_memory --system easy_animate -W 672 -H 384 -L 72
    python -m scripts.plan_memory --system easy_animate --table

    python -m scripts.plan_memory --train configs/training/stable_animator.yaml --device gpu --processes 4
    python -m scripts.plan_memory --system easy_animate --train configs/training/easy_animate/v4.yaml --device gpu

Options are those of scripts.pose2vid, or what other systems have of them. Nothing needs to be downloaded: of the model
only config.json files are read, and for a published checkpoint that is not there, its architecture is known. --table
says which of EasyAnimate V4's videos fit on GPUs of which memory, and in what mode: a rung of --memory, low with
--vae-tiling ("tiles"), or that with --weights int8 as well. Figures are peaks of the whole process in GB (10^9 bytes);
those for a GPU have not been measured.

--train takes a YAML file of scripts/trainer_stable_animator.py, or with --system easy_animate one of
scripts/trainer_easy_animate.py, trainer_easy_animate_lora.py or trainer_easy_animate_vae.py, and says what each of so
many processes takes. A file that several of them take is planned for each. There is no prediction of the others.
"""

import json
import sys
from dataclasses import dataclass

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import ExistingOptions, any_of, option, path_option
from ppdiffusers_ext.pipelines.options import RunOptions
from ppdiffusers_ext.pipelines.systems import SYSTEMS, get_system

from .command import ArgumentParser, run
from .options import ConfigOptions, add_options, given_options, refuse_others


@dataclass(frozen=True, kw_only=True)
class Options(ConfigOptions, ExistingOptions):
    system: str = option("animate_anyone", choices=tuple(SYSTEMS), help=f"one of {', '.join(SYSTEMS)}", metavar="NAME")
    train: str | None = path_option(None, help="YAML file of a training of StableAnimator or EasyAnimate, instead")
    table: bool = option(False, help="print a table of sizes and GPUs, for easy_animate")
    processes: int = option(1, 1, 10_000, help="with --train: number of processes of the launch")
    json: str | None = path_option(None, help="also write the figures, in bytes, as JSON")


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("python -m scripts.plan_memory", __doc__, Options)
    for system in SYSTEMS.values():
        add_options(parser, system.options, defaults=False)
    return parser


def read_config(options: Options) -> RunOptions:
    """The configuration of the system that is asked for."""
    system = get_system(options.system)
    refuse_others(options.given, system.options, [each.options for each in SYSTEMS.values()], options.system)
    return system.options.load(options.config or system.config_file, **given_options(options.given, system.options))


def work(options: Options) -> None:
    """Print a line for each rung, and which of them fits into what is free."""
    if options.train:
        plan_training(options.train, options)
        return
    if options.table:
        print_table(options)
        return
    config = read_config(options)

    from pathlib import Path

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.outputs import check_writable, output_file
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.pipelines import registry
    from ppdiffusers_ext.pipelines.memory_plan import GB, available_memory
    from ppdiffusers_ext.runtime import Runtime

    system = registry.SYSTEMS[options.system](config)
    results = None
    if options.json:
        check_writable(options.json)
        how = {"--system": options.system, **given_options(options.given, type(config))}
        how = {name: value for name, value in how.items() if name not in ("overwrite", "skip_existing")}
        path = options.config or get_system(options.system).config_file
        made = Made("plan_memory", {"--config": digest(path)}, how)
        results = check_existing({options.json: made}, options.overwrite, options.skip_existing)
    runtime = Runtime.choose(system.device, system.dtype, system.engine)
    (plans, length), available = system.plan(runtime), available_memory()
    print(f"{system.width}x{system.height}, {counted(length, 'frame')}, engine {system.engine} on {runtime.place}")
    for plan in plans:
        print(plan if plan.host <= available else f"{plan}; more than the {available / GB:.1f} GB that are free")
    if options.json and results is not None and results.missing:
        fields = {"available": available, "rungs": {plan.rung: vars(plan) for plan in plans}}
        with results.recorded(), output_file(options.json) as path:
            Path(path).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def print_table(options: Options) -> None:
    """Print which videos fit on which GPU, at the released size."""
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.easy_animate.size_table import lines, released_models, size_table

    if options.system != "easy_animate":
        raise InputError(f"there is no --table of {options.system}; --system easy_animate is accepted")
    for line in lines(size_table(released_models())):
        print(line)


def plan_training(path: str, options: Options) -> None:
    """Print a line for each size that a training has samples of."""
    from ppdiffusers_ext.training.trainers import TRAINERS

    names = _trainers_of(path, getattr(options.given, "system", None))
    device = "gpu" if str(getattr(options.given, "device", None) or "cpu").startswith("gpu") else "cpu"
    for name in names:
        plan = TRAINERS[name].plan
        assert plan is not None
        whose = f"{_script(name)}, " if len(names) > 1 else ""
        for size, memory in plan(path, device, options.processes).items():
            print(f"{whose}{'x'.join(map(str, size))}: {memory}")


def _script(trainer: str) -> str:
    return f"scripts/trainer_{trainer}.py"


def _trainers_of(path: str, system: str | None) -> list[str]:
    """The trainers of a system (StableAnimator if it is not said) that take a file, and whose memory is predicted.

    Raises:
        InputError: no such system, or the file of no such trainer; the message says whose it is.
    """
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.files import check_file
    from ppdiffusers_ext.training.parser import read_options
    from ppdiffusers_ext.training.trainers import PLANNED, TRAINERS

    system = system or next(iter(PLANNED))
    if system not in PLANNED:
        raise InputError(f"there is no plan of a training of {system}; --system {any_of(PLANNED)} is accepted")
    check_file(path, "file of a training", "a YAML file of one is accepted")
    problems: dict[str, InputError] = {}
    for name, trainer in TRAINERS.items():
        try:
            read_options([path], trainer.kinds)
        except InputError as error:
            problems[name] = error
    if own := [name for name in PLANNED[system] if name not in problems]:
        return own
    others = [name for name in TRAINERS if name not in problems]
    if not others:
        raise problems[system]
    if systems := [name for name, trainers in PLANNED.items() if set(trainers) & set(others)]:
        raise InputError(f"--train {path} is for another system; --system {any_of(systems)} is accepted")
    planned = [_script(name) for trainers in PLANNED.values() for name in trainers]
    whose = any_of([_script(name) for name in others])
    raise InputError(
        f"--train {path} is for {whose}, whose memory cannot be predicted; a file for {any_of(planned)} is accepted"
    )


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
