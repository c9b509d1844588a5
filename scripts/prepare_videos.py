"""Make a training set of raw videos: cut them into clips, measure these, keep the good ones, write training files.

    python -m scripts.prepare_videos videos set --for animate_anyone
    python -m scripts.prepare_videos videos set --for stable_animator -j 8
    python -m scripts.prepare_videos videos set --for easy_animate --captioner http://127.0.0.1:8000/v1 --model M

IN is a folder of videos with its subfolders, one video, or a list of paths. OUT gets clips/, a table for each step
(tables/STEP.jsonl), report.html, and the files that training reads. docs/data_chain.md explains the steps; their
settings and thresholds are those of configs/data_chain/default.yaml, or of --config. Exit code 1 if no clip is kept.

A run that was stopped goes on when it is started again; what is done, of the same files with the same settings, is not
done again. What failed has its reason in its table, and is tried again with --retry-failed.

On several machines with a folder in common, each prepares a part of the videos, and then a run without --shard puts
all together:

    python -m scripts.prepare_videos videos set --for animate_anyone --shard 1/4
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data.chain.options import ChainOptions

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain.run import Summary


@dataclass(frozen=True, kw_only=True)
class Options(ChainOptions, CommandOptions):
    pass


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.prepare_videos", __doc__, Options)


def work(options: Options) -> int:
    """Prepare, and print what each step came to. Returns 1 if none of the clips is kept."""
    from ppdiffusers_ext.data.chain.run import prepare_videos

    try:
        summary = prepare_videos(options, _progress)
    except KeyboardInterrupt:
        print("note: what is done is kept; the same command goes on with the rest", file=sys.stderr)
        raise
    _tell(summary, options)
    is_part = options.shard is not None or "split" not in summary.rows  # of the videos, or of the steps
    return 0 if is_part or summary.kept else 1


def _progress(title: str, total: int) -> Callable[[int], Any]:
    from tqdm import tqdm

    return tqdm(desc=title, total=total, unit="row", disable=None).update  # in a terminal only


def _tell(summary: "Summary", options: Options) -> None:
    from ppdiffusers_ext.errors import counted, shown_path

    for name, count in summary.rows.items():
        more = f", {summary.failed[name]:,} failed" if summary.failed[name] else ""
        print(f"{name + ':':14}{counted(count, 'row')}, {summary.worked.get(name, 0):,} new{more}")
    for note in summary.notes:
        print(note)
    if any(summary.failed.values()):
        print("reasons of what failed are in the tables; --retry-failed tries again")
    if options.shard:
        print(f"part {options.shard} is done; a run without --shard puts all parts together")
        return
    if "split" in summary.rows:
        print(f"kept {summary.kept:,} of {counted(summary.clips, 'clip')}")
    for path in [*summary.written, *([summary.report] if summary.report else [])]:
        print(f"wrote {shown_path(path)}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
