"""Options of a run of the chain: the same for the command, for tests and for whoever calls it from Python."""

from dataclasses import dataclass

from ppdiffusers_ext.data.chain.caption_options import CaptionOptions
from ppdiffusers_ext.data.chain.network_files import NetworkOptions
from ppdiffusers_ext.data.chain.systems import PROFILES
from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.workers.tasks import ENGINES, LOCAL

CONFIG = "configs/data_chain/default.yaml"
RUNNING = "Running"


@dataclass(frozen=True, kw_only=True)
class ChainOptions(CaptionOptions, NetworkOptions):
    """Options of `run.prepare_videos`."""

    source: str = path_option(
        help="folder of videos with its subfolders, one video, or a list of paths (TXT, JSON, CSV)",
        is_positional=True,
        metavar="IN",
    )
    output: str = path_option(help="folder of the training set and of its tables", is_positional=True, metavar="OUT")
    system: str = option(
        choices=tuple(PROFILES), help="the system to be trained on the clips", flags=("--for",), metavar="NAME"
    )
    steps: str | None = option(
        None, help="names of the steps to run, with commas between", unset="those of the system", metavar="NAMES"
    )
    config: str = path_option(CONFIG, help="YAML file of the thresholds and the settings of the steps")
    as_original: bool = option(False, help="keep clips without a score, as the original's filter does")
    engine: str = option(LOCAL, choices=ENGINES, help="what runs the steps: local or ray", group=RUNNING)
    workers: int | None = option(
        None,
        0,
        1024,
        help="number of processes; 0 works in this one, without a time limit",
        unset="one for each processor",
        flags=("-j",),
        group=RUNNING,
    )
    shard: str | None = option(
        None,
        pattern=r"[1-9][0-9]{0,5}/[1-9][0-9]{0,5}",
        accepted="I/N with I from 1 to N",
        help="prepare the I-th of N parts of the videos; a run without --shard puts all parts together",
        metavar="I/N",
        group=RUNNING,
    )
    row_timeout: float = option(
        600.0,
        1,
        10_000_000,
        help="seconds that a step may take for a video or a clip, and 4 more for each second that it lasts",
        metavar="SECONDS",
        group=RUNNING,
    )
    retry_failed: bool = option(False, help="try again what failed in an earlier run", group=RUNNING)
