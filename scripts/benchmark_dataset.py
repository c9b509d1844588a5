"""Lay out a paper's test clips from a local copy, and animate them with a system.

    python -m scripts.benchmark_dataset TikTok_dataset/ bench/ --set tiktok_335_340
    python -m scripts.benchmark_dataset TikTok_dataset/ bench/ --set tiktok_335_340 --system animate_anyone
    python -m scripts.evaluate bench/results/animate_anyone bench/truth --protocol disco

Nothing is downloaded. The clips are counted, and the hashes of their pixels are written into bench/testset.json; a
later run, which goes on where one was stopped, refuses other pixels, and --same-as compares with the testset.json of
somebody else. How it is known that papers used these clips is printed: for TikTok most of it is hearsay.

The folder has truth/ (links to the clips), references/ (the first frame of each, which papers animate), and jobs.yaml,
which `scripts.animate --batch` takes with any options. --system runs that into results/SYSTEM.
"""

import sys
from dataclasses import dataclass

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.pipelines.systems import POSED

from . import animate
from .command import ArgumentParser, run
from .options import CommandOptions

_RUN = "Run a system"


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions):
    source: str = path_option(help="local copy of the data set", is_positional=True, metavar="SOURCE")
    folder: str = path_option(help="folder to lay the test clips out in", is_positional=True, metavar="DIR")
    set: str = option(help="name of a test set of docs/metrics.md, or a YAML file", metavar="NAME")
    same_as: str | None = path_option(None, help="testset.json of somebody else, whose clips must be the same")
    system: str | None = option(
        None, choices=POSED, help="animate the clips: " + " or ".join(POSED), group=_RUN, metavar="NAME"
    )
    config: str | None = path_option(None, help="YAML file of the model", unset="that of the released one", group=_RUN)


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.benchmark_dataset", __doc__, Options)


def work(options: Options) -> int:
    """Lay out, and animate what is missing. Returns 1 if a clip failed."""
    from pathlib import Path

    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.metrics.testsets import (
        JOBS,
        RECORD,
        RESULTS,
        TRUTH,
        check_same,
        describe_testset,
        find_testset,
        lay_out,
        read_record,
        read_testset,
    )

    if options.config is not None and options.system is None:
        raise InputError("--config needs --system, which is accepted with it")
    testset, folder = read_testset(options.set), Path(options.folder)
    clips = find_testset(testset, options.source)
    num_frames = sum(clip.num_frames for clip in clips.values())
    print(f"{testset.title}: {counted(len(clips), 'clip')}, {counted(num_frames, 'frame')}")
    print(f"known from: {testset.source}")
    record = describe_testset(testset, clips)
    if options.same_as is not None:
        check_same(record, read_record(options.same_as), options.same_as)
    results = folder / RESULTS / (options.system or POSED[0])
    lay_out(record, clips, folder, results)
    print(f"laid out in {folder}; hashes in {folder / RECORD}")
    code = 0
    if options.system is not None:
        words = ["--batch", str(folder / JOBS), "--system", options.system, "--skip-existing"]
        words += ["--config", options.config] if options.config is not None else []
        code = animate.work(animate.make_parser().parse_args(words))
    print(f"then: python -m scripts.evaluate {results} {folder / TRUTH} --protocol disco")
    return code


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
