"""Presets: what a faster result may cost, as short YAML files in `ppdiffusers_ext/presets`.

A preset sets keyword arguments of a pipeline's `__call__`, which are keys of its command's YAML file too. Those of
EasyAnimate have a folder of their own: its transformer is sped up in other ways than the others' UNets.
"""

import os
from pathlib import Path

from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import read_yaml

FOLDER = Path(__file__).parents[1] / "presets"
KNOBS = (
    "guidance_interval",
    "step_cache_interval",
    "step_cache_depth",
    "context_overlap",
    "context_schedule",
)
EASY_ANIMATE_KNOBS = ("guidance_interval", "block_cache_threshold")
# By the folder of a system that has presets of its own; "" is that of all others.
_KNOBS = {"": KNOBS, "easy_animate": EASY_ANIMATE_KNOBS}


def preset_names(system=""):
    """The presets that there are, the slowest and most exact one first; `system` as of `read_preset`."""
    order = ("exact", "balanced", "fast")
    return sorted((path.stem for path in (FOLDER / system).glob("*.yaml")), key=order.index)


def read_preset(preset, system=""):
    """The knobs of a preset: name -> value.

    Args:
        preset: a name, or the path of a YAML file of the user's own.
        system: "easy_animate" for its presets; left out for those of the others.

    Raises:
        InputError: no such preset, or a knob that is not known.
    """
    accepted = f"one of {', '.join(preset_names(system))}, or a YAML file, is accepted"
    if preset in preset_names(system):
        path = FOLDER / system / f"{preset}.yaml"
    elif str(preset).endswith((".yaml", ".yml")):
        path = preset
    else:
        raise InputError(f"preset {shown(preset)} {_problem_of(preset)}; {accepted}")
    values = read_yaml(path, "preset", accepted)
    check_keys(values, _KNOBS[system], f"knob in preset {shown_path(path)}")
    return values


def _problem_of(preset):
    """What is wrong with a name that is none of a preset."""
    if not isinstance(preset, (str, Path)) or not os.path.exists(preset):  # False for names with NUL, too
        return "does not exist"
    return "is a folder" if os.path.isdir(preset) else "is a file whose name does not end in .yaml"
