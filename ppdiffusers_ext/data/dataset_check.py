"""What the command that checks training data needs of a system: how its clips are found, checked and written."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
Report = TypeVar("Report")


def check_each(
    items: Iterable[Item], check: Callable[[Item], Report], on_report: Callable[[Report], object] | None
) -> list[Report]:
    """The reports of a function on items, in their order, on all cores.

    Args:
        on_report: called with each report as soon as it is there; or None.
    """
    reports = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for report in pool.map(check, items):
            reports.append(report)
            if on_report is not None:
                on_report(report)
    return reports


def _nothing(reports: Sequence[Any]) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """Functions of one system's reports, which have `problems`, empty for a clip that can be trained on.

    Attributes:
        files: of the sources and the root folder (None for the default): all files of the clips.
        check: of the sources, the root folder, the least number of frames and a function that is called with each
            report: the list of them.
        min_frames: the least number of frames where none is given.
        name_of: of a report: what its clip is called.
        describe: of a report without problems: a line.
        amount: of all reports without problems: how much it is.
        notes: of the same: lines that follow.
        listing: name of the option that writes the clips without problems, and `write_list`, which does.
        root_option: name of the option of the root folder; None if there is none.
        write_sheet: writes a picture of the clips without problems.
    """

    files: Callable[[Sequence[Any], str | None], Iterable[Path]]
    check: Callable[[Sequence[Any], str | None, int, Callable[[Any], object]], list]
    min_frames: int
    name_of: Callable[[Any], object]
    describe: Callable[[Any], str]
    amount: Callable[[Sequence[Any]], str]
    notes: Callable[[Sequence[Any]], list[str]] = _nothing
    listing: str
    write_list: Callable[[str | os.PathLike, Sequence[Any]], object]
    root_option: str | None = None
    write_sheet: Callable[[str | os.PathLike, Sequence[Any]], None]
