"""Names of schedulers, which are checked without importing ppdiffusers: that takes seconds."""

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from ppdiffusers_ext.errors import InputError, shown

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


def normalised(name):
    name = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return name[: -len("scheduler")] if name.endswith("scheduler") else name


@cache
def _known():
    """Normalised name -> name, of ppdiffusers' classes, which an __init__.py lists, and of the aliases."""
    package = Path(importlib.util.find_spec("ppdiffusers").origin).parent
    text = (package / "schedulers" / "__init__.py").read_text(encoding="utf-8")
    names = [name for name in re.findall(r"\w+Scheduler\b", text) if "Flax" not in name]
    return {normalised(name): name for name in (*names, *ALIASES)}


def check_scheduler_name(name):
    """Raises InputError for a name that `schedulers.scheduler_class` does not know; the message names the nearest."""
    known, wanted = _known(), normalised(str(name)[:100])
    if wanted not in known:
        near = known[difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)[0]]
        raise InputError(
            f"scheduler {shown(name)} is not known; did you mean {ALIASES.get(near, near)}? Accepted are DDIM, "
            f"{', '.join(ALIASES)}, LCM and every scheduler class of ppdiffusers"
        )
