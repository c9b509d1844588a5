"""Seed of a training with --seed -1: the same in all processes and in a resumed run."""

import logging
import secrets

from ppdiffusers_ext.training import checkpoints
from ppdiffusers_ext.training.arguments import TrainingArguments
from ppdiffusers_ext.training.bounds import SEEDS
from ppdiffusers_ext.training.groups import from_first

logger = logging.getLogger(__name__)

DRAWN = -1
_NEW, _KEPT = "new", "kept"


def choose_seed(arguments: TrainingArguments) -> int:
    """Seed of `TrainingArguments`; for -1 the seed of the checkpoint to resume from, or a new one."""
    if arguments.seed != DRAWN:
        return arguments.seed
    origin, _, text = from_first("seed", lambda: _draw(arguments)).partition(" ")
    seed = int(text)
    if origin == _NEW:
        logger.info("seed %d is drawn; --seed %d does the same again", seed, seed)
    else:
        logger.info("seed %d is that of the checkpoint from which the run goes on", seed)
    return seed


def _draw(arguments: TrainingArguments) -> str:
    earlier = _earlier_seed(arguments)
    return f"{_NEW} {secrets.randbelow(SEEDS[1] + 1)}" if earlier is None else f"{_KEPT} {earlier}"


def _earlier_seed(arguments: TrainingArguments) -> int | None:
    """That of the checkpoint which the run will go on from; None where it begins anew."""
    if arguments.overwrite_output_dir and not arguments.resume_from_checkpoint:
        return None
    folder = arguments.resume_from_checkpoint or checkpoints.newest_valid(arguments.output_dir)
    if folder is None or checkpoints.problem_of(folder):
        return None
    seed = checkpoints.run_of(folder).get("seed")
    return seed if isinstance(seed, int) and 0 <= seed <= SEEDS[1] else None
