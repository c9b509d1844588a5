"""What it costs to watch a job of the server: the same job with and without progress, in turn.

    python -m benchmarks progress --json progress.json

Runs a job of the demo model as the server's worker does, --repeats times of each kind in one process and in an order
that alternates, after a warm-up. Watched, all that it tells is written as the worker writes it, and noted in the
database as the server notes it, by the same thread: what two processes do side by side is one after the other here.
Previews are made every --every steps, the server's default. Unwatched, nothing of this happens.

`share` is the part of the watched runs that is spent in what they call to tell something: of the processor seconds of
all threads, the median of the runs. The goal is a share below 2%. Each pair of neighbours gives a ratio as well, of
wall-clock seconds and of processor seconds: it has what watching costs elsewhere, in caches and other threads, but
also the unrest of the machine, which is larger. `cost` is the median of these ratios less 1, `spread` the range of
the middle half.
"""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

GOAL = 0.02
SMALL = {"width": 64, "height": 96, "num_frames": 2, "steps": 2}


def add_arguments(parser):
    parser.add_argument("--repeats", type=int, default=8, metavar="N", help="pairs of runs (default 8)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="denoising steps (default 20)")
    parser.add_argument("--frames", type=int, default=24, metavar="N", help="length of the clip (default 24)")
    parser.add_argument("--every", type=int, metavar="N", help="steps of a preview (default: the server's)")
    parser.add_argument("--small", action="store_true", help="two frames and steps, to try the benchmark itself")


def compete(options):
    from ppdiffusers_ext.server.settings import ServerSettings

    for name in ("repeats", "steps", "frames"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")
    every = ServerSettings().preview_every if options.every is None else options.every
    ServerSettings(preview_every=every)  # which refuses what no server takes
    given = SMALL if options.small else {"num_frames": options.frames, "steps": options.steps}
    settings = {"options": {"model": "demo", **given}, "every": every, "repeats": options.repeats}
    row = harness.run_contestant("progress", "pairs", settings, title="pairs of runs")
    costs = {clock: cost_of(row["watched"][clock], row["unwatched"][clock]) for clock in ("processor", "wall")}
    runs = {kind: {"seconds": statistics.median(row[kind]["wall"]), **row} for kind in ("watched", "unwatched")}
    harness.print_table(runs, {})
    for clock, (cost, low, high) in costs.items():
        print(f"cost of watching, {clock} seconds: {cost:+.2%} (middle half of the pairs: {low:+.2%} to {high:+.2%})")
    print(f"told a run: {row['messages']} messages, of which {row['previews']} are previews")
    cost, low, high = costs["processor"]
    parts = [told / whole for told, whole in zip(row["watched"]["telling"], row["watched"]["processor"], strict=True)]
    share = statistics.median(parts)
    print(f"in calls that tell something: {share:.2%} of the processor seconds ({min(parts):.2%} to {max(parts):.2%})")
    print(f"goal: below {GOAL:.0%}: {'reached' if share < GOAL else 'missed'}")
    fields = {"share": share, "cost": cost, "spread": [low, high]}
    fields |= {"wall_cost": costs["wall"][0], "wall_spread": costs["wall"][1:]}
    return {**fields, "reached": share < GOAL, **row, "settings": {**settings, "goal": GOAL}}


def cost_of(watched, unwatched):
    """Median of the pairs' ratios less 1, and the bounds of the middle half of them."""
    ratios = sorted(one / other - 1 for one, other in zip(watched, unwatched, strict=True))
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return middle, low, high


def pairs(settings):
    """Pairs of runs: seconds of each kind, and what a watched run tells."""
    from benchmarks.contestant import peak_bytes, versions
    from ppdiffusers_ext.server.running import Runner

    runner, rows = Runner(), {kind: {"wall": [], "processor": [], "telling": []} for kind in ("watched", "unwatched")}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        place = Place(Path(folder), settings)
        for kind in rows:
            place.run(runner, kind)  # what is loaded and compiled at the first run
        for number in range(settings["repeats"]):
            order = list(rows) if number % 2 else list(reversed(rows))
            for kind in order:
                *seconds, told = place.run(runner, kind)
                for name, value in zip(rows[kind], seconds, strict=True):
                    rows[kind][name].append(value)
                if kind == "watched":
                    events = told
        place.close()
    counts = {"messages": len(events), "previews": events.count("preview")}
    return {**rows, **counts, "peak_bytes": peak_bytes(), "versions": versions("paddlepaddle", "ppdiffusers")}


def note_seconds(watch):
    """Have the processor seconds of each call of a watch be noted: in a list, which the calls fill."""
    from ppdiffusers_ext.pipelines.watching import Watch

    seconds = []

    def noted(call):
        def call_and_note(*arguments, **options):
            begun = time.process_time()
            call(*arguments, **options)
            seconds.append(time.process_time() - begun)

        return call_and_note

    for name in (name for name in vars(Watch) if not name.startswith("_")):
        setattr(watch, name, noted(getattr(watch, name)))
    return seconds


class Place:
    """Where jobs run, with a server's database.

    Args:
        folder: that is empty.
        settings: see `compete`.
    """

    def __init__(self, folder, settings):
        from ppdiffusers_ext.server.catalogue import Catalogue
        from ppdiffusers_ext.server.settings import ServerSettings
        from ppdiffusers_ext.server.store import Store

        self._folder, self._given, self._number = folder, settings, 0
        self._settings = ServerSettings(device="cpu", preview_every=settings["every"])
        self._catalogue, self._store = Catalogue(self._settings), Store(folder / "jobs.sqlite3")

    def close(self):
        self._store.close()

    def run(self, runner, kind):
        """Run the job, "watched" or "unwatched": wall-clock and processor seconds, processor seconds of telling, and
        the events that it told.
        """
        from ppdiffusers_ext.pipelines.watching import Watch
        from ppdiffusers_ext.server.messages import encode
        from ppdiffusers_ext.server.progress import Progress

        self._number += 1
        folder, told = self._folder / str(self._number), []
        folder.mkdir()
        task = self._task(folder)
        self._store.add_job("animate_anyone", self._given["options"], {}, 1)
        job, attempt = self._store.begin_next()

        def send(message):
            told.append(message["event"])
            encode(message)
            data = {name: value for name, value in message.items() if name != "event"}
            self._store.update(job.id, attempt, message["event"], data)

        is_watched = kind == "watched"
        wall, processor = time.perf_counter(), time.process_time()
        watch = Progress(send, folder, self._settings.preview_every, has_poses=False) if is_watched else Watch()
        telling = note_seconds(watch)
        runner.run(task, folder, watch)
        seconds = time.perf_counter() - wall, time.process_time() - processor
        self._store.end(job.id, attempt, "done")
        return *seconds, sum(telling), told

    def _task(self, folder):
        from ppdiffusers_ext.server.execution import Given, build

        files = {
            "reference_image": Given(harness.ROOT / "assets" / "reference.png", "image"),
            "pose_video": Given(harness.ROOT / "assets" / "pose.mp4", "video", 48, 15.0),
        }
        return build("animate_anyone", self._given["options"], files, folder, self._catalogue, self._settings)


CONTESTANTS = {"pairs": pairs}
