"""Presets: what a faster result may cost, as short YAML files in `ppdiffusers_ext/presets`.

A preset sets keyword arguments of `Pose2VideoPipeline.__call__`, which are keys of pose2vid's YAML file too.
"""

from pathlib import Path

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.yaml_files import check_keys, read_yaml

FOLDER = Path(__file__).parents[1] / "presets"
KNOBS = (
    "guidance_interval",
    "step_cache_interval",
    "step_cache_depth",
    "context_overlap",
    "context_schedule",
)


def preset_names():
    """The presets that there are, the slowest and most exact one first."""
    order = ("exact", "balanced", "fast")
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=order.index)


def read_preset(preset):
    """The knobs of a preset: name -> value.

    Args:
        preset: a name, or the path of a YAML file of the user's own.

    Raises:
        InputError: no such preset, or a knob that is not known.
    """
    path = Path(preset) if str(preset).endswith((".yaml", ".yml")) else FOLDER / f"{preset}.yaml"
    if not path.is_file():
        raise InputError(
            f"preset {preset!r} does not exist; one of {', '.join(preset_names())}, or a YAML file, is accepted"
        )
    values = read_yaml(path)
    check_keys(values, KNOBS, f"knob in preset {path}")
    return values
