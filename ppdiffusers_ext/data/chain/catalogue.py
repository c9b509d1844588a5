"""The steps by name, in the order in which they run."""

from collections.abc import Callable, Sequence

from ppdiffusers_ext.data.chain.captions import Captions
from ppdiffusers_ext.data.chain.config import Config, with_settings
from ppdiffusers_ext.data.chain.cuts import Cuts
from ppdiffusers_ext.data.chain.listing import Probe
from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.rewriting import Rewriting
from ppdiffusers_ext.data.chain.split import Split
from ppdiffusers_ext.data.chain.steps import Step
from ppdiffusers_ext.errors import InputError, shown, suggestion

# Name of a step -> what makes it of the options of a run. Steps that look at frames stand together: they share a
# decoding. What has to be paid for comes last.
STEPS: dict[str, Callable[[ChainOptions], Step]] = {
    "probe": lambda options: Probe(),
    "cuts": lambda options: Cuts(),
    "split": lambda options: Split(),
    "captions": lambda options: Captions(options=options),
    "rewriting": lambda options: Rewriting(options=options),
}
FIRST = ("probe", "cuts", "split")  # of every run
FILTER = "filter"  # the end of every run, which may be named, and is no step


def names_of(options: ChainOptions, profile: Profile) -> list[str]:
    """Names of the steps of a run, in order.

    Raises:
        InputError: a step is asked for that is not known.
    """
    known = all_names(options, profile)
    asked = list(profile.steps) if options.steps is None else [name.strip() for name in options.steps.split(",")]
    for name in asked:
        if name not in (*known, FILTER):
            raise InputError(f"--steps has {shown(name)}, which is no step; {suggestion(name, known)}")
    return [name for name in known if name in asked or (name in FIRST and name in known)]


def all_names(options: ChainOptions, profile: Profile) -> list[str]:
    """Names of all steps that a system may have, in order."""
    return [*STEPS, *(step.name for step in profile.own_steps(options))]


def make_steps(options: ChainOptions, names: Sequence[str], profile: Profile, config: Config) -> list[Step]:
    """The steps of these names, in order, with the settings of a configuration.

    Raises:
        InputError: a setting is not known, or a step lacks a package or a file.
    """
    own = {step.name: step for step in profile.own_steps(options)}
    steps = [own[name] if name in own else STEPS[name](options) for name in names]
    steps = [with_settings(step, config, options.config) for step in steps]
    for step in steps:
        step.check()
    return steps
