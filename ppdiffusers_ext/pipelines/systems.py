"""The systems by name, and the options of each. Nothing here imports Paddle; `registry` has what runs them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import any_of
from ppdiffusers_ext.pipelines.animate_anyone import check as animate_anyone_check
from ppdiffusers_ext.pipelines.animate_anyone import options as animate_anyone
from ppdiffusers_ext.pipelines.easy_animate import check as easy_animate_check
from ppdiffusers_ext.pipelines.easy_animate import options as easy_animate
from ppdiffusers_ext.pipelines.stable_animator import check as stable_animator_check
from ppdiffusers_ext.pipelines.stable_animator import options as stable_animator


@dataclass(frozen=True)
class System:
    """A system by its name.

    Attributes:
        options: the class of its options.
        config_file: YAML file of its released weights.
        check_files: see `check` of each system.
        is_posed: True if it animates skeletons.
        demo_file: YAML file of a small model that ships with the package, if there is one.
        has_weights: function of a configuration: whether any of its weights are there.
        refinement: dataclass of the options under the key `refinement`, if there are any.
        names_of_task: function of what videos are made of, where that differs: the names of options that count.
        writes_folder: True if a run by skeletons writes a folder.
        side_multiple: pixels that the sides of the small model's frames are rounded to, in the shape of a picture.
    """

    options: Any
    config_file: Path
    check_files: Callable
    is_posed: bool = True
    demo_file: Path | None = None
    has_weights: Callable | None = None
    refinement: Any = None
    names_of_task: Callable | None = None
    writes_folder: bool = False
    side_multiple: int = 16


SYSTEMS = {
    "animate_anyone": System(
        animate_anyone.Pose2VidConfig,
        animate_anyone.CONFIG,
        animate_anyone_check.check_files,
        demo_file=animate_anyone.DEMO,
        has_weights=animate_anyone_check.has_weights,
    ),
    "stable_animator": System(
        stable_animator.StableAnimationConfig,
        stable_animator.CONFIG,
        stable_animator_check.check_files,
        has_weights=stable_animator_check.has_weights,
        refinement=stable_animator.RefinementConfig,
        writes_folder=True,
        side_multiple=stable_animator.SIDE_MULTIPLE,
    ),
    "easy_animate": System(
        easy_animate.EasyAnimateConfig,
        easy_animate.CONFIG,
        easy_animate_check.check_files,
        is_posed=False,
        names_of_task=easy_animate.names_of_task,
    ),
}
POSED = [name for name, system in SYSTEMS.items() if system.is_posed]


def get_system(name: str, accepted: Iterable[str] = tuple(SYSTEMS)) -> System:
    """The `System` of a name. Raises InputError for one that is not among the accepted names."""
    if name not in accepted:
        raise InputError(f"system {shown(name)} is not known; {any_of(accepted)} is accepted")
    return SYSTEMS[name]
