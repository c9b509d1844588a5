"""The parsers of all commands, and what each makes of its options before it computes."""

import importlib
from pathlib import Path

from scripts import easy_animate, pose2vid, stable_animator
from scripts.easy_animate import OF_TASK

TASKS = dict(zip(("predict_t2v", "predict_i2v", "predict_v2v"), OF_TASK))
FOLDER = Path(__file__).parents[2] / "scripts"
# Modules that are no commands, and the trainers, whose options are paddlenlp's.
_OTHERS = ("__init__", "command", "demo_training", "easy_animate", "launch", "poses", "signals", "training")


def command_names():
    names = {path.stem for path in FOLDER.glob("*.py")} - {*_OTHERS}
    return sorted(name for name in names if not name.startswith("trainer_"))


def parser_of(name):
    """The parser of a command."""
    if name in TASKS:
        return easy_animate.make_parser(name, "", TASKS[name])
    return importlib.import_module(f"scripts.{name}").make_parser()


def config_of(name, options):
    """The checked configuration that a command's options come to; None for those that have none."""
    if name == "pose2vid":
        return pose2vid.read_config(options)
    if name == "stable_animator":
        config = stable_animator.read_config(options)
        from ppdiffusers_ext.pipelines.stable_animator.run import check

        check(config, 24)
        return config
    if name in TASKS:
        return easy_animate.read_config(options).check(TASKS[name])
    if name == "plan_memory":
        from ppdiffusers_ext.pipelines.registry import PLANNED, get_system

        kind = get_system(options.system, PLANNED)
        return kind(options.config or kind.config_file, pose2vid.read_overrides(options, options.system))
    if name == "animate":
        return _animation(options)
    if hasattr(options, "smoothing"):
        from scripts.poses import track_options

        return track_options(options)
    return None


def _animation(options):
    from ppdiffusers_ext.pipelines.jobs import Job, read_jobs
    from ppdiffusers_ext.pipelines.registry import get_system

    kind = get_system(options.system)
    names = ("frames", "fps", "resize", "person", "align", "gap", "smoothing", "audio", "seed")
    how = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.batch:
        return read_jobs(options.batch, **how)
    Job(str(options.reference_image), str(options.driving_video), str(options.output), **how)
    overrides = {**pose2vid.read_overrides(options, options.system), "output": None, "fps": None}
    return kind(options.config or kind.config_file, overrides)
