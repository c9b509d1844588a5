"""The parsers of all commands, and what each makes of its options before it computes."""

import functools
import importlib
from pathlib import Path

from ppdiffusers_ext.pipelines.easy_animate.options import TASKS as OF_TASK
from scripts import animate, easy_animate, plan_memory, pose2vid, stable_animator

TASKS = dict(zip(("predict_t2v", "predict_i2v", "predict_v2v"), OF_TASK))
FOLDER = Path(__file__).parents[2] / "scripts"
# Modules that are no commands; and the trainers, as cache_latents, have paddlenlp's options.
_OTHERS = ("__init__", "command", "demo_training", "easy_animate", "launch", "options", "poses", "signals", "training")
_OTHERS += ("batch_jobs", "cache_latents", "nodes", "ports", "ranks")


def command_names():
    names = {path.stem for path in FOLDER.glob("*.py")} - {*_OTHERS}
    return sorted(name for name in names if not name.startswith("trainer_"))


@functools.cache
def parser_of(name):
    """The parser of a command, to be left as it is."""
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
        return plan_memory.read_config(options)
    if name == "animate":
        return animate.read_config(options)
    if hasattr(options, "smoothing"):
        from scripts.poses import track_options

        return track_options(options)
    return None
