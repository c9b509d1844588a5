"""Names of schedulers, which are checked without importing ppdiffusers: that takes seconds."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, nearest, shown

# Short names, beside the class names with and without "Scheduler".
ALIASES = {
    "DPM-Solver++": "DPMSolverMultistepScheduler",
    "DPM++": "DPMSolverMultistepScheduler",
    "UniPC": "UniPCMultistepScheduler",
    "Euler": "EulerDiscreteScheduler",
    "Euler-a": "EulerAncestralDiscreteScheduler",
    "Heun": "HeunDiscreteScheduler",
    "DEIS": "DEISMultistepScheduler",
    "LMS": "LMSDiscreteScheduler",
}

# What is suggested. Other classes of ppdiffusers can be named too: some take steps like these, some need other models.
SAMPLERS = ("DDIM", "DDPM", "PNDM", *ALIASES, "LCM", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSinglestep")


def normalised(name: str) -> str:
    name = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return name[: -len("scheduler")] if name.endswith("scheduler") else name


@cache
def _known() -> dict[str, str]:
    """Normalised name -> name, of ppdiffusers' classes, which an __init__.py lists, and of the aliases."""
    package: Any = importlib.util.find_spec("ppdiffusers")
    text = (Path(package.origin).parent / "schedulers" / "__init__.py").read_text(encoding="utf-8")
    names = [name for name in re.findall(r"\w+Scheduler\b", text) if "Flax" not in name]
    return {normalised(name): name for name in (*names, *ALIASES)}


def check_scheduler_name(name: object) -> None:
    """Raises InputError, with the nearest of `SAMPLERS`, for a name that `schedulers.scheduler_class` lacks."""
    wanted = normalised(str(name)[:100])
    if wanted in _known():
        return
    near = nearest(wanted, [normalised(sampler) for sampler in SAMPLERS])
    meant = "" if near is None else f"did you mean {_class_name(near)}? "
    raise InputError(f"scheduler {shown(name)} is not known; {meant}{', '.join(SAMPLERS)} are accepted")


def _class_name(name: str) -> str:
    known = _known()[name]
    return ALIASES.get(known, known)
