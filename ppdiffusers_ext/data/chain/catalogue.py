"""The steps by name, in the order in which they run."""

import logging
from collections.abc import Callable, Sequence

from ppdiffusers_ext.data.chain.aesthetics import Aesthetics
from ppdiffusers_ext.data.chain.captions import Captions
from ppdiffusers_ext.data.chain.config import Config, with_settings
from ppdiffusers_ext.data.chain.consistency import Consistency
from ppdiffusers_ext.data.chain.cuts import Cuts
from ppdiffusers_ext.data.chain.duplicates import Duplicates
from ppdiffusers_ext.data.chain.fingerprints import Fingerprint
from ppdiffusers_ext.data.chain.listing import Probe
from ppdiffusers_ext.data.chain.match import Match
from ppdiffusers_ext.data.chain.motion import Motion
from ppdiffusers_ext.data.chain.options import ChainOptions
from ppdiffusers_ext.data.chain.people import People
from ppdiffusers_ext.data.chain.profiles import Profile
from ppdiffusers_ext.data.chain.rewriting import Rewriting
from ppdiffusers_ext.data.chain.sharpness import Sharpness
from ppdiffusers_ext.data.chain.split import Split
from ppdiffusers_ext.data.chain.steps import Step
from ppdiffusers_ext.data.chain.text import TextArea
from ppdiffusers_ext.errors import InputError, MissingFileError, shown, suggestion

logger = logging.getLogger(__name__)

# Name of a step -> what makes it of the options of a run. Steps that look at frames stand together: they share a
# decoding. What has to be paid for comes last.
STEPS: dict[str, Callable[[ChainOptions], Step]] = {
    "probe": lambda options: Probe(),
    "cuts": lambda options: Cuts(),
    "split": lambda options: Split(),
    "sharpness": lambda options: Sharpness(),
    "motion": lambda options: Motion(),
    "text": lambda options: TextArea(),
    "people": lambda options: People(),
    "fingerprint": lambda options: Fingerprint(),
    "duplicates": lambda options: Duplicates(),
    "consistency": lambda options: Consistency(weights=options.weights, device=options.device),
    "aesthetics": lambda options: Aesthetics(weights=options.weights, device=options.device),
    "captions": lambda options: Captions(options=options),
    "rewriting": lambda options: Rewriting(options=options),
    "match": lambda options: Match(weights=options.weights, device=options.device),
}
FIRST = ("probe", "cuts", "split")  # what the others are about
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
    if {*asked} <= {*FIRST}:
        return [name for name in known if name in FIRST[: 1 + max(map(FIRST.index, asked))]]
    return [name for name in known if name in asked or name in FIRST]


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
    is_asked = options.steps is not None
    steps = [step for step in steps if _is_ready(step, is_asked)]
    _check_needs(steps)
    return steps


def _is_ready(step: Step, is_asked: bool) -> bool:
    """Whether a step has what it needs; says so where it has no weights, unless the step was asked for by name."""
    try:
        step.check()
    except MissingFileError as error:
        if is_asked or not step.is_network:
            raise
        logger.warning("step %s is left out: %s", step.name, error)
        return False
    return True


def _check_needs(steps: Sequence[Step]) -> None:
    names = [step.name for step in steps]
    for step in steps:
        if missing := [name for name in step.needs if name not in names]:
            raise InputError(f"step {step.name} needs step {missing[0]}; --steps with both is accepted")
