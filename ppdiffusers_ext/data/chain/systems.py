"""The systems that clips are prepared for, by name, and the module of the `Profile` of each."""

import importlib

from ppdiffusers_ext.data.chain.profiles import Profile

PROFILES = {
    name: f"ppdiffusers_ext.data.{name}.chain" for name in ("animate_anyone", "stable_animator", "easy_animate")
}


def profile_of(system: str) -> Profile:
    """The `Profile` of a system, a key of `PROFILES`."""
    return importlib.import_module(PROFILES[system]).PROFILE
