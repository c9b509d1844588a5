"""Results of a run that exist: refused, replaced or kept, as in all commands; see `data.existing`."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.existing import ExistsError, Results, are_made_of, check_existing
from ppdiffusers_ext.data.records import Made, digest
from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.errors import InputError, shown_path

logger = logging.getLogger(__name__)

# Fields of options that do not change a result, or that stand for inputs, whose content counts.
OF_RESULTS = frozenset(
    "output test_cases reference_image pose_video driving_poses driving_video start_image end_image video mask "
    "embedding engine_cache ignore_memory overwrite skip_existing report resume".split()
)


def hold_results(cases: Sequence[Any], overwrite: bool = True, skip_existing: bool = False) -> Results:
    """The `Results` of cases, held against what exists before anything is computed; of several ranks, by the first.

    With `skip_existing` a case is kept if its main result exists. Files of a run that was stopped before all were
    there, whose state is kept, are made again with the rest; so is what lies beside a main result that is gone.

    Args:
        cases: tuples of the path of the main result, a list of the paths of what lies beside it, and its `Made` or a
            function that returns it.
        overwrite, skip_existing: see `check_existing`.

    Raises:
        ExistsError: see `check_existing`; or what lies beside a result that is missing exists, and would be replaced.
    """
    ranks, held = current_ranks(), Results({})
    if ranks.is_first:
        held = _hold_results(cases, overwrite, skip_existing)
    missing = ranks.of_first("results", lambda: [Path(case[0]) in held.missing for case in cases])
    if not ranks.is_first:
        held.missing = [Path(case[0]) for case, is_missing in zip(cases, missing) if is_missing]
    return held


def _hold_results(cases: Sequence[Any], overwrite: bool, skip_existing: bool) -> Results:
    unfinished = [] if overwrite else [case for case in cases if _is_unfinished(case)]
    if unfinished:
        cases = [case for case in cases if case not in unfinished]
        held = _hold_results(cases, overwrite, skip_existing)
        held.include(
            check_existing({path: made for main, beside, made in unfinished for path in (main, *beside)}, True)
        )
        return held
    if len(cases) == 1 and not overwrite and not skip_existing:
        check_existing({cases[0][0]: cases[0][2]})  # whose message is about the one result
    paths: dict[Any, Any] = {}
    for main, beside, made in cases:
        if not (skip_existing and Path(main).exists()):
            paths |= dict.fromkeys(beside, made)
            there = [path for path in beside if Path(path).exists()] if skip_existing else []
            if there:
                raise ExistsError(f"{shown_path(there[0])} exists without {shown_path(main)}; --overwrite replaces it")
        paths[main] = made
    held = check_existing(paths, overwrite and not skip_existing, skip_existing)
    for main, *_ in cases:
        if Path(main) not in held.missing:
            logger.warning("%s exists and is kept", main)
    return held


def _is_unfinished(case: Any) -> bool:
    """Whether files of a case exist, all made of the same as now, but not the main one, or a run's state does."""
    from ppdiffusers_ext.pipelines.state_folder import StateFolder  # with Paddle

    main, beside, made = case
    paths = [path for path in (main, *beside) if os.path.exists(path)]
    if not paths or (os.path.exists(main) and not StateFolder(main).exists):
        return False
    made = made() if callable(made) else made
    return are_made_of({Path(path): made for path in paths})


def case_of(
    command: str, paths: Iterable[str | os.PathLike], inputs: Mapping[str, Any], *options: Any
) -> tuple[str | os.PathLike, list[str | os.PathLike], Callable[[], Made]]:
    """A case of `hold_results`, of the paths of a command's results, the main one first; for others see `made_of`."""
    main, *beside = paths
    return main, beside, lambda: made_of(command, inputs, *options)


def made_of(command: str, inputs: Mapping[str, Any], *options: Any) -> Made:
    """The `Made` of a result.

    Args:
        command: its name.
        inputs: names of inputs -> their paths, None for one that was not given.
        options: dataclasses of options.
    """
    digests = {name: _digest(path) for name, path in inputs.items() if path is not None}
    given = {
        f"--{item.name.replace('_', '-')}": getattr(each, item.name)
        for each in options
        for item in dataclasses.fields(each)
        if item.name not in OF_RESULTS
    }
    return Made(command, digests, given)


def _digest(path: str | os.PathLike) -> str:
    """The digest of an input; of one that cannot be read, which its reader tells, words that are none."""
    try:
        return digest(path)
    except (OSError, InputError):
        return "unreadable"
