"""The systems by name, and the options of each. Nothing here imports Paddle; `registry` has what runs them."""

from dataclasses import dataclass
from pathlib import Path

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import any_of
from ppdiffusers_ext.pipelines.animate_anyone import options as animate_anyone
from ppdiffusers_ext.pipelines.easy_animate import options as easy_animate
from ppdiffusers_ext.pipelines.stable_animator import options as stable_animator


@dataclass(frozen=True)
class System:
    """A system's options, the YAML file of its released weights, and whether it animates skeletons."""

    options: type
    config_file: Path
    is_posed: bool = True


SYSTEMS = {
    "animate_anyone": System(animate_anyone.Pose2VidConfig, animate_anyone.CONFIG),
    "stable_animator": System(stable_animator.StableAnimationConfig, stable_animator.CONFIG),
    "easy_animate": System(easy_animate.EasyAnimateConfig, easy_animate.CONFIG, is_posed=False),
}
POSED = [name for name, system in SYSTEMS.items() if system.is_posed]


def get_system(name, accepted=tuple(SYSTEMS)):
    """The `System` of a name. Raises InputError for one that is not among the accepted names."""
    if name not in accepted:
        raise InputError(f"system {shown(name)} is not known; {any_of(accepted)} is accepted")
    return SYSTEMS[name]
